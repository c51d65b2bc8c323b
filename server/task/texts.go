package task

import (
	"slices"
	"strings"

	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/runtime/strictjson"
	"github.com/distinfer/distinfer/runtime/textmodel"
	"github.com/distinfer/distinfer/server/front"
)

// A form is what the requests of a route look like: an object with a text, or a list of texts,
// in a field, and with other fields. A line has one text, and may be that alone.
type form struct {
	example string // for errors
	field   string
	pairs   bool // a text may be an object with one that is read together with it
	others  []string
}

// texts are those of a request.
type texts struct {
	form
	inputs []textmodel.Input
	single bool // not a list
}

// A reader reads a body, or a line, which errors call by a name.
type reader func(data []byte, name string, line bool) (front.Request, error)

// route is the route of requests with that reader.
func (read reader) route() front.Route {
	return front.Route{
		Body: func(body []byte, name string) (front.Request, error) { return read(body, name, false) },
		Line: func(line []byte, name string) (front.Request, error) { return read(line, name, true) },
	}
}

// read reads the texts, and leaves the other fields to the caller.
func (f form) read(data []byte, name string, line bool) (*texts, *strictjson.Object, error) {
	t := &texts{form: f}
	v, err := strictjson.Body(data, name, f.example)
	if err != nil {
		return t, nil, err
	}
	if line && v.Kind() == '"' {
		return t, &strictjson.Object{Value: v}, t.add(v)
	}
	fields := append([]string{f.field}, f.others...)
	if line && f.pairs {
		fields = append(fields, "text", "text_pair")
	}
	o, err := v.Only(fields...)
	if err != nil {
		return t, nil, err
	}
	if list, ok := o.Optional(f.field); ok {
		o.Fail(t.addAll(list))
	}
	if own := readPair(o); own != (pair{}) {
		if len(t.inputs) > 0 {
			o.Fail(v.Errorf(`has both "text" and %q`, f.field))
		}
		o.Fail(t.addPair(own, v))
	}
	switch n := len(t.inputs); {
	case n == 0:
		o.Fail(errcode.Errorf(errcode.Invalid, "%q is missing; it takes a text or a list of texts", f.field))
	case line && n > 1:
		o.Fail(errcode.Errorf(errcode.Invalid, "%s: %d texts; send a line for each", name, n))
	}
	return t, o, o.Err()
}

// addAll adds a text or a list of texts.
func (t *texts) addAll(v strictjson.Value) error {
	if v.Kind() != '[' {
		t.single = true
		return t.add(v)
	}
	err := v.Each(func(_ int, v strictjson.Value) error { return t.add(v) })
	if err == nil && len(t.inputs) == 0 {
		err = v.Errorf("is an empty list")
	}
	return err
}

// add adds the text, or the pair of texts, that a value is.
func (t *texts) add(v strictjson.Value) error {
	switch kind := v.Kind(); {
	case kind == '"':
		text, err := v.Text()
		if err != nil {
			return err
		}
		return t.addPair(pair{text: &text}, v)
	case kind == '{' && t.pairs:
		o, err := v.Only("text", "text_pair")
		if err != nil {
			return err
		}
		p := readPair(o)
		if o.Err() != nil {
			return o.Err()
		}
		return t.addPair(p, v)
	case kind == '0':
		return v.Errorf("must be a text; token ids are not taken")
	case kind == '[':
		if v.FirstKind() == '0' {
			return v.Errorf("must be a text; token ids are not taken")
		}
		return v.Errorf("is a list; it must be a text")
	}
	return v.Want("a text")
}

// A pair is a text, and one that is read together with it or none.
type pair struct{ text, with *string }

func readPair(o *strictjson.Object) pair {
	return pair{strictjson.ReadOptional(o, "text", strictjson.Value.Text), strictjson.ReadOptional(o, "text_pair", strictjson.Value.Text)}
}

// addPair adds a pair that stands in a value.
func (t *texts) addPair(p pair, v strictjson.Value) error {
	switch {
	case p.text == nil:
		return v.Errorf("has no text")
	case *p.text == "":
		return v.Errorf("is empty")
	case p.with != nil && *p.with == "":
		return v.Errorf(`has an empty "text_pair"`)
	}
	t.inputs = append(t.inputs, textmodel.Input{Text: *p.text, Pair: p.with})
	return nil
}

// cut has texts that are too long cut, also where such texts are refused.
func (t *texts) cut() {
	for i := range t.inputs {
		t.inputs[i].Cut = true
	}
}

// oneOf refuses what is none of the values that a field can have; nil is not given.
func oneOf(field string, value *string, can ...string) error {
	if value == nil || slices.Contains(can, *value) {
		return nil
	}
	return errcode.Errorf(errcode.Invalid, "%s is %.40q; it can be %s", field, *value, strings.Join(can, " or "))
}
