package main_test

import (
	"context"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	spans "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/distinfer/distinfer/runtime/testkit"
	"github.com/distinfer/distinfer/server/mtls/mtlstest"
)

// A receiver is a collector of traces.
type receiver struct {
	collector.UnimplementedTraceServiceServer
	env []string // has the program send to it

	mu    sync.Mutex
	spans []span
}

// A span, with what there is to know of the process that made it.
type span struct {
	*spans.Span
	process map[string]string
}

func (r *receiver) Export(_ context.Context, in *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, of := range in.GetResourceSpans() {
		process := attributes(of.GetResource().GetAttributes())
		for _, scope := range of.GetScopeSpans() {
			for _, s := range scope.GetSpans() {
				r.spans = append(r.spans, span{s, process})
			}
		}
	}
	return &collector.ExportTraceServiceResponse{}, nil
}

func attributes(list []*common.KeyValue) map[string]string {
	found := map[string]string{}
	for _, a := range list {
		switch v := a.GetValue().GetValue().(type) {
		case *common.AnyValue_StringValue:
			found[a.GetKey()] = v.StringValue
		case *common.AnyValue_IntValue:
			found[a.GetKey()] = strconv.FormatInt(v.IntValue, 10)
		}
	}
	return found
}

// all are the spans that came so far.
func (r *receiver) all() []span {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]span(nil), r.spans...)
}

