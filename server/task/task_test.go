package task

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/fault"
	"github.com/distinfer/distinfer/server/front"
)

// A front answers with the whole document, and fails to serve a task with a route that is
// not in it.
func TestEveryRouteOfATaskIsDescribed(t *testing.T) {
	t.Parallel()
	for _, task := range []front.Task{Entities{}, Embeddings{}} {
		f := front.New(front.Config{Log: slog.New(slog.DiscardHandler)}, front.Model{Task: task, Bundle: &bundle.Bundle{}})
		w := httptest.NewRecorder()
		f.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/openapi.json", nil))
		var whole, own struct{ Paths map[string]map[string]any }
		if err := errors.Join(json.Unmarshal(w.Body.Bytes(), &whole), json.Unmarshal(task.Describe(), &own)); err != nil || w.Code != http.StatusOK {
			t.Fatalf("%s: %d, %v: %s", task.Name(), w.Code, err, w.Body)
		}
		routes := task.Routes()
		for path := range routes {
			if whole.Paths[path]["post"] == nil {
				t.Errorf("%s: %s is not described", task.Name(), path)
			}
		}
		for path := range own.Paths {
			if _, answered := routes[path]; !answered && path != "/" {
				t.Errorf("%s: %s is described, and not answered", task.Name(), path)
			}
		}
		if whole.Paths["/"]["post"] == nil || whole.Paths["/"]["get"] == nil || whole.Paths["/healthz"] == nil {
			t.Errorf("%s: described are %v", task.Name(), whole.Paths)
		}
	}
}

func TestBodiesSayWhatIsWrongWithThem(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		``:                           "not JSON",
		`[]`:                         "not JSON",
		`{}`:                         `"inputs" is missing`,
		`{"inputs": null}`:           `"inputs" is missing`,
		`{"inputs": []}`:             "empty list",
		`{"inputs": ""}`:             `"inputs"[0] is empty`,
		`{"inputs": ["a", null]}`:    `"inputs"[1] is empty`,
		`{"inputs": [1, 2]}`:         "token ids are not taken",
		`{"inputs": [[1], [2]]}`:     "token ids are not taken",
		`{"inputs": {"text": "a"}}`:  "must be a text or a list of texts",
		`{"inputs": "a"} x`:          "something follows",
		`{"inputs": "a", "more": 1}`: `the field "more" is not known`,
		`{"inputs": "a", "parameters": {"stride": 3}}`:                    "stride is not supported",
		`{"inputs": "a", "parameters": {"aggregation_strategy": "best"}}`: `aggregation_strategy is "best"`,
		`{"inputs": "a", "parameters": {"ignore_labels": "O"}}`:           "not JSON of the form",
		`{"inputs": "a", "parameters": {"ignore_labels": ["O", null]}}`:   "holds null",
	} {
		_, err := Entities{}.question([]byte(body))
		if err == nil || fault.CodeOf(err) != fault.Invalid || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", body, err, want)
		}
	}
	for body, want := range map[string]int{`{"inputs": "a"}`: 1, `{"inputs": ["a", "b"], "options": {"x": [1]}}`: 2, `{"inputs": ["a"], "parameters": {"ignore_labels": []}}`: 1} {
		if q, err := (Entities{}).question([]byte(body)); err != nil || len(q.Texts) != want {
			t.Errorf("%s: %q, %v", body, q.Texts, err)
		}
	}
}

// What can be read are texts that are not empty; the rest is an error that is the
// client's.
func FuzzEntitiesBody(f *testing.F) {
	for _, body := range []string{`{"inputs": "a"}`, `{"inputs": ["a", "b"], "parameters": {"aggregation_strategy": "max", "ignore_labels": ["O"]}}`, `{"inputs": [[1]]}`, `{"inputs": "\ud800"}`} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		q, err := Entities{}.question(body)
		if err != nil {
			if fault.CodeOf(err) != fault.Invalid {
				t.Errorf("%q: %v is %s", body, err, fault.CodeOf(err))
			}
			return
		}
		if len(q.Texts) == 0 {
			t.Errorf("%q has no text", body)
		}
		for _, s := range q.Texts {
			if s == "" {
				t.Errorf("%q has an empty text", body)
			}
		}
	})
}
