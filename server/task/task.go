// Package task says what a front's clients can ask of models that do not label texts:
// what requests look like, and how the model's answers are told. The forms are those of
// Hugging Face's inference API, text-embeddings-inference and OpenAI, so that their
// clients work as they are.
//
// It knows JSON and statuses, and no more of HTTP.
package task

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/runtime/textmodel"
	"github.com/distinfer/distinfer/server/front"
	"github.com/distinfer/distinfer/server/strict"
)

// texts are the text or the list of texts that a body has.
type texts struct {
	list   []string
	single bool
}

// read reads the field with them.
func (t *texts) read(r *strict.Reader) func(where string) error {
	return func(where string) error {
		token, err := r.Next()
		switch {
		case err != nil || token == nil:
			return err
		case token != json.Delim('['):
			t.single = true
			return t.add(token, where)
		}
		err = r.List(func(token json.Token, at string) error {
			if token == json.Delim('[') { // those of token ids are lists of lists
				if token, err = r.Next(); err != nil {
					return err
				}
				if _, number := token.(json.Number); !number {
					return errcode.Errorf(errcode.Invalid, "%s must be a text or a list of texts; %s is a list", where, at)
				}
			}
			return t.add(token, at)
		}, where)
		if err == nil && len(t.list) == 0 {
			err = errcode.Errorf(errcode.Invalid, "%s is an empty list", where)
		}
		return err
	}
}

// add adds the text that a token is, which stands at a place.
func (t *texts) add(token json.Token, where string) error {
	switch token := token.(type) {
	case string:
		if token == "" {
			return errcode.Errorf(errcode.Invalid, "%s is empty", where)
		}
		t.list = append(t.list, token)
		return nil
	case json.Number:
		return errcode.Errorf(errcode.Invalid, "%s is a number; token ids are not taken, send the texts themselves", where)
	}
	return errcode.Errorf(errcode.Invalid, "%s must be a text, not %s", where, strict.Kind(token))
}

// given fails when there are none in the field.
func (t *texts) given(field string) error {
	if len(t.list) == 0 {
		return errcode.Errorf(errcode.Invalid, "%q is missing; it takes a text or a list of texts", field)
	}
	return nil
}

// oneOf refuses what is none of the values that a field can have; nil is not given.
func oneOf(field string, value *string, can ...string) error {
	if value == nil || slices.Contains(can, *value) {
		return nil
	}
	return errcode.Errorf(errcode.Invalid, "%s is %.40q; it can be %s", field, *value, strings.Join(can, " or "))
}

// A reading reads a body, or a line, which errors call whole.
type reading func(data []byte, whole string) (front.Question, error)

// body reads bodies.
func (read reading) body(data []byte) (front.Question, error) { return read(data, "the body") }

// lineOf makes a reader of a stream's lines of that of bodies: a line is a body with one
// text, or the text alone. only is the answer to it, of those to the list.
func lineOf(question reading, only func(answer any) any) func(line []byte) (front.Question, error) {
	return func(line []byte) (front.Question, error) {
		if line[0] == '"' && json.Valid(line) {
			line = slices.Concat([]byte(`{"inputs": [`), line, []byte("]}"))
		}
		q, err := question(line, "the line")
		if err == nil && len(q.Texts) != 1 {
			err = errcode.Errorf(errcode.Invalid, "%d texts; send a line for each", len(q.Texts))
		}
		if err != nil {
			return front.Question{}, err
		}
		return front.Question{Texts: q.Texts, Cut: q.Cut, Answer: func(answers []textmodel.Answer) (any, error) {
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
