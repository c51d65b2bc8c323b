package stage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/runtime/pipeline"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/runtime/testkit"
	"github.com/distinfer/distinfer/server/stage/stagepb"
)

func TestChainAnswersWhatItsStagesCompute(t *testing.T) {
	t.Parallel()
	for stages := 1; stages <= 3; stages++ {
		for _, configured := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d stages, peers configured %v", stages, configured), func(t *testing.T) {
				t.Parallel()
				var listeners []net.Listener
				var addresses [][]string
				for range stages {
					l := listenAt(t, "localhost:0")
					listeners = append(listeners, l)
					addresses = append(addresses, []string{l.Addr().String()})
				}
				for rank, l := range listeners {
					c := config(rank, stages)
					if configured {
						c.Peers = addresses
					}
					startOn(t, c, l)
				}
				route := addresses
				if configured {
					// The stages know better than the caller, whose route leads nowhere.
					route = [][]string{addresses[0]}
					for range stages - 1 {
						route = append(route, []string{refusedAddress(t)})
					}
				}
				p := dialPipeline(t, route)
				for _, x := range []float32{0, 1, -3} {
					out, err := p.Run(testkit.Context(t), input(x, 0.5))
					wantAnswer(t, stages, x, 0.5, out, err)
				}
			})
		}
	}
}

// A stage that makes an output which nobody wants does not send it on.
func TestOutputsThatAreNotWantedDoNotTravel(t *testing.T) {
	t.Parallel()
	var listeners []net.Listener
	var addresses [][]string
	for range 2 {
		l := listenAt(t, "localhost:0")
		listeners = append(listeners, l)
		addresses = append(addresses, []string{l.Addr().String()})
	}
	first, second := config(0, 2), config(1, 2)
	compute := first.Stage.Runner
	first.Stage.Runner = runnerFunc(func(ctx context.Context, in tensor.Bag) (tensor.Bag, error) {
		out, err := compute.Run(ctx, in)
		if err == nil {
			out["present"] = noise(7)
		}
		return out, err
	})
	first.Stage.Spare = []string{"present"}
	second.Stage.Forward, second.Stage.Spare = []string{"present"}, []string{"x2", "present"}
	startOn(t, first, listeners[0])
	startOn(t, second, listeners[1])
	p := dialPipeline(t, addresses)
	for _, c := range []struct{ wanted, want []string }{{nil, []string{"present", "x2"}}, {[]string{"x2"}, []string{"x2"}}, {[]string{"present", "x2"}, []string{"present", "x2"}}} {
		out, err := p.Run(pipeline.WithOutputs(testkit.Context(t), c.wanted...), input(1, 0.5))
		if err != nil || !slices.Equal(out.Names(), c.want) {
			t.Errorf("who wants %q gets %q, %v", c.wanted, out.Names(), err)
		}
	}
}

func TestConcurrentCallsGetTheirOwnAnswers(t *testing.T) {
	t.Parallel()
	_, addresses := chain(t, 3, nil)
	p := dialPipeline(t, addresses)
	ctx := testkit.Context(t)
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			for j := range 5 {
				x, keep := float32(i), float32(j*1000)
				out, err := p.Run(ctx, input(x, keep))
				wantAnswer(t, 3, x, keep, out, err)
			}
		})
	}
	wg.Wait()
}

func TestBigTensorsTravelTheChain(t *testing.T) {
	t.Parallel()
	_, addresses := chain(t, 2, nil)
	x := make([]float32, 1<<18) // 1 MB
	for i := range x {
		x[i] = float32(i)
	}
	keep := make([]float32, len(x))
	shape := []int64{1 << 9, 1 << 9}
	out, err := dialPipeline(t, addresses).Run(testkit.Context(t), tensor.Bag{"x0": tensor.Of(shape, x), "keep": tensor.Of(shape, keep)})
	if err != nil {
		t.Fatal(err)
	}
	y, err := tensor.As[float32](out["x2"])
	if err != nil || len(y) != len(x) {
		t.Fatalf("%d elements, %v", len(y), err)
	}
	for i := range y {
		if y[i] != answer(2, x[i], 0) {
			t.Fatalf("element %d is %v, want %v", i, y[i], answer(2, x[i], 0))
		}
	}
}

