// Package tasktest has the tests that every front.Task passes, however its answers look.
package tasktest

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	neturl "net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/distinfer/distinfer/server/batch"
	"github.com/distinfer/distinfer/server/front"
	"github.com/distinfer/distinfer/server/task"
)

// maxTexts is how many texts the suite has computed at a time.
const maxTexts = 4

// A Suite is a Task with what the tests have to know of it.
type Suite struct {
	Task task.Task
	// Texts are some that have answers that differ from each other's, at least two. Long is one
	// that is longer than the model reads, and Bad one that has no answer.
	Texts     []string
	Long, Bad string
	// Field is the field with the texts in the requests of a route, where that is not "inputs".
	Field map[string]string
	// List takes the answers to several texts out of what a route answers, where that is not
	// just the list of them.
	List map[string]func(t *testing.T, body []byte) []json.RawMessage
	// Single reports that a text that is alone is answered without a list around it.
	Single bool
}

// Run runs the tests.
func Run(t *testing.T, s Suite) {
	f := &fixture{Suite: s, routes: s.Task.Routes()}
	f.front = front.New(front.Config{MaxBody: 1 << 20, Timeout: time.Minute, Log: slog.New(slog.DiscardHandler)}, front.Model{Texts: &front.Texts{
		Task: s.Task, Batcher: batch.New(batch.Config{Model: s.Task.Model(), MaxTexts: maxTexts, Begin: 4, Log: slog.New(slog.DiscardHandler)}),
	}})
	t.Cleanup(f.front.Close)
	t.Run("is named as the field names it", f.name)
	t.Run("describes its routes and no others", f.document)
	t.Run("answers a text as it answers it in a list", f.lists)
	t.Run("answers lines as it answers a list", f.lines)
	t.Run("answers what it is asked without a request as a line", f.asked)
	t.Run("answers everybody with their own at the same time", f.concurrent)
	t.Run("refuses what has no text", f.empties)
	t.Run("refuses what it does not know", f.strict)
	t.Run("names the text that cannot be answered", f.bad)
	t.Run("names the texts that were cut", f.cut)
	t.Run("takes more texts than are computed at a time, or says how many it takes", f.many)
	t.Run("has the label at GET, or no label", f.label)
}

type fixture struct {
	Suite
	routes map[string]front.Route
	front  *front.Front
}

const (
	jsonType  = "application/json"
	linesType = "application/x-ndjson"
)

func (f *fixture) send(method, path, contentType, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequestWithContext(context.Background(), method, path, strings.NewReader(body))
	r.Header.Set("Content-Type", contentType)
	w := httptest.NewRecorder()
	f.front.ServeHTTP(w, r)
	return w
}

// field is the quoted name of the field with the texts.
func (f *fixture) field(path string) string {
	if name := f.Field[path]; name != "" {
		return strconv.Quote(name)
	}
	return `"inputs"`
}

// body is a request for a value, which is a text or a list of them.
func (f *fixture) body(path string, value any) string {
	data, err := json.Marshal(value)
	if err != nil {
		panic(err) // strings can be said in JSON
	}
	return "{" + f.field(path) + ": " + string(data) + "}"
}

// list are the answers to several texts.
func (f *fixture) list(t *testing.T, path string, texts ...string) []json.RawMessage {
	t.Helper()
	w := f.send(http.MethodPost, path, jsonType, f.body(path, texts))
	if w.Code != http.StatusOK || w.Header().Get("Content-Type") != jsonType {
		t.Fatalf("%s: %d %v %.300s", path, w.Code, w.Header(), w.Body)
	}
	if read := f.List[path]; read != nil {
		return read(t, w.Body.Bytes())
	}
	var all []json.RawMessage
	if err := json.Unmarshal(w.Body.Bytes(), &all); err != nil || len(all) != len(texts) {
		t.Fatalf("%s: %d answers to %d texts (%v): %.300s", path, len(all), len(texts), err, w.Body)
	}
	return all
}

