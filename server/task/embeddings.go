package task

import (
	"cmp"
	_ "embed" // the description
	"encoding/json"

	"github.com/distinfer/distinfer/runtime/embed"
	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/runtime/strictjson"
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
	asIs := func(data []byte, whole string) (front.Question, error) { return e.question(data, whole, false) }
	unit := func(data []byte, whole string) (front.Question, error) { return e.question(data, whole, true) }
	return map[string]front.Route{
		"/predict":       {Question: reading(asIs).body, Line: lineOf(asIs, first[[]float32])},
		"/embed":         {Question: reading(unit).body, Line: lineOf(unit, first[[]float32])},
		"/v1/embeddings": {Question: reading(e.openAI).body, Problem: openAIProblem},
	}
}

// question reads what text-embeddings-inference takes, which is also what Hugging Face's
// clients send for feature extraction. Where it does not say whether vectors are to be
// of length 1, they are as the model's files say, or where always is set they are.
func (e Embeddings) question(data []byte, whole string, always bool) (front.Question, error) {
	body, err := strictjson.Body(data, whole, `{"inputs": "…", "normalize": true, "truncate": true, "prompt_name": "…"}`)
	if err != nil {
		return front.Question{}, err
	}
	o, err := body.Only("inputs", "normalize", "truncate", "truncation_direction", "prompt_name", "dimensions", "encoding_format",
		"options") // of the hosted API; they ask for nothing here
	if err != nil {
		return front.Question{}, err
	}
	var in texts
	in.read(o, "inputs")
	normalize := strictjson.ReadOptional(o, "normalize", strictjson.Value.Bool)
	truncate := strictjson.ReadOptional(o, "truncate", strictjson.Value.Bool)
	direction := strictjson.ReadOptional(o, "truncation_direction", strictjson.Value.Text)
	named := strictjson.ReadOptional(o, "prompt_name", strictjson.Value.Text)
	dimensions := strictjson.ReadOptional(o, "dimensions", strictjson.Value.Number)
	format := strictjson.ReadOptional(o, "encoding_format", strictjson.Value.Text)
	if err := cmp.Or(o.Err(), in.given("inputs"), oneOf("truncation_direction", direction, "right", "Right"), oneOf("encoding_format", format, "float")); err != nil {
		return front.Question{}, err
	}
	if named == nil {
		named = new(string)
	}
	prompt, err := e.Embedder.Prompt(*named)
	if err != nil {
		return front.Question{}, err
	}
	for i := range in.list {
		in.list[i] = prompt + in.list[i]
		if truncate != nil && !*truncate {
			if long, err := e.Embedder.Truncates(in.list[i]); err != nil || long {
				return front.Question{}, errcode.Errorf(errcode.Invalid, `"inputs"[%d] is longer than the model reads, and truncate is false`, i)
			}
		}
	}
	return front.Question{Texts: in.list, Cut: truncate != nil && *truncate, Answer: func(answers []textmodel.Answer) (any, error) {
		return e.vectors(answers, always, normalize, dimensions)
	}}, nil
}

// vectors are those of the answers, of length 1 as wanted. There is no cutting them
// shorter, since only models that were trained for it have meaning in the first
// dimensions alone.
func (e Embeddings) vectors(answers []textmodel.Answer, always bool, normalize *bool, dimensions *json.Number) ([][]float32, error) {
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
		if dimensions != nil && !isWhole(*dimensions, len(v)) {
			return nil, errcode.Errorf(errcode.Invalid, "dimensions is %.40s, and the model's embeddings have %d", *dimensions, len(v))
		}
		if normalize == nil && always || normalize != nil && *normalize {
			embed.Normalize(v)
		}
		all[i] = v
	}
	return all, nil
}

// isWhole reports whether a number of JSON is n, as 32.0 is 32.
func isWhole(number json.Number, n int) bool {
	f, err := number.Float64()
	return err == nil && f == float64(n)
}
