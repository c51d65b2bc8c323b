package task

import (
	_ "embed" // the description
	"slices"

	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/runtime/strictjson"
	"github.com/distinfer/distinfer/runtime/textmodel"
	"github.com/distinfer/distinfer/runtime/tokenclass"
	"github.com/distinfer/distinfer/server/front"
)

// Entities finds entities in texts: answers are []tokenclass.Entity.
type Entities struct{ Tagger *tokenclass.Tagger }

// Name implements front.Task.
func (Entities) Name() string { return "token-classification" }

//go:embed entities.json
var entitiesDescribed []byte

// Describe implements front.Task.
func (Entities) Describe() []byte { return entitiesDescribed }

// Model implements Task.
func (e Entities) Model() *textmodel.Model { return e.Tagger.Model }

// Answered implements Task.
func (e Entities) Answered() *textmodel.Model { return e.Tagger.Answered() }

// Warning implements Task.
func (Entities) Warning() string { return "" }

// Routes implements front.Task.
func (e Entities) Routes() map[string]front.Route {
	return map[string]front.Route{"/predict": reader(e.read).route()}
}

// Request implements front.Task.
func (e Entities) Request(s string) front.Request {
	return e.request(&texts{inputs: textmodel.Inputs([]string{s})}, tokenclass.DefaultOptions())
}

// request answers a text with a list of entities, a list of texts with one for each.
func (e Entities) request(in *texts, o tokenclass.Options) front.Request {
	q := front.Request{Inputs: in.inputs, Answer: func(i int, a textmodel.Answer) (any, error) {
		return e.Tagger.Entities(in.inputs[i].Text, a, o)
	}}
	if in.single {
		q.Whole = func(answers []any) any { return answers[0] }
	}
	return q
}

var entitiesForm = form{example: `{"inputs": "…", "parameters": {"aggregation_strategy": "simple", "ignore_labels": ["O"]}}`, field: "inputs", others: []string{"parameters", "options"}}

// read reads what the token-classification API of Hugging Face takes.
func (e Entities) read(data []byte, name string, line bool) (front.Request, error) {
	in, request, err := entitiesForm.read(data, name, line)
	if err != nil {
		return front.Request{}, err
	}
	return e.request(in, readOptions(request)), request.Err()
}

// readOptions reads the parameters of a request.
func readOptions(request *strictjson.Object) tokenclass.Options {
	o := tokenclass.DefaultOptions()
	v, ok := request.Optional("parameters")
	if !ok {
		return o
	}
	given, err := v.Only("aggregation_strategy", "ignore_labels", "stride")
	if err != nil {
		request.Fail(err)
		return o
	}
	if s := strictjson.ReadOptional(given, "aggregation_strategy", strictjson.Value.Text); s != nil {
		if o.Strategy = tokenclass.Strategy(*s); !slices.Contains(tokenclass.Strategies(), o.Strategy) {
			given.Fail(errcode.Errorf(errcode.Invalid, "aggregation_strategy is %.40q; it can be one of %q", *s, tokenclass.Strategies()))
		}
	}
	if labels, ok := given.Optional("ignore_labels"); ok {
		o.Ignore = nil // an empty list ignores none
		given.Fail(labels.EachOf("a list of labels", func(_ int, v strictjson.Value) error {
			label, err := v.Text()
			o.Ignore = append(o.Ignore, label)
			return err
		}))
	}
	if _, ok := given.Optional("stride"); ok {
		given.Fail(errcode.Errorf(errcode.Invalid, "stride is not supported: a text that is too long is truncated; send it in parts"))
	}
	request.Fail(given.Err())
	return o
}
