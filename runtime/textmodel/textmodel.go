// Package textmodel computes models that read texts: it tokenises them, has a Runner
// compute several at a time, and gives each text what is its own of the output.
//
// It does not know what the output means; classify and the like do. Nor does it know
// what the Runner is: one session, a chain of sessions in this process, or stages on
// other machines; nor choose what is computed together. It knows nothing of HTTP.
package textmodel

import (
	"fmt"
	"strings"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/feed"
	"github.com/distinfer/distinfer/runtime/pipeline"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/runtime/text"
)

// A Model reads texts. It is safe for concurrent use.
type Model struct {
	tokenizer *text.Tokenizer
	runner    pipeline.Runner

	plan   *feed.Plan
	output string
	limits *tensor.Limits
	grows  map[string]growth // the inputs' dimensions
	refuse bool              // texts that are too long, unless the input says otherwise
	beside bundle.Rows
	pads   bool // texts of different lengths may be in one batch
	encode func(*text.Tokenizer, string) (text.Encoding, error)
	reduce func(Answer) Answer // nil: answers stay as they are
}

// New makes a Model from a bundle's text files and a Runner of its model. output names the model's
// output that answers are made from. The bundle's Rows say which texts are computed together and
// on which side they are padded. It fails with a feed.Error if the model has an input that texts
// cannot fill.
func New(b *bundle.Bundle, files Files, runner pipeline.Runner, output string) (*Model, error) {
	m := &Model{runner: runner, limits: b.Limits, refuse: files.Limits.Refuse, output: output, beside: bundle.Untested, encode: (*text.Tokenizer).Encode}
	if b.Rows != nil {
		m.beside = *b.Rows
	}
	var err error
	if m.plan, err = feed.New(b.Inputs, toFill(b, files.Config, output)); err != nil {
		return nil, err
	}
	m.grows = m.growths(b.Inputs)
	if m.tokenizer, err = fit(files, b, m.plan); err != nil {
		return nil, err
	}
	if m.tokenizer, m.pads = fitPadding(m.tokenizer, m.beside, m.plan); m.pads {
		// Two texts of different lengths, as every batch may hold.
		one, two := make([]int64, 1), make([]int64, 2)
		padded, err := m.tokenizer.Pad([]text.Encoding{{IDs: one, TypeIDs: one, AttentionMask: one}, {IDs: two, TypeIDs: two, AttentionMask: two}})
		if err != nil {
			return nil, fmt.Errorf("texts of different lengths cannot be put into one batch: %w; name the padding token's id as pad_token_id in config.json, and split the model again", err)
		}
		if m.padKnown(padded) != nil {
			m.tokenizer, m.pads = m.tokenizer.WithoutPadding(), false
		}
	}
	if one, err := m.tokenizer.Pad([]text.Encoding{{IDs: []int64{0}, TypeIDs: []int64{0}, AttentionMask: []int64{1}}}); err == nil && !m.pads {
		if err := m.padKnown(one); err != nil { // every text has it
			return nil, fmt.Errorf("%w; name another as pad_token_id in config.json, and split the model again", err)
		}
	}
	return m, nil
}

// Logits finds the output with a logit for each label: the one named logits, or the only
// one. Its rank is 2 when there are logits for each text, and 3 when for each token. It
// fails when there is none such, or when it gives a text or a token another number of them.
func Logits(outputs []tensor.Spec, rank, labels int) (string, error) {
	found, ok := tensor.Find(outputs, "logits")
	if !ok {
		if len(outputs) != 1 {
			return "", fmt.Errorf("the model has %d outputs and none is named logits", len(outputs))
		}
		found = outputs[0]
	}
	of := map[int]string{2: "a batch", 3: "a batch, a sequence"}[rank]
	switch {
	case found.DType != tensor.Float32 && found.DType != tensor.Float16 || len(found.Dims) != rank && !found.AnyRank:
		return "", fmt.Errorf("the model's output %s should be float32 or float16, of %s and a logit for each label", found, of)
	case !found.AnyRank && found.Dims[rank-1].IsFixed() && found.Dims[rank-1].Size != int64(labels):
		return "", fmt.Errorf("the model gives %d logits, but config.json names %d labels", found.Dims[rank-1].Size, labels)
	}
	return found.Name, nil
}

// toFill is what the files and the outputs say of how inputs are to be filled.
func toFill(b *bundle.Bundle, c *text.Config, output string) feed.Model {
	f := feed.Model{Type: c.ModelType(), PadID: -1}
	f.Heads, f.HeadSize = c.KeyValues()
	if id, ok := c.PositionsFrom(); ok {
		f.PadID = id
	}
	// transformers has the first token attended to by all where a text is classified.
	_, purpose, isFor := strings.Cut(c.Architecture(), "For")
	if out, ok := tensor.Find(b.Outputs, output); ok && (out.AnyRank || len(out.Dims) == 2) {
		f.GlobalFirst = purpose == "SequenceClassification" || !isFor && c.Architecture() == ""
	}
	return f
}

// WithOffsets is the Model with answers whose Tokens have the tokens' text and where in
// the text they are.
func (m *Model) WithOffsets() *Model {
	with := *m
	with.encode = (*text.Tokenizer).EncodeOffsets
	return &with
}

// Reduced is the Model whose answers are replaced by what reduce makes of them at once, so that
// large outputs are not held until the last text is answered.
func (m *Model) Reduced(reduce func(Answer) Answer) *Model {
	with := *m
	with.reduce = reduce
	return &with
}

// Truncates reports whether the model does not read all of a text, since it is too long.
func (m *Model) Truncates(text string) (bool, error) { return m.tokenizer.Truncates(text) }

// Rows is how many rows the model always computes; 0 means as many as there are texts.
func (m *Model) Rows() int { return m.plan.Rows }

// IDs is the name of the input that takes the ids of tokens.
func (m *Model) IDs() string { return m.plan.IDs }

// Mixes reports whether texts of different lengths may be computed together: whether
// the model receives a mask of the padding, and was seen to ignore padding.
func (m *Model) Mixes() bool { return m.pads }

// Alone reports whether every text has to be computed by itself.
func (m *Model) Alone() bool { return !m.beside.Independent }

// Beside says which texts may be computed together, and why no others.
func (m *Model) Beside() bundle.Rows { return m.beside }

// Tokenizer is the model's, as it is used.
func (m *Model) Tokenizer() *text.Tokenizer { return m.tokenizer }
