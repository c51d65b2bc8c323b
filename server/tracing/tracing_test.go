package tracing_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	otelcodes "go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/distinfer/distinfer/runtime/pipeline"
	"github.com/distinfer/distinfer/runtime/testkit"
	"github.com/distinfer/distinfer/server/stage"
	"github.com/distinfer/distinfer/server/tracing"
)

// traced is a Tracer that keeps the spans that end.
func traced(t *testing.T) (*tracing.Tracer, *tracetest.SpanRecorder, trace.Tracer) {
	t.Helper()
	r := tracetest.NewSpanRecorder()
	p := sdk.NewTracerProvider(sdk.WithSpanProcessor(r))
	tracer := tracing.New(p, 1)
	t.Cleanup(func() {
		if err := tracer.Close(); err != nil {
			t.Error(err)
		}
	})
	return tracer, r, p.Tracer("test")
}

// unsampled is a request whose client decided that it is not sampled.
func unsampled(t *testing.T) context.Context {
	return trace.ContextWithSpanContext(t.Context(), trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{7}, SpanID: trace.SpanID{7}}))
}

func has(s sdk.ReadOnlySpan, want attribute.KeyValue) bool {
	for _, a := range s.Attributes() {
		if a == want {
			return true
		}
	}
	return false
}

func TestABatchIsLinkedWithItsSampledRequests(t *testing.T) {
	t.Parallel()
	tracer, spans, of := traced(t)
	first, one := of.Start(t.Context(), "first")
	second, two := of.Start(t.Context(), "second")
	ctx, ended := tracer.Batches().BatchBegun(t.Context(), slices.Values([]context.Context{unsampled(t), t.Context(), first, second}), 5)
	within := trace.SpanContextFromContext(ctx)
	ended(nil)
	one.End()
	two.End()
	all := spans.Ended()
	if len(all) != 3 {
		t.Fatalf("%d spans ended", len(all))
	}
	batch := all[0]
	if batch.Name() != "batch" || batch.SpanContext().SpanID() != within.SpanID() || batch.Parent().SpanID() != one.SpanContext().SpanID() ||
		batch.SpanContext().TraceID() != one.SpanContext().TraceID() || batch.Status().Code != otelcodes.Unset || !has(batch, attribute.Int("distinfer.texts", 5)) {
		t.Errorf("the batch is not a part of the first sampled request's trace, with its texts: %+v", batch)
	}
	links := batch.Links()
	if len(links) != 2 || links[0].SpanContext.SpanID() != one.SpanContext().SpanID() || links[1].SpanContext.SpanID() != two.SpanContext().SpanID() {
		t.Errorf("the batch has the links %v", links)
	}
	for _, request := range all[1:] {
		if l := request.Links(); len(l) != 1 || l[0].SpanContext.SpanID() != within.SpanID() {
			t.Errorf("%s has the links %v", request.Name(), l)
		}
	}
}

// No span is made, and the calls of the batch receive that it is not sampled.
func TestABatchWithoutSampledRequestsIsNotSampled(t *testing.T) {
	t.Parallel()
	tracer, spans, of := traced(t)
	ctx, ended := tracer.Batches().BatchBegun(t.Context(), slices.Values([]context.Context{unsampled(t), unsampled(t)}), 2)
	if is := trace.SpanContextFromContext(ctx); is.TraceID() != (trace.TraceID{7}) || is.IsSampled() {
		t.Errorf("the batch is in %v", is)
	}
	_, below := of.Start(ctx, "call")
	below.End()
	ended(errors.New("failed"))
	if got := spans.Ended(); len(got) != 0 {
		t.Errorf("there are spans: %v", got)
	}
}

func TestABatchThatFailsSaysWhy(t *testing.T) {
	t.Parallel()
	tracer, spans, of := traced(t)
	request, _ := of.Start(t.Context(), "request")
	_, ended := tracer.Batches().BatchBegun(t.Context(), slices.Values([]context.Context{request}), 1)
	ended(errors.New("stage 1 is away"))
	if got := spans.Ended(); len(got) != 1 || got[0].Status() != (sdk.Status{Code: otelcodes.Error, Description: "stage 1 is away"}) {
		t.Errorf("spans %v", got)
	}
}

func TestARunIsComputedAfterItWaited(t *testing.T) {
	t.Parallel()
	tracer, spans, _ := traced(t)
	began := time.Now().Add(-time.Minute)
	tracer.Runs().RunEnded(t.Context(), stage.Run{Began: began}) // was not computed
	tracer.Runs().RunEnded(t.Context(), stage.Run{Began: began, Timing: pipeline.Timing{Waited: time.Second, Computed: 3 * time.Second}})
	got := spans.Ended()
	if len(got) != 1 {
		t.Fatalf("%d spans ended", len(got))
	}
	if s := got[0]; s.Name() != "compute" || !s.StartTime().Equal(began.Add(time.Second)) || !s.EndTime().Equal(began.Add(4*time.Second)) || !has(s, attribute.Int("distinfer.rank", 1)) {
		t.Errorf("%s from %v to %v, with %v", s.Name(), s.StartTime().Sub(began), s.EndTime().Sub(began), s.Attributes())
	}
}

