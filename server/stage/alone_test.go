package stage

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/runtime/pipeline"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/runtime/testkit"
	"github.com/distinfer/distinfer/server/replica"
)

// bad is the input that does harm.
const bad = 666

func isBad(t testing.TB, in tensor.Bag) bool {
	x, err := tensor.As[float32](in["x0"])
	if err != nil {
		t.Error(err)
	}
	return len(x) > 0 && x[0] == bad
}

var errDamage = errors.New("the memory is not to be trusted")

// A stage that a run damaged answers that run with the reason, has the others computed by
// its twin, and ends.
func TestADamagedStageAnswersNothingItComputedAndEnds(t *testing.T) {
	t.Parallel()
	var damaged [2]atomic.Bool
	running, release := make(chan int, 10), make(chan struct{})
	var processes [2]*process
	var addresses []string
	for i := range processes {
		c := config(0, 1)
		inner := c.Stage.Runner
		c.Stage.Runner = runnerFunc(func(ctx context.Context, in tensor.Bag) (tensor.Bag, error) {
			if isBad(t, in) {
				damaged[i].Store(true)
				return nil, errcode.Errorf(errcode.Fatal, "boom")
			}
			running <- i
			<-release
			out, err := inner.Run(ctx, in)
			if damaged[i].Load() {
				x, _ := tensor.As[float32](out["x1"])
				x[0]++
			}
			return out, err
		})
		c.Damaged = func() error {
			if damaged[i].Load() {
				return errDamage
			}
			return nil
		}
		processes[i] = start(t, c)
		addresses = append(addresses, processes[i].address)
	}
	p := pipelineOver(t, options(), addresses)
	ready(t, p, 2)
	a := inBackground(t, p, 1, 1)
	first := testkit.Receive(t, "a run", running)
	b := inBackground(t, p, 1, 2)
	testkit.Receive(t, "the other's run", running)
	// Each has one call; equals take turns.
	_, err := p.Run(testkit.Context(t), input(bad, 1))
	wantFault(t, err, errcode.Fatal, "stage 0 at "+processes[first].address, "boom")
	close(release)
	for _, answered := range []<-chan error{a, b} {
		if err := testkit.Receive(t, "an answer", answered); err != nil {
			t.Error(err)
		}
	}
	processes[first].once.Do(func() {
		if err := testkit.Receive(t, "the end of Serve", processes[first].served); !errors.Is(err, errDamage) {
			t.Errorf("Serve returns %v", err)
		}
	})
	ready(t, p, 1)
	for i := range 4 {
		out, err := p.Run(testkit.Context(t), input(float32(i), 1))
		wantAnswer(t, 1, float32(i), 1, out, err)
	}
}

// A mortal is a stage that drops its connections and takes no new ones, as a process that
// dies does, when it computes the bad input. With restarts another process then takes
// its place.
type mortal struct {
	address  string
	restarts bool
	deaths   atomic.Int64
	runs     atomic.Int64
}

func newMortal(t testing.TB, rank, stages int, restarts bool) *mortal {
	t.Helper()
	m := &mortal{restarts: restarts}
	l := listenAt(t, "localhost:0")
	m.address = l.Addr().String()
	var begin func()
	made := func() (Config, *atomic.Pointer[process]) {
		self := &atomic.Pointer[process]{}
		c := config(rank, stages)
		c.Next = options()
		inner := c.Stage.Runner
		c.Stage.Runner = runnerFunc(func(ctx context.Context, in tensor.Bag) (tensor.Bag, error) {
			m.runs.Add(1)
			for name, x := range in {
				if v, err := tensor.As[float32](x); err == nil && name != "keep" && len(v) > 0 && v[0] == deadly(rank) {
					m.deaths.Add(1)
					p := self.Load()
					go func() {
						p.grpc.Stop()
						if m.restarts {
							p.wait(t)
							begin()
						}
					}()
					<-ctx.Done()
					return nil, ctx.Err()
				}
			}
			time.Sleep(time.Millisecond) // so that several are there at a time
			return inner.Run(ctx, in)
		})
		return c, self
	}
	c, self := made()
	self.Store(startOn(t, c, l))
	begin = func() {
		c, self := made()
		for {
			l, err := net.Listen("tcp", m.address)
			if err != nil {
				if t.Context().Err() != nil {
					return
				}
				time.Sleep(5 * time.Millisecond)
				continue
			}
			p := startOn(t, c, l)
			self.Store(p)
			return
		}
	}
	return m
}

