package metrics_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/runtime/pipeline"
	"github.com/distinfer/distinfer/server/batch"
	"github.com/distinfer/distinfer/server/front"
	"github.com/distinfer/distinfer/server/metrics"
	"github.com/distinfer/distinfer/server/replica"
	"github.com/distinfer/distinfer/server/stage"
)

const root = "../.."

// families are what a handler gives to Prometheus, by name.
func families(t *testing.T, h http.Handler) map[string]*dto.MetricFamily {
	t.Helper()
	answer := httptest.NewRecorder()
	h.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if answer.Code != http.StatusOK {
		t.Fatalf("status %d: %s", answer.Code, answer.Body)
	}
	body := answer.Body.String()
	problems, err := promlint.New(strings.NewReader(body)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	found, err := parser.TextToMetricFamilies(strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

var held = &bundle.Bundle{ID: bundle.ID(strings.Repeat("a1", 32)), Manifest: bundle.Manifest{
	Model: bundle.Model{Name: "m"}, Stages: []bundle.Stage{{ParameterBytes: 10}, {ParameterBytes: 20}},
}}

// aFront is a front where everything has happened once.
func aFront(t *testing.T) map[string]*dto.MetricFamily {
	t.Helper()
	m := metrics.NewFront("v1")
	m.Watch(func() (front.Model, func()) {
		return front.Model{
			Bundle: held,
			Texts:  &front.Texts{Batcher: batcher(t)},
			Replicas: func() [][]replica.Status {
				return [][]replica.Status{{{Address: "a:1", Condition: replica.Ready, Calls: 3}}, {{Address: "b:1", Condition: replica.Ready, Ejected: true}, {Address: "c:1"}}}
			},
		}, func() {}
	})
	mux := http.NewServeMux()
	mux.HandleFunc("/{$}", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	mux.HandleFunc("POST /predict", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "x") })
	mux.HandleFunc("/", http.NotFound)
	h := m.Wrap(mux)
	for _, r := range [][2]string{{"GET", "/"}, {"POST", "/predict"}, {"GET", "/what/a/client/makes/up"}, {"GET", "/and/again"}} {
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(r[0], r[1], nil))
	}
	m.Began("ModelInfer")("NotFound")
	for _, r := range batch.Reasons() {
		m.Batches().Rejected(r)
	}
	m.Batches().Dropped(2)
	m.Batches().Answered(3, batch.Timing{Encoding: time.Millisecond, Waiting: 2 * time.Millisecond})
	m.Batches().BatchEnded(batch.Batch{Err: context.Canceled})
	m.Batches().BatchEnded(batch.Batch{Texts: 3, Tokens: 30, Padding: 6, Took: 10 * time.Second, Stages: []pipeline.Timing{
		{Rank: 0, Computed: time.Second, Next: 6 * time.Second, Total: 8 * time.Second, Retries: 1},
		{Rank: 1 << 40, Waited: 2 * time.Second, Computed: 3 * time.Second, Total: 5 * time.Second},
	}})
	return families(t, m.Handler(slog.New(slog.DiscardHandler)))
}

// aStage is a stage where everything has happened once.
func aStage(t *testing.T) map[string]*dto.MetricFamily {
	t.Helper()
	m := metrics.NewStage("v1", 1)
	m.Watch(stage.NewServer(stage.Config{Rank: 1, Threads: 2, Runs: 2, MaxMessage: 1 << 20}), held, 5*time.Second)
	m.Runs().RunEnded(t.Context(), stage.Run{In: 100, Out: 200, Timing: pipeline.Timing{Waited: time.Second, Computed: 2 * time.Second, Next: 3 * time.Second, Retries: 4}})
	m.Runs().RunEnded(t.Context(), stage.Run{In: 7, Err: errcode.Errorf(errcode.Overloaded, "full")})
	return families(t, m.Handler(slog.New(slog.DiscardHandler)))
}

// value is that of the series with the given labels: of a histogram its sum.
func value(t *testing.T, all map[string]*dto.MetricFamily, name string, labels ...string) float64 {
	t.Helper()
	f := all[name]
	if f == nil {
		t.Fatalf("there is no %s", name)
	}
	for _, m := range f.GetMetric() {
		has := map[string]string{}
		for _, l := range m.GetLabel() {
			has[l.GetName()] = l.GetValue()
		}
		fits := true
		for i := 0; i < len(labels); i += 2 {
			fits = fits && has[labels[i]] == labels[i+1]
		}
		if fits {
			return m.GetGauge().GetValue() + m.GetCounter().GetValue() + m.GetHistogram().GetSampleSum()
		}
	}
	t.Fatalf("%s has no series with %q: %v", name, labels, f)
	return 0
}

func TestFrontsTellWhatHappened(t *testing.T) {
	t.Parallel()
	all := aFront(t)
	for _, c := range []struct {
		name   string
		labels []string
		want   float64
	}{
		{"distinfer_http_requests_total", []string{"route", "/", "code", "418"}, 1},
		{"distinfer_http_requests_total", []string{"route", "/predict", "code", "200"}, 1},
		{"distinfer_http_requests_total", []string{"route", "other", "code", "404"}, 2},
		{"distinfer_http_requests_in_flight", nil, 0},
		{"distinfer_grpc_requests_total", []string{"method", "ModelInfer", "code", "NotFound"}, 1},
		{"distinfer_grpc_requests_in_flight", nil, 0},
		{"distinfer_calls_rejected_total", []string{"reason", "wait"}, 1},
		{"distinfer_texts_dropped_total", nil, 2},
		{"distinfer_texts_answered_total", nil, 3},
		{"distinfer_tokenize_duration_seconds", nil, 0.001},
		{"distinfer_queue_duration_seconds", nil, 0.002},
		{"distinfer_batches_failed_total", nil, 1},
		{"distinfer_batch_texts", nil, 3},
		{"distinfer_batch_tokens", nil, 30},
		{"distinfer_batch_padding_tokens_total", nil, 6},
		{"distinfer_batch_duration_seconds", nil, 10},
		{"distinfer_pipeline_network_seconds", []string{"rank", "0"}, 2},
		{"distinfer_pipeline_network_seconds", []string{"rank", "1"}, 1},
		{"distinfer_pipeline_compute_seconds", []string{"rank", "1"}, 3},
		{"distinfer_pipeline_wait_seconds", []string{"rank", "1"}, 2},
		{"distinfer_pipeline_retries_total", []string{"rank", "0"}, 1},
		{"distinfer_replica_healthy", []string{"rank", "0", "address", "a:1"}, 1},
		{"distinfer_replica_healthy", []string{"rank", "1", "address", "b:1"}, 0},
		{"distinfer_replica_healthy", []string{"rank", "1", "address", "c:1"}, 0},
		{"distinfer_replica_ejected", []string{"rank", "1", "address", "b:1"}, 1},
		{"distinfer_replica_calls_in_flight", []string{"address", "a:1"}, 3},
		{"distinfer_batches_in_flight_target", nil, 5},
		{"distinfer_bundle_info", []string{"bundle", "a1a1a1a1a1a1", "model", "m", "stages", "2"}, 1},
		{"distinfer_build_info", []string{"version", "v1"}, 1},
	} {
		if got := value(t, all, c.name, c.labels...); got != c.want {
			t.Errorf("%s%q is %v, want %v", c.name, c.labels, got, c.want)
		}
	}
}

func TestStagesTellWhatHappened(t *testing.T) {
	t.Parallel()
	all := aStage(t)
	for _, c := range []struct {
		name  string
		label string
		want  float64
	}{
		{"distinfer_stage_runs_total", "ok", 1},
		{"distinfer_stage_runs_total", "overloaded", 1},
		{"distinfer_stage_wait_seconds", "", 1},
		{"distinfer_stage_compute_seconds", "", 2},
		{"distinfer_stage_next_seconds", "", 3},
		{"distinfer_stage_retries_total", "", 4},
		{"distinfer_stage_received_bytes_total", "", 107},
		{"distinfer_stage_sent_bytes_total", "", 200},
		{"distinfer_stage_threads", "", 2},
		{"distinfer_stage_weights_bytes", "", 20},
		{"distinfer_stage_load_seconds", "", 5},
		{"distinfer_bundle_info", "", 1},
	} {
		labels := []string{"rank", "1"}
		if c.label != "" {
			labels = append(labels, "outcome", c.label)
		}
		if got := value(t, all, c.name, labels...); got != c.want {
			t.Errorf("%s%q is %v, want %v", c.name, labels, got, c.want)
		}
	}
}

// ours are the names of all metrics of front and stages, with their labels.
func ours(t *testing.T, of map[string]*dto.MetricFamily) map[string]string {
	t.Helper()
	found := map[string]string{}
	for name, f := range of {
		if !strings.HasPrefix(name, "distinfer_") {
			continue
		}
		var labels []string
		for _, l := range f.GetMetric()[0].GetLabel() {
			labels = append(labels, l.GetName())
		}
		slices.Sort(labels)
		found[name] = strings.ToLower(f.GetType().String()) + " " + strings.Join(labels, ", ")
	}
	return found
}

// The documentation lists what there is, and nothing else.
func TestDocumentationListsTheMetrics(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile(filepath.Join(root, "docs", "reference", "metrics.md"))
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile("(?m)^\\| `(distinfer_[a-z_]+)` \\| ([a-z]+) \\| ([a-z, ]*?) ?\\|")
	of := func(title string) map[string]string {
		_, section, _ := strings.Cut(string(data), "\n### "+title+"\n")
		section, _, _ = strings.Cut(section, "\n#")
		listed := map[string]string{}
		for _, m := range row.FindAllStringSubmatch(section, -1) {
			listed[m[1]] = m[2] + " " + m[3]
		}
		return listed
	}
	for title, have := range map[string]map[string]string{"Of the front": ours(t, aFront(t)), "Of a stage": ours(t, aStage(t))} {
		listed := of(title)
		for name, is := range have {
			if listed[name] != is {
				t.Errorf("%s: %s is %q, and the documentation says %q", title, name, is, listed[name])
			}
		}
		for name := range listed {
			if have[name] == "" {
				t.Errorf("%s: %s is in the documentation only", title, name)
			}
		}
	}
}

// What dashboard and alerts ask for has to be there.
func TestDashboardAndRulesAskForWhatThereIs(t *testing.T) {
	t.Parallel()
	known := aFront(t)
	maps.Copy(known, aStage(t))
	word := regexp.MustCompile(`\b(distinfer|go|process)_[a-z_]+`)
	suffix := regexp.MustCompile(`_(bucket|sum|count)$`)
	asked := map[string]bool{}
	check := func(where, query string) {
		names := word.FindAllString(query, -1)
		if len(names) == 0 {
			t.Errorf("%s: %q asks for no metric", where, query)
		}
		for _, name := range names {
			base := suffix.ReplaceAllString(name, "")
			if known[name] == nil && (known[base] == nil || known[base].GetType() != dto.MetricType_HISTOGRAM) {
				t.Errorf("%s: there is no %s", where, name)
			}
			asked[base], asked[name] = true, true
		}
	}
	var dashboard struct {
		Panels []struct {
			Title   string
			Type    string
			Targets []struct{ Expr string }
		}
		Templating struct {
			List []struct{ Name, Type, Definition string }
		}
	}
	data, err := os.ReadFile(filepath.Join(root, "deploy", "grafana", "distinfer.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &dashboard); err != nil {
		t.Fatal(err)
	}
	for _, p := range dashboard.Panels {
		if len(p.Targets) == 0 && p.Type != "row" {
			t.Errorf("panel %q asks for nothing", p.Title)
		}
		for _, target := range p.Targets {
			check("panel "+p.Title, target.Expr)
		}
	}
	for _, v := range dashboard.Templating.List {
		if v.Type == "query" {
			check("variable "+v.Name, v.Definition)
		}
	}
	rules, err := os.ReadFile(filepath.Join(root, "deploy", "prometheus", "rules.yml"))
	if err != nil {
		t.Fatal(err)
	}
	check("rules.yml", string(rules))
	for name := range known {
		if strings.HasPrefix(name, "distinfer_") && !asked[name] {
			t.Errorf("no panel shows %s", name)
		}
	}
}

// Prometheus gets native histograms when it asks for its binary format.
func TestHistogramsAreNativeToo(t *testing.T) {
	t.Parallel()
	m := metrics.NewFront("v1")
	m.Batches().Answered(1, batch.Timing{Waiting: time.Millisecond})
	request := httptest.NewRequest(http.MethodGet, "/metrics", nil)
	request.Header.Set("Accept", string(expfmt.NewFormat(expfmt.TypeProtoDelim)))
	answer := httptest.NewRecorder()
	m.Handler(slog.New(slog.DiscardHandler)).ServeHTTP(answer, request)
	decoder := expfmt.NewDecoder(answer.Body, expfmt.ResponseFormat(answer.Header()))
	for {
		var f dto.MetricFamily
		if err := decoder.Decode(&f); err != nil {
			t.Fatalf("no distinfer_queue_duration_seconds: %v", err)
		}
		if f.GetName() != "distinfer_queue_duration_seconds" {
			continue
		}
		h := f.GetMetric()[0].GetHistogram()
		if h.GetSchema() != 3 || len(h.GetPositiveSpan()) != 1 || len(h.GetBucket()) == 0 {
			t.Errorf("got %v", h)
		}
		return
	}
}

// What is added to each request: the wrap, a call and a batch of its own on two stages.
func BenchmarkRequest(b *testing.B) {
	m := metrics.NewFront("v1")
	mux := http.NewServeMux()
	mux.HandleFunc("/{$}", func(http.ResponseWriter, *http.Request) {})
	computed := batch.Batch{Texts: 1, Tokens: 20, Took: 10 * time.Millisecond, Stages: []pipeline.Timing{{Computed: 4 * time.Millisecond, Next: 5 * time.Millisecond}, {Computed: 4 * time.Millisecond}}}
	for _, c := range []struct {
		name string
		h    http.Handler
	}{
		{"without", mux},
		{"with", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			m.Wrap(mux).ServeHTTP(w, r)
			m.Batches().Answered(1, batch.Timing{Encoding: time.Microsecond, Waiting: time.Microsecond})
			m.Batches().BatchEnded(computed)
		})},
	} {
		b.Run(c.name, func(b *testing.B) {
			w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil)
			b.ReportAllocs()
			for b.Loop() {
				c.h.ServeHTTP(w, r)
			}
		})
	}
}

