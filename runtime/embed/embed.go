// Package embed makes one vector of a model's vectors of a text's tokens: a sentence embedding, as
// the library sentence-transformers computes it.
//
// It does not know what computes the tokens' vectors; package textmodel does. It knows nothing of
// HTTP.
package embed

import (
	"errors"
	"fmt"
	"maps"
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
	pooled     bool // the model gives one vector a text by itself
	dimensions int  // 0: not known
}

// New makes an embedder of a bundle's text files and a Runner that computes the bundle's model. An
// output sentence_embedding is taken as it is. Otherwise the vectors of the tokens
// (last_hidden_state, token_embeddings, or the only output) go through the modules that the files of
// sentence-transformers list. It fails when these files name something that this package does not
// know, and when the model has other inputs and outputs.
func New(b *bundle.Bundle, files textmodel.Files, runner pipeline.Runner) (*Embedder, error) {
	e := &Embedder{}
	output, err := e.read(b)
	if err != nil {
		return nil, err
	}
	if e.lower {
		files.Tokenizer = files.Tokenizer.WithLowercase()
	}
	files.Length, files.Left = e.length, e.left
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

// read finds out which output embeddings are made of, and how.
func (e *Embedder) read(b *bundle.Bundle) (output tensor.Spec, err error) {
	output, err = vectors(b.Outputs, ofTexts, "last_hidden_state", ofTokens)
	if err != nil {
		return output, err
	}
	fail := func(err error) (tensor.Spec, error) { return output, fmt.Errorf("%s: %w", b, err) }
	e.modules, err = reader(b.ReadFile).modules(false)
	if e.pooled = !output.AnyRank && len(output.Dims) == 2; e.pooled {
		of, tokenErr := vectors(b.Outputs, "last_hidden_state", ofTokens)
		switch {
		case !e.promptless || !e.prompted():
			e.modules, err = reader(b.ReadFile).modules(true)
		case tokenErr != nil || of.Name == output.Name:
			return fail(errors.New("include_prompt of the Pooling is false: prompts are left out of the embedding, which cannot be done where the model gives only sentence_embedding; export it for feature-extraction, with the output last_hidden_state"))
		default:
			output, e.pooled = of, false
		}
	}
	if err != nil {
		return fail(err)
	}
	if e.dimensions = width(output); !e.pooled {
		if e.dimensions, err = e.dimension(width(output)); err != nil {
			return fail(err)
		}
	}
	return output, nil
}

// width is how many numbers the vectors of an output have; 0 is not known.
func width(output tensor.Spec) int {
	if n := len(output.Dims); n > 0 && !output.AnyRank && output.Dims[n-1].IsFixed() {
		return int(output.Dims[n-1].Size)
	}
	return 0
}

// Dimension is how many numbers an embedding has; 0 is not known before the first.
func (e *Embedder) Dimension() int { return e.dimensions }

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

// vectors finds the output to make embeddings of: the first that there is of some names, or the
// only one.
func vectors(outputs []tensor.Spec, names ...string) (tensor.Spec, error) {
	for _, name := range names {
		if found, ok := tensor.Find(outputs, name); ok {
			return found, vectorish(found)
		}
	}
	if len(outputs) != 1 {
		last := len(names) - 1
		return tensor.Spec{}, fmt.Errorf("the model has %d outputs and none is named %s or %s", len(outputs), strings.Join(names[:last], ", "), names[last])
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

// A Prompt goes before texts that are embedded for some purpose.
type Prompt struct {
	Text string
	Skip int // tokens of it that are not pooled
}

// Prompt returns the prompt of the given name; without a name, that of the model's default. An
// unknown name is an errcode.Invalid.
func (e *Embedder) Prompt(name string) (Prompt, error) {
	if name == "" {
		return e.Given(e.prompts[e.defaultPrompt])
	}
	if p, ok := e.prompts[name]; ok {
		return e.Given(p)
	}
	return Prompt{}, errcode.Errorf(errcode.Invalid, "prompt_name is %q; the model has %s", name, strings.Join(slices.Sorted(maps.Keys(e.prompts)), ", "))
}

// Given is the prompt of a text. What the model leaves out of its poolings are as many tokens as the
// prompt has by itself, as in sentence-transformers: without what ends every text.
func (e *Embedder) Given(prompt string) (Prompt, error) {
	if !e.promptless || prompt == "" {
		return Prompt{Text: prompt}, nil
	}
	t, err := e.Encode(textmodel.Input{Text: prompt, Cut: true})
	if err != nil {
		return Prompt{}, errcode.Errorf(errcode.Invalid, "prompt: %w", err)
	}
	own := t.Own()
	n := len(own.IDs)
	if own.SpecialTokensMask[n-1] == 1 || e.Tokenizer().IsSpecial(own.IDs[n-1]) {
		n--
	}
	return Prompt{prompt, n}, nil
}

// prompted reports whether the model has a prompt.
func (e *Embedder) prompted() bool {
	for _, p := range e.prompts {
		if p != "" {
			return true
		}
	}
	return false
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
	var err error
	switch {
	case slices.Contains(a.Shape, 0) || len(a.Shape) != 1 && len(a.Shape) != 2:
		return nil, fmt.Errorf("a text has vectors of shape %v", a.Shape)
	case len(a.Shape) == 1:
		v = slices.Clone(a.Values)
	default:
		if v, err = e.poolRows(a); err != nil {
			return nil, err
		}
	}
	if slices.ContainsFunc(v, func(x float32) bool { return x-x != 0 }) {
		return nil, errors.New("what the model answered makes a vector with something that is not a finite number")
	}
	return v, nil
}

// poolRows has the modules make a vector of those of the tokens.
func (e *Embedder) poolRows(a textmodel.Answer) ([]float32, error) {
	rows := slices.Collect(slices.Chunk(a.Values, int(a.Shape[1])))
	if len(e.tokens) > 0 {
		for i := range rows {
			var err error
			if rows[i], err = through(e.tokens, slices.Clone(rows[i])); err != nil {
				return nil, err
			}
		}
	}
	skip := 0
	if e.promptless {
		skip = min(a.Skip, len(rows))
	}
	v := make([]float32, 0, len(e.pooling)*len(rows[0]))
	for _, mode := range e.pooling {
		v = append(v, poolings[mode](rows, skip)...)
	}
	return through(e.layers, v)
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

// poolings make one vector of those of a text's tokens, by the names that sentence-transformers gives
// them. The first tokens are passed over; that these are all happens to texts that were cut so short
// that only their prompt is left.
var poolings = map[string]func(rows [][]float32, skip int) []float32{
	"cls": func(rows [][]float32, skip int) []float32 { return rows[skip%len(rows)] },
	"lasttoken": func(rows [][]float32, skip int) []float32 {
		if skip == len(rows) {
			return make([]float32, len(rows[0]))
		}
		return rows[len(rows)-1]
	},
	"max": func(rows [][]float32, skip int) []float32 {
		top := make([]float32, len(rows[0]))
		for i := range top {
			top[i] = float32(math.Inf(-1))
		}
		for _, row := range rows[skip:] {
			for i, x := range row {
				top[i] = max(top[i], x)
			}
		}
		return top
	},
	"mean": func(rows [][]float32, skip int) []float32 {
		return weighted(rows, skip, one, func(n float64) float64 { return n })
	},
	"mean_sqrt_len_tokens": func(rows [][]float32, skip int) []float32 {
		return weighted(rows, skip, one, math.Sqrt)
	},
	// A token keeps the weight of its place when those before it are passed over.
	"weightedmean": func(rows [][]float32, skip int) []float32 {
		return weighted(rows, skip, func(row int) float64 { return float64(row + 1) }, func(n float64) float64 { return n })
	},
}

func one(int) float64 { return 1 }

// weighted is the sum of rows by their weights, divided by what is made of the sum of the weights.
func weighted(rows [][]float32, skip int, weight func(row int) float64, by func(float64) float64) []float32 {
	sums, all := make([]float64, len(rows[0])), 0.0
	for r, row := range rows[skip:] {
		w := weight(skip + r)
		all += w
		for i, x := range row {
			sums[i] += w * float64(x)
		}
	}
	divisor := by(max(all, 1e-9))
	for i := range sums {
		sums[i] /= divisor
	}
	return narrow(sums)
}
