package stage

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/runtime/testkit"
	"github.com/distinfer/distinfer/server/limiter"
	"github.com/distinfer/distinfer/server/replica"
	"github.com/distinfer/distinfer/server/stage/stagepb"
)

// A relay is a network between a caller and a stage, which can fail.
type relay struct {
	address string
	to      string
	mu      sync.Mutex
	thawed  *sync.Cond
	frozen  bool
	rate    int // bytes a second that pass a connection in each direction; 0 is any
	conns   map[net.Conn]bool
	passed  atomic.Int64 // connections
}

// relayTo makes a relay to an address.
func relayTo(t testing.TB, to string) *relay {
	t.Helper()
	l := listenAt(t, "localhost:0")
	r := &relay{address: l.Addr().String(), to: to, conns: map[net.Conn]bool{}}
	r.thawed = sync.NewCond(&r.mu)
	var work sync.WaitGroup
	work.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			r.passed.Add(1)
			out, err := net.Dial("tcp", r.to)
			if err != nil {
				_ = in.Close()
				continue
			}
			r.mu.Lock()
			r.conns[in], r.conns[out] = true, true
			r.mu.Unlock()
			work.Go(func() { r.copy(in, out) })
			work.Go(func() { r.copy(out, in) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		r.freeze(false)
		r.cut()
		work.Wait()
	})
	return r
}

func (r *relay) copy(to, from net.Conn) {
	defer func() {
		_ = to.Close()
		_ = from.Close()
	}()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		r.mu.Lock()
		for r.frozen {
			r.thawed.Wait()
		}
		rate := r.rate
		r.mu.Unlock()
		if rate > 0 {
			time.Sleep(time.Duration(n) * time.Second / time.Duration(rate))
		}
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// freeze has connections stay open with nothing passing, as when a process is
// stopped or a cable is pulled.
func (r *relay) freeze(frozen bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.frozen = frozen
	r.thawed.Broadcast()
}

// cut breaks all connections.
func (r *relay) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.conns {
		_ = c.Close()
	}
	clear(r.conns)
}

// quick are options of callers that take a replica for dead soon.
func quick() Options {
	o := options()
	o.DeadAfter = 400 * time.Millisecond
	return o
}

