// Package admin serves metrics, liveness and profiles to operators, on a listener of its own. It
// must not know what the process does.
package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/distinfer/distinfer/server/httpx"
)

// Handler answers /metrics with the given handler, /healthz and, with profiles set, /debug/pprof/
// of net/http/pprof. Profiles show memory and cost time: they are for listeners that only this
// machine reaches.
func Handler(metrics http.Handler, profiles bool) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/metrics", httpx.Compress(httpx.Get(metrics.ServeHTTP)))
	mux.Handle("/healthz", httpx.Get(httpx.Alive))
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		httpx.NotFound(w, r, "there are /metrics, /healthz and, on a loopback address, /debug/pprof/")
	})
	if profiles {
		mux.HandleFunc("/debug/pprof/", pprof.Index)
		mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	}
	return mux
}

// longest is how long a response may take, such as a profile of a minute.
const longest = 2 * time.Minute

// Serve serves on the listener until ctx ends, and then returns nil at once. It closes the
// listener.
func Serve(ctx context.Context, l net.Listener, h http.Handler, log *slog.Logger) error {
	server := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       time.Minute,
		WriteTimeout:      longest,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve metrics and profiles on %s: %w", l.Addr(), err)
	}
	return nil
}