// problem expects the error document of a route.
func (f *fixture) problem(t *testing.T, path string, w *httptest.ResponseRecorder, status int, part string) {
	t.Helper()
	message := w.Body.String()
	if make := f.routes[path].Problem; make != nil {
		want, err := json.Marshal(make(status, "…"))
		form := strings.SplitN(string(want), "…", 2)
		if err != nil || !strings.HasPrefix(message, form[0]) || !strings.HasSuffix(strings.TrimSpace(message), form[1]) {
			t.Errorf("%s: %s is not of the form %s", path, message, want)
		}
	} else {
		var p struct{ Error string }
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || p.Error == "" {
			t.Errorf("%s: %s has no error (%v)", path, message, err)
		}
	}
	if w.Code != status || !strings.Contains(message, part) {
		t.Errorf("%s: %d %.300s, want %d with %q", path, w.Code, message, status, part)
	}
}

func (f *fixture) name(t *testing.T) {
	if name := f.Task.Name(); !regexp.MustCompile(`^[a-z]+(-[a-z]+)+$`).MatchString(name) {
		t.Errorf("the name is %q", name)
	}
	f.problem(t, "", f.send(http.MethodGet, "/nowhere", "", ""), http.StatusNotFound, f.Task.Name())
}

func (f *fixture) document(t *testing.T) {
	var own struct{ Paths map[string]map[string]any }
	if err := json.Unmarshal(f.Task.Describe(), &own); err != nil {
		t.Fatal(err)
	}
	if _, ok := f.routes["/predict"]; !ok {
		t.Error("there is no route /predict")
	}
	for path := range f.routes {
		if own.Paths[path]["post"] == nil {
			t.Errorf("POST %s is not described", path)
		}
	}
	_, labels := f.Task.(front.Labeller)
	for path, operations := range own.Paths {
		if _, ok := f.routes[path]; !ok && path != "/" {
			t.Errorf("%s is described, and is no route", path)
		}
		if get := operations["get"] != nil; get != (labels && path == "/") {
			t.Errorf("GET %s is described: %v", path, get)
		}
	}
	if w := f.send(http.MethodGet, "/openapi.json", "", ""); w.Code != http.StatusOK {
		t.Errorf("the whole document: %d %.300s", w.Code, w.Body)
	}
}

func (f *fixture) lists(t *testing.T) {
	for path := range f.routes {
		all := f.list(t, path, f.Texts...)
		seen := map[string]string{}
		for i, s := range f.Texts {
			if other, twice := seen[string(all[i])]; twice {
				t.Errorf("%s: %q and %q have the same answer: %s", path, s, other, all[i])
			}
			seen[string(all[i])] = s
			if one := f.list(t, path, s); string(one[0]) != string(all[i]) && f.List[path] == nil {
				t.Errorf("%s: %q has %s, and in a list %s", path, s, one[0], all[i])
			}
			w := f.send(http.MethodPost, path, jsonType, f.body(path, s))
			want := "[" + string(all[i]) + "]"
			if f.Single {
				want = string(all[i])
			}
			if got := strings.TrimSpace(w.Body.String()); f.List[path] == nil && got != want {
				t.Errorf("%s: %q alone has %s, want %s", path, s, got, want)
			}
		}
	}
	at, root := f.send(http.MethodPost, "/predict", jsonType, f.body("/predict", f.Texts)), f.send(http.MethodPost, "/", jsonType, f.body("/predict", f.Texts))
	if at.Body.String() != root.Body.String() {
		t.Errorf("POST / answers %s, and POST /predict %s", root.Body, at.Body)
	}
}

// streamed are the lines that lines are answered with.
func (f *fixture) streamed(t *testing.T, path string, lines ...string) (answers []string, h http.Header) {
	t.Helper()
	w := f.send(http.MethodPost, path, linesType, strings.Join(lines, "\n"))
	answers = strings.Split(strings.TrimSpace(w.Body.String()), "\n")
	if w.Code != http.StatusOK || len(answers) != len(lines) {
		t.Fatalf("%s: %d, %d answers to %d lines: %.300s", path, w.Code, len(answers), len(lines), w.Body)
	}
	return answers, w.Result().Trailer
}

