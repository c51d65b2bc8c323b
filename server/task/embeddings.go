package task

import (
	"cmp"
	_ "embed" // the description
	"encoding/json"

	"github.com/distinfer/distinfer/runtime/embed"
	"github.com/distinfer/distinfer/runtime/fault"
	"github.com/distinfer/distinfer/runtime/textmodel"
	"github.com/distinfer/distinfer/server/front"
)

// Embeddings gives texts vectors.
type Embeddings struct {
	Embedder *embed.Embedder
	Model    string // the name that answers of OpenAI's form tell
}

// Name implements front.Task.
func (Embeddings) Name() string { return "feature-extraction" }

//go:embed embeddings.json
var embeddingsDescribed []byte

// Describe implements front.Task.
func (Embeddings) Describe() []byte { return embeddingsDescribed }

// Routes implements front.Task.
func (e Embeddings) Routes() map[string]front.Route {
	asIs := func(body []byte) (front.Question, error) { return e.question(body, false) }
	unit := func(body []byte) (front.Question, error) { return e.question(body, true) }
	return map[string]front.Route{
		"/predict":       {Question: asIs, Line: lineOf(asIs, first[[]float32])},
		"/embed":         {Question: unit, Line: lineOf(unit, first[[]float32])},
		"/v1/embeddings": {Question: e.openAI, Problem: openAIProblem},
	}
}

// question reads what text-embeddings-inference takes, which is also what Hugging Face's
// clients send for feature extraction. Where it does not say whether vectors are to be
// of length 1, they are as the model's files say, or where always is set they are.
func (e Embeddings) question(body []byte, always bool) (front.Question, error) {
	var b struct {
		Inputs     json.RawMessage `json:"inputs"`
		Normalize  *bool           `json:"normalize"`
		Truncate   *bool           `json:"truncate"`
		Direction  *string         `json:"truncation_direction"`
		Prompt     string          `json:"prompt_name"`
		Dimensions *float64        `json:"dimensions"` // 32.0 is a whole number in JSON
		Format     *string         `json:"encoding_format"`
		Options    json.RawMessage `json:"options"` // of the hosted API; they ask for nothing here
	}
	if err := decode(body, &b, `{"inputs": "…", "normalize": true, "truncate": true, "prompt_name": "…"}`); err != nil {
		return front.Question{}, err
	}
	if err := cmp.Or(oneOf("truncation_direction", b.Direction, "right", "Right"), oneOf("encoding_format", b.Format, "float")); err != nil {
		return front.Question{}, err
	}
	texts, _, err := textsOf("inputs", b.Inputs)
	if err != nil {
		return front.Question{}, err
	}
	prompt, err := e.Embedder.Prompt(b.Prompt)
	if err != nil {
		return front.Question{}, err
	}
	for i := range texts {
		texts[i] = prompt + texts[i]
		if b.Truncate != nil && !*b.Truncate {
			if long, err := e.Embedder.Truncates(texts[i]); err != nil || long {
				return front.Question{}, fault.Errorf(fault.Invalid, `"inputs"[%d] is longer than the model reads, and truncate is false`, i)
			}
		}
	}
	return front.Question{Texts: texts, Answer: func(answers []textmodel.Answer) (any, error) {
		return e.vectors(answers, always, b.Normalize, b.Dimensions)
	}}, nil
}

// vectors are those of the answers, of length 1 as wanted. There is no cutting them
// shorter, since only models that were trained for it have meaning in the first
// dimensions alone.
func (e Embeddings) vectors(answers []textmodel.Answer, always bool, normalize *bool, dimensions *float64) ([][]float32, error) {
	read := e.Embedder.Vector
	if normalize != nil && !*normalize {
		read = e.Embedder.Pooled
	}
	all := make([][]float32, len(answers))
	for i, a := range answers {
		v, err := read(a)
		if err != nil {
			return nil, err
		}
		if dimensions != nil && *dimensions != float64(len(v)) {
			return nil, fault.Errorf(fault.Invalid, "dimensions is %g, and the model's embeddings have %d", *dimensions, len(v))
		}
		if normalize == nil && always || normalize != nil && *normalize {
			embed.Normalize(v)
		}
		all[i] = v
	}
	return all, nil
}
