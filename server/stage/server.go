package stage

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"

	"github.com/distinfer/distinfer/runtime/encoding"
	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/runtime/pipeline"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/server/rpc"
	"github.com/distinfer/distinfer/server/stage/stagepb"
)

// The names of stage.proto.
const (
	serviceName    = "distinfer.stage.v1.Stage"
	describeMethod = "/" + serviceName + "/Describe"

	// RunMethod is what gRPC calls a run.
	RunMethod = "/" + serviceName + "/Run"

	aloneMethod = "/" + serviceName + "/RunAlone"
)

// Protocol is the version of the stage protocol that this package speaks.
const Protocol = 1

// SelfTest is the bundle that a request names which is to run the self-test of the
// stage and not its model.
const SelfTest = "self-test"

// A Server serves one stage.
type Server struct {
	config   Config
	listener Listener
	grpc     *grpc.Server
	health   *health.Server
	next     *clients

	admission
	address string // of the listener

	computing sync.Mutex
	runs      int // being computed
	lone      lone

	endStreams chan struct{} // closed when streams have to end

	proven  atomic.Bool  // that the model computes
	refused atomic.Int64 // runs, before that was proven

	broken chan struct{} // closed once Damaged reports damage
	breaks sync.Once
}

// NewServer makes a server; Serve starts it.
func NewServer(c Config) *Server {
	if c.Instance == "" {
		c.Instance = rand.Text()
	}
	s := &Server{
		config:    c,
		listener:  Tee(c.Listener),
		next:      newClients(c.Next),
		admission: newAdmission(&c),

		endStreams: make(chan struct{}),
		broken:     make(chan struct{}),
	}
	s.grpc = rpc.NewServer(c.TLS, c.Stats,
		grpc.ForceServerCodecV2(newCodec(c.MaxMessage)),
		grpc.StreamInterceptor(s.stream),
		grpc.MaxRecvMsgSize(c.MaxMessage),
		grpc.MaxSendMsgSize(c.MaxMessage),
	)
	s.grpc.RegisterService(&description, s)
	for _, register := range c.Services {
		register(s.grpc)
	}
	s.health = rpc.Describe(s.grpc, serviceName)
	return s
}

// description is what protoc-gen-go-grpc would write, but for Run, whose
// messages have a codec of their own.
var description = grpc.ServiceDesc{
	ServiceName: serviceName,
	HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{
		{MethodName: "Run", Handler: unary(RunMethod, (*Server).observed)},
		{MethodName: "Describe", Handler: unary(describeMethod, (*Server).describe)},
	},
	Streams: []grpc.StreamDesc{
		{StreamName: "RunAlone", Handler: runAlone, ServerStreams: true, ClientStreams: true},
	},
	Metadata: "stage.proto",
}

func unary[In, Out any](method string, call func(*Server, context.Context, *In) (*Out, error)) grpc.MethodHandler {
	return func(srv any, ctx context.Context, decode func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) {
		in := new(In)
		if r, ok := any(in).(*request); ok {
			srv.(*Server).receive(r)
			defer r.leave()
		}
		if err := decode(in); err != nil {
			return nil, err // the transport has answered it already
		}
		do := func(ctx context.Context, in any) (any, error) {
			out, err := call(srv.(*Server), ctx, in.(*In))
			if err != nil {
				return nil, toStatus(err)
			}
			return out, nil
		}
		if interceptor == nil {
			return do(ctx, in)
		}
		return interceptor(ctx, in, &grpc.UnaryServerInfo{Server: srv, FullMethod: method}, do)
	}
}

// When the server is to stop, drainTime is how long calls in flight may take, and
// streamTime how long streams may: those of health watches have no end of their
// own, but should tell that the stage no longer serves.
const (
	drainTime  = 30 * time.Second
	streamTime = time.Second
)

// stream runs the handler of a stream, which ends with endStreams unless it is a run.
func (s *Server) stream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
	if info.FullMethod == aloneMethod {
		return handle(srv, stream)
	}
	return rpc.RunStream(s.endStreams, toStatus(errcode.Errorf(errcode.Unavailable, "stage %d stops", s.config.Rank)), srv, stream, handle)
}

