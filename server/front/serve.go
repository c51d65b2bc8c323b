package front

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// Limits of connections, which docs/reference/http.md lists.
const (
	headerTime = 10 * time.Second // for a request's headers
	bodyTime   = time.Minute      // for its body; of a stream, for each line
	writeTime  = time.Minute      // beyond the time of the request, for the response
	idleTime   = 2 * time.Minute  // between requests
	maxHeader  = 64 << 10         // bytes

	// HTTP/2: concurrent requests on a connection, and bytes that may be sent before they are
	// read.
	maxStreams          = 100
	streamWindow        = 64 << 10
	connectionWindow    = 256 << 10
	lostConnectionAfter = 30 * time.Second

	// drainTime is how long requests in flight may take when the front stops.
	drainTime = 30 * time.Second
)

// Serve serves HTTP/1 and HTTP/2 on the listener until ctx ends, then finishes the requests in
// flight and returns nil. It closes the listener.
func (f *Front) Serve(ctx context.Context, l net.Listener) error {
	base, err := f.guard(l)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	var handler http.Handler = f
	if f.config.Wrap != nil {
		handler = f.config.Wrap(f)
	}
	return f.serve(ctx, l, "HTTP", &http.Server{Handler: handler, Protocols: &protocols, BaseContext: base})
}

// serve serves the handler, protocols and contexts of a server within the front's bounds.
func (f *Front) serve(ctx context.Context, l net.Listener, name string, of *http.Server) error {
	server := &http.Server{
		Handler:           of.Handler,
		Protocols:         of.Protocols,
		ReadHeaderTimeout: headerTime,
		ReadTimeout:       bodyTime,
		WriteTimeout:      f.config.Timeout + writeTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    maxHeader,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams:          maxStreams,
			MaxReceiveBufferPerStream:     streamWindow,
			MaxReceiveBufferPerConnection: connectionWindow,
			SendPingTimeout:               lostConnectionAfter,
			WriteByteTimeout:              writeTime,
		},
		TLSConfig:   f.config.TLS,
		ErrorLog:    slog.NewLogLogger(f.config.Log.Handler(), slog.LevelDebug),
		BaseContext: of.BaseContext,
		ConnContext: f.connections.context,
		ConnState:   f.connections.state,
	}
	drained := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		f.endStreams()
		deadline, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
		defer cancel()
		drained <- server.Shutdown(deadline)
	})
	serve := server.Serve
	if f.config.TLS != nil {
		serve = func(l net.Listener) error { return server.ServeTLS(l, "", "") }
	}
	err := serve(l)
	if !stop() {
		err = <-drained
	}
	if err != nil {
		return errors.Join(fmt.Errorf("serve %s on %s: %w", name, l.Addr(), err), server.Close())
	}
	return nil
}
