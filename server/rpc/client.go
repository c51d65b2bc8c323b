package rpc

import (
	"crypto/tls"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/stats"
)

// Flow-control windows, in bytes. Both are set at both ends, since the smallest binds.
const (
	streamWindow = 8 << 20
	connWindow   = 16 << 20
)

// KeepaliveTime is how long a connection may be silent before it is probed; gRPC allows
// for no less. It finds out that a peer's machine or network is gone.
const KeepaliveTime = 10 * time.Second

// connectTimeout bounds one attempt to connect.
const connectTimeout = 5 * time.Second

// A Client says how to connect.
type Client struct {
	// TLS secures connections, and is called anew for each; nil is plain text.
	TLS func() *tls.Config
	// Backoff is the time between attempts to connect.
	Backoff backoff.Config
	// Stats is notified of what the transport does; it may be nil.
	Stats stats.Handler
}

// Dial makes a connection to a target, which connects when it is first used. Calls are
// never retried and the environment's proxy for the Web is never used.
func Dial(target string, c Client, more ...grpc.DialOption) (*grpc.ClientConn, error) {
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(Credentials(c.TLS)),
		grpc.WithDisableRetry(),
		grpc.WithDisableServiceConfig(),
		grpc.WithNoProxy(),
		grpc.WithIdleTimeout(0),
		grpc.WithInitialWindowSize(streamWindow),
		grpc.WithInitialConnWindowSize(connWindow),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: KeepaliveTime, Timeout: KeepaliveTime / 2}),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: c.Backoff, MinConnectTimeout: connectTimeout}),
	}
	if c.Stats != nil {
		options = append(options, grpc.WithStatsHandler(c.Stats))
	}
	return grpc.NewClient(target, append(options, more...)...)
}