// newReceiver is a receiver for one of OpenTelemetry's protocols, with TLS if there is an authority.
func newReceiver(t *testing.T, protocol string, ca *mtlstest.CA) *receiver {
	t.Helper()
	r := &receiver{}
	answer := http.Handler(http.HandlerFunc(r.post))
	if protocol == "grpc" {
		server := grpc.NewServer()
		collector.RegisterTraceServiceServer(server, r)
		answer = server
	}
	s := httptest.NewUnstartedServer(answer)
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(true)
	s.Config.Protocols.SetHTTP2(true)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // of those that do not trust it
	if ca == nil {
		s.Start()
	} else {
		dir := ca.Folder(t, nil)
		certificate, err := tls.LoadX509KeyPair(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"))
		if err != nil {
			t.Fatal(err)
		}
		s.EnableHTTP2, s.TLS = true, &tls.Config{Certificates: []tls.Certificate{certificate}}
		s.StartTLS()
		r.env = append(r.env, "OTEL_EXPORTER_OTLP_CERTIFICATE="+filepath.Join(dir, "ca.pem"))
	}
	t.Cleanup(s.Close)
	r.env = append(r.env, "OTEL_EXPORTER_OTLP_ENDPOINT="+s.URL, "OTEL_EXPORTER_OTLP_PROTOCOL="+protocol, "OTEL_BSP_SCHEDULE_DELAY=50")
	return r
}

// post takes spans in that come as http/protobuf.
func (r *receiver) post(w http.ResponseWriter, request *http.Request) {
	in := &collector.ExportTraceServiceRequest{}
	body, err := io.ReadAll(request.Body)
	if err == nil {
		err = proto.Unmarshal(body, in)
	}
	if is := request.Method + " " + request.URL.Path + " " + request.Header.Get("Content-Type"); err != nil || is != "POST /v1/traces application/x-protobuf" {
		http.Error(w, fmt.Sprint(is, err), http.StatusBadRequest)
		return
	}
	out, err := r.Export(request.Context(), in)
	if err == nil {
		body, err = proto.Marshal(out)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
	_, _ = w.Write(body)
}

// traced starts the program with traces to the receiver.
func (r *receiver) traced(t *testing.T, dir string, args ...string) *server {
	t.Helper()
	cmd := command(t, dir, append(args, "--log-format", "json")...)
	cmd.Env = append(cmd.Env, r.env...)
	return startCommand(t, cmd)
}

// ask sends the front a text, as a part of a client's trace that is sampled.
func ask(t *testing.T, url string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/?text=a+lovely+film", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("traceparent", "00-"+aTrace+"-"+aClient+"-01")
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		t.Fatal(answer.Status)
	}
}

const (
	aTrace  = "0af7651916cd43dd8448eb211c80319c"
	aClient = "b7ad6b7169203331"
)

// A request is one trace, which a client has begun, through all processes.
func TestARequestIsOneTraceThroughAllProcesses(t *testing.T) {
	t.Parallel()
	b := split(t, "seed-rnn", 2)
	r := newReceiver(t, "grpc", nil)
	var stages []string
	for rank := range 2 {
		s := r.traced(t, b, "serve-stage", "--bundle", b, "--rank", strconv.Itoa(rank), "--listen", "localhost:0")
		stages = append(stages, s.entry(t, "stage ready", 1)["listen"].(string))
	}
	f := r.traced(t, b, "front", "--bundle", b, "--port", "0", "--stages", strings.Join(stages, ","))
	url := f.entry(t, "front listening", 1)["url"].(string)

	ask(t, url)
	if got := f.entry(t, "request", 1)["trace_id"]; got != aTrace {
		t.Errorf("the log line has trace_id %v, want %s", got, aTrace)
	}

	// Each span is under the one before it, but for those that say where.
	const call = "distinfer.stage.v1.Stage/Run"
	want := []struct {
		under               int
		name, service, rank string
		kind                spans.Span_SpanKind
	}{
		{-1, "GET /{$}", "distinfer-front", "", spans.Span_SPAN_KIND_SERVER},
		{0, "batch", "distinfer-front", "", spans.Span_SPAN_KIND_INTERNAL},
		{1, call, "distinfer-front", "", spans.Span_SPAN_KIND_CLIENT},
		{2, call, "distinfer-stage", "0", spans.Span_SPAN_KIND_SERVER},
		{3, "compute", "distinfer-stage", "0", spans.Span_SPAN_KIND_INTERNAL},
		{3, call, "distinfer-stage", "0", spans.Span_SPAN_KIND_CLIENT},
		{5, call, "distinfer-stage", "1", spans.Span_SPAN_KIND_SERVER},
		{6, "compute", "distinfer-stage", "1", spans.Span_SPAN_KIND_INTERNAL},
	}
	testkit.Eventually(t, "all spans arrive", func() bool { return len(r.all()) >= len(want) })
	got := r.all()
	found := make([]span, len(want))
	for i, w := range want {
		parent := aClient
		if w.under >= 0 {
			parent = hex.EncodeToString(found[w.under].GetSpanId())
		}
		n := 0
		for _, s := range got {
			if s.GetName() == w.name && hex.EncodeToString(s.GetParentSpanId()) == parent && s.GetKind() == w.kind {
				found[i], n = s, n+1
			}
		}
		if n != 1 {
			t.Fatalf("there are %d spans %q under %s: %v", n, w.name, parent, got)
		}
		s := found[i]
		if id := hex.EncodeToString(s.GetTraceId()); id != aTrace || s.process["service.name"] != w.service || s.process["distinfer.rank"] != w.rank {
			t.Errorf("span %q is of trace %s, and made by %v; want %s, %s, rank %q", w.name, id, s.process, aTrace, w.service, w.rank)
		}
		if s.GetEndTimeUnixNano() < s.GetStartTimeUnixNano() {
			t.Errorf("span %q ends before it begins", w.name)
		}
		if os.Getenv("DISTINFER_TEST_SPANS") != "" {
			fmt.Printf("| %d | %s | %s %s | %s | %s | %.2f | %.2f |\n", i, w.name, w.service, w.rank, hex.EncodeToString(s.GetSpanId()), parent,
				float64(s.GetStartTimeUnixNano()-found[0].GetStartTimeUnixNano())/1e6, float64(s.GetEndTimeUnixNano()-s.GetStartTimeUnixNano())/1e6)
		}
	}
	if len(got) != len(want) {
		t.Errorf("there are %d spans, want %d: %v", len(got), len(want), got)
	}
	for _, l := range [][2]int{{0, 1}, {1, 0}} {
		from, to := found[l[0]], found[l[1]]
		if links := from.GetLinks(); len(links) != 1 || string(links[0].GetSpanId()) != string(to.GetSpanId()) {
			t.Errorf("span %q has the links %v, want one to %q", from.GetName(), links, to.GetName())
		}
	}
}

// Each protocol is spoken with the collector, with TLS and without; one that is not to be trusted
// gets nothing.
func TestTracesAreSentByEachProtocol(t *testing.T) {
	t.Parallel()
	b := split(t, "seed-rnn", 1)
	_, address := stage(t, b, 0)
	asked := func(t *testing.T, r *receiver) *server {
		f := r.traced(t, b, "front", "--bundle", b, "--port", "0", "--stages", address)
		ask(t, f.entry(t, "front listening", 1)["url"].(string))
		return f
	}
	for _, protocol := range []string{"grpc", "http/protobuf"} {
		for with, ca := range map[string]*mtlstest.CA{"without TLS": nil, "with TLS": mtlstest.NewCA(t, "collector")} {
			t.Run(protocol+" "+with, func(t *testing.T) {
				t.Parallel()
				r := newReceiver(t, protocol, ca)
				asked(t, r)
				testkit.Eventually(t, "the request's span arrives", func() bool {
					return slices.ContainsFunc(r.all(), func(s span) bool {
						return s.GetName() == "GET /{$}" && hex.EncodeToString(s.GetTraceId()) == aTrace && s.process["service.name"] == "distinfer-front"
					})
				})
			})
		}
		t.Run(protocol+" with another authority", func(t *testing.T) {
			t.Parallel()
			r := newReceiver(t, protocol, mtlstest.NewCA(t, "collector"))
			other := filepath.Join(mtlstest.NewCA(t, "another").Folder(t, nil), "ca.pem")
			r.env = append(r.env, "OTEL_EXPORTER_OTLP_CERTIFICATE="+other, "OTEL_EXPORTER_OTLP_TIMEOUT=1000")
			lost := asked(t, r).entry(t, "traces are lost", 1)
			if why := fmt.Sprint(lost["error"]); !strings.Contains(why, "certificate") {
				t.Errorf("it is logged that traces are lost by %q", why)
			}
			if got := r.all(); len(got) > 0 {
				t.Errorf("%d spans arrived", len(got))
			}
		})
	}
}

// eventuallyHas waits until a page has a line that begins so.
func eventuallyHas(t *testing.T, url, line string) (page string) {
	t.Helper()
	testkit.Eventually(t, url+" has "+line, func() bool {
		var code int
		code, page = fetch(t, "GET", url, "")
		return code == http.StatusOK && strings.Contains("\n"+page, "\n"+line)
	})
	return page
}

// What `distinfer up` starts gives metrics as well: each process its own, and well-formed ones.
func TestUpGivesMetricsOfFrontAndStages(t *testing.T) {
	t.Parallel()
	b := split(t, "seed-rnn", 2)
	s := start(t, b, "up", "--bundle", b, "--port", "0", "--admin", "localhost:0")
	url := upURL(t, s)
	if code, body := fetch(t, "GET", url+"/?text=good", ""); code != http.StatusOK {
		t.Fatalf("%d %s", code, body)
	}
	lines := map[string]string{"<nil>": `distinfer_texts_answered_total 1`} // by rank, of which the front has none
	for rank := range 2 {
		lines[strconv.Itoa(rank)] = fmt.Sprintf(`distinfer_stage_runs_total{outcome="ok",rank="%d"} `, rank)
	}
	for n := range len(lines) {
		entry := s.entry(t, "metrics and profiles", n+1)
		of := fmt.Sprint(entry["rank"])
		line := lines[of]
		if line == "" {
			t.Fatalf("a process gives metrics twice, or has no rank to: %v", entry)
		}
		delete(lines, of)
		problems, err := promlint.New(strings.NewReader(eventuallyHas(t, "http://"+entry["listen"].(string)+"/metrics", line))).Lint()
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range problems {
			t.Errorf("rank %s: %s: %s", of, p.Metric, p.Text)
		}
	}
	r := run(t, b, "", "up", "--bundle", b, "--port", "0", "--admin", "0.0.0.0:0")
	if r.code != 2 || !strings.Contains(r.stderr, "giving metrics on 0.0.0.0:0 without encryption") || strings.Contains(r.stderr, "stage ready") {
		t.Errorf("on an address beyond this machine: exit code %d: %s", r.code, r.stderr)
	}
}

// With tokens, the front's metrics need one too; where --admin says they do not.
func TestMetricsOfAFrontWithTokensNeedOne(t *testing.T) {
	t.Parallel()
	b := split(t, "seed-rnn", 1)
	_, address := stage(t, b, 0)
	f, url := front(t, b, []string{address}, "--tokens", put(t, t.TempDir(), "tokens", aToken+"\n"), "--admin", "localhost:0")
	for _, bad := range []string{"", aToken + "x"} {
		if code, body := bearing(t, http.DefaultClient, url+"/metrics", bad); code != http.StatusUnauthorized || strings.Contains(body, "distinfer_") {
			t.Errorf("with the token %q: %d %s", bad, code, body)
		}
	}
	const refused = `distinfer_http_requests_total{code="401",route="other"} 2`
	if code, body := bearing(t, http.DefaultClient, url+"/metrics", aToken); code != http.StatusOK || !strings.Contains(body, refused) {
		t.Errorf("with a token: %d %s", code, body)
	}
	eventuallyHas(t, "http://"+f.entry(t, "metrics and profiles", 1)["listen"].(string)+"/metrics", refused)
}

func TestFrontAndStagesGiveMetricsAndProfiles(t *testing.T) {
	t.Parallel()
	b := split(t, "seed-rnn", 1)
	s, stage := stage(t, b, 0, "--admin", "localhost:0")
	f, url := front(t, b, []string{stage}, "--admin", "localhost:0")
	testkit.Eventually(t, "the front is ready", func() bool { code, _ := fetch(t, "GET", url+"/readyz", ""); return code == http.StatusOK })
	if code, body := fetch(t, "GET", url+"/?text=good", ""); code != http.StatusOK {
		t.Fatalf("%d %s", code, body)
	}
	has := func(url, line string) { t.Helper(); eventuallyHas(t, url, line) }
	admin := func(s *server) string { return "http://" + s.entry(t, "metrics and profiles", 1)["listen"].(string) }
	has(url+"/metrics", `distinfer_http_requests_total{code="200",route="/"} 1`)
	has(url+"/metrics", fmt.Sprintf(`distinfer_replica_healthy{address=%q,rank="0"} 1`, stage))
	has(admin(f)+"/metrics", `distinfer_texts_answered_total 1`)
	has(admin(s)+"/metrics", `distinfer_stage_runs_total{outcome="ok",rank="0"} 1`)
	for _, at := range []string{admin(f), admin(s)} {
		has(at+"/healthz", "ok")
		has(at+"/debug/pprof/cmdline", binary)
	}
	for _, path := range []string{"/debug/pprof/", "/debug/pprof/cmdline"} { // not on the port for users
		if code, _ := fetch(t, "GET", url+path, ""); code != http.StatusNotFound {
			t.Errorf("%s on the front's port: %d", path, code)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, line := range f.log {
		if line["path"] == "/metrics" {
			t.Errorf("a scrape is logged: %v", line)
		}
	}
}

func TestAdminIsForThisMachine(t *testing.T) {
	t.Parallel()
	dir := split(t, "seed-rnn", 1)
	for _, args := range [][]string{{"front", "--port", "0"}, {"serve-stage", "--rank", "0", "--listen", "localhost:0"}} {
		r := run(t, dir, "", append(args, "--bundle", dir, "--admin", "0.0.0.0:0")...)
		if r.code != 2 || !strings.Contains(r.stderr, "giving metrics on 0.0.0.0:0 without encryption") {
			t.Errorf("%v: exit code %d: %s", args, r.code, r.stderr)
		}
	}
	s, _ := stage(t, dir, 0, "--admin", "0.0.0.0:0", "--insecure")
	_, port, err := net.SplitHostPort(s.entry(t, "metrics", 1)["listen"].(string))
	if err != nil {
		t.Fatal(err)
	}
	at := "http://localhost:" + port
	if code, _ := fetch(t, "GET", at+"/metrics", ""); code != http.StatusOK {
		t.Errorf("/metrics: %d", code)
	}
	if code, _ := fetch(t, "GET", at+"/debug/pprof/", ""); code != http.StatusNotFound {
		t.Errorf("/debug/pprof/ where others reach it: %d", code)
	}
}

func TestTracesThatCannotBeSentAreRefused(t *testing.T) {
	t.Parallel()
	dir := split(t, "seed-rnn", 1)
	for variable, want := range map[string]string{
		"OTEL_TRACES_EXPORTER=zipkin":                             `OTEL_TRACES_EXPORTER is "zipkin"; it can be otlp or none`,
		"OTEL_TRACES_EXPORTER=otlp OTEL_EXPORTER_OTLP_PROTOCOL=x": `OTEL_EXPORTER_OTLP_PROTOCOL is "x"; it can be grpc or http/protobuf`,
		"OTEL_TRACES_EXPORTER=otlp OTEL_EXPORTER_OTLP_PROTOCOL=grpc OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=http/json": `OTEL_EXPORTER_OTLP_TRACES_PROTOCOL is "http/json"; it can be grpc or http/protobuf`,
	} {
		cmd := command(t, dir, "front", "--port", "0", "--bundle", dir)
		cmd.Env = append(cmd.Env, strings.Fields(variable)...)
		if r := finish(t, cmd, ""); r.code != 2 || !strings.Contains(r.stderr, want) {
			t.Errorf("%s: exit code %d: %s", variable, r.code, r.stderr)
		}
	}
}