// A slowWriter is of a client that does not read.
type slowWriter struct {
	http.ResponseWriter
	writes chan<- struct{}
	read   <-chan struct{}
}

func (w *slowWriter) Write(p []byte) (int, error) {
	select {
	case w.writes <- struct{}{}:
	case <-w.read:
	}
	<-w.read
	return w.ResponseWriter.Write(p)
}

func TestMoreScrapesThanAreAnsweredGetTheErrorDocument(t *testing.T) {
	t.Parallel()
	h := metrics.NewFront("v1").Handler(slog.New(slog.DiscardHandler))
	writes, read := make(chan struct{}), make(chan struct{})
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			w := &slowWriter{httptest.NewRecorder(), writes, read}
			h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
		})
		<-writes
	}
	scrape := func() *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
		return w
	}
	w := scrape()
	close(read)
	if got := w.Body.String(); w.Code != http.StatusServiceUnavailable || !strings.HasPrefix(got, `{"error":"4 requests for metrics`) ||
		w.Header().Get("Content-Type") != "application/json" || w.Header().Get("Retry-After") == "" {
		t.Errorf("%d %v %s", w.Code, w.Header(), got)
	}
	clients.Wait()
	if w := scrape(); w.Code != http.StatusOK {
		t.Errorf("afterwards %d %s", w.Code, w.Body)
	}
}