// deadly is what the bad input is for the stage of a rank, which is the last of two.
func deadly(rank int) float32 {
	x := float32(bad)
	for range rank {
		x = 2*x + 1
	}
	return x
}

// bystanders ask all the time, and each answer is checked.
func bystanders(t testing.TB, pipelines []*Pipeline, stages int) (stop func() int64) {
	ctx := testkit.Context(t)
	end := make(chan struct{})
	var work sync.WaitGroup
	var answered atomic.Int64
	for i := range 8 * len(pipelines) {
		p := pipelines[i%len(pipelines)]
		work.Go(func() {
			for k := 0; ; k++ {
				select {
				case <-end:
					return
				default:
				}
				x := float32(i*1000 + k%100)
				if x == bad {
					continue
				}
				out, err := p.Run(ctx, input(x, 1))
				wantAnswer(t, stages, x, 1, out, err)
				answered.Add(1)
			}
		})
	}
	return func() int64 {
		close(end)
		work.Wait()
		return answered.Load()
	}
}

// An input that ends whoever computes it ends two, whoever else asks; everybody else is
// answered, and the input is known from then on.
func TestAnInputEndsTwoReplicasAtMostAndNobodyElsesCall(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name             string
		stages, replicas int
		restarts         bool
	}{
		{"of three that stay dead", 1, 3, false},
		{"of two that come back", 1, 2, true},
		{"of one that comes back", 1, 1, true},
		{"of the second stage", 2, 2, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var mortals []*mortal
			var before []*process
			addresses := make([][]string, c.stages)
			for rank := range c.stages - 1 {
				for range 2 {
					k := config(rank, c.stages)
					k.Next = options()
					before = append(before, start(t, k))
					addresses[rank] = append(addresses[rank], before[len(before)-1].address)
				}
			}
			for range c.replicas {
				m := newMortal(t, c.stages-1, c.stages, c.restarts)
				mortals = append(mortals, m)
				addresses[c.stages-1] = append(addresses[c.stages-1], m.address)
			}
			pipelines := []*Pipeline{pipelineOver(t, options(), addresses...), pipelineOver(t, options(), addresses...)}
			for _, p := range pipelines {
				ready(t, p, len(before)+c.replicas)
			}
			stop := bystanders(t, pipelines, c.stages)
			deaths := func() (n int64) {
				for _, m := range mortals {
					n += m.deaths.Load()
				}
				return n
			}
			_, err := pipelines[0].Run(testkit.Context(t), input(bad, 1))
			wantFault(t, err, errcode.Fatal, fmt.Sprintf("stage %d died with this input, at ", c.stages-1))
			// Two; one if it was a suspect before, since a slow machine took another stage for dead.
			if n := deaths(); n < 1 || n > 2 {
				t.Errorf("%d replicas died", n)
			}
			for range 5 {
				_, err := pipelines[0].Run(testkit.Context(t), input(bad, 1))
				wantFault(t, err, errcode.Quarantined, "died with this input")
			}
			// Another caller has to find out by itself, which ends one or two more.
			if c.restarts {
				_, err := pipelines[1].Run(testkit.Context(t), input(bad, 1))
				if !errcode.Deadly(err) {
					t.Errorf("the other front's is %v", err)
				}
			}
			answered := stop()
			if n := deaths(); n > 4 {
				t.Errorf("%d replicas died in the end", n)
			}
			t.Logf("%d answers, %d deaths", answered, deaths())
			if answered == 0 {
				t.Error("nobody else was answered")
			}
			out, err := pipelines[0].Run(testkit.Context(t), input(1, 1))
			wantAnswer(t, c.stages, 1, 1, out, err)
		})
	}
}