func TestRequestsAreSpansButForThoseOfOperators(t *testing.T) {
	t.Parallel()
	tracer, spans, _ := traced(t)
	h := tracer.Requests(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/fails":
			w.WriteHeader(http.StatusInternalServerError)
		case "/none":
			w.WriteHeader(http.StatusNotFound)
		}
	}), "/healthz")
	const client = "0af7651916cd43dd8448eb211c80319c"
	for _, c := range []struct {
		path, sampled string
		spans         int
		status        otelcodes.Code
	}{
		{"/", "01", 1, otelcodes.Unset},
		{"/", "00", 0, 0},
		{"/healthz", "01", 0, 0},
		{"/healthz/", "01", 1, otelcodes.Unset},
		{"/none", "01", 1, otelcodes.Unset}, // is the client's error
		{"/fails", "01", 1, otelcodes.Error},
	} {
		before := len(spans.Ended())
		r := httptest.NewRequest(http.MethodGet, c.path, nil)
		r.Header.Set("traceparent", "00-"+client+"-b7ad6b7169203331-"+c.sampled)
		h.ServeHTTP(httptest.NewRecorder(), r)
		got := spans.Ended()[before:]
		if len(got) != c.spans {
			t.Errorf("%s, sampled %s: %d spans", c.path, c.sampled, len(got))
			continue
		}
		for _, s := range got {
			if s.SpanContext().TraceID().String() != client || s.Status().Code != c.status {
				t.Errorf("%s: trace %s, status %v", c.path, s.SpanContext().TraceID(), s.Status())
			}
		}
	}
}

// Over a real connection: a run is a span on both sides, with its error, and nothing else is.
func TestRunsOverGRPCAreSpansWithTheirErrors(t *testing.T) {
	t.Parallel()
	tracer, spans, _ := traced(t)
	l, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.StatsHandler(tracer.Answers()), grpc.UnknownServiceHandler(func(_ any, s grpc.ServerStream) error {
		if err := s.RecvMsg(&emptypb.Empty{}); err != nil {
			return err
		}
		return status.Error(codes.Unavailable, "the next stage is away")
	}))
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithStatsHandler(tracer.Calls()))
	if err != nil {
		t.Fatal(err)
	}
	for _, method := range []string{stage.RunMethod, strings.Replace(stage.RunMethod, "/Run", "/Describe", 1)} {
		if err := conn.Invoke(t.Context(), method, &emptypb.Empty{}, &emptypb.Empty{}); status.Code(err) != codes.Unavailable {
			t.Fatalf("%s: %v", method, err)
		}
	}
	_ = conn.Close()
	server.GracefulStop() // all spans have ended
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	kinds := map[trace.SpanKind]sdk.ReadOnlySpan{}
	for _, s := range spans.Ended() {
		kinds[s.SpanKind()] = s
		if want := (sdk.Status{Code: otelcodes.Error, Description: "the next stage is away"}); s.Status() != want {
			t.Errorf("the %s has status %v", s.SpanKind(), s.Status())
		}
	}
	call, answer := kinds[trace.SpanKindClient], kinds[trace.SpanKindServer]
	if len(spans.Ended()) != 2 || call == nil || answer == nil {
		t.Fatalf("spans %v", spans.Ended())
	}
	if answer.Parent().SpanID() != call.SpanContext().SpanID() || !has(answer, attribute.Int("distinfer.rank", 1)) {
		t.Errorf("the answer is under %s, with %v; the call is %s", answer.Parent().SpanID(), answer.Attributes(), call.SpanContext().SpanID())
	}
}

func TestLogLinesTellTheirTrace(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log := slog.New(tracing.Log(slog.NewTextHandler(&out, nil))).With("rank", 1)
	log.InfoContext(t.Context(), "without")
	log.WithGroup("g").InfoContext(unsampled(t), "with")
	without, with, _ := strings.Cut(out.String(), "\n")
	if strings.Contains(without, "trace_id") || !strings.Contains(with, "trace_id=07000000000000000000000000000000") || !strings.Contains(with, "span_id=0700000000000000") || !strings.Contains(with, "rank=1") {
		t.Errorf("the log is %s", out.String())
	}
}

func TestProtocolsAreKnownByName(t *testing.T) {
	t.Parallel()
	for name, good := range map[string]bool{"grpc": true, "http/protobuf": true, "http/json": false, "GRPC": false, "": false} {
		if p, err := tracing.ParseProtocol(name); (err == nil) != good || good && string(p) != name {
			t.Errorf("%q is %q: %v", name, p, err)
		}
	}
}

// OpenTelemetry goes on without the authority; whoever set the variable has to be told.
func TestACertificateThatIsNotThereIsLogged(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", "/none/ca.pem")
	for _, protocol := range []tracing.Protocol{tracing.GRPC, tracing.HTTP} {
		var log testkit.Log
		tracer, err := tracing.Open(t.Context(), tracing.Config{Protocol: protocol, Service: "s", Rank: -1, Log: log.Logger()})
		if err != nil {
			t.Fatal(err)
		}
		if err := tracer.Close(); err != nil {
			t.Error(err)
		}
		if got := log.String(); !strings.Contains(got, "level=ERROR") || !strings.Contains(got, "/none/ca.pem: no such file") {
			t.Errorf("%s: the log is %q", protocol, got)
		}
	}
}