func TestDescribeTellsWhatTheStageHolds(t *testing.T) {
	t.Parallel()
	c := config(1, 3)
	c.Hostname, c.Threads, c.Instance = "here", 7, "this-one"
	c.Memory = func() (used, available int64) { return 5, 6 }
	p := start(t, c)
	got, err := Describe(testkit.Context(t), 1, p.address, options())
	if err != nil {
		t.Fatal(err)
	}
	want := &stagepb.DescribeResponse{
		Protocol: 1, Bundle: thisBundle, Rank: 1, Stages: 3, Model: "model", Version: "v1", Onnxruntime: "1.0",
		Hostname: "here", Threads: 7, Instance: "this-one", MemoryUsed: 5, MemoryAvailable: 6, Encodings: []string{"float32", "float16", "int8"},
	}
	if !proto.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestWrongBundleOrRankIsAMismatch(t *testing.T) {
	t.Parallel()
	last := start(t, config(1, 2))
	other := config(1, 2)
	other.Bundle = otherBundle
	foreign := start(t, other)
	first := start(t, config(0, 2))
	for name, c := range map[string]struct {
		route [][]string
		want  []string
	}{
		"other bundle behind": {[][]string{{first.address}, {foreign.address}}, []string{thisBundle[:12], otherBundle[:12], "rank 1"}},
		"other bundle first":  {[][]string{{foreign.address}, {last.address}}, []string{thisBundle[:12], otherBundle[:12]}},
		"last rank first":     {[][]string{{last.address}, {first.address}}, []string{"rank 0 of", "rank 1 of"}},
		"first rank twice":    {[][]string{{first.address}, {first.address}}, []string{"rank 1 of", "rank 0 of"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := dialPipeline(t, c.route).Run(testkit.Context(t), input(1, 1))
			wantFault(t, err, errcode.Mismatch, c.want...)
		})
	}
}

func TestRouteOfWrongLengthIsInvalid(t *testing.T) {
	t.Parallel()
	p := start(t, config(0, 3))
	hop := []string{refusedAddress(t)}
	for name, route := range map[string][][]string{
		"none":      {},
		"too short": {hop},
		"too long":  {hop, hop, hop},
		"empty hop": {hop, {}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := dialPipeline(t, append([][]string{{p.address}}, route...)).Run(testkit.Context(t), input(1, 1))
			wantFault(t, err, errcode.Invalid, "behind rank 0 there are 2 stages", fmt.Sprintf("names %d", len(route)))
		})
	}
}

func TestMissingInputIsInvalid(t *testing.T) {
	t.Parallel()
	_, addresses := chain(t, 1, nil)
	_, err := dialPipeline(t, addresses).Run(testkit.Context(t), tensor.Bag{"keep": tensor.Of(nil, []float32{1})})
	wantFault(t, err, errcode.Invalid, "stage 0", `"x0" is missing`)
}

func TestUnreachableStageIsNamed(t *testing.T) {
	t.Parallel()
	nowhere := refusedAddress(t)
	first := start(t, config(0, 2))
	for name, c := range map[string]struct {
		addresses [][]string
		want, why string
	}{
		"first": {[][]string{{nowhere}, {first.address}}, "stage 0 at " + nowhere, "connection refused"},
		"next":  {[][]string{{first.address}, {nowhere}}, "stage 1 at " + nowhere, "cannot be reached as a stage; the log of the stage before it says why"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := dialPipeline(t, c.addresses).Run(soon(t), input(1, 1))
			wantFault(t, err, errcode.Unavailable, c.want, c.why)
			if err != nil && strings.Count(err.Error(), nowhere) > 2 {
				t.Errorf("the message repeats itself: %v", err)
			}
		})
	}
}

// Callers of a stage are not trusted with its process.
func TestRouteOfNonsenseFailsOneCall(t *testing.T) {
	t.Parallel()
	_, addresses := chain(t, 2, func(c *Config) { c.Next.Insecure = true })
	var calls sync.WaitGroup
	for _, address := range []string{"", "nonsense", "a:b:c", "127.0.0.1:99999999", "%zz:1", "a b\x7f:1", "passthrough:///127.0.0.1:1", "unix:///nowhere", "dns:///", "|"} {
		calls.Go(func() {
			first, err := Dial(thisBundle, 0, addresses[0], options())
			if err != nil {
				t.Error(err)
				return
			}
			_, err = first.run(soon(t), [][]string{{address}}, 1, input(1, 1))
			_ = first.Close()
			if code := errcode.Of(err); err == nil || code != errcode.Unavailable && code != errcode.Invalid {
				t.Errorf("address %q: %q (%v)", address, code, err)
			}
		})
	}
	calls.Wait()
	out, err := dialPipeline(t, addresses).Run(testkit.Context(t), input(1, 1))
	wantAnswer(t, 2, 1, 1, out, err)
}