func (f *fixture) lines(t *testing.T) {
	for path, route := range f.routes {
		if route.Line == nil {
			w := f.send(http.MethodPost, path, linesType, f.body(path, f.Texts[0])+"\n"+f.body(path, f.Texts[1]))
			f.problem(t, path, w, http.StatusBadRequest, "")
			continue
		}
		var lines, want []string
		for i, answer := range f.list(t, path, f.Texts...) {
			s := f.Texts[i]
			lines = append(lines, strconv.Quote(s), f.body(path, s), f.body(path, []string{s}))
			want = append(want, string(answer), string(answer), string(answer))
		}
		if got, _ := f.streamed(t, path, lines...); !slices.Equal(got, want) {
			t.Errorf("%s: lines have %s, want %s", path, got, want)
		}
		wrong := []string{`""`, `{}`, `null`, `1`, `[]`, `"a" "b"`, f.body(path, f.Texts), f.body(path, []string{}), strconv.Quote(f.Bad)}
		got, _ := f.streamed(t, path, slices.Concat(wrong, []string{lines[0]})...)
		for i, line := range got[:len(wrong)] {
			var p front.LineProblem
			if err := json.Unmarshal([]byte(line), &p); err != nil || p.Error == "" || p.Line != i+1 {
				t.Errorf("%s: the line %s has %s (%v)", path, wrong[i], line, err)
			}
		}
		if last := got[len(wrong)]; last != want[0] {
			t.Errorf("%s: after wrong lines a line has %s, want %s", path, last, want[0])
		}
	}
}

func (f *fixture) asked(t *testing.T) {
	m, done := f.front.Use()
	defer done()
	texts := slices.Concat(f.Texts, []string{f.Bad})
	replies, err := m.Texts.Answer(t.Context(), texts)
	if err != nil || len(replies) != len(texts) {
		t.Fatal(replies, err)
	}
	for i, want := range f.list(t, "/predict", f.Texts...) {
		if got, err := json.Marshal(replies[i].Answer); err != nil || string(got) != string(want) || replies[i].Err != nil {
			t.Errorf("%q has %s (%v, %v), want %s", texts[i], got, replies[i].Err, err, want)
		}
	}
	if last := replies[len(f.Texts)]; last.Err == nil || last.Answer != nil {
		t.Errorf("a bad text has %v, %v", last.Answer, last.Err)
	}
}

func (f *fixture) concurrent(t *testing.T) {
	m, done := f.front.Use()
	defer done()
	want := f.list(t, "/predict", f.Texts...)
	var work sync.WaitGroup
	for k := range maxTexts {
		work.Go(func() {
			i := k % len(f.Texts)
			for range 20 {
				replies, err := m.Texts.Answer(t.Context(), []string{f.Texts[i]})
				if err != nil {
					t.Error(err)
					return
				}
				if got, err := json.Marshal(replies[0].Answer); err != nil || string(got) != string(want[i]) {
					t.Errorf("%q has %s (%v), want %s", f.Texts[i], got, err, want[i])
				}
			}
		})
	}
	work.Wait()
}

func (f *fixture) empties(t *testing.T) {
	for path := range f.routes {
		field := f.field(path)
		for _, body := range []string{"", "{}", "null", "[]", `""`, "{" + field + ": null}", "{" + field + `: ""}`, "{" + field + ": []}", "{" + field + `: ["a", ""]}`, "{" + field + ": [[]]}"} {
			f.problem(t, path, f.send(http.MethodPost, path, jsonType, body), http.StatusBadRequest, "")
		}
	}
}

func (f *fixture) strict(t *testing.T) {
	for path := range f.routes {
		field := f.field(path)
		for body, part := range map[string]string{
			"{" + field + `: "a"`:                           "not JSON",
			"{" + field + `: "a"} x`:                        "",
			"{" + field + `: "a", "what": 1}`:               "what",
			"{" + strings.ToUpper(field) + `: "a"}`:         strings.ToUpper(strings.Trim(field, `"`)),
			"{" + field + `: "a", ` + field + `: "b"}`:      "twice",
			"{" + field + `: 1}`:                            "text",
			"{" + field + `: [[1, 2]]}`:                     "token ids",
			"{" + field + `: ` + strings.Repeat("[", 1<<16): "",
		} {
			f.problem(t, path, f.send(http.MethodPost, path, jsonType, body), http.StatusBadRequest, part)
		}
		if w := f.send(http.MethodPut, path, jsonType, f.body(path, "a")); w.Code != http.StatusMethodNotAllowed {
			t.Errorf("PUT %s: %d", path, w.Code)
		}
	}
}

