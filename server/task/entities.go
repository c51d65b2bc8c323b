package task

import (
	_ "embed" // the description
	"encoding/json"
	"slices"

	"github.com/distinfer/distinfer/runtime/fault"
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
	return map[string]front.Route{"/predict": {Question: e.question, Line: lineOf(e.question, first[[]tokenclass.Entity])}}
}

// question reads what the token-classification API of Hugging Face takes. A text is
// answered with a list of entities, a list of texts with one for each.
func (e Entities) question(body []byte) (front.Question, error) {
	var b struct {
		Inputs     json.RawMessage `json:"inputs"`
		Parameters struct {
			Strategy *tokenclass.Strategy `json:"aggregation_strategy"`
			Ignore   *[]*string           `json:"ignore_labels"`
			Stride   *int                 `json:"stride"`
		} `json:"parameters"`
		Options json.RawMessage `json:"options"` // of the hosted API; they ask for nothing here
	}
	if err := decode(body, &b, `{"inputs": "…", "parameters": {"aggregation_strategy": "simple", "ignore_labels": ["O"]}}`); err != nil {
		return front.Question{}, err
	}
	o := tokenclass.DefaultOptions()
	if s := b.Parameters.Strategy; s != nil {
		o.Strategy = *s
	}
	if b.Parameters.Ignore != nil {
		o.Ignore = nil
		for _, label := range *b.Parameters.Ignore {
			if label == nil {
				return front.Question{}, fault.Errorf(fault.Invalid, "ignore_labels holds null; it takes labels, which are strings")
			}
			o.Ignore = append(o.Ignore, *label)
		}
	}
	if !slices.Contains(tokenclass.Strategies(), o.Strategy) {
		return front.Question{}, fault.Errorf(fault.Invalid, "aggregation_strategy is %q; it can be one of %q", o.Strategy, tokenclass.Strategies())
	}
	if b.Parameters.Stride != nil {
		return front.Question{}, fault.Errorf(fault.Invalid, "stride is not supported: a text that is too long is truncated; send it in parts")
	}
	texts, single, err := textsOf("inputs", b.Inputs)
	return front.Question{Texts: texts, Answer: func(answers []textmodel.Answer) (any, error) {
		all := make([][]tokenclass.Entity, len(answers))
		for i, a := range answers {
			if all[i], err = e.Tagger.Entities(texts[i], a, o); err != nil {
				return nil, err
			}
		}
		if single {
			return all[0], nil
		}
		return all, nil
	}}, err
}