func TestAnyReplicaAnswers(t *testing.T) {
	t.Parallel()
	last := config(1, 2)
	var runs [2]atomic.Int64
	addresses := []string{refusedAddress(t)}
	for i := range runs {
		c := last
		c.Stage.Runner = runnerFunc(func(ctx context.Context, in tensor.Bag) (tensor.Bag, error) {
			runs[i].Add(1)
			return last.Stage.Runner.Run(ctx, in)
		})
		addresses = append(addresses, start(t, c).address)
	}
	first := start(t, config(0, 2))
	p := dialPipeline(t, [][]string{{first.address}, addresses})
	ctx := testkit.Context(t)
	// The first call connects; the second replica may be found a moment later.
	testkit.Eventually(t, "both replicas are used", func() bool {
		out, err := p.Run(ctx, input(1, 1))
		wantAnswer(t, 2, 1, 1, out, err)
		return t.Failed() || runs[0].Load() > 0 && runs[1].Load() > 0
	})
}

func TestRunnersErrorArrivesWithCodeAndStage(t *testing.T) {
	t.Parallel()
	for _, code := range []errcode.Code{errcode.Invalid, errcode.Internal, errcode.TooLarge, errcode.Overloaded, errcode.Unavailable, errcode.Mismatch, errcode.Deadline, errcode.Canceled} {
		t.Run(code.String(), func(t *testing.T) {
			t.Parallel()
			_, addresses := chain(t, 3, func(c *Config) {
				if c.Rank == 2 {
					c.Stage.Runner = runnerFunc(func(context.Context, tensor.Bag) (tensor.Bag, error) {
						return nil, errcode.Errorf(code, "boom ünïcode\nof two lines")
					})
				}
			})
			_, err := dialPipeline(t, addresses).Run(testkit.Context(t), input(1, 1))
			wantFault(t, err, code)
			if err == nil || err.Error() != "stage 2: boom ünïcode\nof two lines" {
				t.Errorf("got %q", err)
			}
		})
	}
}

func TestUncodedErrorIsInternal(t *testing.T) {
	t.Parallel()
	_, addresses := chain(t, 2, func(c *Config) {
		c.Stage.Runner = runnerFunc(func(context.Context, tensor.Bag) (tensor.Bag, error) { return nil, errors.New("boom") })
	})
	_, err := dialPipeline(t, addresses).Run(testkit.Context(t), input(1, 1))
	wantFault(t, err, errcode.Internal, "stage 0: boom")
}

func TestRunnersBrokenTensorIsInternal(t *testing.T) {
	t.Parallel()
	_, addresses := chain(t, 2, func(c *Config) {
		if c.Rank == 1 {
			c.Stage.Runner = runnerFunc(func(context.Context, tensor.Bag) (tensor.Bag, error) {
				return tensor.Bag{"x2": {DType: tensor.Float32, Shape: []int64{3}, Data: []byte{1}}}, nil
			})
		}
	})
	_, err := dialPipeline(t, addresses).Run(testkit.Context(t), input(1, 1))
	wantFault(t, err, errcode.Internal, "stage 1", `"x2"`)
}

// blocked is a chain whose last stage says that it runs, and then waits for
// release or for the end of ctx, which it reports.
type blocked struct {
	processes []*process
	addresses [][]string
	running   chan context.Context
	ended     chan error
	release   chan struct{}
}

func block(t testing.TB, stages int, change func(*Config)) *blocked {
	b := &blocked{running: make(chan context.Context, 100), ended: make(chan error, 100), release: make(chan struct{})}
	b.processes, b.addresses = chain(t, stages, func(c *Config) {
		if c.Rank == stages-1 {
			compute := c.Stage.Runner
			c.Stage.Runner = runnerFunc(func(ctx context.Context, in tensor.Bag) (tensor.Bag, error) {
				b.running <- ctx
				select {
				case <-b.release:
					return compute.Run(ctx, in)
				case <-ctx.Done():
					b.ended <- ctx.Err()
					return nil, ctx.Err()
				}
			})
		}
		if change != nil {
			change(c)
		}
	})
	return b
}

