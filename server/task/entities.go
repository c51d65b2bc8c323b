package task

import (
	"cmp"
	_ "embed" // the description
	"slices"

	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/runtime/strictjson"
	"github.com/distinfer/distinfer/runtime/textmodel"
	"github.com/distinfer/distinfer/runtime/tokenclass"
	"github.com/distinfer/distinfer/server/front"
)

// Entities finds entities in texts.
type Entities struct{ Tagger *tokenclass.Tagger }

// Name implements front.Task.
func (Entities) Name() string { return "token-classification" }

//go:embed entities.json
var entitiesDescribed []byte

// Describe implements front.Task.
func (Entities) Describe() []byte { return entitiesDescribed }

// Routes implements front.Task.
func (e Entities) Routes() map[string]front.Route {
	return map[string]front.Route{"/predict": {Question: reading(e.question).body, Line: lineOf(e.question, first[[]tokenclass.Entity])}}
}

// question reads what the token-classification API of Hugging Face takes. A text is
// answered with a list of entities, a list of texts with one for each.
func (e Entities) question(data []byte, whole string) (front.Question, error) {
	body, err := strictjson.Body(data, whole, `{"inputs": "…", "parameters": {"aggregation_strategy": "simple", "ignore_labels": ["O"]}}`)
	if err != nil {
		return front.Question{}, err
	}
	request, err := body.Only("inputs", "parameters", "options") // options of the hosted API ask for nothing here
	if err != nil {
		return front.Question{}, err
	}
	var in texts
	in.read(request, "inputs")
	o := readOptions(request)
	if err := cmp.Or(request.Err(), in.given("inputs")); err != nil {
		return front.Question{}, err
	}
	return front.Question{Texts: in.list, Answer: func(answers []textmodel.Answer) (any, error) {
		all := make([][]tokenclass.Entity, len(answers))
		for i, a := range answers {
			var err error
			if all[i], err = e.Tagger.Entities(in.list[i], a, o); err != nil {
				return nil, err
			}
		}
		if in.single {
			return all[0], nil
		}
		return all, nil
	}}, nil
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
