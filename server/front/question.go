package front

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/distinfer/distinfer/runtime/fault"
	"github.com/distinfer/distinfer/runtime/text"
	"github.com/distinfer/distinfer/runtime/textmodel"
)

// A question is what a body or a line asks: what Hugging Face's text-classification
// API takes.
type question struct {
	inputs []textmodel.Input
	topK   int // 0 is all labels
	by     text.Function
}

// top keeps the results that are asked for.
func (q *question) top(results []text.Result) []text.Result {
	if q.topK == 0 {
		return results
	}
	return results[:min(q.topK, len(results))]
}

// maxList is how many inputs one body may have.
const maxList = 1 << 16

// parseBody reads a body: an object with "inputs".
func parseBody(data []byte) (*question, error) {
	p := newParser(data, "the body")
	q := &question{}
	err := p.object(map[string]func(string) error{
		"inputs":     func(where string) error { return p.inputs(q, where) },
		"parameters": func(where string) error { return p.parameters(q, where) },
		// Options of the hosted API (use_cache, wait_for_model) ask for nothing that
		// would differ here.
		"options": func(string) error { return p.skip() },
	}, "")
	if err == nil {
		err = p.end()
	}
	if err == nil && len(q.inputs) == 0 {
		err = fault.Errorf(fault.Invalid, `"inputs" is missing; send {"inputs": "…"} or {"inputs": ["…", "…"]}`)
	}
	return q, err
}

// parseLine reads a line of a stream: a string, an object with "text", or one with
// "inputs" as a body has them, but no list. Lines are numbered from 1 on.
func parseLine(data []byte, number int) (*question, error) {
	p := newParser(data, "line "+strconv.Itoa(number))
	q := &question{}
	token, err := p.next()
	switch {
	case err != nil:
	case token == json.Delim('{'):
		var in pair
		err = p.fields(map[string]func(string) error{
			"text":      func(where string) error { return p.text(&in.text, where) },
			"text_pair": func(where string) error { return p.text(&in.pair, where) },
			"inputs": func(where string) error {
				token, err := p.next()
				if err == nil {
					err = p.input(q, token, where)
				}
				return err
			},
			"parameters": func(where string) error { return p.parameters(q, where) },
		}, "")
		switch {
		case err != nil:
		case in != pair{} && len(q.inputs) > 0:
			err = fault.Errorf(fault.Invalid, `%s has both "text" and "inputs"`, p.whole)
		case len(q.inputs) == 0:
			err = q.add(in, p.whole)
		}
	default:
		err = p.input(q, token, p.whole)
	}
	if err == nil {
		err = p.end()
	}
	return q, err
}

// A pair is a text, and one that belongs to it or none.
type pair struct{ text, pair *string }

// add adds an input that stands at a place.
func (q *question) add(in pair, where string) error {
	switch {
	case in.text == nil:
		return fault.Errorf(fault.Invalid, "%s has no text", where)
	case *in.text == "":
		return fault.Errorf(fault.Invalid, "%s is empty", where)
	case in.pair != nil && *in.pair == "":
		return fault.Errorf(fault.Invalid, `the "text_pair" of %s is empty`, where)
	case len(q.inputs) == maxList:
		return fault.Errorf(fault.TooLarge, `"inputs" has more than %d texts; send a line for each as application/x-ndjson`, maxList)
	}
	q.inputs = append(q.inputs, textmodel.Input{Text: *in.text, Pair: in.pair})
	return nil
}

// A parser reads JSON token by token, so that nothing is built of what is not wanted,
// and keys that are unknown or given twice are refused.
type parser struct {
	*json.Decoder
	whole string // what is read, as errors call it
}

func newParser(data []byte, whole string) parser {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	return parser{d, whole}
}

// notJSON says that the JSON is broken, or of another shape.
func (p parser) notJSON(why string) error {
	return fault.Errorf(fault.Invalid, `%s is not JSON of the form {"inputs": "…"}: %s`, p.whole, why)
}

// next is the next token.
func (p parser) next() (json.Token, error) {
	token, err := p.Token()
	switch {
	case errors.Is(err, io.EOF):
		return nil, p.notJSON("it ends too early")
	case err != nil:
		return nil, p.notJSON(strings.TrimPrefix(err.Error(), "json: "))
	}
	return token, nil
}

// end checks that nothing follows.
func (p parser) end() error {
	if _, err := p.Token(); !errors.Is(err, io.EOF) {
		return fault.Errorf(fault.Invalid, "something follows the JSON in %s", p.whole)
	}
	return nil
}

// skip passes over a value, however it is nested.
func (p parser) skip() error {
	var value json.RawMessage
	if err := p.Decode(&value); err != nil {
		return p.notJSON(strings.TrimPrefix(err.Error(), "json: "))
	}
	return nil
}

// object reads an object with the given fields, which stands at a place.
func (p parser) object(fields map[string]func(where string) error, where string) error {
	token, err := p.next()
	if err != nil {
		return err
	}
	if token != json.Delim('{') {
		return p.notJSON(p.place(where) + " must not be " + kind(token))
	}
	return p.fields(fields, where)
}

