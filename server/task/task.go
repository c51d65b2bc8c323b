// Package task says what a front's clients can ask of models that do not label texts:
// what requests look like, and how the model's answers are told. The forms are those of
// Hugging Face's inference API, text-embeddings-inference and OpenAI, so that their
// clients work as they are.
//
// It knows JSON and statuses, and no more of HTTP.
package task

import (
	"slices"
	"strings"

	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/runtime/strictjson"
	"github.com/distinfer/distinfer/runtime/textmodel"
	"github.com/distinfer/distinfer/server/front"
)

// texts are the text or the list of texts that a body has.
type texts struct {
	list   []string
	single bool
}

// read reads the field with them.
func (t *texts) read(o *strictjson.Object, field string) {
	v, ok := o.Optional(field)
	switch {
	case !ok:
	case v.Kind() == '[':
		o.Fail(v.Each(func(_ int, v strictjson.Value) error { return t.add(v) }))
		if o.Err() == nil && len(t.list) == 0 {
			o.Fail(v.Errorf("is an empty list"))
		}
	default:
		t.single = true
		o.Fail(t.add(v))
	}
}

// add adds the text that a value is.
func (t *texts) add(v strictjson.Value) error {
	switch v.Kind() {
	case '"':
		text, err := v.Text()
		if err == nil && text == "" {
			err = v.Errorf("is empty")
		}
		t.list = append(t.list, text)
		return err
	case '0':
		return v.Errorf("must be a text; token ids are not taken")
	case '[':
		if v.FirstKind() == '0' {
			return v.Errorf("must be a text; token ids are not taken")
		}
		return v.Errorf("is a list; it must be a text")
	}
	return v.Want("a text")
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
		if line[0] == '"' {
			if _, err := strictjson.Body(line, "the line", `"…"`); err != nil {
				return front.Question{}, err
			}
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
