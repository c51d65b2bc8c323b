package front_test

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/embed"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/runtime/testkit"
	"github.com/distinfer/distinfer/runtime/textmodel"
	"github.com/distinfer/distinfer/server/front"
	"github.com/distinfer/distinfer/server/httpx"
	"github.com/distinfer/distinfer/server/metrics"
	"github.com/distinfer/distinfer/server/oip"
	"github.com/distinfer/distinfer/server/page"
	"github.com/distinfer/distinfer/server/replica"
	"github.com/distinfer/distinfer/server/task"
)

// same answers with the tensor that it is given.
type same struct{}

func (same) Run(_ context.Context, in tensor.Bag) (tensor.Bag, error) {
	return tensor.Bag{"y": in["x"]}, nil
}

// whole is a front with everything that is mounted on it, and the patterns it serves.
func whole(t *testing.T, change func(*front.Model)) (f *front.Front, patterns []string) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	m := judged(t, newJudge())
	m.Bundle = &bundle.Bundle{}
	m.Replicas = func() [][]replica.Status { return nil }
	if change != nil {
		change(&m)
	}
	f = front.New(front.Config{MaxBody: 1 << 20, Timeout: testkit.Patience, Page: page.Handler(), Log: log}, m)
	t.Cleanup(f.Close)
	dims := []tensor.Dim{tensor.Fixed(2)}
	tensors := oip.Model{
		Name: "m", Runner: same{}, NoText: "it reads no texts", Ready: m.Ready,
		Inputs: []tensor.Spec{{Name: "x", DType: tensor.Float32, Dims: dims}}, Outputs: []tensor.Spec{{Name: "y", DType: tensor.Float32, Dims: dims}},
	}
	protocol := oip.New(oip.Config{Use: func() (oip.Model, func()) { return tensors, func() {} }, Host: f, MaxBody: 1 << 20, Timeout: testkit.Patience, Log: log})
	f.Handle("/v2", protocol)
	f.Handle("/v2/", protocol)
	for _, path := range oip.HealthPaths() {
		f.HandleOpenly(path, protocol)
	}
	f.HandleQuietly("/metrics", httpx.Get(metrics.NewFront("test").Handler(log).ServeHTTP))
	ended, end := context.WithCancel(t.Context())
	end()
	live := page.NewLive(ended.Done(), func() page.Snapshot { return page.Snapshot{} })
	f.HandleQuietly("/status", httpx.Get(live.Status))
	f.HandleQuietly("/events", httpx.Get(f.Lasting(live.Events)))
	for _, part := range [][]byte{oip.Description, metrics.Description, page.Description} {
		f.Describe(part)
	}
	for _, pattern := range slices.Concat(f.Patterns(), protocol.Patterns()) {
		if pattern = strings.TrimSuffix(pattern, "{$}"); pattern != "/v2/" {
			patterns = append(patterns, pattern)
		}
	}
	return f, patterns
}

// models are the kinds of models of a front, and the tasks that answer texts.
var models = map[string]func(*front.Model){
	"labels":     nil,
	"entities":   func(m *front.Model) { m.Texts.Task = readOnly{task.Entities{}} },
	"embeddings": func(m *front.Model) { m.Texts.Task = readOnly{task.Embeddings{Embedder: &embed.Embedder{}}} },
	"no texts":   func(m *front.Model) { m.Texts = nil },
}

// readOnly is a task that reads its requests, and answers each with a list.
type readOnly struct{ front.Task }

func (o readOnly) Routes() map[string]front.Route {
	routes := o.Task.Routes()
	for path, route := range routes {
		read := route.Body
		route.Body = func(body []byte, name string) (front.Request, error) {
			q, err := read(body, name)
			q.Answer, q.Whole = func(int, textmodel.Answer) (any, error) { return []int{}, nil }, nil
			return q, err
		}
		routes[path] = route
	}
	return routes
}