func TestCancellationReachesTheLastStage(t *testing.T) {
	t.Parallel()
	for stages := 1; stages <= 3; stages++ {
		t.Run(fmt.Sprint(stages, " stages"), func(t *testing.T) {
			t.Parallel()
			b := block(t, stages, nil)
			p := dialPipeline(t, b.addresses)
			ctx, cancel := context.WithCancel(testkit.Context(t))
			failed := make(chan error, 1)
			go func() {
				_, err := p.Run(ctx, input(1, 1))
				failed <- err
			}()
			testkit.Receive(t, "the last stage's run", b.running)
			cancel()
			wantFault(t, testkit.Receive(t, "the caller's error", failed), errcode.Canceled)
			if err := testkit.Receive(t, "the end of the last stage's ctx", b.ended); !errors.Is(err, context.Canceled) {
				t.Errorf("the last stage's ctx ended with %v", err)
			}
		})
	}
}

func TestDeadlineReachesTheLastStage(t *testing.T) {
	t.Parallel()
	b := block(t, 3, nil)
	p := dialPipeline(t, b.addresses)
	ctx := testkit.Context(t)
	want, _ := ctx.Deadline()
	answered := make(chan error, 1)
	go func() {
		_, err := p.Run(ctx, input(1, 1))
		answered <- err
	}()
	// The time left is sent, not the time of day, so that clocks need not agree.
	got, ok := testkit.Receive(t, "the last stage's run", b.running).Deadline()
	if off := got.Sub(want); !ok || off.Abs() > testkit.Patience {
		t.Errorf("the last stage's deadline is %v (%v), the caller's %v", got, ok, want)
	}
	b.release <- struct{}{}
	if err := testkit.Receive(t, "the answer", answered); err != nil {
		t.Error(err)
	}

	short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	_, err := p.Run(short, input(1, 1))
	wantFault(t, err, errcode.Deadline)
}

func TestFullQueueRefusesAtOnce(t *testing.T) {
	t.Parallel()
	b := block(t, 2, func(c *Config) { c.Runs, c.MaxQueue = 1, 1 })
	// Stage 1 runs one call and has one waiting; stage 0 computes at once.
	p, last := dialPipeline(t, b.addresses), b.processes[1]
	ctx := testkit.Context(t)
	answers := make(chan error, 2)
	call := func(x float32) {
		out, err := p.Run(ctx, input(x, 0))
		wantAnswer(t, 2, x, 0, out, err)
		answers <- err
	}
	go call(1)
	testkit.Receive(t, "the first run", b.running)
	go call(2)
	testkit.Eventually(t, "the second call waits", func() bool { return last.slots.Waiting() == 1 })
	for range 3 {
		_, err := p.Run(ctx, input(3, 0))
		wantFault(t, err, errcode.Overloaded, "stage 0 has 2 runs", "runs that wait")
	}
	close(b.release)
	for _, what := range []string{"the first answer", "the second answer"} {
		if err := testkit.Receive(t, what, answers); err != nil {
			t.Error(err)
		}
	}
	out, err := p.Run(ctx, input(4, 0))
	wantAnswer(t, 2, 4, 0, out, err)
}

func TestCallThatIsGivenUpLeavesTheQueue(t *testing.T) {
	t.Parallel()
	b := block(t, 1, func(c *Config) { c.Runs, c.MaxQueue = 1, 1 })
	p, server := dialPipeline(t, b.addresses), b.processes[0]
	ctx := testkit.Context(t)
	first := make(chan error, 1)
	go func() {
		_, err := p.Run(ctx, input(1, 0))
		first <- err
	}()
	testkit.Receive(t, "the first run", b.running)
	for range 3 {
		waiting, giveUp := context.WithCancel(ctx)
		failed := make(chan error, 1)
		go func() {
			_, err := p.Run(waiting, input(2, 0))
			failed <- err
		}()
		testkit.Eventually(t, "the call waits", func() bool { return server.slots.Waiting() == 1 })
		giveUp()
		wantFault(t, testkit.Receive(t, "the error", failed), errcode.Canceled)
		testkit.Eventually(t, "the queue is empty", func() bool { return server.slots.Waiting() == 0 })
	}
	b.release <- struct{}{}
	if err := testkit.Receive(t, "the first answer", first); err != nil {
		t.Error(err)
	}
	if runs := len(b.running); runs != 0 {
		t.Errorf("%d calls that were given up were run", runs)
	}
}

