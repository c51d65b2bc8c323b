package stage

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"

	"github.com/distinfer/distinfer/runtime/fault"
	"github.com/distinfer/distinfer/runtime/pipeline"
	"github.com/distinfer/distinfer/server/stage/stagepb"
)

// The names of stage.proto.
const (
	serviceName    = "distinfer.stage.v1.Stage"
	runMethod      = "/" + serviceName + "/Run"
	describeMethod = "/" + serviceName + "/Describe"
)

// Config says what a Server serves.
type Config struct {
	Stage pipeline.Stage

	// Bundle is the bundle's ID, Rank the stage's place in it, Stages how many
	// stages it has, and Model its name.
	Bundle string
	Rank   int
	Stages int
	Model  string

	// Peers are the addresses of every rank. When there are none, the next stage
	// is where the caller's route says.
	Peers [][]string

	// MaxMessage bounds messages, in bytes. Runs is how many runs may be under
	// way at once, and MaxQueue how many more may wait.
	MaxMessage, Runs, MaxQueue int

	// Version and ONNXRuntime are told to those who ask.
	Version, ONNXRuntime string

	// TLS secures connections; nil is plain text.
	TLS *tls.Config

	// Services are more gRPC services for the same listener.
	Services []func(grpc.ServiceRegistrar)

	Log *slog.Logger
}

// A Server serves one stage.
type Server struct {
	Config
	grpc   *grpc.Server
	health *health.Server
	next   *clients

	slots   chan struct{}
	waiting atomic.Int64

	endStreams chan struct{} // closed when streams have to end
}

// NewServer makes a server; Serve starts it.
func NewServer(c Config) *Server {
	s := &Server{
		Config: c,
		health: health.NewServer(),
		next:   &clients{maxMessage: c.MaxMessage},
		slots:  make(chan struct{}, c.Runs),

		endStreams: make(chan struct{}),
	}
	transport := insecure.NewCredentials()
	if c.TLS != nil {
		transport = credentials.NewTLS(c.TLS)
	}
	s.grpc = grpc.NewServer(
		grpc.Creds(transport),
		grpc.ForceServerCodecV2(newCodec()),
		grpc.StreamInterceptor(s.stream),
		grpc.MaxRecvMsgSize(c.MaxMessage),
		grpc.MaxSendMsgSize(c.MaxMessage),
		grpc.InitialWindowSize(streamWindow),
		grpc.InitialConnWindowSize(connWindow),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: keepaliveTime / 2, PermitWithoutStream: true}),
		// A caller whose machine vanished must not keep its calls open.
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 2 * keepaliveTime, Timeout: keepaliveTime}),
	)
	s.grpc.RegisterService(&description, s)
	for _, register := range c.Services {
		register(s.grpc)
	}
	grpc_health_v1.RegisterHealthServer(s.grpc, s.health)
	s.health.SetServingStatus(serviceName, grpc_health_v1.HealthCheckResponse_SERVING)
	reflection.Register(s.grpc)
	return s
}

// description is what protoc-gen-go-grpc would write, but for Run, whose
// messages have a codec of their own.
var description = grpc.ServiceDesc{
	ServiceName: serviceName,
	HandlerType: (*handler)(nil),
	Methods: []grpc.MethodDesc{
		{MethodName: "Run", Handler: unary(runMethod, handler.run)},
		{MethodName: "Describe", Handler: unary(describeMethod, handler.describe)},
	},
	Metadata: "stage.proto",
}

type handler interface {
	run(context.Context, *request) (*response, error)
	describe(context.Context, *stagepb.DescribeRequest) (*stagepb.DescribeResponse, error)
}