// Serve serves the stage on the listener until ctx ends, then refuses new calls,
// finishes those in flight and returns nil. It closes the listener. When the stage is
// damaged it returns why.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	s.address = l.Addr().String()
	ctx, end := context.WithCancel(ctx)
	defer end()
	var work sync.WaitGroup
	work.Go(func() {
		select {
		case <-s.broken:
			end()
		case <-ctx.Done():
		}
	})
	err := rpc.Serve(ctx, s.grpc, l, drainTime, func() {
		s.health.Shutdown()
		time.AfterFunc(streamTime, func() { close(s.endStreams) })
		select {
		case <-s.broken:
			time.AfterFunc(damageTime, s.grpc.Stop)
		default:
		}
	})
	s.next.close()
	end()
	work.Wait()
	if err == nil {
		err = s.damaged()
	}
	if err != nil {
		return fmt.Errorf("serve stage %d on %s: %w", s.config.Rank, l.Addr(), err)
	}
	return nil
}

func (s *Server) describe(context.Context, *stagepb.DescribeRequest) (*stagepb.DescribeResponse, error) {
	d := &stagepb.DescribeResponse{
		Protocol: Protocol, Bundle: string(s.config.Bundle), Rank: uint32(s.config.Rank), Stages: uint32(s.config.Stages), Model: s.config.Model,
		Version: s.config.Version, Onnxruntime: s.config.ONNXRuntime, Hostname: s.config.Hostname, Threads: uint32(s.config.Threads), Instance: s.config.Instance,
		Running: uint32(s.slots.InUse()), Waiting: uint32(s.slots.Waiting()), Starved: s.next.starved(),
	}
	for _, e := range encoding.Encodings() {
		d.Encodings = append(d.Encodings, string(e))
	}
	if s.config.Memory != nil {
		used, available := s.config.Memory()
		d.MemoryUsed, d.MemoryAvailable = uint64(used), uint64(available)
	}
	if s.config.Budget != nil {
		d.MemoryBudget = uint64(s.config.Budget.Bytes())
	}
	return d, nil
}

// run computes a run, and has the stages behind compute the rest. It notes in r what there
// is to tell, also when it fails.
func (s *Server) run(ctx context.Context, in *request, r *Run) (*response, error) {
	ctx = pipeline.WithOutputs(ctx, in.outputs...)
	r.Timing = pipeline.Timing{Rank: s.config.Rank, Machine: s.config.Machine, Processors: s.config.Processors, AtOnce: s.config.Runs}
	r.Began, r.In = time.Now(), bytesOf(in.tensors)
	t, started := &r.Timing, r.Began
	if in.untaken {
		return nil, &refusal{s.full()}
	}
	if in.malformed != nil {
		return nil, errcode.Errorf(errcode.Invalid, "stage %d: %w", s.config.Rank, in.malformed)
	}
	if err := s.accept(in); err != nil {
		return nil, &refusal{err}
	}
	if err := s.damaged(); err != nil {
		return nil, err
	}
	leave, err := s.admit(in)
	if err != nil {
		return nil, &refusal{err}
	}
	defer leave()
	release := func() {}
	if in.acquire != nil {
		err = in.acquire(ctx)
	} else {
		release, err = s.slot(ctx)
	}
	if err != nil {
		return nil, err
	}
	compute, forget, err := s.prepare(ctx, in)
	if err != nil {
		release()
		return nil, fmt.Errorf("stage %d: %w", s.config.Rank, err)
	}
	t.Waited = time.Since(started)
	tried := s.begins(in.inFlight)
	out, err := compute()
	t.Computed = time.Since(started) - t.Waited
	s.ends(tried, t.Computed)
	forget()
	release()
	if err == nil {
		err = check(out) // the transport could not say what is wrong with it
	}
	damage := s.damaged()
	switch {
	case errcode.Deadly(err): // whatever it did beside
		s.config.Log.ErrorContext(ctx, "an input would have ended the stage", "error", err)
		return nil, fmt.Errorf("stage %d at %s: %w", s.config.Rank, s.address, err)
	case damage != nil:
		return nil, damage
	case err != nil:
		return nil, fmt.Errorf("stage %d: %w", s.config.Rank, err)
	}
	answer := &response{tensors: out}
	in.tensors = nil // the next stage's run may be long; what came in is not needed for it
	r.Out = in.holds(out)
	if len(in.route) > 0 {
		client, done, err := s.next.get(in.bundle, s.config.Rank+1, in.route[0], in.encoding, len(s.config.Peers) == 0, isPeer(ctx))
		if err != nil {
			return nil, err
		}
		defer done()
		sent := time.Now()
		answer, err = client.run(ctx, in.route[1:], in.inFlight, out)
		t.Next = time.Since(sent)
		if err != nil {
			return nil, err
		}
		t.Retries = int(answer.retries)
	}
	t.Total = time.Since(started)
	answer.timings = append([]pipeline.Timing{*t}, answer.timings...)
	if s.config.Log.Enabled(ctx, slog.LevelDebug) {
		s.config.Log.DebugContext(ctx, "run", "waited", t.Waited, "computed", t.Computed, "next", t.Next, "total", t.Total)
	}
	return answer, nil
}