func TestMessageOverTheLimitIsTooLarge(t *testing.T) {
	t.Parallel()
	const small = 16 << 10
	echo := pipeline.Stage{Inputs: []string{"x"}, Runner: runnerFunc(func(_ context.Context, in tensor.Bag) (tensor.Bag, error) { return in, nil })}
	grow := pipeline.Stage{Inputs: []string{"x"}, Runner: runnerFunc(func(context.Context, tensor.Bag) (tensor.Bag, error) {
		x, err := tensor.New(tensor.Uint8, []int64{2 * small})
		return tensor.Bag{"x": x}, err
	})}
	for name, c := range map[string]struct {
		stages []pipeline.Stage
		limits []int // of the stages
		client int
		send   int64
	}{
		"caller sends more than it may":            {[]pipeline.Stage{echo}, []int{maxMessage}, small, 2 * small},
		"caller sends more than the stage takes":   {[]pipeline.Stage{echo}, []int{small}, maxMessage, 2 * small},
		"stage answers more than it may":           {[]pipeline.Stage{grow}, []int{small}, maxMessage, 1},
		"stage answers more than the caller takes": {[]pipeline.Stage{grow}, []int{maxMessage}, small, 1},
		"stage sends on more than it may":          {[]pipeline.Stage{grow, echo}, []int{small, maxMessage}, maxMessage, 1},
		"stage sends on more than the next takes":  {[]pipeline.Stage{grow, echo}, []int{maxMessage, small}, maxMessage, 1},
		"last stage answers more than it may":      {[]pipeline.Stage{echo, grow}, []int{maxMessage, small}, maxMessage, 1},
		"last stage answers more than others take": {[]pipeline.Stage{echo, grow}, []int{small, maxMessage}, maxMessage, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, addresses := chain(t, len(c.stages), func(config *Config) {
				config.Stage, config.MaxMessage, config.Next.MaxMessage = c.stages[config.Rank], c.limits[config.Rank], c.limits[config.Rank]
			})
			p, err := NewPipeline(thisBundle, addresses, Options{MaxMessage: c.client, Log: discard})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = p.Close() }()
			x, err := tensor.New(tensor.Uint8, []int64{c.send})
			if err != nil {
				t.Fatal(err)
			}
			_, err = p.Run(testkit.Context(t), tensor.Bag{"x": x})
			wantFault(t, err, errcode.TooLarge, "stage", "largest message")
		})
	}
}

func TestStageThatIsStartedAgainIsFoundAgain(t *testing.T) {
	t.Parallel()
	l := listenAt(t, "localhost:0")
	address := l.Addr().String()
	first, last := start(t, config(0, 2)), startOn(t, config(1, 2), l)
	p := dialPipeline(t, [][]string{{first.address}, {address}})
	ctx := testkit.Context(t)
	out, err := p.Run(ctx, input(1, 2))
	wantAnswer(t, 2, 1, 2, out, err)

	last.stop()
	last.wait(t)
	_, err = p.Run(soon(t), input(1, 2))
	wantFault(t, err, errcode.Unavailable, "stage 1 at "+address)

	startOn(t, config(1, 2), listenAt(t, address))
	testkit.Eventually(t, "the stage answers again", func() bool {
		out, err = p.Run(ctx, input(3, 4))
		return err == nil
	})
	wantAnswer(t, 2, 3, 4, out, err)
}

func TestStopFinishesWhatRunsAndRefusesTheRest(t *testing.T) {
	t.Parallel()
	b := block(t, 1, nil)
	server, address := b.processes[0], b.addresses[0][0]
	p := dialPipeline(t, b.addresses)
	ctx := testkit.Context(t)

	conn := dialPlain(t, address)
	watching, endWatch := context.WithCancel(ctx)
	defer endWatch()
	watch, err := grpc_health_v1.NewHealthClient(conn).Watch(watching, &grpc_health_v1.HealthCheckRequest{Service: serviceName})
	if err != nil {
		t.Fatal(err)
	}
	if r, err := watch.Recv(); err != nil || r.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Fatalf("health before: %v, %v", r, err)
	}

	answered := make(chan error, 1)
	go func() {
		out, err := p.Run(ctx, input(5, 6))
		wantAnswer(t, 1, 5, 6, out, err)
		answered <- err
	}()
	testkit.Receive(t, "the run", b.running)
	server.stop()
	if r, err := watch.Recv(); err != nil || r.GetStatus() != grpc_health_v1.HealthCheckResponse_NOT_SERVING {
		t.Errorf("health while stopping: %v, %v", r, err)
	}
	endWatch()
	testkit.Eventually(t, "nothing listens", func() bool {
		c, err := net.Dial("tcp", address)
		if err == nil {
			_ = c.Close()
		}
		return err != nil
	})
	_, err = dialPipeline(t, b.addresses).Run(soon(t), input(1, 1))
	wantFault(t, err, errcode.Unavailable, "stage 0 at "+address)
	select {
	case err := <-server.served:
		t.Fatalf("Serve returned %v while a call was in flight", err)
	default:
	}

	b.release <- struct{}{}
	if err := testkit.Receive(t, "the answer", answered); err != nil {
		t.Error(err)
	}
	server.wait(t)
}