func pipelineOver(t testing.TB, o Options, addresses ...[]string) *Pipeline {
	t.Helper()
	p, err := NewPipeline(thisBundle, addresses, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// twoReplicas are two replicas of the only stage. Runs are announced, and wait to be released.
type twoReplicas struct {
	processes [2]*process
	running   chan int // the number of the replica
	release   chan struct{}
	runs      [2]atomic.Int64
}

func newTwoReplicas(t testing.TB) *twoReplicas {
	t.Helper()
	w := &twoReplicas{running: make(chan int, 100), release: make(chan struct{})}
	for i := range w.processes {
		c := config(0, 1)
		inner := c.Stage.Runner
		c.Stage.Runner = runnerFunc(func(ctx context.Context, in tensor.Bag) (tensor.Bag, error) {
			w.runs[i].Add(1)
			w.running <- i
			select {
			case <-w.release:
				return inner.Run(ctx, in)
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		})
		w.processes[i] = start(t, c)
	}
	return w
}

func ready(t testing.TB, p *Pipeline, replicas int) {
	t.Helper()
	testkit.Eventually(t, fmt.Sprint(replicas, " replicas are ready"), func() bool {
		n := 0
		for _, rank := range p.Replicas() {
			for _, r := range rank {
				if r.Condition == replica.Ready {
					n++
				}
			}
		}
		return n == replicas
	})
}

func inBackground(t testing.TB, p *Pipeline, stages int, x float32) <-chan error {
	answered := make(chan error, 1)
	ctx := testkit.Context(t)
	go func() {
		out, err := p.Run(ctx, input(x, 1))
		wantAnswer(t, stages, x, 1, out, err)
		answered <- err
	}()
	return answered
}

func TestCallToAReplicaThatDiesIsMadeAgainOnAnother(t *testing.T) {
	t.Parallel()
	w := newTwoReplicas(t)
	p := pipelineOver(t, options(), []string{w.processes[0].address, w.processes[1].address})
	ready(t, p, 2)
	answered := inBackground(t, p, 1, 5)
	first := testkit.Receive(t, "the run", w.running)
	w.processes[first].grpc.Stop() // drops its connections, as a process that ends
	if second := testkit.Receive(t, "the second run", w.running); second == first {
		t.Error("the call went to the one that died")
	}
	w.release <- struct{}{}
	if err := testkit.Receive(t, "the answer", answered); err != nil {
		t.Error(err)
	}
}

// A stopped process, or a network that loses everything, breaks no connection.
func TestCallToAReplicaThatHangsIsMadeAgainOnAnother(t *testing.T) {
	t.Parallel()
	w := newTwoReplicas(t)
	relays := [2]*relay{relayTo(t, w.processes[0].address), relayTo(t, w.processes[1].address)}
	p := pipelineOver(t, quick(), []string{relays[0].address, relays[1].address})
	ready(t, p, 2)
	answered := inBackground(t, p, 1, 5)
	first := testkit.Receive(t, "the run", w.running)
	relays[first].freeze(true)
	if second := testkit.Receive(t, "the second run", w.running); second == first {
		t.Error("the call went to the one that hangs")
	}
	close(w.release) // the first one runs as well, and nobody hears of it
	if err := testkit.Receive(t, "the answer", answered); err != nil {
		t.Error(err)
	}
	ready(t, p, 1)
	relays[first].freeze(false)
	ready(t, p, 2)
}

// A long transfer over a slow link keeps questions from getting through behind it.
// That is no reason to take the replica for dead.
func TestAReplicaBehindASlowLinkIsNotTakenForDead(t *testing.T) {
	t.Parallel()
	const large = 16 << 20
	c := config(0, 1)
	c.MaxMessage = large
	r := relayTo(t, start(t, c).address)
	r.rate = 2 << 20
	o := quick()
	o.MaxMessage, o.DeadAfter = large, time.Second
	p := pipelineOver(t, o, []string{r.address})
	ready(t, p, 1)
	n := int64(1 << 20) // of 4 bytes, twice: four seconds for the way there, and two for the way back
	x := make([]float32, n)
	in := tensor.Bag{"x0": tensor.Of([]int64{n}, x), "keep": tensor.Of([]int64{n}, x)}
	answer, err := p.stages[0].run(testkit.Context(t), nil, 1, in)
	if err != nil {
		t.Fatal(err)
	}
	if answer.retries != 0 {
		t.Errorf("the call was retried %d times", answer.retries)
	}
}

func TestCallsWaitForAStageThatRestarts(t *testing.T) {
	t.Parallel()
	l := listenAt(t, "localhost:0")
	address := l.Addr().String()
	first, last := start(t, config(0, 2)), startOn(t, config(1, 2), l)
	p := dialPipeline(t, [][]string{{first.address}, {address}})
	out, err := p.Run(testkit.Context(t), input(1, 2))
	wantAnswer(t, 2, 1, 2, out, err)
	last.stop()
	last.wait(t)
	var answers []<-chan error
	for i := range 5 {
		answers = append(answers, inBackground(t, p, 2, float32(i)))
	}
	testkit.Eventually(t, "the calls wait at the first stage", func() bool { return first.next.starved() && first.inFlight.InUse() == 5 })
	startOn(t, config(1, 2), listenAt(t, address))
	for _, a := range answers {
		if err := testkit.Receive(t, "an answer", a); err != nil {
			t.Error(err)
		}
	}
}

func TestWaitingEndsWithTheReasonBeforeTheDeadline(t *testing.T) {
	t.Parallel()
	nowhere := refusedAddress(t)
	first := start(t, config(0, 2))
	p := dialPipeline(t, [][]string{{first.address}, {nowhere}})
	_, err := p.Run(soon(t), input(1, 1))
	wantFault(t, err, errcode.Unavailable, "stage 1 at "+nowhere, "cannot be reached as a stage")

	ctx, cancel := context.WithCancel(testkit.Context(t))
	failed := make(chan error, 1)
	go func() {
		_, err := p.Run(ctx, input(1, 1))
		failed <- err
	}()
	testkit.Eventually(t, "the call waits", first.next.starved)
	cancel()
	wantFault(t, testkit.Receive(t, "the error", failed), errcode.Canceled)
	testkit.Eventually(t, "nobody waits any more", func() bool { return !first.next.starved() })
}

// A replica may be well but cut off from the stages behind it.
func TestReplicaThatCannotReachTheNextStageIsGoneRound(t *testing.T) {
	t.Parallel()
	last := start(t, config(1, 2))
	cutOff, whole := config(0, 2), config(0, 2)
	cutOff.Peers = [][]string{{"localhost:1"}, {refusedAddress(t)}}
	a, b := start(t, cutOff), start(t, whole)
	p := pipelineOver(t, quick(), []string{a.address, b.address}, []string{last.address})
	ready(t, p, 3)
	for i := range 10 {
		x := float32(i)
		out, err := p.Run(testkit.Context(t), input(x, 1))
		wantAnswer(t, 2, x, 1, out, err)
	}
	if a.inFlight.InUse() != 0 {
		t.Error("calls are left at the stage that is cut off")
	}
}

// What fails in a stage would fail in its replica too, and what fails behind it is
// dealt with there: nothing is computed again.
func TestErrorsOfAStageAreNotTriedAgain(t *testing.T) {
	t.Parallel()
	for _, code := range []errcode.Code{errcode.Internal, errcode.Invalid, errcode.Overloaded, errcode.Unavailable, errcode.Mismatch} {
		t.Run(code.String(), func(t *testing.T) {
			t.Parallel()
			var runs [2]atomic.Int64
			var addresses [2][]string
			for rank := range 2 {
				for range 2 {
					c := config(rank, 2)
					inner := c.Stage.Runner
					c.Stage.Runner = runnerFunc(func(ctx context.Context, in tensor.Bag) (tensor.Bag, error) {
						runs[rank].Add(1)
						if rank == 1 {
							return nil, errcode.Errorf(code, "boom")
						}
						return inner.Run(ctx, in)
					})
					addresses[rank] = append(addresses[rank], start(t, c).address)
				}
			}
			p := pipelineOver(t, options(), addresses[0], addresses[1])
			ready(t, p, 4)
			for i := range int64(4) {
				_, err := p.Run(testkit.Context(t), input(1, 1))
				wantFault(t, err, code, "stage 1: boom")
				if a, b := runs[0].Load(), runs[1].Load(); a != i+1 || b != i+1 {
					t.Fatalf("after %d calls the stages ran %d and %d times", i+1, a, b)
				}
			}
		})
	}
}

func TestReplicaWithRoomTakesWhatAFullOneRefuses(t *testing.T) {
	t.Parallel()
	w := newTwoReplicas(t)
	for _, p := range w.processes {
		p.config.MaxQueue, p.config.Runs = 0, 1
		p.inFlight = limiter.New(1, 0)
	}
	// Each caller believes that both are idle, and knows nothing of the other's calls.
	var callers []*Pipeline
	for range 2 {
		p := pipelineOver(t, options(), []string{w.processes[0].address, w.processes[1].address})
		ready(t, p, 2)
		callers = append(callers, p)
	}
	a := inBackground(t, callers[0], 1, 1)
	testkit.Receive(t, "the first run", w.running)
	b := inBackground(t, callers[1], 1, 2)
	testkit.Receive(t, "the second run", w.running)
	_, err := callers[1].Run(testkit.Context(t), input(3, 1))
	wantFault(t, err, errcode.Overloaded, "stage 0 has 1 runs already")
	close(w.release)
	for _, answered := range []<-chan error{a, b} {
		if err := testkit.Receive(t, "an answer", answered); err != nil {
			t.Error(err)
		}
	}
	for _, c := range callers {
		ready(t, c, 2) // to refuse is not to be broken
	}
}

// During a rollout the replicas of one list hold two bundles.
func TestGenerationsAreServedSideBySide(t *testing.T) {
	t.Parallel()
	var addresses [2][]string
	for _, id := range []bundle.ID{thisBundle, otherBundle} {
		for rank := range 2 {
			c := config(rank, 2)
			c.Bundle = id
			if id == otherBundle {
				inner := c.Stage
				c.Stage.Runner = runnerFunc(func(ctx context.Context, in tensor.Bag) (tensor.Bag, error) {
					out, err := inner.Runner.Run(ctx, in)
					for _, x := range out {
						v, _ := tensor.As[float32](x)
						v[0] += 1000
					}
					return out, err
				})
			}
			addresses[rank] = append(addresses[rank], start(t, c).address)
		}
	}
	old := pipelineOver(t, options(), addresses[0], addresses[1])
	next, err := NewPipeline(otherBundle, addresses[:], options())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = next.Close() }()
	for range 20 {
		out, err := old.Run(testkit.Context(t), input(1, 0))
		wantAnswer(t, 2, 1, 0, out, err)
		if out, err = next.Run(testkit.Context(t), input(1, 0)); err != nil {
			t.Fatal(err)
		}
		if v, _ := tensor.As[float32](out["x2"]); v[0] != answer(2, 1, 0)+3000 {
			t.Fatalf("the other bundle answers %v", v)
		}
	}
}

func TestAnotherVersionOfTheProtocolIsRefused(t *testing.T) {
	t.Parallel()
	p := start(t, config(0, 1))
	r := toProto(&request{protocol: 2, bundle: thisBundle, tensors: input(1, 1)})
	err := dialPlain(t, p.address).Invoke(testkit.Context(t), RunMethod, r, &stagepb.RunResponse{})
	if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "version 1 of the stage protocol") || !strings.Contains(err.Error(), "version 2") {
		t.Errorf("got %v", err)
	}
	c := &Client{bundle: thisBundle}
	err = c.identify("stage 0 at a:1", &stagepb.DescribeResponse{Protocol: 3, Bundle: thisBundle})
	wantFault(t, err, errcode.Mismatch, "version 3", "version 1", "stage 0 at a:1")
}

// Calls that keep failing on the way are not retried forever.
func TestReplaysAreThrottled(t *testing.T) {
	t.Parallel()
	b := block(t, 1, nil)
	failed := make(chan error, 1)
	p := pipelineOver(t, options(), b.addresses[0])
	ready(t, p, 1)
	p.stages[0].mu.Lock()
	for p.stages[0].set.TakeRetry() {
	}
	p.stages[0].mu.Unlock()
	go func() {
		_, err := p.Run(testkit.Context(t), input(1, 1))
		failed <- err
	}()
	testkit.Receive(t, "the run", b.running)
	b.processes[0].grpc.Stop()
	wantFault(t, testkit.Receive(t, "the error", failed), errcode.Unavailable, "too many calls fail")
}

func TestANameCanStandForManyReplicas(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	ips := []string{"127.0.0.1", "127.0.0.2"}
	l := listenAt(t, "127.0.0.1:0")
	_, port, _ := net.SplitHostPort(l.Addr().String())
	startOn(t, config(0, 1), l)
	startOn(t, config(0, 1), listenAt(t, "127.0.0.2:"+port))
	o := options()
	o.Insecure = true
	o.Lookup = func(_ context.Context, host string) ([]string, error) {
		mu.Lock()
		defer mu.Unlock()
		if host != "stages.example" {
			return nil, errors.New("unknown name")
		}
		return ips, nil
	}
	p := pipelineOver(t, o, []string{"dns:///stages.example:" + port})
	ready(t, p, 2)
	out, err := p.Run(testkit.Context(t), input(1, 1))
	wantAnswer(t, 1, 1, 1, out, err)
	mu.Lock()
	ips = ips[:1]
	mu.Unlock()
	ready(t, p, 1)
	out, err = p.Run(testkit.Context(t), input(2, 1))
	wantAnswer(t, 1, 2, 1, out, err)

	unknown := pipelineOver(t, o, []string{"dns:///nowhere.example:" + port})
	_, err = unknown.Run(soon(t), input(1, 1))
	wantFault(t, err, errcode.Unavailable, "nowhere.example")
}

// Clients of a name with many replicas choose some, each for itself, and all are used.
func TestClientsConnectToAsManyReplicasAsAllowed(t *testing.T) {
	t.Parallel()
	var ips []string
	for i := range 100 {
		ips = append(ips, fmt.Sprintf("127.0.3.%d", 1+i))
	}
	o := options()
	o.Lookup = func(context.Context, string) ([]string, error) { return ips, nil }
	for name, c := range map[string]struct {
		subset int
		routed bool
		want   int
	}{
		"as many as allowed":       {7, false, 7},
		"all":                      {0, false, 100},
		"more than there are":      {200, false, 100},
		"along a caller's route":   {0, true, maxHop},
		"fewer along a route":      {7, true, 7},
		"not more than of a route": {99, true, maxHop},
	} {
		o := o
		o.Insecure, o.Subset, o.routed = true, c.subset, c.routed
		seen := map[string]bool{}
		for range 30 {
			client, err := Dial(thisBundle, 0, []string{"dns:///stages.example:1"}, o)
			if err != nil {
				t.Fatal(err)
			}
			testkit.Eventually(t, "replicas are known", func() bool { return client.replicas() > 0 })
			if n := client.replicas(); n != c.want {
				t.Errorf("%s: %d replicas, want %d", name, n, c.want)
			}
			for _, r := range client.Replicas() {
				seen[r.Address] = true
			}
			if err := client.Close(); err != nil {
				t.Error(err)
			}
		}
		if len(seen) < 80 {
			t.Errorf("%s: 30 clients connect to %d replicas of 100", name, len(seen))
		}
	}
}

// A route names no more replicas than a stage accepts.
func TestARouteOfManyReplicasIsShortened(t *testing.T) {
	t.Parallel()
	second := make([]string, maxHop+10)
	for i := range second {
		second[i] = fmt.Sprintf("127.0.4.%d:1", 1+i)
	}
	p := pipelineOver(t, options(), []string{"127.0.4.1:1"}, second)
	if n := len(p.route[0]); n != maxHop || len(p.Replicas()[1]) != len(second) {
		t.Errorf("%d replicas in the route, %d watched", n, len(p.Replicas()[1]))
	}
}

func TestPlainTextStaysOnThisMachine(t *testing.T) {
	t.Parallel()
	for address, loopback := range map[string]bool{
		"localhost:1": true, "127.0.0.1:1": true, "127.9.9.9:1": true, "[::1]:1": true,
		"192.168.0.1:1": false, "stage.example:1": false, "[fe80::1]:1": false, "0.0.0.0:1": false,
		"dns:///stage.example:1": false, "localhost": false, "": false,
	} {
		c, err := Dial(thisBundle, 0, []string{"localhost:1", address}, options())
		if (err == nil) != loopback {
			t.Errorf("%q: %v", address, err)
		}
		if err != nil {
			wantFault(t, err, errcode.Invalid, "would not be encrypted", "give certificates")
			continue
		}
		_ = c.Close()
	}
	// Nor does a stage send on what its caller's route would have it send.
	first := start(t, config(0, 2))
	c, err := Dial(thisBundle, 0, []string{first.address}, options())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_, err = c.run(testkit.Context(t), [][]string{{"192.0.2.1:1"}}, 1, input(1, 1))
	wantFault(t, err, errcode.Invalid, "192.0.2.1:1", "not be encrypted")
}

func TestTimingsTellWhereTheTimeWent(t *testing.T) {
	t.Parallel()
	_, addresses := chain(t, 3, nil)
	p := dialPipeline(t, addresses)
	out, timings, err := p.Trace(testkit.Context(t), input(1, 1))
	wantAnswer(t, 3, 1, 1, out, err)
	if len(timings) != 3 {
		t.Fatalf("got %v", timings)
	}
	for rank, x := range timings {
		if x.Rank != rank || x.Waited < 0 || x.Computed <= 0 || x.Total < x.Waited+x.Computed+x.Next || x.Retries != 0 {
			t.Errorf("rank %d: %+v", rank, x)
		}
		if last := rank == 2; last != (x.Next == 0) {
			t.Errorf("rank %d: next took %v", rank, x.Next)
		}
		if rank > 0 && timings[rank-1].Next < x.Total {
			t.Errorf("rank %d took longer than the one before it waited: %v", rank, timings)
		}
	}
}

// Runs that wait hold memory.
func TestWhatRunsHoldIsBounded(t *testing.T) {
	t.Parallel()
	b := block(t, 1, func(c *Config) { c.MaxMessage = 64 << 10 })
	p := pipelineOver(t, options(), b.addresses[0])
	ctx := testkit.Context(t)
	big := func() tensor.Bag {
		n := int64(64<<10/8 - 64) // just under the largest message
		return tensor.Bag{"x0": tensor.Of([]int64{n}, make([]float32, n)), "keep": tensor.Of([]int64{n}, make([]float32, n))}
	}
	ended := make(chan error, maxInFlight)
	for range maxInFlight {
		go func() {
			_, err := p.Run(ctx, big())
			ended <- err
		}()
	}
	testkit.Eventually(t, "as much is held as may be", func() bool { return b.processes[0].inFlight.InUse() == maxInFlight })
	_, err := p.Run(ctx, big())
	wantFault(t, err, errcode.Overloaded, "stage 0 holds", "largest message")
	close(b.release)
	for range maxInFlight {
		if err := testkit.Receive(t, "an answer", ended); err != nil {
			t.Error(err)
		}
	}
	testkit.Eventually(t, "nothing is held", func() bool { return b.processes[0].bytes.InUse() == 0 && b.processes[0].inFlight.InUse() == 0 })
}

func TestTheSelfTestGoesTheWayOfTheModel(t *testing.T) {
	t.Parallel()
	_, addresses := chain(t, 3, func(c *Config) {
		c.SelfTest = func(_ context.Context, left int, in tensor.Bag) (tensor.Bag, error) {
			v, err := tensor.As[float32](in["seen"])
			return tensor.Bag{"seen": tensor.Of([]int64{int64(len(v) + 1)}, append(v[:len(v):len(v)], float32(left)))}, err
		}
	})
	p, err := NewPipeline(SelfTest, addresses, options())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Close() }()
	out, err := p.Run(testkit.Context(t), tensor.Bag{"seen": tensor.Of([]int64{0}, []float32{})})
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := tensor.As[float32](out["seen"]); fmt.Sprint(got) != "[3 2 1]" {
		t.Errorf("the stages had %v to go", got)
	}
	none := start(t, config(0, 1))
	q, err := NewPipeline(SelfTest, [][]string{{none.address}}, options())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = q.Close() }()
	_, err = q.Run(testkit.Context(t), input(1, 1))
	wantFault(t, err, errcode.Mismatch, "no self-test")
}

