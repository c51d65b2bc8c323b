package stage

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/runtime/pipeline"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/runtime/testkit"
)

// TestMain checks that servers and clients leave no goroutine behind: a stage
// serves for months.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	thisBundle  = "1111111111111111111111111111111111111111111111111111111111111111"
	otherBundle = "2222222222222222222222222222222222222222222222222222222222222222"
)

// maxMessage is that of servers and clients which do not say otherwise.
const maxMessage = 4 << 20

// runnerFunc is a pipeline.Runner.
type runnerFunc func(context.Context, tensor.Bag) (tensor.Bag, error)

func (f runnerFunc) Run(ctx context.Context, in tensor.Bag) (tensor.Bag, error) { return f(ctx, in) }

// double is stage rank of a chain that computes, from x0 and keep,
//
//	x1 = 2·x0 + 1, x2 = 2·x1 + 10, x3 = 2·x2 + 100, …
//
// and adds keep in the last stage, to which all others forward it. A stage that
// is left out, run twice or run out of order gives another answer.
func double(rank, stages int) pipeline.Stage {
	in, out := fmt.Sprint("x", rank), fmt.Sprint("x", rank+1)
	s := pipeline.Stage{Inputs: []string{in}, Forward: []string{"keep"}}
	last := rank == stages-1
	if last {
		s.Inputs, s.Forward = []string{in, "keep"}, nil
	}
	s.Runner = runnerFunc(func(_ context.Context, bag tensor.Bag) (tensor.Bag, error) {
		x, err := tensor.As[float32](bag[in])
		if err != nil {
			return nil, err
		}
		y := make([]float32, len(x))
		for i := range x {
			y[i] = 2*x[i] + float32(math.Pow10(rank))
			if last {
				keep, err := tensor.As[float32](bag["keep"])
				if err != nil {
					return nil, err
				}
				y[i] += keep[i]
			}
		}
		return tensor.Bag{out: tensor.Of(bag[in].Shape, y)}, nil
	})
	return s
}

// answer is what a chain of links computes.
func answer(stages int, x, keep float32) float32 {
	for rank := range stages {
		x = 2*x + float32(math.Pow10(rank))
	}
	return x + keep
}

func input(x, keep float32) tensor.Bag {
	return tensor.Bag{
		"x0":   tensor.Of([]int64{1}, []float32{x}),
		"keep": tensor.Of([]int64{1}, []float32{keep}),
	}
}

func wantAnswer(t testing.TB, stages int, x, keep float32, out tensor.Bag, err error) {
	t.Helper()
	if err != nil {
		t.Errorf("x = %v: %v", x, err)
		return
	}
	name := fmt.Sprint("x", stages)
	got, err := tensor.As[float32](out[name])
	if err != nil || len(got) != 1 || got[0] != answer(stages, x, keep) || len(out) != 1 {
		t.Errorf("x = %v: got %v of %v (%v), want %v", x, got, out.Names(), err, answer(stages, x, keep))
	}
}

// A process is a stage that is being served.
type process struct {
	*Server
	address string
	stop    context.CancelFunc
	served  chan error
	once    sync.Once
}

// wait returns what Serve returned.
func (p *process) wait(t testing.TB) {
	t.Helper()
	p.once.Do(func() {
		select {
		case err := <-p.served:
			if err != nil {
				t.Errorf("Serve of rank %d: %v", p.config.Rank, err)
			}
		case <-time.After(testkit.Patience):
			t.Errorf("Serve of rank %d does not return", p.config.Rank)
		}
	})
}

var discard = slog.New(slog.DiscardHandler)

// options are those of callers which do not say otherwise.
func options() Options { return Options{MaxMessage: maxMessage, DeadAfter: deadAfter, Log: discard} }

// deadAfter is far longer than a stage of a test needs to answer.
const deadAfter = 2 * time.Second

// soon is for calls that are to wait for a stage in vain. The reason comes a tenth of
// the time before the end, which a busy machine needs.
func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// config is that of a link, with everything else usual.
func config(rank, stages int) Config {
	return Config{
		Stage: double(rank, stages), Bundle: thisBundle, Rank: rank, Stages: stages, Model: "model",
		MaxMessage: maxMessage, Runs: 2, MaxQueue: 256, Version: "v1", ONNXRuntime: "1.0",
		Next: options(), Log: discard,
	}
}

func listenAt(t testing.TB, address string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// start serves a stage until the test ends.
func start(t testing.TB, c Config) *process {
	t.Helper()
	return startOn(t, c, listenAt(t, "localhost:0"))
}

func startOn(t testing.TB, c Config, l net.Listener) *process {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	p := &process{Server: NewServer(c), address: l.Addr().String(), stop: cancel, served: make(chan error, 1)}
	go func() { p.served <- p.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		p.wait(t)
	})
	return p
}

// chain starts all stages of a chain, changed by change, and returns them with
// their addresses.
func chain(t testing.TB, stages int, change func(*Config)) ([]*process, [][]string) {
	t.Helper()
	var started []*process
	var addresses [][]string
	for rank := range stages {
		c := config(rank, stages)
		if change != nil {
			change(&c)
		}
		p := start(t, c)
		started = append(started, p)
		addresses = append(addresses, []string{p.address})
	}
	return started, addresses
}

func dialPipeline(t testing.TB, addresses [][]string) *Pipeline {
	t.Helper()
	p, err := NewPipeline(thisBundle, addresses, options())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// dialPlain connects as a program would that knows nothing of this package.
func dialPlain(t testing.TB, address string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// refusedAddress is an address at which nothing listens, nor can anything else
// begin to while the test runs: the port is bound.
func refusedAddress(t testing.TB) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("127.0.0.1:%d", name.(*syscall.SockaddrInet4).Port)
}

// wantFault checks an error's code, and that its message holds all parts.
func wantFault(t testing.TB, err error, code errcode.Code, parts ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("no error; want %q", code)
		return
	}
	if got := errcode.Of(err); got != code {
		t.Errorf("error %q is %q, want %q", err, got, code)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("error %q does not say %q", err, p)
		}
	}
}

func equalTensors(a, b tensor.Tensor) bool {
	return a.DType == b.DType && slices.Equal(a.Shape, b.Shape) && bytes.Equal(a.Data, b.Data) && slices.Equal(a.Strs, b.Strs)
}

func equalBags(a, b tensor.Bag) bool { return maps.EqualFunc(a, b, equalTensors) }
