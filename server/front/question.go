package front

import (
	"math"
	"strconv"

	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/runtime/strictjson"
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

// form is what errors say that JSON should be of.
const form = `{"inputs": "…"}`

// parseBody reads a body: an object with "inputs".
func parseBody(data []byte) (*question, error) {
	q := &question{}
	body, err := strictjson.Body(data, "the body", form)
	if err != nil {
		return q, err
	}
	// Options of the hosted API (use_cache, wait_for_model) ask for nothing that would differ here.
	o, err := body.Only("inputs", "parameters", "options")
	if err != nil {
		return q, err
	}
	if v, ok := o.Optional("inputs"); ok {
		o.Fail(q.readInputs(v))
	}
	q.readParameters(o)
	if o.Err() == nil && len(q.inputs) == 0 {
		o.Fail(errcode.Errorf(errcode.Invalid, `"inputs" is missing; send {"inputs": "…"} or {"inputs": ["…", "…"]}`))
	}
	return q, o.Err()
}

// parseLine reads a line of a stream: a string, an object with "text", or one with
// "inputs" as a body has them, but no list. Lines are numbered from 1 on.
func parseLine(data []byte, number int) (*question, error) {
	q := &question{}
	line, err := strictjson.Body(data, "line "+strconv.Itoa(number), form)
	if err != nil {
		return q, err
	}
	if line.Kind() != '{' {
		return q, q.readInput(line)
	}
	o, err := line.Only("text", "text_pair", "inputs", "parameters")
	if err != nil {
		return q, err
	}
	in := readPair(o)
	if v, ok := o.Take("inputs"); ok {
		o.Fail(q.readInput(v))
		if in != (pair{}) {
			o.Fail(line.Errorf(`has both "text" and "inputs"`))
		}
	} else if o.Err() == nil {
		o.Fail(q.add(in, line))
	}
	q.readParameters(o)
	return q, o.Err()
}

// A pair is a text, and one that belongs to it or none.
type pair struct{ text, pair *string }

func readPair(o *strictjson.Object) pair {
	return pair{strictjson.ReadOptional(o, "text", strictjson.Value.Text), strictjson.ReadOptional(o, "text_pair", strictjson.Value.Text)}
}

// add adds an input, which v is.
func (q *question) add(in pair, v strictjson.Value) error {
	switch {
	case in.text == nil:
		return v.Errorf("has no text")
	case *in.text == "":
		return v.Errorf("is empty")
	case in.pair != nil && *in.pair == "":
		return v.Errorf(`has an empty "text_pair"`)
	}
	q.inputs = append(q.inputs, textmodel.Input{Text: *in.text, Pair: in.pair})
	return nil
}

// readInputs reads an input or a list of them.
func (q *question) readInputs(v strictjson.Value) error {
	if v.Kind() != '[' {
		return q.readInput(v)
	}
	err := v.Each(func(_ int, v strictjson.Value) error { return q.readInput(v) })
	if err == nil && len(q.inputs) == 0 {
		err = v.Errorf("is an empty list")
	}
	return err
}

// readInput reads an input: a string, or an object of a text and one that belongs to it.
func (q *question) readInput(v strictjson.Value) error {
	switch v.Kind() {
	case '"':
		text, err := v.Text()
		if err != nil {
			return err
		}
		return q.add(pair{text: &text}, v)
	case '{':
		o, err := v.Only("text", "text_pair")
		if err != nil {
			return err
		}
		in := readPair(o)
		if o.Err() != nil {
			return o.Err()
		}
		return q.add(in, v)
	}
	return errcode.Errorf(errcode.Invalid, `"inputs" must be a string or a list of strings; %s`, v.Errorf("is %s", v.KindName()))
}

// readParameters reads the field "parameters", and has the inputs that were read before it cut
// if it says so.
func (q *question) readParameters(request *strictjson.Object) {
	v, ok := request.Optional("parameters")
	if !ok {
		return
	}
	o, err := v.Only("top_k", "function_to_apply", "truncation")
	if err != nil {
		request.Fail(err)
		return
	}
	if v, ok := o.Optional("top_k"); ok {
		o.Fail(q.readTopK(v))
	}
	if name := strictjson.ReadOptional(o, "function_to_apply", strictjson.Value.Text); name != nil && o.Err() == nil {
		if q.by, err = text.ParseFunction(*name); err != nil {
			o.Fail(errcode.Errorf(errcode.Invalid, "function_to_apply: %.200s", err.Error()))
		}
	}
	if v, ok := o.Optional("truncation"); ok {
		o.Fail(q.readTruncation(v))
	}
	request.Fail(o.Err())
}

// readTopK reads a whole number; 2.0 is one.
func (q *question) readTopK(v strictjson.Value) error {
	number, _ := v.Number()
	k, err := number.Float64()
	if err != nil || k < 1 || k != math.Trunc(k) {
		return errcode.Errorf(errcode.Invalid, "top_k is %.40s; it can be a whole number from 1 on", v)
	}
	q.topK = int(min(k, math.MaxInt32))
	return nil
}

// readTruncation takes what is done in any case, unless the operator has such texts refused:
// they are cut to what the model can read. The names are those of transformers.
func (q *question) readTruncation(v strictjson.Value) error {
	switch v.String() {
	case "true", `"longest_first"`, `"only_first"`:
		for i := range q.inputs {
			q.inputs[i].Cut = true
		}
		return nil
	}
	return errcode.Errorf(errcode.Invalid, "truncation is %.40s; texts are always cut to what the model can read, which is true, longest_first or only_first", v)
}