func send(h http.Handler, method, path string, body io.Reader, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, body)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// described are the methods that /openapi.json describes, by path, as a header Allow names them.
func described(t *testing.T, f *front.Front) map[string]string {
	t.Helper()
	var d struct{ Paths map[string]map[string]any }
	if w := send(f, http.MethodGet, "/openapi.json", nil); json.Unmarshal(w.Body.Bytes(), &d) != nil || w.Code != http.StatusOK {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	all := map[string]string{}
	for path, operations := range d.Paths {
		var allow []string
		if operations["get"] != nil {
			allow = append(allow, "GET", "HEAD")
		}
		if operations["post"] != nil {
			allow = append(allow, "POST")
		}
		all[path] = strings.Join(append(allow, "OPTIONS"), ", ")
	}
	return all
}

// at fills in what a pattern leaves open.
var at = strings.NewReplacer("{file}", "app.js", "{model}", "m", "{version}", "1")

func TestTheDocumentDescribesWhatIsServedAndNothingElse(t *testing.T) {
	t.Parallel()
	for name, change := range models {
		f, patterns := whole(t, change)
		paths := described(t, f)
		m, done := f.Use()
		if m.Texts != nil {
			patterns = slices.AppendSeq(patterns, maps.Keys(m.Texts.Task.Routes()))
		}
		done()
		for _, pattern := range patterns {
			if paths[pattern] == "" {
				t.Errorf("%s: %s is served and not described", name, pattern)
			}
		}
		for path, allow := range paths {
			if w := send(f, http.MethodOptions, at.Replace(path), nil); w.Code != http.StatusNoContent || w.Header().Get("Allow") != allow {
				t.Errorf("%s: %s is described for %s; OPTIONS: %d, Allow: %s", name, path, allow, w.Code, w.Header().Get("Allow"))
			}
		}
	}
}

func TestTheDocumentRefersToWhatIsInIt(t *testing.T) {
	t.Parallel()
	for name, change := range models {
		f, _ := whole(t, change)
		body := send(f, http.MethodGet, "/openapi.json", nil).Body.Bytes()
		var d struct{ Components map[string]map[string]any }
		if err := json.Unmarshal(body, &d); err != nil {
			t.Fatal(err)
		}
		for _, ref := range regexp.MustCompile(`"#/components/(\w+)/([^"]+)"`).FindAllStringSubmatch(string(body), -1) {
			if d.Components[ref[1]][ref[2]] == nil {
				t.Errorf("%s: there is no %s %s", name, ref[1], ref[2])
			}
		}
	}
}

func TestEveryRouteTreatsMethodsAlike(t *testing.T) {
	t.Parallel()
	for name, change := range models {
		f, _ := whole(t, change)
		for path, allow := range described(t, f) {
			for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE", "LIST"} {
				w := send(f, method, at.Replace(path), strings.NewReader("{"))
				if slices.Contains(strings.Split(allow, ", "), method) {
					if w.Code == http.StatusMethodNotAllowed {
						t.Errorf("%s: %s %s: %d", name, method, path, w.Code)
					}
					continue
				}
				wantProblem(t, fmt.Sprintf("%s: %s %s", name, method, path), w, http.StatusMethodNotAllowed, "is not possible at")
				if got := w.Header().Get("Allow"); got != allow {
					t.Errorf("%s: %s %s: Allow is %q, want %q", name, method, path, got, allow)
				}
			}
		}
	}
}

// wantProblem expects the error document, which is OpenAI's on its own route.
func wantProblem(t *testing.T, what string, w *httptest.ResponseRecorder, status int, part string) {
	t.Helper()
	var d struct{ Error any }
	err := json.Unmarshal(w.Body.Bytes(), &d)
	message, plain := d.Error.(string)
	if own, ok := d.Error.(map[string]any); ok && !plain {
		message, _ = own["message"].(string)
	}
	h := w.Header()
	if w.Code != status || err != nil || !strings.Contains(message, part) {
		t.Errorf("%s: %d %.200s, want %d with %q", what, w.Code, w.Body, status, part)
	}
	if h.Get("Content-Type") != "application/json" || h.Get("Cache-Control") != "no-store" || h.Get("X-Content-Type-Options") != "nosniff" || h.Get("X-Request-Id") == "" {
		t.Errorf("%s: the headers are %v", what, h)
	}
}

// coded is a body in the content coding that a header names.
func coded(t *testing.T, body, coding string) *bytes.Buffer {
	t.Helper()
	var b bytes.Buffer
	var z io.WriteCloser
	switch strings.ToLower(coding) {
	case "gzip", "x-gzip":
		z, _ = gzip.NewWriterLevel(&b, gzip.BestSpeed)
	case "deflate":
		z, _ = zlib.NewWriterLevel(&b, zlib.BestSpeed)
	default:
		return bytes.NewBufferString(body)
	}
	if _, err := io.WriteString(z, body); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return &b
}

