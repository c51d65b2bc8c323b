package node

import (
	"context"
	"log/slog"
	"net"
	"net/http"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/stats"

	"github.com/distinfer/distinfer/server/admin"
	"github.com/distinfer/distinfer/server/batch"
	"github.com/distinfer/distinfer/server/hostcheck"
	"github.com/distinfer/distinfer/server/metrics"
	"github.com/distinfer/distinfer/server/stage"
	"github.com/distinfer/distinfer/server/tracing"
)

// A watch is how a process is watched from outside, whatever it does.
type watch struct {
	traces *tracing.Tracer // nil when there are none
	admin  net.Listener    // nil when there is none
	pages  http.Handler
	log    *slog.Logger
}

// watch opens what traces are sent with and metrics are given on. The rank is a stage's, else negative.
func (o *Options) watch(ctx context.Context, service string, rank int, metrics http.Handler) (watch, error) {
	w := watch{log: o.Log}
	if o.Admin != "" {
		if err := o.permit("giving metrics on", o.Admin, Watchers, false); err != nil {
			return w, err
		}
	}
	var err error
	if tracing.Wanted() {
		protocol, err := tracing.EnvironmentProtocol()
		if err != nil {
			return w, err
		}
		if w.traces, err = tracing.Open(ctx, tracing.Config{Protocol: protocol, Service: service, Version: o.Version, Rank: rank, Log: o.Log}); err != nil {
			return w, err
		}
	}
	if o.Admin != "" {
		if w.admin, err = listen(ctx, o.Log, o.Admin, Watching); err != nil {
			w.close()
			return w, err
		}
		here, what := stage.IsLoopback(w.admin.Addr().String()), "metrics"
		if here {
			what = "metrics and profiles"
		}
		guard, err := hostcheck.New(hostcheck.Config{Listener: w.admin.Addr(), Hosts: o.AllowedHosts})
		if err != nil {
			w.close()
			return w, err
		}
		w.pages = guard.Wrap(admin.Handler(metrics, here))
		o.Log.Info(what, "listen", w.admin.Addr().String())
	}
	return w, nil
}

// serveBeside runs serve, and beside it metrics and profiles.
func (w *watch) serveBeside(ctx context.Context, serve func(context.Context) error) error {
	if w.admin == nil {
		return serve(ctx)
	}
	ctx, end := context.WithCancel(ctx)
	work, ctx := errgroup.WithContext(ctx)
	work.Go(func() error { return admin.Serve(ctx, w.admin, w.pages, w.log) })
	work.Go(func() error {
		defer end()
		return serve(ctx)
	})
	return work.Wait()
}

func (w *watch) close() {
	if w.admin != nil {
		_ = w.admin.Close()
	}
	if w.traces != nil {
		if err := w.traces.Close(); err != nil {
			w.log.Warn("traces are lost", "error", err)
		}
	}
}

// calls observes the calls of stages.
func (w *watch) calls() stats.Handler {
	if w.traces == nil {
		return nil
	}
	return w.traces.Calls()
}

// A frontWatch is how a front is watched.
type frontWatch struct {
	watch
	metrics *metrics.Front
}

func (o *Options) watchFront(ctx context.Context) (*frontWatch, error) {
	m := metrics.NewFront(o.Version)
	w, err := o.watch(ctx, "distinfer-front", -1, m.Handler(o.Log))
	return &frontWatch{w, m}, err
}

// requests watches the requests that a handler answers.
func (w *frontWatch) requests(next http.Handler) http.Handler {
	next = w.metrics.Wrap(next)
	if w.traces != nil {
		next = w.traces.Requests(next, "/healthz", "/readyz", "/metrics")
	}
	return next
}

// inferences observes the requests that come over gRPC.
func (w *frontWatch) inferences() stats.Handler {
	if w.traces == nil {
		return nil
	}
	return w.traces.Inferences()
}

// batches watches what a Batcher does.
func (w *frontWatch) batches() batch.Listener {
	if w.traces == nil {
		return w.metrics.Batches()
	}
	return batch.Tee(w.metrics.Batches(), w.traces.Batches())
}

// A stageWatch is how a stage is watched.
type stageWatch struct {
	watch
	metrics *metrics.Stage
}

func (o *StageOptions) watchStage(ctx context.Context) (*stageWatch, error) {
	m := metrics.NewStage(o.Version, o.Rank)
	w, err := o.watch(ctx, "distinfer-stage", o.Rank, m.Handler(o.Log))
	return &stageWatch{w, m}, err
}

// observe sets the listeners of a stage.
func (w *stageWatch) observe(c *stage.Config) {
	c.Listener = w.metrics.Runs()
	if w.traces != nil {
		c.Next.Stats, c.Stats = w.traces.Calls(), w.traces.Answers()
		c.Listener = stage.Tee(c.Listener, w.traces.Runs())
	}
}