// Replicas die, hang and come back all the time; every call gets its own answer.
func TestNoCallIsLost(t *testing.T) {
	t.Parallel()
	const stages, replicas = 3, 2
	var addresses [stages][]string
	var relays []*relay
	for rank := range stages {
		for range replicas {
			c := config(rank, stages)
			c.Next = quick()
			r := relayTo(t, start(t, c).address)
			relays = append(relays, r)
			addresses[rank] = append(addresses[rank], r.address)
		}
	}
	p := pipelineOver(t, quick(), addresses[:]...)
	ctx := testkit.Context(t)
	stop := make(chan struct{})
	var work sync.WaitGroup
	var calls atomic.Int64
	for caller := range 8 {
		work.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				x, keep := float32(caller), float32(i%1000*10)
				out, err := p.Run(ctx, input(x, keep))
				wantAnswer(t, stages, x, keep, out, err)
				calls.Add(1)
			}
		})
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 12 {
		r := relays[random.IntN(len(relays))]
		if random.IntN(3) > 0 {
			r.cut()
			time.Sleep(50 * time.Millisecond)
			continue
		}
		r.freeze(true)
		time.Sleep(600 * time.Millisecond)
		r.freeze(false)
		time.Sleep(100 * time.Millisecond)
	}
	close(stop)
	work.Wait()
	t.Logf("%d calls", calls.Load())
	if calls.Load() == 0 {
		t.Error("no call was made")
	}
}
