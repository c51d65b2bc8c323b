package task

import (
	"strings"
	"testing"

	"github.com/distinfer/distinfer/runtime/fault"
)

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
