// Package embed makes one vector of a model's vectors of a text's tokens: a sentence embedding, as
// the library sentence-transformers computes it.
//
// It does not know what computes the tokens' vectors; package textmodel does. It knows nothing of
// HTTP.
package embed

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/runtime/pipeline"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/runtime/textmodel"
)

// An Embedder is a model with what its answers mean. It is safe for concurrent use.
type Embedder struct {
	*textmodel.Model
	modules
	pooled bool // the model gives one vector a text by itself
}

// New makes an embedder of a bundle's text files and a Runner that computes the bundle's model. An
// output sentence_embedding is taken as it is. Otherwise the vectors of the tokens
// (last_hidden_state, token_embeddings, or the only output) are pooled as the files of
// sentence-transformers say. It fails when these files name something that this package does not
// know, and when the model has other inputs and outputs.
func New(b *bundle.Bundle, files textmodel.Files, runner pipeline.Runner) (*Embedder, error) {
	e := &Embedder{}
	output, err := vectors(b.Outputs)
	if err != nil {
		return nil, err
	}
	e.pooled = !output.AnyRank && len(output.Dims) == 2
	if e.modules, err = reader(b.ReadFile).modules(e.pooled); err != nil {
		return nil, fmt.Errorf("bundle %s: %w", b.Dir, err)
	}
	if e.lower {
		files.Tokenizer = files.Tokenizer.WithLowercase()
	}
	files.Length = e.length
	if n, ok := files.Config.MaxPositionEmbeddings(); ok && files.Length == 0 {
		// As sentence-transformers does, of models without a table of positions too.
		if most, limited := files.TokenizerConfig.MaxLength(); limited {
			files.Length = min(most, n)
		}
	}
	m, err := textmodel.New(b, files, runner, output.Name)
	if err != nil {
		return nil, err
	}
	e.Model = m.Reduced(e.reduce)
	return e, nil
}

// Answered is the Model, with answers of all numbers that a text may have: its vector, and that of
// length 1.
func (e *Embedder) Answered() *textmodel.Model {
	return e.Reduced(func(a textmodel.Answer) textmodel.Answer {
		a = e.reduce(a)
		unit := slices.Clone(a.Values)
		Normalize(unit)
		a.Values = append(a.Values, unit...)
		return a
	})
}

// reduce makes an answer that of a model which pools by itself.
func (e *Embedder) reduce(a textmodel.Answer) textmodel.Answer {
	v, err := e.pool(a)
	a.Values, a.Shape, a.Err = v, []int64{int64(len(v))}, err
	return a
}

// vectors finds the output to make embeddings of.
func vectors(outputs []tensor.Spec) (tensor.Spec, error) {
	for _, name := range []string{"sentence_embedding", "last_hidden_state", "token_embeddings"} {
		if found, ok := tensor.Find(outputs, name); ok {
			return found, vectorish(found)
		}
	}
	if len(outputs) != 1 {
		return tensor.Spec{}, fmt.Errorf("the model has %d outputs and none is named sentence_embedding, last_hidden_state or token_embeddings", len(outputs))
	}
	return outputs[0], vectorish(outputs[0])
}

func vectorish(s tensor.Spec) error {
	if s.DType != tensor.Float32 && s.DType != tensor.Float16 || !s.AnyRank && len(s.Dims) != 2 && len(s.Dims) != 3 {
		return fmt.Errorf("the model's output %s should be float32 or float16, and a vector for each text or for each token", s)
	}
	return nil
}

// Assumed reports whether no file says how to pool.
func (e *Embedder) Assumed() bool { return e.assumed }

// Prompt returns the text that goes before texts embedded for the purpose of the given name;
// without a name, that of the model's default. An unknown name is an errcode.Invalid.
func (e *Embedder) Prompt(name string) (string, error) {
	if name == "" {
		return e.prompts[e.defaultPrompt], nil
	}
	if p, ok := e.prompts[name]; ok {
		return p, nil
	}
	var known []string
	for n := range e.prompts {
		known = append(known, n)
	}
	slices.Sort(known)
	if len(known) == 0 {
		return "", errcode.Errorf(errcode.Invalid, "prompt_name is %q, and the model has no prompts", name)
	}
	return "", errcode.Errorf(errcode.Invalid, "prompt_name is %q; the model has %s", name, strings.Join(known, ", "))
}

// Vector reads the model's answer to a text. It has length 1 where the model's files say so.
func (e *Embedder) Vector(a textmodel.Answer) ([]float32, error) {
	v, err := e.Pooled(a)
	if err == nil && e.normalized {
		Normalize(v)
	}
	return v, err
}

// Pooled is Vector, without normalisation.
func (e *Embedder) Pooled(a textmodel.Answer) ([]float32, error) {
	if a.Err != nil {
		return nil, a.Err
	}
	return slices.Clone(a.Values), nil
}

func (e *Embedder) pool(a textmodel.Answer) ([]float32, error) {
	var v []float32
	switch {
	case slices.Contains(a.Shape, 0) || len(a.Shape) != 1 && len(a.Shape) != 2:
		return nil, fmt.Errorf("a text has vectors of shape %v", a.Shape)
	case len(a.Shape) == 1:
		v = slices.Clone(a.Values)
	default:
		width := int(a.Shape[1])
		rows := slices.Collect(slices.Chunk(a.Values, width))
		v = make([]float32, 0, len(e.pooling)*width)
		for _, mode := range e.pooling {
			v = append(v, poolings[mode](rows, width)...)
		}
	}
	if slices.ContainsFunc(v, func(x float32) bool { return x-x != 0 }) {
		return nil, errors.New("what the model answered makes a vector with something that is not a finite number")
	}
	return v, nil
}

// Normalize divides a vector by its length, unless that is 0.
func Normalize(v []float32) {
	sum := 0.0
	for _, x := range v {
		sum += float64(x) * float64(x)
	}
	length := max(math.Sqrt(sum), 1e-12)
	for i, x := range v {
		v[i] = float32(float64(x) / length)
	}
}

// poolings make one vector of those of a text's tokens, by the names that
// sentence-transformers gives them.
var poolings = map[string]func(rows [][]float32, width int) []float32{
	"cls":       func(rows [][]float32, _ int) []float32 { return rows[0] },
	"lasttoken": func(rows [][]float32, _ int) []float32 { return rows[len(rows)-1] },
	"max": func(rows [][]float32, _ int) []float32 {
		top := slices.Clone(rows[0])
		for _, row := range rows[1:] {
			for i, x := range row {
				top[i] = max(top[i], x)
			}
		}
		return top
	},
	"mean": func(rows [][]float32, width int) []float32 {
		return weighted(rows, width, func(int) float64 { return 1 }, float64(len(rows)))
	},
	"mean_sqrt_len_tokens": func(rows [][]float32, width int) []float32 {
		return weighted(rows, width, func(int) float64 { return 1 }, math.Sqrt(float64(len(rows))))
	},
	"weightedmean": func(rows [][]float32, width int) []float32 {
		n := len(rows)
		return weighted(rows, width, func(i int) float64 { return float64(i + 1) }, float64(n*(n+1)/2))
	},
}

// weighted is the sum of rows by their weights, divided.
func weighted(rows [][]float32, width int, weight func(row int) float64, by float64) []float32 {
	sums := make([]float64, width)
	for r, row := range rows {
		w := weight(r)
		for i, x := range row {
			sums[i] += w * float64(x)
		}
	}
	v := make([]float32, width)
	for i, s := range sums {
		v[i] = float32(s / by)
	}
	return v
}
