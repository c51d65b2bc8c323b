package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"syscall"

	"github.com/distinfer/distinfer/server/health"
	"github.com/distinfer/distinfer/server/listener"
)

// A Service is what an address is listened on for.
type Service string

// The services of a process.
const (
	HTTP     Service = "HTTP"
	GRPC     Service = "gRPC"
	Sharing  Service = "sharing"
	Watching Service = "metrics"
	Probes   Service = "probes"
	Runs     Service = "runs" // of a stage
)

// A ListenError says that an address cannot be listened on.
type ListenError struct {
	For     Service
	Address string
	Err     error
}

func (e *ListenError) Error() string {
	if errors.Is(e.Err, syscall.EADDRINUSE) {
		return fmt.Sprintf("%s is in use by another process", e.Address)
	}
	return fmt.Sprintf("cannot listen on %s: %v", e.Address, e.Err)
}

func (e *ListenError) Unwrap() error { return e.Err }

// listenForProbes answers probes from now on, if the options say where.
func (o *Options) listenForProbes(ctx context.Context) (*health.Server, error) {
	if o.Health == "" {
		return nil, nil
	}
	l, err := listen(ctx, o.Log, o.Health, Probes)
	if err != nil {
		return nil, err
	}
	o.Log.Info("answering probes", "listen", l.Addr().String())
	return health.Start(l, o.Log), nil
}

func listen(ctx context.Context, log *slog.Logger, address string, what Service) (net.Listener, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, &ListenError{what, address, err}
	}
	return listener.Logged(l, log), nil
}
