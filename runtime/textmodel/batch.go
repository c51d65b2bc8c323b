package textmodel

import (
	"context"
	"fmt"
	"slices"

	"github.com/distinfer/distinfer/runtime/pipeline"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/runtime/text"
)

// An Answer is what the model answers to one text: its part of the output, in
// row-major order and without the dimension of the batch; or why there is none.
//
// Of an output with a row for each token of the batch it is the rows of the text's own
// tokens: those of Tokens, padding left out.
type Answer struct {
	Values []float32
	Shape  []int64
	Tokens text.Encoding
	Skip   int // of the Input
	Err    error
}

// Compute answers texts as one batch, in order. It also tells where the time went,
// if the Runner does. An error means that nothing was computed.
func (m *Model) Compute(ctx context.Context, texts []Text) ([]Answer, []pipeline.Timing, error) {
	if len(texts) == 0 {
		return nil, nil, nil
	}
	b, err := m.Batch(texts)
	if err != nil {
		return nil, nil, err
	}
	out, timings, err := m.run(ctx, b.In)
	if err != nil {
		return nil, nil, err
	}
	answers, err := b.Answers(out)
	return answers, timings, err
}

// A Batch are texts that are computed together.
type Batch struct {
	In tensor.Bag // what the model is given

	model  *Model
	texts  []Text
	padded text.Batch
}

// Batch puts texts, at least one, into a batch.
func (m *Model) Batch(texts []Text) (*Batch, error) {
	encodings := make([]text.Encoding, 0, max(len(texts), m.plan.Rows))
	for _, t := range texts {
		encodings = append(encodings, t.encoding)
	}
	for len(encodings) < m.plan.Rows { // the model always computes as many
		encodings = append(encodings, encodings[0])
	}
	padded, err := m.tokenizer.Pad(encodings)
	if err != nil {
		return nil, fmt.Errorf("pad: %w", err)
	}
	return &Batch{m.plan.Batch(padded), m, texts, padded}, nil
}

// Answers reads what the model made of the batch, in the order of its texts.
func (b *Batch) Answers(out tensor.Bag) ([]Answer, error) {
	m, padded := b.model, b.padded
	result, ok := out[m.output]
	if !ok {
		return nil, fmt.Errorf("the model did not answer %q", m.output)
	}
	values, err := tensor.Widen(result)
	if err != nil {
		return nil, fmt.Errorf("output %q: %w", m.output, err)
	}
	if len(result.Shape) == 0 || result.Shape[0] != int64(padded.Rows) {
		return nil, fmt.Errorf("output %q has shape %v for %d texts", m.output, result.Shape, padded.Rows)
	}
	if len(result.Shape) == 3 && result.Shape[1] != int64(padded.Length) {
		return nil, fmt.Errorf("output %q has shape %v for %d tokens", m.output, result.Shape, padded.Length)
	}
	answers := make([]Answer, len(b.texts))
	each := len(values) / padded.Rows
	for i, t := range b.texts {
		a := Answer{Values: values[i*each : (i+1)*each : (i+1)*each], Shape: result.Shape[1:], Tokens: own(t.encoding), Skip: t.skip}
		if len(a.Shape) == 2 {
			from, to := unpadded(padded.AttentionMask[i*padded.Length : (i+1)*padded.Length])
			width := int(a.Shape[1])
			a.Values, a.Shape = a.Values[from*width:to*width:to*width], []int64{int64(to - from), a.Shape[1]}
		}
		if m.reduce != nil {
			a = m.reduce(a)
		}
		answers[i] = a
	}
	return answers, nil
}

// unpadded is where a text's own tokens are, which lie together.
func unpadded(mask []int64) (from, to int) {
	from = max(0, slices.Index(mask, 1))
	for to = from; to < len(mask) && mask[to] == 1; to++ {
	}
	return from, to
}

// own is an encoding without the padding to a fixed length.
func own(e text.Encoding) text.Encoding {
	from, to := unpadded(e.AttentionMask)
	if to-from == len(e.IDs) {
		return e
	}
	e.IDs, e.TypeIDs, e.AttentionMask, e.SpecialTokensMask = e.IDs[from:to], e.TypeIDs[from:to], e.AttentionMask[from:to], e.SpecialTokensMask[from:to]
	if e.Offsets != nil {
		e.Offsets = e.Offsets[from:to]
	}
	return e
}

func (m *Model) run(ctx context.Context, in tensor.Bag) (tensor.Bag, []pipeline.Timing, error) {
	ctx = pipeline.WithOutputs(ctx, m.output)
	if t, ok := m.runner.(pipeline.Tracer); ok {
		return t.Trace(ctx, in)
	}
	out, err := m.runner.Run(ctx, in)
	return out, nil, err
}
