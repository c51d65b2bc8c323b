// Package textmodel computes models that read texts: it tokenises them, has a Runner
// compute several at a time, and gives each text what is its own of the output.
//
// It does not know what the output means; classify and the like do. Nor does it know
// what the Runner is: one session, a chain of sessions in this process, or stages on
// other machines; nor choose what is computed together. It knows nothing of HTTP.
package textmodel

import (
	"errors"
	"fmt"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/pipeline"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/runtime/text"
)

// A Model reads texts. It is safe for concurrent use.
type Model struct {
	tokenizer *text.Tokenizer
	runner    pipeline.Runner

	inputs []tensor.Spec
	output string
	limits *tensor.Limits
	refuse bool // texts that are too long, unless the input says otherwise
	rows   int  // rows of every batch, when the model fixes them; else 0
	beside bundle.Rows
	pads   bool // texts of different lengths may be in one batch
	encode func(*text.Tokenizer, string) (text.Encoding, error)
	reduce func(Answer) Answer // nil: answers stay as they are
}

// New makes a Model from a bundle's text files and a Runner of its model. output names the model's
// output that answers are made from. The bundle's Rows say which texts are computed together and
// on which side they are padded. It fails if a tokenizer cannot fill the model's inputs.
func New(b *bundle.Bundle, files Files, runner pipeline.Runner, output string) (*Model, error) {
	m := &Model{runner: runner, inputs: b.Inputs, limits: b.Limits, refuse: files.Limits.Refuse, output: output, beside: bundle.Untested, encode: (*text.Tokenizer).Encode}
	if b.Rows != nil {
		m.beside = *b.Rows
	}
	var err error
	if m.tokenizer, err = fit(files, b); err != nil {
		return nil, err
	}
	if m.tokenizer, m.pads = fitPadding(m.tokenizer, m.beside, b.Inputs); m.pads {
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
	for _, in := range b.Inputs {
		if _, known := columns[in.Name]; !known {
			return nil, fmt.Errorf("the model has an input %s, which a tokenizer does not fill (it fills input_ids, attention_mask and token_type_ids)", in)
		}
		if in.DType != tensor.Int64 && in.DType != tensor.Int32 || len(in.Dims) != 2 {
			return nil, fmt.Errorf("the model's input %s should be int64 or int32, of a batch and a sequence", in)
		}
		if err := m.fixed(in); err != nil {
			return nil, err
		}
	}
	if _, ok := tensor.Find(b.Inputs, "input_ids"); !ok {
		return nil, errors.New("the model has no input input_ids")
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

// fixed takes note of the rows that an input fixes, and checks that the tokenizer
// gives as many tokens as it fixes.
func (m *Model) fixed(in tensor.Spec) error {
	if rows := in.Dims[0]; rows.IsFixed() {
		if rows.Size < 1 || m.rows > 0 && int64(m.rows) != rows.Size {
			return fmt.Errorf("the model's input %s fixes another number of rows than the others, or none", in)
		}
		m.rows = int(rows.Size)
	}
	length := in.Dims[1]
	if !length.IsFixed() {
		return nil
	}
	one, err := m.tokenizer.Encode("a")
	if err != nil {
		return fmt.Errorf("tokenise: %w", err)
	}
	padded, err := m.tokenizer.Pad([]text.Encoding{one})
	if err != nil {
		return fmt.Errorf("pad: %w", err)
	}
	if most, bounded := m.tokenizer.MaxLength(); int64(padded.Length) != length.Size || !bounded || int64(most) > length.Size {
		return fmt.Errorf("the model's input %s takes texts of exactly %d tokens, but tokenizer.json does not truncate and pad to that length; set its truncation and padding (Fixed) to it and split the model again", in, length.Size)
	}
	return nil
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
func (m *Model) Rows() int { return m.rows }

// Mixes reports whether texts of different lengths may be computed together: whether
// the model receives a mask of the padding, and was seen to ignore padding.
func (m *Model) Mixes() bool { return m.pads }

// Alone reports whether every text has to be computed by itself.
func (m *Model) Alone() bool { return !m.beside.Independent }

// Beside says which texts may be computed together, and why no others.
func (m *Model) Beside() bundle.Rows { return m.beside }

// Tokenizer is the model's, as it is used.
func (m *Model) Tokenizer() *text.Tokenizer { return m.tokenizer }