func unary[In, Out any](method string, call func(handler, context.Context, *In) (*Out, error)) grpc.MethodHandler {
	return func(srv any, ctx context.Context, decode func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) {
		in := new(In)
		if err := decode(in); err != nil {
			return nil, err // the transport has answered it already
		}
		do := func(ctx context.Context, in any) (any, error) {
			out, err := call(srv.(handler), ctx, in.(*In))
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

// When the server is to stop, drainTime is how long calls under way may take, and
// streamTime how long streams may: those of health watches have no end of their
// own, but should tell that the stage no longer serves.
const (
	drainTime  = 30 * time.Second
	streamTime = time.Second
)

// stream runs the handler of a stream, which ends with endStreams.
func (s *Server) stream(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
	ended := make(chan error, 1)
	go func() { ended <- handle(srv, stream) }()
	select {
	case err := <-ended:
		return err
	case <-s.endStreams: // which ends the stream, and with it the handler
		return toStatus(fault.Errorf(fault.Unavailable, "stage %d stops", s.Rank))
	}
}

// Serve serves the stage on the listener until ctx ends, then refuses new calls,
// finishes those under way and returns nil. It closes the listener.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	drained := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(drained)
		s.health.Shutdown()
		hard := time.AfterFunc(drainTime, s.grpc.Stop)
		defer hard.Stop()
		streams := time.AfterFunc(streamTime, func() { close(s.endStreams) })
		defer streams.Stop()
		s.grpc.GracefulStop()
	})
	err := s.grpc.Serve(l)
	if !stop() {
		<-drained
		err = nil
	}
	s.next.close()
	if err != nil {
		return fmt.Errorf("serve stage %d on %s: %w", s.Rank, l.Addr(), err)
	}
	return nil
}

func (s *Server) describe(context.Context, *stagepb.DescribeRequest) (*stagepb.DescribeResponse, error) {
	return &stagepb.DescribeResponse{
		Bundle: s.Bundle, Rank: uint32(s.Rank), Stages: uint32(s.Stages), Model: s.Model,
		Version: s.Version, Onnxruntime: s.ONNXRuntime,
	}, nil
}

func (s *Server) run(ctx context.Context, in *request) (*response, error) {
	started := time.Now()
	if in.malformed != nil {
		return nil, fault.Errorf(fault.Invalid, "stage %d: %w", s.Rank, in.malformed)
	}
	if err := s.accept(in); err != nil {
		return nil, err
	}
	release, err := s.slot(ctx)
	if err != nil {
		return nil, err
	}
	waited := time.Since(started)
	out, err := s.Stage.Run(ctx, in.tensors)
	release()
	computed := time.Since(started) - waited
	if err != nil {
		return nil, fmt.Errorf("stage %d: %w", s.Rank, err)
	}
	in.tensors = nil // the next stage's run may be long; what came in is not needed for it
	if s.Rank < s.Stages-1 {
		client, done, err := s.next.get(s.Rank+1, in.route[0])
		if err != nil {
			return nil, err
		}
		defer done()
		if out, err = client.run(ctx, s.Bundle, in.route[1:], out); err != nil {
			return nil, err
		}
	}
	if s.Log.Enabled(ctx, slog.LevelDebug) {
		s.Log.Debug("run", "waited", waited, "computed", computed, "total", time.Since(started))
	}
	return &response{tensors: out}, nil
}

// accept checks that the caller means this stage, and completes the route.
func (s *Server) accept(in *request) error {
	if in.bundle != s.Bundle || in.rank != s.Rank {
		return fault.Errorf(fault.Mismatch, "the caller wants rank %d of bundle %.12s, this is rank %d of bundle %.12s (%s); give both sides the same bundle, and the stages in rank order",
			in.rank, in.bundle, s.Rank, s.Bundle, s.Model)
	}
	if len(s.Peers) > 0 {
		in.route = s.Peers[s.Rank+1:]
	}
	if want := s.Stages - 1 - s.Rank; len(in.route) != want || slices.ContainsFunc(in.route, func(hop []string) bool { return len(hop) == 0 }) {
		return fault.Errorf(fault.Invalid, "behind rank %d there are %d stages; the route names %d", s.Rank, want, len(in.route))
	}
	return nil
}

// slot waits for a place among the runs under way.
func (s *Server) slot(ctx context.Context) (release func(), err error) {
	release = func() { <-s.slots }
	select {
	case s.slots <- struct{}{}:
		return release, nil
	default:
	}
	if s.waiting.Add(1) > int64(s.MaxQueue) {
		s.waiting.Add(-1)
		return nil, fault.Errorf(fault.Overloaded, "stage %d has %d runs waiting already", s.Rank, s.MaxQueue)
	}
	defer s.waiting.Add(-1)
	select {
	case s.slots <- struct{}{}:
		return release, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
