// Package classify turns texts into labels: it tokenises, batches, has a Runner
// compute the logits, and scores them.
//
// It does not know what the Runner is: one session, a chain of sessions in this
// process, or stages on other machines. It knows nothing of HTTP.
package classify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/fault"
	"github.com/distinfer/distinfer/runtime/pipeline"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/runtime/text"
)

// The size of a batch: short texts fill it by rows, long ones by tokens.
const (
	maxRows   = 32
	maxTokens = 4096 // rows × the longest row
)

// A Classifier classifies texts. It is safe for concurrent use.
type Classifier struct {
	tokenizer *text.Tokenizer
	config    *text.Config
	runner    pipeline.Runner

	inputs []tensor.Spec
	output string
	rows   int // rows of every batch, when the model fixes them; else 0
	slots  chan struct{}
}

// An Answer is what one text gets: all labels by descending score, or why there
// are none.
type Answer struct {
	Results []text.Result
	Err     error
}

// New makes a classifier of a bundle's text files and a Runner that computes
// the bundle's model. parallel is how many batches may be computed at once. It
// fails with bundle.ErrNoFile when a text file is missing, and when the model's
// inputs and outputs are not those of a text classifier.
func New(b *bundle.Bundle, runner pipeline.Runner, parallel int) (*Classifier, error) {
	tokenizer, err := Tokenizer(b)
	if err != nil {
		return nil, err
	}
	config, err := config(b)
	if err != nil {
		return nil, err
	}
	c := &Classifier{config: config, runner: runner, inputs: b.Inputs, slots: make(chan struct{}, parallel)}
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

// Classify answers every text, in order. Texts of about equal length are
// computed together, so that little is spent on padding. An error means that
// nothing was computed for some text because of ctx or the Runner; what is wrong
// with a single text is in its Answer.
func (c *Classifier) Classify(ctx context.Context, texts []string) ([]Answer, error) {
	answers := make([]Answer, len(texts))
	encodings := make([]text.Encoding, len(texts))
	order := make([]int, 0, len(texts))
	for i, s := range texts {
		e, err := c.tokenizer.Encode(s)
		if err == nil && len(e.IDs) == 0 {
			err = errors.New("the text has no tokens")
		}
		if err != nil {
			answers[i].Err = fault.Errorf(fault.Invalid, "tokenise: %w", err)
			continue
		}
		encodings[i] = e
		order = append(order, i)
	}
	slices.SortStableFunc(order, func(a, b int) int { return len(encodings[a].IDs) - len(encodings[b].IDs) })

	batches := c.batches(order, encodings)
	if len(batches) == 1 {
		return answers, c.batch(ctx, batches[0], encodings, answers)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(cap(c.slots))
	for _, rows := range batches {
		group.Go(func() error { return c.batch(ctx, rows, encodings, answers) })
	}
	return answers, group.Wait()
}

// batches cuts texts, sorted by length, into batches.
func (c *Classifier) batches(order []int, encodings []text.Encoding) [][]int {
	var batches [][]int
	from := 0
	for i := range order {
		longest := len(encodings[order[i]].IDs)
		count := i - from + 1
		full := count > maxRows || count*longest > maxTokens && count > 1
		if c.rows > 0 {
			full = count > c.rows
		}
		if full {
			batches = append(batches, order[from:i])
			from = i
		}
	}
	if from < len(order) {
		batches = append(batches, order[from:])
	}
	return batches
}

// batch computes the texts at the given indices and writes their answers.
func (c *Classifier) batch(ctx context.Context, rows []int, encodings []text.Encoding, answers []Answer) error {
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-ctx.Done():
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	chosen := make([]text.Encoding, 0, max(len(rows), c.rows))
	for _, i := range rows {
		chosen = append(chosen, encodings[i])
	}
	for len(chosen) < c.rows { // the model computes so many rows in any case
		chosen = append(chosen, chosen[0])
	}
	padded, err := c.tokenizer.Pad(chosen)
	if err != nil {
		return fmt.Errorf("pad: %w", err)
	}
	out, err := c.runner.Run(ctx, c.bag(padded))
	if err != nil {
		return err
	}
	result, ok := out[c.output]
	if !ok {
		return fmt.Errorf("the model did not answer %q", c.output)
	}
	values, err := tensor.Widen(result)
	if err != nil {
		return fmt.Errorf("output %q: %w", c.output, err)
	}
	labels := len(c.config.Labels())
	if len(values) != len(chosen)*labels {
		return fmt.Errorf("output %q has shape %v for %d texts and %d labels", c.output, result.Shape, len(chosen), labels)
	}
	for k, i := range rows {
		answers[i].Results, answers[i].Err = c.config.Results(values[k*labels : (k+1)*labels])
	}
	return nil
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
