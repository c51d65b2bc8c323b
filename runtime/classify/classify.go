// Package classify turns texts into labels: it tokenises them, has a Runner compute
// the logits of several at a time, and scores them.
//
// It does not know what the Runner is: one session, a chain of sessions in this
// process, or stages on other machines. Nor does it choose what is computed
// together. It knows nothing of HTTP.
package classify

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/fault"
	"github.com/distinfer/distinfer/runtime/pipeline"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/runtime/text"
)

// A Classifier classifies texts. It is safe for concurrent use.
type Classifier struct {
	tokenizer *text.Tokenizer
	config    *text.Config
	runner    pipeline.Runner

	inputs []tensor.Spec
	output string
	rows   int // rows of every batch, when the model fixes them; else 0
	masked bool
}

// An Answer is what one text gets: all labels by descending score, or why there
// are none.
type Answer struct {
	Results []text.Result
	Err     error
}

// New makes a classifier of a bundle's text files and a Runner that computes
// the bundle's model. It fails with bundle.ErrNoFile when a text file is missing, and when the model's
// inputs and outputs are not those of a text classifier.
func New(b *bundle.Bundle, runner pipeline.Runner) (*Classifier, error) {
	tokenizer, err := Tokenizer(b)
	if err != nil {
		return nil, err
	}
	config, err := config(b)
	if err != nil {
		return nil, err
	}
	c := &Classifier{config: config, runner: runner, inputs: b.Inputs}
	if c.tokenizer, err = fit(tokenizer, config, b.Inputs); err != nil {
		return nil, err
	}
	// Two texts of different lengths, as every batch may hold.
	one, two := make([]int64, 1), make([]int64, 2)
	if _, err := c.tokenizer.Pad([]text.Encoding{{IDs: one, TypeIDs: one, AttentionMask: one}, {IDs: two, TypeIDs: two, AttentionMask: two}}); err != nil {
		return nil, fmt.Errorf("texts of different lengths cannot be put into one batch: %w; name the padding token's id as pad_token_id in config.json, and split the model again", err)
	}
	for _, in := range b.Inputs {
		if _, known := columns[in.Name]; !known {
			return nil, fmt.Errorf("the model has an input %s, which a tokenizer does not fill (it fills input_ids, attention_mask and token_type_ids)", in)
		}
		if in.DType != tensor.Int64 && in.DType != tensor.Int32 || len(in.Dims) != 2 {
			return nil, fmt.Errorf("the model's input %s should be int64 or int32, of a batch and a sequence", in)
		}
		if err := c.fixed(in); err != nil {
			return nil, err
		}
	}
	if _, ok := tensor.Find(b.Inputs, "input_ids"); !ok {
		return nil, errors.New("the model has no input input_ids")
	}
	_, c.masked = tensor.Find(b.Inputs, "attention_mask")
	c.output, err = logits(b.Outputs, len(config.Labels()))
	return c, err
}

// fixed takes note of the rows that an input fixes, and checks that the tokenizer
// gives as many tokens as it fixes.
func (c *Classifier) fixed(in tensor.Spec) error {
	if rows := in.Dims[0]; rows.IsFixed() {
		if rows.Size < 1 || c.rows > 0 && int64(c.rows) != rows.Size {
			return fmt.Errorf("the model's input %s fixes another number of rows than the others, or none", in)
		}
		c.rows = int(rows.Size)
	}
	length := in.Dims[1]
	if !length.IsFixed() {
		return nil
	}
	one, err := c.tokenizer.Encode("a")
	if err != nil {
		return fmt.Errorf("tokenise: %w", err)
	}
	padded, err := c.tokenizer.Pad([]text.Encoding{one})
	if err != nil {
		return fmt.Errorf("pad: %w", err)
	}
	if most, bounded := c.tokenizer.MaxLength(); int64(padded.Length) != length.Size || !bounded || int64(most) > length.Size {
		return fmt.Errorf("the model's input %s takes texts of exactly %d tokens, but tokenizer.json does not truncate and pad to that length; set its truncation and padding (Fixed) to it and split the model again", in, length.Size)
	}
	return nil
}

// Tokenizer loads the bundle's tokenizer, as its file says.
func Tokenizer(b *bundle.Bundle) (*text.Tokenizer, error) {
	data, err := b.ReadFile(bundle.TokenizerName)
	if err != nil {
		return nil, err
	}
	t, err := text.LoadTokenizer(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("bundle %s: %w", b.Dir, err)
	}
	return t, nil
}

func config(b *bundle.Bundle) (*text.Config, error) {
	data, err := b.ReadFile(bundle.ConfigName)
	if err != nil {
		return nil, err
	}
	c, err := text.LoadConfig(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("bundle %s: %w", b.Dir, err)
	}
	return c, nil
}

// fit adapts a tokenizer to the model it is used with.
func fit(t *text.Tokenizer, c *text.Config, inputs []tensor.Spec) (*text.Tokenizer, error) {
	if id, ok := c.PadTokenID(); ok {
		t = t.WithPadID(id)
	}
	if n, ok := c.MaxPositions(); ok {
		if have, truncates := t.MaxLength(); !truncates || have > n {
			var err error
			if t, err = t.WithMaxLength(n); err != nil {
				return nil, fmt.Errorf("truncate texts to the %d positions of the model: %w", n, err)
			}
		}
	}
	// With a mask, padding changes no answer: pad no further than the batch
	// needs. Without one it is part of what the model reads.
	if mask, ok := tensor.Find(inputs, "attention_mask"); ok && len(mask.Dims) == 2 && !mask.Dims[1].IsFixed() {
		t = t.WithDynamicPadding()
	}
	return t, nil
}