// Whoever watches a stage's health must not keep it from ending: a call may take
// drainTime, a watch takes for ever.
func TestStopDoesNotWaitForWatchers(t *testing.T) {
	t.Parallel()
	p := start(t, config(0, 1))
	conn := dialPlain(t, p.address)
	watch, err := grpc_health_v1.NewHealthClient(conn).Watch(testkit.Context(t), &grpc_health_v1.HealthCheckRequest{Service: serviceName})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := watch.Recv(); err != nil {
		t.Fatal(err)
	}
	reflection, err := grpc_reflection_v1.NewServerReflectionClient(conn).ServerReflectionInfo(testkit.Context(t))
	if err != nil {
		t.Fatal(err)
	}
	askReflection(t, reflection, &grpc_reflection_v1.ServerReflectionRequest{
		MessageRequest: &grpc_reflection_v1.ServerReflectionRequest_ListServices{},
	})
	p.stop()
	p.wait(t) // testkit.Patience is less than drainTime
}

func TestServeReturnsWhenToldToBeforeItBegan(t *testing.T) {
	t.Parallel()
	l := listenAt(t, "localhost:0")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := NewServer(config(0, 1)).Serve(ctx, l); err != nil {
		t.Error(err)
	}
	if _, err := net.Dial("tcp", l.Addr().String()); err == nil {
		t.Error("the listener is still open")
	}
}

func TestServeFailsWithItsListener(t *testing.T) {
	t.Parallel()
	l := listenAt(t, "localhost:0")
	_ = l.Close()
	err := NewServer(config(2, 3)).Serve(t.Context(), l)
	if err == nil || !strings.Contains(err.Error(), "serve stage 2 on "+l.Addr().String()) {
		t.Errorf("got %v", err)
	}
}

func TestHealthIsServing(t *testing.T) {
	t.Parallel()
	p := start(t, config(0, 1))
	health := grpc_health_v1.NewHealthClient(dialPlain(t, p.address))
	for _, service := range []string{"", serviceName} {
		r, err := health.Check(testkit.Context(t), &grpc_health_v1.HealthCheckRequest{Service: service})
		if err != nil || r.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
			t.Errorf("service %q: %v, %v", service, r, err)
		}
	}
	if _, err := health.Check(testkit.Context(t), &grpc_health_v1.HealthCheckRequest{Service: "other"}); status.Code(err) != codes.NotFound {
		t.Errorf("service that is not there: %v", err)
	}
}

func askReflection(t *testing.T, stream grpc_reflection_v1.ServerReflection_ServerReflectionInfoClient, r *grpc_reflection_v1.ServerReflectionRequest) *grpc_reflection_v1.ServerReflectionResponse {
	t.Helper()
	if err := stream.Send(r); err != nil {
		t.Fatal(err)
	}
	answer, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

func TestReflectionDescribesTheService(t *testing.T) {
	t.Parallel()
	p := start(t, config(0, 1))
	stream, err := grpc_reflection_v1.NewServerReflectionClient(dialPlain(t, p.address)).ServerReflectionInfo(testkit.Context(t))
	if err != nil {
		t.Fatal(err)
	}
	services := askReflection(t, stream, &grpc_reflection_v1.ServerReflectionRequest{
		MessageRequest: &grpc_reflection_v1.ServerReflectionRequest_ListServices{},
	}).GetListServicesResponse().GetService()
	listed := false
	for _, s := range services {
		listed = listed || s.GetName() == serviceName
	}
	if !listed {
		t.Errorf("listed are %v", services)
	}
	files := askReflection(t, stream, &grpc_reflection_v1.ServerReflectionRequest{
		MessageRequest: &grpc_reflection_v1.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: serviceName},
	}).GetFileDescriptorResponse().GetFileDescriptorProto()
	if len(files) != 1 {
		t.Fatalf("%d files", len(files))
	}
	described := &descriptorpb.FileDescriptorProto{}
	if err := proto.Unmarshal(files[0], described); err != nil {
		t.Fatal(err)
	}
	file, err := protodesc.NewFile(described, protoregistry.GlobalFiles)
	if err != nil {
		t.Fatal(err)
	}
	if file.Path() != description.Metadata {
		t.Errorf("the file is %q, the service says %q", file.Path(), description.Metadata)
	}
	methods := file.Services().ByName("Stage").Methods()
	if want := len(description.Methods) + len(description.Streams); methods.Len() != want {
		t.Errorf("%d methods are described, %d are there", methods.Len(), want)
	}
	for _, m := range description.Methods {
		found := false
		for i := range methods.Len() {
			found = found || string(methods.Get(i).Name()) == m.MethodName
		}
		if !found {
			t.Errorf("method %s is not described", m.MethodName)
		}
	}
}

