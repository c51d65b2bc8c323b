// Package classifytest has a text classifier for tests, whose answers tell exactly
// which text they are for.
package classifytest

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/tensor"
)

// TokenizerJSON is a tokenizer.json in which the words w0 to w9 have the ids 10 to 19; what is not a word is unknown.
const TokenizerJSON = `{"version": "1.0", "pre_tokenizer": {"type": "WhitespaceSplit"}, "model": {"type": "WordLevel", "unk_token": "[UNK]",
"vocab": {"[PAD]": 0, "[UNK]": 1, "w0": 10, "w1": 11, "w2": 12, "w3": 13, "w4": 14, "w5": 15, "w6": 16, "w7": 17, "w8": 18, "w9": 19}}}`

// UnkLess is one that has no unknown token in its vocabulary, so that some texts cannot be
// tokenised.
const UnkLess = `{"version": "1.0", "pre_tokenizer": {"type": "WhitespaceSplit"}, "model": {"type": "WordLevel", "unk_token": "[UNK]",
"vocab": {"[PAD]": 0, "w0": 10, "w1": 11}}}`

// ConfigJSON is a config.json whose labels tell the logits as they are.
const ConfigJSON = `{"problem_type": "regression", "id2label": {"0": "sum", "1": "tokens"}}`

// A Model is what a bundle of these tests holds.
type Model struct {
	Tokenizer, Config string // no file when empty
	Inputs, Outputs   []tensor.Spec
	Files             map[string]string // others, by their names in the bundle
	Limits            *tensor.Limits
	Rows              *bundle.Rows // nil: texts of any length, padded on either side
}

// Spec is a tensor.Spec.
func Spec(name string, d tensor.DType, dims ...tensor.Dim) tensor.Spec {
	return tensor.Spec{Name: name, DType: d, Dims: dims}
}

// What most of these models have.
var (
	Batch    = tensor.Named("batch")
	Sequence = tensor.Named("sequence")

	BERTInputs = []tensor.Spec{
		Spec("input_ids", tensor.Int64, Batch, Sequence),
		Spec("attention_mask", tensor.Int64, Batch, Sequence),
		Spec("token_type_ids", tensor.Int64, Batch, Sequence),
	}
	TwoLogits = []tensor.Spec{Spec("logits", tensor.Float32, Batch, tensor.Fixed(2))}
	Usual     = Model{Tokenizer: TokenizerJSON, Config: ConfigJSON, Inputs: BERTInputs, Outputs: TwoLogits}
	// Alone is one whose texts must never share a batch.
	Alone = Model{Tokenizer: TokenizerJSON, Config: ConfigJSON, Inputs: BERTInputs, Outputs: TwoLogits, Rows: &bundle.Rows{Reason: "it was asked for"}}
)

// Bundle is a bundle of the model.
func (m Model) Bundle(t testing.TB) *bundle.Bundle {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "stages")
	w, err := bundle.Create(dir, false)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, content string) bundle.File {
		f, err := w.WriteFile(name, func(to io.Writer) error {
			_, err := io.WriteString(to, content)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	manifest := &bundle.Manifest{
		Format: bundle.Format, Model: bundle.Model{Name: "made-up", SHA256: strings.Repeat("0", 64)},
		Inputs: m.Inputs, Outputs: m.Outputs, Limits: m.Limits,
		Stages: []bundle.Stage{{File: write("stage-0.onnx", "not run"), Inputs: m.Inputs, Outputs: m.Outputs}},
	}
	if manifest.Rows = m.Rows; m.Rows == nil {
		manifest.Rows = &bundle.Rows{Independent: true, Padding: []string{bundle.Left, bundle.Right}}
	}
	if m.Tokenizer != "" {
		manifest.Files = append(manifest.Files, write(bundle.TokenizerName, m.Tokenizer))
	}
	if m.Config != "" {
		manifest.Files = append(manifest.Files, write(bundle.ConfigName, m.Config))
	}
	for name, content := range m.Files {
		manifest.Files = append(manifest.Files, write(name, content))
	}
	if err := w.WriteManifest(manifest); err != nil {
		t.Fatal(err)
	}
	if err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	b, err := bundle.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Sums computes two logits for each row, from the ids that the mask has: their
// position-weighted sum modulo a prime, and their number. It records what it is
// given.
type Sums struct {
	Output string                                              // name of the output
	Before func(ctx context.Context, rows, length int64) error // may be nil
	Change func(logits []float32) []float32                    // may be nil

	mu     sync.Mutex
	Shapes [][]int64 // of input_ids
	Bags   []tensor.Bag
}

const prime = 65521

// Run implements pipeline.Runner.
func (s *Sums) Run(ctx context.Context, in tensor.Bag) (tensor.Bag, error) {
	shape := in["input_ids"].Shape
	s.mu.Lock()
	s.Shapes, s.Bags = append(s.Shapes, shape), append(s.Bags, in)
	s.mu.Unlock()
	if s.Before != nil {
		if err := s.Before(ctx, shape[0], shape[1]); err != nil {
			return nil, err
		}
	}
	ids, err := integers(in["input_ids"])
	if err != nil {
		return nil, err
	}
	mask := slices.Repeat([]int64{1}, len(ids))
	if m, ok := in["attention_mask"]; ok {
		if mask, err = integers(m); err != nil {
			return nil, err
		}
	}
	var logits []float32
	for row := range int(shape[0]) {
		sum, n := int64(0), int64(0)
		for i := row * int(shape[1]); i < (row+1)*int(shape[1]); i++ {
			if mask[i] == 1 {
				n++
				sum = (sum + n*ids[i]) % prime
			}
		}
		logits = append(logits, float32(sum), float32(n))
	}
	if s.Change != nil {
		logits = s.Change(logits)
	}
	name := s.Output
	if name == "" {
		name = "logits"
	}
	out := []int64{shape[0], 2}
	if len(logits) != int(2*shape[0]) { // it was changed to what a model must not answer
		out = []int64{int64(len(logits))}
	}
	return tensor.Bag{name: tensor.Of(out, logits)}, nil
}

func integers(t tensor.Tensor) ([]int64, error) {
	if t.DType == tensor.Int64 {
		return tensor.As[int64](t)
	}
	narrow, err := tensor.As[int32](t)
	wide := make([]int64, len(narrow))
	for i, v := range narrow {
		wide[i] = int64(v)
	}
	return wide, err
}

// Words makes a text of the given number of words, and its two logits.
func Words(random *rand.Rand, n int) (string, [2]float64) {
	var s []string
	sum := int64(0)
	for i := range n {
		w := random.Int64N(10)
		s = append(s, fmt.Sprint("w", w))
		sum = (sum + int64(i+1)*(10+w)) % prime
	}
	return strings.Join(s, " "), [2]float64{float64(sum), float64(n)}
}