// fields is object behind the brace.
func (p parser) fields(fields map[string]func(where string) error, where string) error {
	given := make([]string, 0, len(fields))
	for p.More() {
		token, err := p.next()
		if err != nil {
			return err
		}
		key, _ := token.(string)
		read, known := fields[key]
		if !known {
			names := make([]string, 0, len(fields))
			for name := range fields {
				names = append(names, name)
			}
			slices.Sort(names)
			return fault.Errorf(fault.Invalid, "the field %.80q of %s is not known; known are %s", key, p.place(where), strings.Join(names, ", "))
		}
		if slices.Contains(given, key) {
			return fault.Errorf(fault.Invalid, "%q is given twice", key)
		}
		given = append(given, key)
		if err := read(strconv.Quote(key)); err != nil {
			return err
		}
	}
	_, err := p.next() // the brace
	return err
}

func (p parser) place(where string) string {
	if where == "" {
		return p.whole
	}
	return where
}

// kind names what a token begins.
func kind(token json.Token) string {
	switch token := token.(type) {
	case json.Delim:
		if token == '[' {
			return "a list"
		}
		return "an object"
	case string:
		return "a string"
	case json.Number:
		return "a number"
	case bool:
		return "true or false"
	default:
		return "null"
	}
}

// inputs reads an input or a list of them.
func (p parser) inputs(q *question, where string) error {
	token, err := p.next()
	switch {
	case err != nil:
		return err
	case token == nil:
		return nil // as if it were not there
	case token != json.Delim('['):
		return p.input(q, token, where)
	}
	for i := 0; p.More(); i++ {
		if token, err = p.next(); err != nil {
			return err
		}
		if err := p.input(q, token, where+"["+strconv.Itoa(i)+"]"); err != nil {
			return err
		}
	}
	if len(q.inputs) == 0 {
		return fault.Errorf(fault.Invalid, "%s is an empty list", where)
	}
	_, err = p.next() // the bracket
	return err
}

// input reads an input that begins with a token: a string, or an object of a text and
// one that belongs to it.
func (p parser) input(q *question, token json.Token, where string) error {
	var in pair
	switch token := token.(type) {
	case string:
		in.text = &token
	case json.Delim:
		if token != '{' {
			return fault.Errorf(fault.Invalid, `"inputs" must be a string or a list of strings; %s is a list`, where)
		}
		err := p.fields(map[string]func(string) error{
			"text":      func(where string) error { return p.text(&in.text, where) },
			"text_pair": func(where string) error { return p.text(&in.pair, where) },
		}, where)
		if err != nil {
			return err
		}
	default:
		return fault.Errorf(fault.Invalid, `"inputs" must be a string or a list of strings; %s is %s`, where, kind(token))
	}
	return q.add(in, where)
}

// text reads a string, or null for none.
func (p parser) text(to **string, where string) error {
	token, err := p.next()
	if err != nil || token == nil {
		return err
	}
	s, ok := token.(string)
	if !ok {
		return fault.Errorf(fault.Invalid, "%s must be a string, not %s", where, kind(token))
	}
	*to = &s
	return nil
}

// parameters reads what the pipeline is told; null is for nothing.
func (p parser) parameters(q *question, where string) error {
	token, err := p.next()
	switch {
	case err != nil:
		return err
	case token == nil:
		return nil
	case token != json.Delim('{'):
		return fault.Errorf(fault.Invalid, "%s must be an object, not %s", where, kind(token))
	}
	return p.fields(map[string]func(string) error{
		"top_k":             func(string) error { return p.topK(q) },
		"function_to_apply": func(where string) error { return p.function(q, where) },
		"truncation":        func(string) error { return p.truncation() },
	}, where)
}

// topK reads a whole number, of which 2.0 is one.
func (p parser) topK(q *question) error {
	token, err := p.next()
	if err != nil || token == nil {
		return err
	}
	number, _ := token.(json.Number)
	k, err := number.Float64()
	if err != nil || k < 1 || k != math.Trunc(k) {
		return fault.Errorf(fault.Invalid, "top_k is %.40v; it can be a whole number from 1 on", token)
	}
	q.topK = int(min(k, math.MaxInt32))
	return nil
}

func (p parser) function(q *question, where string) error {
	var name *string
	err := p.text(&name, where)
	if err != nil || name == nil {
		return err
	}
	if q.by, err = text.ParseFunction(*name); err != nil {
		return fault.Errorf(fault.Invalid, "function_to_apply: %.200s", err.Error())
	}
	return nil
}

// truncation takes what is done in any case: texts are cut as tokenizer.json says, and
// to what the model can read. The names are those of transformers.
func (p parser) truncation() error {
	token, err := p.next()
	if err != nil {
		return err
	}
	switch token {
	case nil, true, "longest_first", "only_first":
		return nil
	}
	return fault.Errorf(fault.Invalid, "truncation is %.40v; texts are always cut to what the model can read, which is true, longest_first or only_first", token)
}
