// Package tracing exports spans of requests to OpenTelemetry, across all processes. It is the only
// package that knows OpenTelemetry: the packages traced have hooks of their own, which the methods
// of a Tracer fit.
package tracing

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net/http"
	"time"

	"github.com/go-logr/logr"
	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/stats"

	"github.com/distinfer/distinfer/server/batch"
	"github.com/distinfer/distinfer/server/oip"
	"github.com/distinfer/distinfer/server/stage"
)

// Protocol is how spans are sent to a collector.
type Protocol string

// The protocols of OpenTelemetry that are known.
const (
	GRPC Protocol = "grpc"
	HTTP Protocol = "http/protobuf"
)

// ParseProtocol finds a protocol by the name that OpenTelemetry has for it.
func ParseProtocol(name string) (Protocol, error) {
	if p := Protocol(name); p == GRPC || p == HTTP {
		return p, nil
	}
	return "", fmt.Errorf("%q; it can be %s or %s", name, GRPC, HTTP)
}

// A Tracer makes spans and sends them to a collector.
type Tracer struct {
	provider *sdk.TracerProvider
	tracer   trace.Tracer
	rank     []attribute.KeyValue
}

const (
	rankKey  = attribute.Key("distinfer.rank")
	textsKey = attribute.Key("distinfer.texts")
)

// Config says who makes the spans.
type Config struct {
	Protocol Protocol
	Service  string // its usual name, such as distinfer-front
	Version  string
	Rank     int // of a stage, else negative
	Log      *slog.Logger
}

// Open makes a Tracer. Where the collector is, how much is sampled, and what else there
// is to say comes from the environment variables that OpenTelemetry names (OTEL_…). It does not
// connect: what goes wrong when spans are sent is logged, and so is a variable that has no effect.
func Open(ctx context.Context, c Config) (*Tracer, error) {
	otel.SetLogger(logr.FromSlogHandler(c.Log.Handler()))
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { c.Log.Warn("traces are lost", "error", err) }))
	var exporter sdk.SpanExporter
	var err error
	if c.Protocol == GRPC {
		exporter, err = otlptracegrpc.New(ctx)
	} else {
		exporter, err = otlptracehttp.New(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("send traces: %w", err)
	}
	t := &Tracer{}
	if c.Rank >= 0 {
		t.rank = []attribute.KeyValue{rankKey.Int(c.Rank)}
	}
	about, err := resource.New(ctx,
		resource.WithTelemetrySDK(), resource.WithHost(),
		resource.WithAttributes(append(t.rank, attribute.String("service.name", c.Service), attribute.String("service.version", c.Version))...),
		resource.WithFromEnv()) // overrules the others
	if err != nil {
		return nil, errors.Join(fmt.Errorf("describe this process to OpenTelemetry: %w", err), exporter.Shutdown(ctx))
	}
	t.provider = sdk.NewTracerProvider(sdk.WithBatcher(exporter), sdk.WithResource(about))
	t.tracer = t.provider.Tracer("github.com/distinfer/distinfer", trace.WithInstrumentationVersion(c.Version))
	return t, nil
}

// headers carry a trace from process to process, as W3C specifies.
var headers propagation.TextMapPropagator = propagation.TraceContext{}

// Requests makes a span of each request that a handler answers, but for those of the
// given paths. A client may have begun the trace.
func (t *Tracer) Requests(next http.Handler, except ...string) http.Handler {
	skip := map[string]bool{}
	for _, path := range except {
		skip[path] = true
	}
	return otelhttp.NewHandler(next, "request",
		otelhttp.WithTracerProvider(t.provider), otelhttp.WithPropagators(headers), otelhttp.WithMeterProvider(noop.NewMeterProvider()),
		otelhttp.WithFilter(func(r *http.Request) bool { return !skip[r.URL.Path] }))
}

// Calls makes a span of each run requested from a stage, for stage.Options.
func (t *Tracer) Calls() stats.Handler { return otelgrpc.NewClientHandler(t.grpc(stage.RunMethod)...) }

// Answers makes a span of each run that a stage serves, for stage.Config.
func (t *Tracer) Answers() stats.Handler {
	return otelgrpc.NewServerHandler(append(t.grpc(stage.RunMethod), otelgrpc.WithSpanAttributes(t.rank...))...)
}

// Inferences makes a span of each request to compute a model that comes over gRPC, for
// oip.Config. A client may have begun the trace.
func (t *Tracer) Inferences() stats.Handler {
	return otelgrpc.NewServerHandler(t.grpc(oip.InferMethod)...)
}

func (t *Tracer) grpc(method string) []otelgrpc.Option {
	return []otelgrpc.Option{
		otelgrpc.WithTracerProvider(t.provider), otelgrpc.WithPropagators(headers), otelgrpc.WithMeterProvider(noop.NewMeterProvider()),
		otelgrpc.WithFilter(func(call *stats.RPCTagInfo) bool { return call.FullMethodName == method }),
	}
}

// Runs makes a span of the time that a stage computes, within that of the run.
func (t *Tracer) Runs() stage.Listener { return stage.Listener{RunEnded: t.run} }

func (t *Tracer) run(ctx context.Context, r stage.Run) {
	if r.Timing.Computed <= 0 {
		return
	}
	begin := r.Began.Add(r.Timing.Waited)
	_, span := t.tracer.Start(ctx, "compute", trace.WithTimestamp(begin), trace.WithAttributes(t.rank...))
	span.End(trace.WithTimestamp(begin.Add(r.Timing.Computed)))
}

// Batches makes a span of each batch, in the trace of the first request that is sampled. The
// span and those of all sampled requests link to each other.
func (t *Tracer) Batches() batch.Listener { return batch.Listener{BatchBegun: t.batch} }

func (t *Tracer) batch(ctx context.Context, callers iter.Seq[context.Context], texts int) (_ context.Context, ended func(error)) {
	var links []trace.Link
	var requests []trace.Span
	var parent trace.SpanContext
	for c := range callers {
		request := trace.SpanFromContext(c)
		switch is := request.SpanContext(); {
		case is.IsSampled():
			if len(links) == 0 {
				parent = is
			}
			links = append(links, trace.Link{SpanContext: is})
			requests = append(requests, request)
		case !parent.IsValid():
			parent = is // so that calls of stages are not sampled either
		}
	}
	ctx = trace.ContextWithSpanContext(ctx, parent)
	if len(links) == 0 {
		return ctx, func(error) {}
	}
	ctx, span := t.tracer.Start(ctx, "batch", trace.WithLinks(links...), trace.WithAttributes(textsKey.Int(texts)))
	for _, r := range requests {
		r.AddLink(trace.Link{SpanContext: span.SpanContext()})
	}
	return ctx, func(err error) {
		if err != nil {
			span.SetStatus(codes.Error, err.Error())
		}
		span.End()
	}
}

// closeTime is how long what is left may take to be sent. With the rest of its end a process
// is to be gone in five seconds.
const closeTime = 4 * time.Second

// Close sends what is left.
func (t *Tracer) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTime)
	defer cancel()
	if err := t.provider.Shutdown(ctx); err != nil {
		return fmt.Errorf("send the last traces: %w", err)
	}
	return nil
}
