package front

import (
	"encoding/json"
	"math"
	"strconv"

	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/runtime/text"
	"github.com/distinfer/distinfer/runtime/textmodel"
	"github.com/distinfer/distinfer/server/strict"
)

// A question is what a body or a line asks: what Hugging Face's text-classification
// API takes.
type question struct {
	inputs []textmodel.Input
	topK   int // 0 is all labels
	by     text.Function
	cut    bool // texts that are too long are to be cut
}

// top keeps the results that are asked for.
func (q *question) top(results []text.Result) []text.Result {
	if q.topK == 0 {
		return results
	}
	return results[:min(q.topK, len(results))]
}

// form is what errors say that JSON should be of.
const form = `{"inputs": "…"}`

// parseBody reads a body: an object with "inputs".
func parseBody(data []byte) (*question, error) {
	p := parser{strict.New(data, "the body", form)}
	q := &question{}
	err := p.Whole(strict.Fields{
		"inputs":     func(where string) error { return p.inputs(q, where) },
		"parameters": p.parameters(q),
		// Options of the hosted API (use_cache, wait_for_model) ask for nothing that
		// would differ here.
		"options": p.Skip,
	})
	q.cutAll()
	if err == nil && len(q.inputs) == 0 {
		err = errcode.Errorf(errcode.Invalid, `"inputs" is missing; send {"inputs": "…"} or {"inputs": ["…", "…"]}`)
	}
	return q, err
}

// parseLine reads a line of a stream: a string, an object with "text", or one with
// "inputs" as a body has them, but no list. Lines are numbered from 1 on.
func parseLine(data []byte, number int) (*question, error) {
	whole := "line " + strconv.Itoa(number)
	p := parser{strict.New(data, whole, form)}
	q := &question{}
	token, err := p.Next()
	switch {
	case err != nil:
	case token == json.Delim('{'):
		var in pair
		err = p.Fields(strict.Fields{
			"text":      strict.Value(p.Reader, &in.text),
			"text_pair": strict.Value(p.Reader, &in.pair),
			"inputs": func(where string) error {
				token, err := p.Next()
				if err == nil {
					err = p.input(q, token, where)
				}
				return err
			},
			"parameters": p.parameters(q),
		}, whole)
		switch {
		case err != nil:
		case in != pair{} && len(q.inputs) > 0:
			err = errcode.Errorf(errcode.Invalid, `%s has both "text" and "inputs"`, whole)
		case len(q.inputs) == 0:
			err = q.add(in, whole)
		}
	default:
		err = p.input(q, token, whole)
	}
	if err == nil {
		err = p.End()
	}
	q.cutAll()
	return q, err
}

// cutAll has the inputs cut if that was asked for, whichever of the two came first.
func (q *question) cutAll() {
	for i := range q.inputs {
		q.inputs[i].Cut = q.cut
	}
}

// A pair is a text, and one that belongs to it or none.
type pair struct{ text, pair *string }

// add adds an input that stands at a place.
func (q *question) add(in pair, where string) error {
	switch {
	case in.text == nil:
		return errcode.Errorf(errcode.Invalid, "%s has no text", where)
	case *in.text == "":
		return errcode.Errorf(errcode.Invalid, "%s is empty", where)
	case in.pair != nil && *in.pair == "":
		return errcode.Errorf(errcode.Invalid, `the "text_pair" of %s is empty`, where)
	}
	q.inputs = append(q.inputs, textmodel.Input{Text: *in.text, Pair: in.pair})
	return nil
}

// A parser reads what is asked.
type parser struct{ *strict.Reader }

// inputs reads an input or a list of them.
func (p parser) inputs(q *question, where string) error {
	token, err := p.Next()
	switch {
	case err != nil:
		return err
	case token == nil:
		return nil // as if it were not there
	case token != json.Delim('['):
		return p.input(q, token, where)
	}
	err = p.List(func(token json.Token, where string) error { return p.input(q, token, where) }, where)
	if err == nil && len(q.inputs) == 0 {
		err = errcode.Errorf(errcode.Invalid, "%s is an empty list", where)
	}
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
			return errcode.Errorf(errcode.Invalid, `"inputs" must be a string or a list of strings; %s is a list`, where)
		}
		err := p.Fields(strict.Fields{"text": strict.Value(p.Reader, &in.text), "text_pair": strict.Value(p.Reader, &in.pair)}, where)
		if err != nil {
			return err
		}
	default:
		return errcode.Errorf(errcode.Invalid, `"inputs" must be a string or a list of strings; %s is %s`, where, strict.Kind(token))
	}
	return q.add(in, where)
}

// parameters reads what the pipeline is told.
func (p parser) parameters(q *question) func(where string) error {
	return p.Object(strict.Fields{
		"top_k":             func(string) error { return p.topK(q) },
		"function_to_apply": func(where string) error { return p.function(q, where) },
		"truncation":        func(string) error { return p.truncation(q) },
	})
}

// topK reads a whole number, of which 2.0 is one.
func (p parser) topK(q *question) error {
	token, err := p.Next()
	if err != nil || token == nil {
		return err
	}
	number, _ := token.(json.Number)
	k, err := number.Float64()
	if err != nil || k < 1 || k != math.Trunc(k) {
		return errcode.Errorf(errcode.Invalid, "top_k is %.40v; it can be a whole number from 1 on", token)
	}
	q.topK = int(min(k, math.MaxInt32))
	return nil
}

func (p parser) function(q *question, where string) error {
	var name *string
	err := strict.Value(p.Reader, &name)(where)
	if err != nil || name == nil {
		return err
	}
	if q.by, err = text.ParseFunction(*name); err != nil {
		return errcode.Errorf(errcode.Invalid, "function_to_apply: %.200s", err.Error())
	}
	return nil
}

// truncation takes what is done in any case, unless the operator has such texts refused:
// they are cut to what the model can read. The names are those of transformers.
func (p parser) truncation(q *question) error {
	token, err := p.Next()
	if err != nil {
		return err
	}
	switch token {
	case true, "longest_first", "only_first":
		q.cut = true
		return nil
	case nil:
		return nil
	}
	return errcode.Errorf(errcode.Invalid, "truncation is %.40v; texts are always cut to what the model can read, which is true, longest_first or only_first", token)
}