// columns are the inputs of a text model by the names that exporters give them.
var columns = map[string]func(text.Batch) []int64{
	"input_ids":      func(b text.Batch) []int64 { return b.IDs },
	"attention_mask": func(b text.Batch) []int64 { return b.AttentionMask },
	"token_type_ids": func(b text.Batch) []int64 { return b.TypeIDs },
}

// logits finds the output that holds a logit for each label.
func logits(outputs []tensor.Spec, labels int) (string, error) {
	found, ok := tensor.Find(outputs, "logits")
	if !ok {
		if len(outputs) != 1 {
			return "", fmt.Errorf("the model has %d outputs and none is named logits", len(outputs))
		}
		found = outputs[0]
	}
	switch {
	case found.DType != tensor.Float32 && found.DType != tensor.Float16 || len(found.Dims) != 2 && !found.AnyRank:
		return "", fmt.Errorf("the model's output %s should be float32 or float16, of a batch and a logit for each label", found)
	case !found.AnyRank && found.Dims[1].IsFixed() && found.Dims[1].Size != int64(labels):
		return "", fmt.Errorf("the model gives %d logits, but config.json names %d labels", found.Dims[1].Size, labels)
	}
	return found.Name, nil
}

// Labels are the labels by id.
func (c *Classifier) Labels() []string { return c.config.Labels() }

// Rows is how many texts the model computes at a time, whether there are so many or
// not; 0 is for as many as there are.
func (c *Classifier) Rows() int { return c.rows }

// Mixes reports whether texts of different lengths may be computed together: whether
// the model is told what is padding.
func (c *Classifier) Mixes() bool { return c.masked }

// A Text is one that was tokenised.
type Text struct {
	encoding text.Encoding
	// Length is how many tokens it has in a batch of its own, padding included. A
	// batch of several has the Length of the longest.
	Length int
}

// Encode tokenises a text. What is wrong with it is a fault.Invalid.
func (c *Classifier) Encode(s string) (Text, error) {
	e, err := c.tokenizer.Encode(s)
	if err == nil && len(e.IDs) == 0 {
		err = errors.New("the text has no tokens")
	}
	if err != nil {
		return Text{}, fault.Errorf(fault.Invalid, "tokenise: %w", err)
	}
	return Text{e, c.tokenizer.PaddedLength(len(e.IDs))}, nil
}

// Compute answers texts as one batch, in order. It also tells where the time went,
// if the Runner does. An error means that nothing was computed; an Answer has the
// error of one text alone.
func (c *Classifier) Compute(ctx context.Context, texts []Text) ([]Answer, []pipeline.Timing, error) {
	encodings := make([]text.Encoding, 0, max(len(texts), c.rows))
	for _, t := range texts {
		encodings = append(encodings, t.encoding)
	}
	for len(encodings) < c.rows { // the model computes so many rows in any case
		encodings = append(encodings, encodings[0])
	}
	padded, err := c.tokenizer.Pad(encodings)
	if err != nil {
		return nil, nil, fmt.Errorf("pad: %w", err)
	}
	out, timings, err := c.run(ctx, c.bag(padded))
	if err != nil {
		return nil, nil, err
	}
	result, ok := out[c.output]
	if !ok {
		return nil, nil, fmt.Errorf("the model did not answer %q", c.output)
	}
	values, err := tensor.Widen(result)
	if err != nil {
		return nil, nil, fmt.Errorf("output %q: %w", c.output, err)
	}
	labels := len(c.config.Labels())
	if len(values) != len(encodings)*labels {
		return nil, nil, fmt.Errorf("output %q has shape %v for %d texts and %d labels", c.output, result.Shape, len(encodings), labels)
	}
	answers := make([]Answer, len(texts))
	for i := range answers {
		answers[i].Results, answers[i].Err = c.config.Results(values[i*labels : (i+1)*labels])
	}
	return answers, timings, nil
}

func (c *Classifier) run(ctx context.Context, in tensor.Bag) (tensor.Bag, []pipeline.Timing, error) {
	if t, ok := c.runner.(pipeline.Tracer); ok {
		return t.Trace(ctx, in)
	}
	out, err := c.runner.Run(ctx, in)
	return out, nil, err
}

func (c *Classifier) bag(b text.Batch) tensor.Bag {
	bag := make(tensor.Bag, len(c.inputs))
	shape := []int64{int64(b.Rows), int64(b.Length)}
	for _, in := range c.inputs {
		column := columns[in.Name](b)
		if in.DType == tensor.Int64 {
			bag[in.Name] = tensor.Of(shape, column)
			continue
		}
		narrow := make([]int32, len(column))
		for i, v := range column {
			narrow[i] = int32(v)
		}
		bag[in.Name] = tensor.Of(shape, narrow)
	}
	return bag
}