// Inputs that were in a run which ended a stage end one more at most.
func TestASuspectIsMadeAloneFromTheBeginning(t *testing.T) {
	t.Parallel()
	a, b := newMortal(t, 0, 1, false), newMortal(t, 0, 1, false)
	p := pipelineOver(t, quick(), []string{a.address, b.address})
	ready(t, p, 2)
	ctx := pipeline.WithSuspect(testkit.Context(t))
	out, err := p.Run(ctx, input(1, 1))
	wantAnswer(t, 1, 1, 1, out, err)
	_, err = p.Run(ctx, input(bad, 1))
	wantFault(t, err, errcode.Fatal, "stage 0 died with this input")
	if n := a.deaths.Load() + b.deaths.Load(); n != 1 {
		t.Errorf("%d died", n)
	}
	out, err = p.Run(ctx, input(2, 1))
	wantAnswer(t, 1, 2, 1, out, err)
}

// A connection that breaks while the process lives is nobody's fault, even that of a call
// that was alone.
func TestACallWhoseConnectionBreaksIsNotBlamed(t *testing.T) {
	t.Parallel()
	w := newTwoReplicas(t)
	relays := [2]*relay{relayTo(t, w.processes[0].address), relayTo(t, w.processes[1].address)}
	p := pipelineOver(t, quick(), []string{relays[0].address, relays[1].address})
	ready(t, p, 2)
	answered := inBackground(t, p, 1, 5)
	for range 3 { // the first time with others, as far as is known, then alone
		relays[testkit.Receive(t, "the run", w.running)].cut()
	}
	testkit.Receive(t, "the last run", w.running)
	close(w.release)
	if err := testkit.Receive(t, "the answer", answered); err != nil {
		t.Error(err)
	}
	if p.stages[0].options.bad.Len() != 0 {
		t.Error("the input is remembered")
	}
	ready(t, p, 2)
	for _, rank := range p.Replicas() {
		for _, r := range rank {
			if r.Condition != replica.Ready || r.Calls != 0 {
				t.Errorf("left behind: %+v", r)
			}
		}
	}
}

// While a suspect is computed nothing else is, also of other callers.
func TestASuspectIsComputedAlone(t *testing.T) {
	t.Parallel()
	var computing, most atomic.Int64
	c := config(0, 1)
	c.Runs = 4
	inner := c.Stage.Runner
	c.Stage.Runner = runnerFunc(func(ctx context.Context, in tensor.Bag) (tensor.Bag, error) {
		n := computing.Add(1)
		defer computing.Add(-1)
		time.Sleep(2 * time.Millisecond)
		if x, _ := tensor.As[float32](in["x0"]); x[0] < 0 { // a suspect
			n = max(n, computing.Load())
			for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
			}
		}
		return inner.Run(ctx, in)
	})
	s := start(t, c)
	pipelines := []*Pipeline{pipelineOver(t, options(), []string{s.address}), pipelineOver(t, options(), []string{s.address})}
	for _, p := range pipelines {
		ready(t, p, 1)
	}
	stop := bystanders(t, pipelines, 1)
	var work sync.WaitGroup
	for i := range 6 {
		work.Go(func() {
			x := float32(-1 - i)
			out, err := pipelines[i%2].Run(pipeline.WithSuspect(testkit.Context(t)), input(x, 1))
			wantAnswer(t, 1, x, 1, out, err)
		})
	}
	work.Wait()
	stop()
	if most.Load() != 1 {
		t.Errorf("%d were computed at a time", most.Load())
	}
}