// prepare waits for the memory of a run, which is to be computed with compute, and has
// its memory until forget is called.
func (s *Server) prepare(ctx context.Context, in *request) (compute func() (tensor.Bag, error), forget func(), err error) {
	if in.bundle == SelfTest {
		return func() (tensor.Bag, error) { return s.config.SelfTest(ctx, len(in.route)+1, in.tensors) }, func() {}, nil
	}
	run := func() (tensor.Bag, error) {
		out, err := s.config.Stage.Run(ctx, in.tensors)
		s.prove(ctx, err)
		return out, err
	}
	if s.config.Budget == nil {
		return run, func() {}, nil
	}
	grant, err := s.config.Budget.Acquire(ctx, in.tensors)
	if err != nil {
		return nil, nil, err
	}
	return func() (tensor.Bag, error) { return grant.Run(ctx, run) }, grant.Release, nil
}

// accept checks that the caller means this stage, and completes the route.
func (s *Server) accept(in *request) error {
	switch {
	case in.protocol != Protocol:
		return errcode.Errorf(errcode.Mismatch, "stage %d speaks version %d of the stage protocol (distinfer %s), the caller version %d; run the same version of distinfer on both sides",
			s.config.Rank, Protocol, s.config.Version, in.protocol)
	case s.config.Bundle == "" && in.bundle != SelfTest:
		return errcode.Errorf(errcode.Mismatch, "stage %d has no model, it was started without one; start it with the bundle", s.config.Rank)
	case in.rank != s.config.Rank || in.bundle != s.config.Bundle && in.bundle != SelfTest:
		return errcode.Errorf(errcode.Mismatch, "the caller wants rank %d of bundle %s, this is rank %d of bundle %s (%s); give both sides the same bundle, and the stages in rank order",
			in.rank, in.bundle.Short(), s.config.Rank, s.config.Bundle.Short(), s.config.Model)
	case in.bundle == SelfTest && s.config.SelfTest == nil:
		return errcode.Errorf(errcode.Mismatch, "stage %d has no self-test", s.config.Rank)
	}
	e, err := encoding.Parse(string(in.encoding))
	if err != nil {
		return errcode.Errorf(errcode.Mismatch, "stage %d (distinfer %s) cannot send tensors on as the caller wants: %w; run the same version of distinfer on both sides, or choose another encoding", s.config.Rank, s.config.Version, err)
	}
	in.encoding = e
	want := s.config.Stages - 1 - s.config.Rank
	var peers [][]string
	if len(s.config.Peers) > 0 {
		peers = s.config.Peers[s.config.Rank+1:]
	}
	if in.bundle == SelfTest { // it may end before the last stage
		want = len(in.route)
		peers = peers[:min(want, len(peers))]
	}
	if len(s.config.Peers) > 0 && !within(in.route, peers) {
		in.route = peers
	}
	if len(in.route) != want || slices.ContainsFunc(in.route, func(hop []string) bool { return len(hop) == 0 }) {
		return errcode.Errorf(errcode.Invalid, "behind rank %d there are %d stages; the route names %d", s.config.Rank, want, len(in.route))
	}
	return nil
}

// within reports whether a route goes only to addresses that are configured: it
// may choose among the replicas of a rank.
func within(route, peers [][]string) bool {
	if len(route) != len(peers) {
		return false
	}
	for i, hop := range route {
		if len(hop) == 0 || slices.ContainsFunc(hop, func(a string) bool { return !slices.Contains(peers[i], a) }) {
			return false
		}
	}
	return true
}

// check fails when a tensor is not what it says it is.
func check(bag tensor.Bag) error {
	for name, t := range bag {
		if err := t.Check(); err != nil {
			return fmt.Errorf("tensor %q: %w", name, err)
		}
	}
	return nil
}
