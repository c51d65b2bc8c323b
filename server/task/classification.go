package task

import (
	_ "embed" // the description
	"math"

	"github.com/distinfer/distinfer/runtime/classify"
	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/runtime/strictjson"
	"github.com/distinfer/distinfer/runtime/text"
	"github.com/distinfer/distinfer/runtime/textmodel"
	"github.com/distinfer/distinfer/server/front"
)

// Classification gives texts labels with scores: answers are []text.Result.
type Classification struct{ Classifier *classify.Classifier }

// Name implements front.Task.
func (Classification) Name() string { return "text-classification" }

//go:embed classification.json
var classificationDescribed []byte

// Describe implements front.Task.
func (Classification) Describe() []byte { return classificationDescribed }

// Model implements Task.
func (c Classification) Model() *textmodel.Model { return c.Classifier.Model }

// Answered implements Task.
func (c Classification) Answered() *textmodel.Model { return c.Classifier.Answered() }

// Warning implements Task.
func (Classification) Warning() string { return "" }

// Labels implements front.Labeller.
func (c Classification) Labels() []string { return c.Classifier.Labels() }

// Results implements front.Labeller.
func (c Classification) Results(a textmodel.Answer) ([]text.Result, error) {
	return c.Classifier.Results(a, text.ByConfig)
}

// Routes implements front.Task.
func (c Classification) Routes() map[string]front.Route {
	return map[string]front.Route{"/predict": reader(c.read).route()}
}

// labelBytes is what an input and its labels take in memory, about.
const labelBytes = 256

// Request implements front.Task.
func (c Classification) Request(s string) front.Request {
	return c.request(textmodel.Inputs([]string{s}), labelOptions{})
}

func (c Classification) request(inputs []textmodel.Input, o labelOptions) front.Request {
	return front.Request{Inputs: inputs, InputBytes: labelBytes, Answer: func(_ int, a textmodel.Answer) (any, error) {
		results, err := c.Classifier.Results(a, o.by)
		if o.top > 0 {
			results = results[:min(o.top, len(results))]
		}
		return results, err
	}}
}

// labelOptions are the parameters of a request.
type labelOptions struct {
	top int // how many labels; 0 is all
	by  text.Function
	cut bool
}

var labelForm = form{example: `{"inputs": "…"}`, field: "inputs", pairs: true, others: []string{"parameters", "options"}}

// read reads what the text-classification API of Hugging Face takes. Every text is answered
// with a list of labels, also one that is alone.
func (c Classification) read(data []byte, name string, line bool) (front.Request, error) {
	in, request, err := labelForm.read(data, name, line)
	if err != nil {
		return front.Request{}, err
	}
	o := readLabelOptions(request)
	if o.cut {
		in.cut()
	}
	return c.request(in.inputs, o), request.Err()
}

// readLabelOptions reads the parameters of a request.
func readLabelOptions(request *strictjson.Object) (o labelOptions) {
	v, ok := request.Optional("parameters")
	if !ok {
		return o
	}
	given, err := v.Only("top_k", "function_to_apply", "truncation")
	if err != nil {
		request.Fail(err)
		return o
	}
	if v, ok := given.Optional("top_k"); ok {
		given.Fail(o.readTop(v))
	}
	if name := strictjson.ReadOptional(given, "function_to_apply", strictjson.Value.Text); name != nil && given.Err() == nil {
		if o.by, err = text.ParseFunction(*name); err != nil {
			given.Fail(errcode.Errorf(errcode.Invalid, "function_to_apply: %.200s", err.Error()))
		}
	}
	if v, ok := given.Optional("truncation"); ok {
		given.Fail(o.readTruncation(v))
	}
	request.Fail(given.Err())
	return o
}

// readTop reads a whole number; 2.0 is one.
func (o *labelOptions) readTop(v strictjson.Value) error {
	number, _ := v.Number()
	k, err := number.Float64()
	if err != nil || k < 1 || k != math.Trunc(k) {
		return errcode.Errorf(errcode.Invalid, "top_k is %.40s; it can be a whole number from 1 on", v)
	}
	o.top = int(min(k, math.MaxInt32))
	return nil
}

// readTruncation takes what is done in any case, unless the operator has long texts refused:
// they are cut to what the model reads. The names are those of transformers.
func (o *labelOptions) readTruncation(v strictjson.Value) error {
	switch v.String() {
	case "true", `"longest_first"`, `"only_first"`:
		o.cut = true
		return nil
	}
	return errcode.Errorf(errcode.Invalid, "truncation is %.40s; texts are always cut to what the model can read, which is true, longest_first or only_first", v)
}
