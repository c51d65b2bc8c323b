package task

import (
	_ "embed" // the description
	"encoding/json"
	"slices"

	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/runtime/textmodel"
	"github.com/distinfer/distinfer/runtime/tokenclass"
	"github.com/distinfer/distinfer/server/front"
	"github.com/distinfer/distinfer/server/strict"
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
	o := tokenclass.DefaultOptions()
	r := strict.New(data, whole, `{"inputs": "…", "parameters": {"aggregation_strategy": "simple", "ignore_labels": ["O"]}}`)
	var in texts
	err := r.Whole(strict.Fields{
		"inputs": in.read(r),
		"parameters": r.Object(strict.Fields{
			"aggregation_strategy": func(where string) error { return readStrategy(r, &o, where) },
			"ignore_labels":        func(where string) error { return readIgnored(r, &o, where) },
			"stride":               func(string) error { return readStride(r) },
		}),
		"options": r.Skip, // of the hosted API; they ask for nothing here
	})
	if err == nil {
		err = in.given("inputs")
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
	}}, err
}

func readStrategy(r *strict.Reader, o *tokenclass.Options, where string) error {
	var s *string
	if err := strict.Value(r, &s)(where); err != nil || s == nil {
		return err
	}
	if o.Strategy = tokenclass.Strategy(*s); !slices.Contains(tokenclass.Strategies(), o.Strategy) {
		return errcode.Errorf(errcode.Invalid, "aggregation_strategy is %.40q; it can be one of %q", *s, tokenclass.Strategies())
	}
	return nil
}

// readIgnored reads labels, of which an empty list is none.
func readIgnored(r *strict.Reader, o *tokenclass.Options, where string) error {
	if there, err := r.BeginList("a list of labels", where); err != nil || !there {
		return err
	}
	o.Ignore = nil
	return r.List(func(token json.Token, where string) error {
		label, ok := token.(string)
		if !ok {
			return errcode.Errorf(errcode.Invalid, "%s is %s; labels are strings", where, strict.Kind(token))
		}
		o.Ignore = append(o.Ignore, label)
		return nil
	}, where)
}

func readStride(r *strict.Reader) error {
	token, err := r.Next()
	if err == nil && token != nil {
		err = errcode.Errorf(errcode.Invalid, "stride is not supported: a text that is too long is truncated; send it in parts")
	}
	return err
}
