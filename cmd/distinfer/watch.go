package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"

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
	admin  net.Listener    // nil without --admin
	pages  http.Handler
	log    *slog.Logger
}

// watch opens what traces are sent with and metrics are given on. The rank is a stage's, else negative.
func (o *nodeOptions) watch(ctx context.Context, service string, rank int, log *slog.Logger, metrics http.Handler) (watch, error) {
	w := watch{log: log}
	if o.Admin != "" {
		if err := o.permit(log, traffic{"giving metrics on", o.Admin, false, "choose an address of this machine only"}); err != nil {
			return w, err
		}
	}
	var err error
	if tracesWanted() {
		if w.traces, err = openTraces(ctx, service, rank, log); err != nil {
			return w, err
		}
	}
	if o.Admin != "" {
		if w.admin, err = listen(ctx, log, o.Admin, "--admin"); err != nil {
			w.close()
			return w, err
		}
		here, what := stage.IsLoopback(w.admin.Addr().String()), "metrics"
		if here {
			what = "metrics and profiles"
		}
		guard, err := hostcheck.New(hostcheck.Config{Listener: w.admin.Addr(), Hosts: o.Hosts})
		if err != nil {
			w.close()
			return w, err
		}
		w.pages = guard.Wrap(admin.Handler(metrics, here))
		log.Info(what, "listen", w.admin.Addr().String())
	}
	return w, nil
}

// serveBeside runs serve, and meanwhile what --admin asks for.
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

// calls is told of the calls of stages.
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

func (o *nodeOptions) watchFront(ctx context.Context, log *slog.Logger) (*frontWatch, error) {
	m := metrics.NewFront(buildVersion())
	w, err := o.watch(ctx, "distinfer-front", -1, log, m.Handler(log))
	return &frontWatch{w, m}, err
}

// requests watches those that a handler answers.
func (w *frontWatch) requests(next http.Handler) http.Handler {
	next = w.metrics.Wrap(next)
	if w.traces != nil {
		next = w.traces.Requests(next, "/healthz", "/readyz", "/metrics")
	}
	return next
}

// inferences is told of the requests that come over gRPC.
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

func (o *stageOptions) watchStage(ctx context.Context, log *slog.Logger) (*stageWatch, error) {
	m := metrics.NewStage(buildVersion(), o.Rank)
	w, err := o.watch(ctx, "distinfer-stage", o.Rank, log, m.Handler(log))
	return &stageWatch{w, m}, err
}

// observe has the stage tell of its runs.
func (w *stageWatch) observe(c *stage.Config) {
	c.Listener = w.metrics.Runs()
	if w.traces != nil {
		c.Next.Stats, c.Stats = w.traces.Calls(), w.traces.Answers()
		c.Listener = stage.Tee(c.Listener, w.traces.Runs())
	}
}

// tracesWanted reports whether the environment asks for traces, by the names that
// OpenTelemetry gives.
func tracesWanted() bool {
	switch os.Getenv("OTEL_TRACES_EXPORTER") {
	case "none":
		return false
	case "":
		return os.Getenv("OTEL_SDK_DISABLED") != "true" &&
			(os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != "" || os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") != "")
	}
	return os.Getenv("OTEL_SDK_DISABLED") != "true"
}

func openTraces(ctx context.Context, service string, rank int, log *slog.Logger) (*tracing.Tracer, error) {
	if e := os.Getenv("OTEL_TRACES_EXPORTER"); e != "" && e != "otlp" {
		return nil, usageError{fmt.Errorf("OTEL_TRACES_EXPORTER is %q; it can be otlp or none", e)}
	}
	protocol := tracing.HTTP
	for _, name := range []string{"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"} {
		if p := os.Getenv(name); p != "" {
			var err error
			if protocol, err = tracing.ParseProtocol(p); err != nil {
				return nil, usageError{fmt.Errorf("%s is %w", name, err)}
			}
			break
		}
	}
	return tracing.Open(ctx, tracing.Config{Protocol: protocol, Service: service, Version: buildVersion(), Rank: rank, Log: log})
}
