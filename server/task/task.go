// Package task says what a front's clients can ask of models that do not label texts:
// what requests look like, and how the model's answers are told. The forms are those of
// Hugging Face's inference API, text-embeddings-inference and OpenAI, so that their
// clients work as they are.
//
// It knows JSON and statuses, and no more of HTTP.
package task

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"

	"github.com/distinfer/distinfer/runtime/fault"
	"github.com/distinfer/distinfer/runtime/textmodel"
	"github.com/distinfer/distinfer/server/front"
)

// decode reads a body that is one JSON object with no other fields than those of v.
func decode(body []byte, v any, form string) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	err := d.Decode(v)
	if err == nil {
		if _, err := d.Token(); !errors.Is(err, io.EOF) {
			return fault.Errorf(fault.Invalid, "something follows the JSON object")
		}
		return nil
	}
	if field, unknown := strings.CutPrefix(err.Error(), "json: unknown field "); unknown {
		return fault.Errorf(fault.Invalid, "the field %s is not known; a body is of the form %s", field, form)
	}
	return fault.Errorf(fault.Invalid, "this is not JSON of the form %s: %s", form, strings.TrimPrefix(err.Error(), "json: "))
}

// textsOf reads the field that holds a text or a list of texts.
func textsOf(field string, value json.RawMessage) (texts []string, single bool, err error) {
	var one *string
	var many []*string
	switch {
	case len(value) == 0 || string(value) == "null":
		return nil, false, fault.Errorf(fault.Invalid, "%q is missing; it takes a text or a list of texts", field)
	case json.Unmarshal(value, &one) == nil:
		many, single = []*string{one}, true
	case json.Unmarshal(value, &many) != nil:
		if numbers(value) {
			return nil, false, fault.Errorf(fault.Invalid, "%q holds numbers; token ids are not taken, send the texts themselves", field)
		}
		return nil, false, fault.Errorf(fault.Invalid, "%q must be a text or a list of texts", field)
	case len(many) == 0:
		return nil, false, fault.Errorf(fault.Invalid, "%q is an empty list", field)
	}
	for i, s := range many {
		if s == nil || *s == "" {
			return nil, false, fault.Errorf(fault.Invalid, "%q[%d] is empty", field, i)
		}
		texts = append(texts, *s)
	}
	return texts, single, nil
}

// oneOf refuses what is none of the values that a field can have; nil is not given.
func oneOf(field string, value *string, can ...string) error {
	if value == nil || slices.Contains(can, *value) {
		return nil
	}
	return fault.Errorf(fault.Invalid, "%s is %.40q; it can be %s", field, *value, strings.Join(can, " or "))
}

// lineOf makes a reader of a stream's lines of that of bodies: a line is a body with one
// text, or the text alone. only is the answer to it, of those to the list.
func lineOf(question func(body []byte) (front.Question, error), only func(answer any) any) func(line []byte) (front.Question, error) {
	return func(line []byte) (front.Question, error) {
		if line[0] == '"' {
			line = slices.Concat([]byte(`{"inputs": [`), line, []byte("]}"))
		}
		q, err := question(line)
		if err == nil && len(q.Texts) != 1 {
			err = fault.Errorf(fault.Invalid, "%d texts; send a line for each", len(q.Texts))
		}
		if err != nil {
			return front.Question{}, err
		}
		return front.Question{Texts: q.Texts, Answer: func(answers []textmodel.Answer) (any, error) {
			answer, err := q.Answer(answers)
			if err != nil {
				return nil, err
			}
			return only(answer), nil
		}}, nil
	}
}

// first is the only answer of a list; what is none stays as it is.
func first[T any](answer any) any {
	if list, ok := answer.([]T); ok {
		return list[0]
	}
	return answer
}

// numbers reports whether a value is a list of numbers or of lists of them.
func numbers(value json.RawMessage) bool {
	rest := strings.TrimLeft(string(value), "[ \t\r\n")
	return rest != "" && strings.ContainsRune("-0123456789", rune(rest[0]))
}