func (f *fixture) bad(t *testing.T) {
	for path := range f.routes {
		w := f.send(http.MethodPost, path, jsonType, f.body(path, []string{f.Texts[0], f.Bad, f.Texts[1]}))
		f.problem(t, path, w, http.StatusBadRequest, "text 1: ")
	}
}

func (f *fixture) cut(t *testing.T) {
	for path, route := range f.routes {
		w := f.send(http.MethodPost, path, jsonType, f.body(path, []string{f.Long, f.Texts[0], f.Long}))
		if got := w.Header().Get(front.TruncatedHeader); w.Code != http.StatusOK || got != "0, 2" {
			t.Errorf("%s: %d, %q were cut", path, w.Code, got)
		}
		w = f.send(http.MethodPost, path, jsonType, f.body(path, f.Texts[0]))
		if got, there := w.Header()[front.TruncatedHeader]; there {
			t.Errorf("%s: %q were cut of one that is short", path, got)
		}
		if route.Line == nil {
			continue
		}
		if _, h := f.streamed(t, path, strconv.Quote(f.Texts[0]), strconv.Quote(f.Long)); h.Get(front.TruncatedHeader) != "2" {
			t.Errorf("%s: the trailer is %v", path, h)
		}
	}
	m, done := f.front.Use()
	defer done()
	replies, err := m.Texts.Answer(t.Context(), []string{f.Texts[0], f.Long})
	if err != nil || replies[0].Truncated || !replies[1].Truncated {
		t.Errorf("%v, %v", replies, err)
	}
}

func (f *fixture) many(t *testing.T) {
	texts := slices.Repeat(f.Texts[:1], 5*maxTexts)
	for path, route := range f.routes {
		q, err := route.Body([]byte(f.body(path, texts)), "the body")
		if err != nil || len(q.Inputs) != len(texts) {
			t.Fatalf("%s: %d texts were read (%v)", path, len(q.Inputs), err)
		}
		if q.InputBytes > 0 {
			f.list(t, path, texts...)
			continue
		}
		w := f.send(http.MethodPost, path, jsonType, f.body(path, texts))
		f.problem(t, path, w, http.StatusRequestEntityTooLarge, fmt.Sprint(maxTexts))
	}
}

func (f *fixture) label(t *testing.T) {
	w := f.send(http.MethodGet, "/?text="+neturl.QueryEscape(f.Texts[0]), "", "")
	labeller, ok := f.Task.(front.Labeller)
	if !ok {
		if got := w.Body.String(); w.Code != http.StatusNotFound || !strings.Contains(got, f.Task.Name()) {
			t.Errorf("%d %s", w.Code, got)
		}
		return
	}
	got := strings.TrimSpace(w.Body.String())
	if w.Code != http.StatusOK || !slices.Contains(labeller.Labels(), got) {
		t.Errorf("%d %s, of the labels %q", w.Code, got, labeller.Labels())
	}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/?text="+neturl.QueryEscape(f.Texts[0]), nil)
	r.Header.Set("Accept", jsonType)
	all := httptest.NewRecorder()
	f.front.ServeHTTP(all, r)
	if want := "[" + string(f.list(t, "/predict", f.Texts[0])[0]) + "]"; strings.TrimSpace(all.Body.String()) != want {
		t.Errorf("as JSON it is %s, want %s", all.Body, want)
	}
	var results []map[string]any
	if err := json.Unmarshal(f.list(t, "/predict", f.Texts[0])[0], &results); err != nil || results[0]["label"] != got {
		t.Errorf("the label is %s, and the best of %v (%v)", got, results, err)
	}
	names := slices.Sorted(maps.Keys(results[0]))
	if !slices.Equal(names, []string{"label", "score"}) || len(results) != len(labeller.Labels()) {
		t.Errorf("the results are %v", results)
	}
}