// Clients in other languages are generated from stage.proto.
func TestGeneratedClientCanRun(t *testing.T) {
	t.Parallel()
	_, addresses := chain(t, 2, nil)
	conn := dialPlain(t, addresses[0][0])
	r := &request{protocol: 1, bundle: thisBundle, route: addresses[1:], tensors: input(7, 8)}
	out := &stagepb.RunResponse{}
	if err := conn.Invoke(testkit.Context(t), RunMethod, toProto(r), out); err != nil {
		t.Fatal(err)
	}
	x := out.GetTensors()
	if len(x) != 1 || x[0].GetName() != "x2" {
		t.Fatalf("got %v", out)
	}
	wantAnswer(t, 2, 7, 8, tensor.Bag{"x2": {DType: tensor.DType(x[0].GetDtype()), Shape: x[0].GetDims(), Data: x[0].GetData()}}, nil)

	r.bundle = otherBundle
	if err := conn.Invoke(testkit.Context(t), RunMethod, toProto(r), out); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("another bundle: %v", err)
	}
	r = &request{protocol: 1, bundle: thisBundle, route: nil, tensors: input(7, 8)}
	if err := conn.Invoke(testkit.Context(t), RunMethod, toProto(r), out); status.Code(err) != codes.InvalidArgument {
		t.Errorf("no route: %v", err)
	}
}

// rawCodec sends bytes as they are.
type rawCodec struct{}

func (rawCodec) Name() string { return "proto" }

func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(v.([]byte))}, nil
}

func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}

func TestHostileBytesOnTheWireAreInvalid(t *testing.T) {
	t.Parallel()
	_, addresses := chain(t, 1, nil)
	conn := dialPlain(t, addresses[0][0])
	for name, encoded := range map[string][]byte{
		"not protobuf":   bytes.Repeat([]byte{0xff}, 100),
		"cut off":        float32s("x0", []uint64{1}, 4)[:9],
		"too large":      float32s("x0", []uint64{1 << 62}, 4),
		"size mismatch":  float32s("x0", []uint64{1000}, 4),
		"tensor twice":   join(float32s("x0", []uint64{1}, 4), float32s("x0", []uint64{1}, 4)),
		"many dims":      field(4, text(1, "x0"), bytes.Repeat(varint(3, 1), 1000)),
		"rank too large": varint(2, 1<<40),
	} {
		t.Run(name, func(t *testing.T) {
			var out []byte
			err := conn.Invoke(testkit.Context(t), RunMethod, encoded, &out, grpc.ForceCodecV2(rawCodec{}))
			if status.Code(err) != codes.InvalidArgument {
				t.Errorf("got %v", err)
			}
			// The message is for whoever has to mend it, without the layers it went through.
			if err == nil || !strings.Contains(err.Error(), "stage 0") || strings.Contains(status.Convert(err).Message(), "rpc error") {
				t.Errorf("got %v", err)
			}
		})
	}
	out, err := dialPipeline(t, addresses).Run(testkit.Context(t), input(1, 1))
	wantAnswer(t, 1, 1, 1, out, err)
}

func TestServerThatIsNoStageIsAMismatch(t *testing.T) {
	t.Parallel()
	l := listenAt(t, "localhost:0")
	server := grpc.NewServer()
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	_, err := dialPipeline(t, [][]string{{l.Addr().String()}}).Run(testkit.Context(t), input(1, 1))
	wantFault(t, err, errcode.Mismatch, "stage 0 at "+l.Addr().String(), "is not a stage")
}

func TestStageThatDiesIsUnavailable(t *testing.T) {
	t.Parallel()
	b := block(t, 2, nil)
	p := dialPipeline(t, b.addresses)
	failed := make(chan error, 1)
	ctx, cancel := context.WithTimeout(testkit.Context(t), 3*time.Second)
	defer cancel()
	go func() {
		_, err := p.Run(ctx, input(1, 1))
		failed <- err
	}()
	testkit.Receive(t, "the run", b.running)
	b.processes[1].grpc.Stop() // drops its connections, as a process that ends
	wantFault(t, testkit.Receive(t, "the error", failed), errcode.Unavailable, "stage 1 at "+b.addresses[1][0])
}

