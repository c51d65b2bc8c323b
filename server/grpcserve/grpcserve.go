// Package grpcserve serves a gRPC server until a context ends, and then lets calls under
// way finish. It knows gRPC, and no service.
package grpcserve

import (
	"context"
	"net"
	"time"

	"google.golang.org/grpc"
)

// Serve serves on the listener, which it closes, until ctx ends; then it has stopping called
// once, which is to refuse what is new and to end streams that have no end of their own,
// and returns nil once the calls under way are finished, or drain is over.
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
