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

// Embeddings gives texts vectors: answers are []float32.
type Embeddings struct {
	Embedder  *embed.Embedder
	ModelName string // in answers of OpenAI's form
}

// Name implements front.Task.
func (Embeddings) Name() string { return "feature-extraction" }

//go:embed embeddings.json
var embeddingsDescribed []byte

// Describe implements front.Task.
func (Embeddings) Describe() []byte { return embeddingsDescribed }

// Model implements Task.
func (e Embeddings) Model() *textmodel.Model { return e.Embedder.Model }

// Answered implements Task.
func (e Embeddings) Answered() *textmodel.Model { return e.Embedder.Answered() }

// Warning implements Task.
func (e Embeddings) Warning() string {
	if !e.Embedder.Assumed() {
		return ""
	}
	return "no file says how embeddings are made, so they are the mean of the tokens' vectors; put modules.json and 1_Pooling of sentence-transformers beside the model and split it again"
}

// Routes implements front.Task.
func (e Embeddings) Routes() map[string]front.Route {
	return map[string]front.Route{
		"/predict":       e.reader(vectorOptions{}).route(),
		"/embed":         e.reader(vectorOptions{unit: true}).route(),
		"/v1/embeddings": {Body: e.readOpenAI, Problem: openAIProblem},
	}
}

// Request implements front.Task.
func (e Embeddings) Request(s string) front.Request {
	in := &texts{inputs: textmodel.Inputs([]string{s})}
	_ = e.prompt(in, nil, nil) // the default prompt is there
	return e.request(in, vectorOptions{})
}

// vectorOptions say what vectors are wanted.
type vectorOptions struct {
	unit       bool         // of length 1, unless normalize says otherwise
	normalize  *bool        // nil: as unit says, or the model's files
	dimensions *json.Number // that they should have; nil: any
}

func (e Embeddings) request(in *texts, o vectorOptions) front.Request {
	return front.Request{Inputs: in.inputs, Answer: func(_ int, a textmodel.Answer) (any, error) { return e.vector(a, o) }}
}

// prompt puts a prompt before texts: a text itself, or one of the model's by its name. nil for both
// is the model's default.
func (e Embeddings) prompt(in *texts, name, given *string) error {
	var prompt embed.Prompt
	var err error
	switch {
	case given != nil && name != nil:
		return errcode.Errorf(errcode.Invalid, `there are both "prompt" and "prompt_name"`)
	case given != nil:
		prompt, err = e.Embedder.Given(*given)
	case name != nil:
		prompt, err = e.Embedder.Prompt(*name)
	default:
		prompt, err = e.Embedder.Prompt("")
	}
	for i := range in.inputs {
		in.inputs[i].Text, in.inputs[i].Skip = prompt.Text+in.inputs[i].Text, prompt.Skip
	}
	return err
}

var vectorForm = form{example: `{"inputs": "…", "normalize": true, "truncate": true, "prompt_name": "…"}`, field: "inputs", others: []string{
	"normalize", "truncate", "truncation_direction", "prompt_name", "prompt", "dimensions", "encoding_format", "options",
}}

// reader reads what text-embeddings-inference takes, which is also what Hugging Face's
// clients send for feature extraction.
func (e Embeddings) reader(o vectorOptions) reader {
	return func(data []byte, name string, line bool) (front.Request, error) {
		o := o
		in, request, err := vectorForm.read(data, name, line)
		if err != nil {
			return front.Request{}, err
		}
		o.normalize = strictjson.ReadOptional(request, "normalize", strictjson.Value.Bool)
		o.dimensions = strictjson.ReadOptional(request, "dimensions", strictjson.Value.Number)
		truncate := strictjson.ReadOptional(request, "truncate", strictjson.Value.Bool)
		direction := strictjson.ReadOptional(request, "truncation_direction", strictjson.Value.Text)
		named := strictjson.ReadOptional(request, "prompt_name", strictjson.Value.Text)
		prompt := strictjson.ReadOptional(request, "prompt", strictjson.Value.Text)
		format := strictjson.ReadOptional(request, "encoding_format", strictjson.Value.Text)
		err = cmp.Or(request.Err(), oneOf("truncation_direction", direction, "right", "Right"), oneOf("encoding_format", format, "float"), e.prompt(in, named, prompt))
		switch {
		case err != nil || truncate == nil:
		case *truncate:
			in.cut()
		default:
			err = e.short(in)
		}
		return e.request(in, o), err
	}
}

// short fails when a text is longer than the model reads.
func (e Embeddings) short(in *texts) error {
	for i, input := range in.inputs {
		if long, err := e.Embedder.Truncates(input.Text); err != nil || long {
			return errcode.Errorf(errcode.Invalid, `"inputs"[%d] is longer than the model reads, and truncate is false`, i)
		}
	}
	return nil
}

// vector is that of an answer. It cannot be cut shorter: only models that were trained for it
// have meaning in the first dimensions alone.
func (e Embeddings) vector(a textmodel.Answer, o vectorOptions) ([]float32, error) {
	read := e.Embedder.Vector
	if o.normalize != nil && !*o.normalize {
		read = e.Embedder.Pooled
	}
	v, err := read(a)
	if err != nil {
		return nil, err
	}
	if o.dimensions != nil && !isWhole(*o.dimensions, len(v)) {
		return nil, errcode.Errorf(errcode.Invalid, "dimensions is %.40s, and the model's embeddings have %d", *o.dimensions, len(v))
	}
	if o.normalize == nil && o.unit || o.normalize != nil && *o.normalize {
		embed.Normalize(v)
	}
	return v, nil
}

// isWhole reports whether a number of JSON is n, as 32.0 is 32.
func isWhole(number json.Number, n int) bool {
	f, err := number.Float64()
	return err == nil && f == float64(n)
}