func TestRunsAreLogged(t *testing.T) {
	t.Parallel()
	var log testkit.Log
	_, addresses := chain(t, 1, func(c *Config) {
		c.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	out, err := dialPipeline(t, addresses).Run(testkit.Context(t), input(1, 1))
	wantAnswer(t, 1, 1, 1, out, err)
	for _, part := range []string{"msg=run", "waited=", "computed=", "total="} {
		if !log.Has(part) {
			t.Errorf("the log %q has no %s", log.String(), part)
		}
	}
}

// adds is a self-test that notes how many stages were left.
func adds(c *Config) {
	c.SelfTest = func(_ context.Context, left int, in tensor.Bag) (tensor.Bag, error) {
		out := tensor.Bag{}
		for name, t := range in {
			out[name] = t
		}
		out[fmt.Sprint("left", left, "rank", c.Rank)] = tensor.Of(nil, []float32{1})
		return out, nil
	}
}

func TestASelfTestTakesThePathThatItNames(t *testing.T) {
	t.Parallel()
	_, behind := chain(t, 3, adds)
	elsewhere := refusedAddress(t)
	own := start(t, func() Config {
		c := config(0, 3)
		adds(&c)
		c.Peers = [][]string{{"here:1"}, behind[1], behind[2]}
		return c
	}())
	for name, c := range map[string]struct {
		first string
		rank  int
		route []string
		want  []string
	}{
		"all":                   {behind[0][0], 0, []string{behind[1][0], behind[2][0]}, []string{"left1rank2", "left2rank1", "left3rank0"}},
		"the first alone":       {behind[0][0], 0, nil, []string{"left1rank0"}},
		"from the second":       {behind[1][0], 1, behind[2], []string{"left1rank2", "left2rank1"}},
		"not to the end":        {own.address, 0, behind[1], []string{"left1rank1", "left2rank0"}},
		"alone, with own peers": {own.address, 0, nil, []string{"left1rank0"}},
		"not beyond own peers":  {own.address, 0, []string{elsewhere}, []string{"left1rank1", "left2rank0"}},
	} {
		p, err := Connect(c.rank, c.first, c.first, options())
		if err != nil {
			t.Fatal(err)
		}
		out, timings, err := p.SelfTest(testkit.Context(t), c.route, tensor.Bag{})
		if err != nil || !slices.Equal(out.Names(), c.want) || len(timings) != len(c.want) {
			t.Errorf("%s: %v, %v, %v; want %v", name, out.Names(), timings, err, c.want)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestASelfTestIsRefusedBeyondTheLastOfOwnPeers(t *testing.T) {
	t.Parallel()
	c := config(0, 2)
	adds(&c)
	c.Peers = [][]string{{"here:1"}, {"there:1"}}
	s := start(t, c)
	p, err := Connect(0, s.address, s.address, options())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	_, _, err = p.SelfTest(testkit.Context(t), []string{"there:1", "beyond:1"}, tensor.Bag{})
	wantFault(t, err, errcode.Invalid, "2 stages", "names 1")
}

func TestAStageWithoutAModelComputesOnlyTheSelfTest(t *testing.T) {
	t.Parallel()
	c := config(0, 1)
	adds(&c)
	c.Stage, c.Bundle, c.Model, c.Stages = pipeline.Stage{}, "", "", 0
	s := start(t, c)
	p, err := Connect(0, s.address, s.address, options())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	if d, err := p.Describe(testkit.Context(t)); err != nil || d.GetBundle() != "" || d.GetStages() != 0 {
		t.Errorf("%v, %v", d, err)
	}
	if out, _, err := p.SelfTest(testkit.Context(t), nil, tensor.Bag{}); err != nil || !slices.Equal(out.Names(), []string{"left1rank0"}) {
		t.Errorf("%v, %v", out, err)
	}
	for _, id := range []bundle.ID{thisBundle, ""} {
		in := &request{protocol: Protocol, bundle: id, tensors: input(1, 2)}
		wantFault(t, fromStatus(testkit.Context(t), p.conn.Invoke(testkit.Context(t), RunMethod, in, &response{}), "it"), errcode.Mismatch, "stage 0 has no model", "started without one")
	}
	_, err = dialPipeline(t, [][]string{{s.address}}).Run(soon(t), input(1, 2))
	wantFault(t, err, errcode.Mismatch, "has no model", "start it with the bundle")
}