// Each route that takes a body reads it in the same codings, and refuses the same of what is in it.
func TestEveryRouteTreatsBodiesAlike(t *testing.T) {
	t.Parallel()
	const inputs, tensors = `"inputs": "good"`, `"inputs": [{"name": "x", "shape": [2], "datatype": "FP32", "data": [1, 2]}]`
	for _, c := range []struct {
		model, path, field string // the field that has to be there
		others             bool   // fields that are not known are passed over
	}{
		{"labels", "/", inputs, false},
		{"labels", "/predict", inputs, false},
		{"entities", "/", inputs, false},
		{"entities", "/predict", inputs, false},
		{"embeddings", "/", inputs, false},
		{"embeddings", "/predict", inputs, false},
		{"embeddings", "/embed", inputs, false},
		{"embeddings", "/v1/embeddings", `"input": "good"`, false},
		{"labels", "/v2/models/m/infer", tensors, true},
		{"labels", "/v2/models/m/versions/1/infer", tensors, true},
	} {
		f, _ := whole(t, models[c.model])
		key, value, _ := strings.Cut(c.field, ":")
		folded := strings.ToUpper(key) + ":" + value
		other := http.StatusBadRequest
		if c.others {
			other = http.StatusOK
		}
		for _, coding := range []string{"", "identity", "gzip", "x-gzip", "GZIP", "deflate"} {
			for body, want := range map[string]struct {
				status int
				part   string
			}{
				"{" + c.field + "}":                  {http.StatusOK, ""},
				"\ufeff {" + c.field + "} \n":        {http.StatusOK, ""},
				"{" + c.field + ", " + c.field + "}": {http.StatusBadRequest, "twice"},
				"{" + folded + "}":                   {http.StatusBadRequest, strings.Trim(strings.ToUpper(key), `"`)},
				"{" + c.field + ", " + folded + "}":  {http.StatusBadRequest, "not known"},
				"{" + c.field + `, "other": 1}`:      {other, "not known"},
				"{" + c.field + "} {}":               {http.StatusBadRequest, ""},
				"{" + c.field + ", \"\xff\": 1}":     {http.StatusBadRequest, ""},
				"{" + c.field:                        {http.StatusBadRequest, ""},
				"{}":                                 {http.StatusBadRequest, ""},
				"":                                   {http.StatusBadRequest, ""},
				"{" + c.field + strings.Repeat(" ", 1<<20) + "}": {http.StatusRequestEntityTooLarge, "larger than 1048576 bytes"},
			} {
				what := fmt.Sprintf("%s: %s of %q: %.10s … %.20q", c.model, c.path, coding, body, body[max(0, len(body)-20):])
				w := send(f, http.MethodPost, c.path, coded(t, body, coding), "Content-Encoding", coding)
				if want.status != http.StatusOK {
					wantProblem(t, what, w, want.status, want.part)
				} else if w.Code != http.StatusOK {
					t.Errorf("%s: %d %s", what, w.Code, w.Body)
				}
			}
		}
		for _, codings := range [][]string{{"br"}, {"gzip, gzip"}, {"gzip", "gzip"}, {"identity", "br"}, {"zstd"}} {
			var headers []string
			for _, coding := range codings {
				headers = append(headers, "Content-Encoding", coding)
			}
			w := send(f, http.MethodPost, c.path, coded(t, "{"+c.field+"}", "gzip"), headers...)
			wantProblem(t, fmt.Sprintf("%s of %q", c.path, codings), w, http.StatusUnsupportedMediaType, strings.Join(codings, ", "))
		}
		for _, coding := range []string{"gzip", "deflate"} {
			w := send(f, http.MethodPost, c.path, strings.NewReader("{"+c.field+"}"), "Content-Encoding", coding)
			wantProblem(t, c.path+" of what is not "+coding, w, http.StatusBadRequest, "not "+coding)
		}
	}
}

func TestEveryRouteCompressesLongResponsesAsTheClientLikes(t *testing.T) {
	t.Parallel()
	f, _ := whole(t, nil)
	for _, path := range []string{"/openapi.json", "/metrics", "/page/app.js", "/status", "/v2/models/m", "/v2/nothing", "/healthz"} {
		plain := send(f, http.MethodGet, path, nil)
		for accept, want := range map[string]string{"gzip": "gzip", "deflate": "deflate", "deflate, gzip;q=0.5": "deflate", "br": ""} {
			if plain.Body.Len() < 1400 {
				want = ""
			}
			w := send(f, http.MethodGet, path, nil, "Accept-Encoding", accept)
			if got := w.Header().Get("Content-Encoding"); got != want || w.Header().Get("Vary") == "" {
				t.Errorf("%s, %d bytes, for %s: %q, want %q", path, plain.Body.Len(), accept, got, want)
			}
		}
	}
}
