package rpc

import (
	"context"
	"crypto/tls"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/stats"
)

// NewServer makes a server for clients made with Dial. secure is nil for plain text, and
// h may be nil.
func NewServer(secure *tls.Config, h stats.Handler, more ...grpc.ServerOption) *grpc.Server {
	creds := insecure.NewCredentials()
	if secure != nil {
		creds = credentials.NewTLS(secure)
	}
	options := []grpc.ServerOption{
		grpc.Creds(creds),
		grpc.InitialWindowSize(streamWindow),
		grpc.InitialConnWindowSize(connWindow),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: KeepaliveTime / 2, PermitWithoutStream: true}),
		// A caller whose machine vanished must not keep its calls open.
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 2 * KeepaliveTime, Timeout: KeepaliveTime}),
	}
	if h != nil {
		options = append(options, grpc.StatsHandler(h))
	}
	return grpc.NewServer(append(options, more...)...)
}

// Describe adds the standard health service, which says that the given service serves,
// and reflection.
func Describe(server *grpc.Server, service string) *health.Server {
	state := health.NewServer()
	state.SetServingStatus(service, grpc_health_v1.HealthCheckResponse_SERVING)
	grpc_health_v1.RegisterHealthServer(server, state)
	reflection.Register(server)
	return state
}

// Serve serves on the listener, which it closes, until ctx ends. Then it calls stopping
// once, which is to refuse what is new and to end streams that have no end of their own,
// and returns nil once the calls in flight are finished, or drain is over.
func Serve(ctx context.Context, server *grpc.Server, l net.Listener, drain time.Duration, stopping func()) error {
	drained := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(drained)
		hard := time.AfterFunc(drain, server.Stop)
		defer hard.Stop()
		stopping()
		server.GracefulStop()
	})
	err := server.Serve(l)
	if !stop() {
		<-drained
		return nil
	}
	return err
}

// RunStream runs the handler of a stream until it returns or stopping is closed; then the
// stream ends with the error stopped. Health watches and reflection have no end of their own.
func RunStream(stopping <-chan struct{}, stopped error, srv any, stream grpc.ServerStream, handle grpc.StreamHandler) error {
	ended := make(chan error, 1)
	go func() { ended <- handle(srv, stream) }()
	select {
	case err := <-ended:
		return err
	case <-stopping: // which ends the stream, and with it the handler
		return stopped
	}
}
