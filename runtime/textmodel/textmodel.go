// Package textmodel computes models that read texts: it tokenises them, has a Runner
// compute several at a time, and gives each text what is its own of the output.
//
// It does not know what the output means; classify and the like do. Nor does it know
// what the Runner is: one session, a chain of sessions in this process, or stages on
// other machines; nor choose what is computed together. It knows nothing of HTTP.
package textmodel

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/errcode"
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

// Files are what a bundle holds for models that read texts.
type Files struct {
	Tokenizer       *text.Tokenizer // as its file says
	Config          *text.Config
	TokenizerConfig *text.TokenizerConfig // nil when there is none

	// Length is the most tokens of a text by a file of the model's task, which counts for
	// more than tokenizer_config.json and tokenizer.json; 0 is for no such file.
	Length int
	Limits Limits
}

// Limits are what the operator says of long texts.
type Limits struct {
	// MaxTokens is the most tokens of a text, special tokens included: texts are cut there
	// although the model reads longer ones. 0 leaves that to the model's files, and is
	// DefaultMaxTokens where these name no limit.
	MaxTokens int
	// Refuse has texts that are too long refused, as a errcode.TooLarge, and not cut.
	Refuse bool
}

// DefaultMaxTokens is the most tokens of a text where neither a file nor the operator names
// a limit. It is what most encoders that read any length were trained with, at most; the
// memory that a model takes grows with the square of it.
const DefaultMaxTokens = 2048

// Read reads the text files of a bundle. It fails with bundle.ErrNoFile when one is
// missing.
func Read(b *bundle.Bundle) (Files, error) {
	tokenizer, err := Tokenizer(b)
	if err != nil {
		return Files{}, err
	}
	files := Files{Tokenizer: tokenizer}
	if files.Config, err = config(b); err != nil {
		return Files{}, err
	}
	files.TokenizerConfig, err = tokenizerConfig(b)
	return files, err
}

// New makes a Model of a bundle's text files and a Runner that computes the bundle's
// model, of which the named output is wanted: of a batch, and what there is for each
// text. What is computed together, and on which side it is padded, is as the bundle's Rows
// have it. It fails when the model's inputs are not those that a tokenizer fills.
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

// tokenizerConfig is nil without an error when the bundle has no such file.
func tokenizerConfig(b *bundle.Bundle) (*text.TokenizerConfig, error) {
	data, err := b.ReadFile(bundle.TokenizerConfigName)
	if errors.Is(err, bundle.ErrNoFile) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	c, err := text.LoadTokenizerConfig(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("bundle %s: %w", b.Dir, err)
	}
	return c, nil
}

// fit adapts a tokenizer to the model it is used with.
func fit(files Files, b *bundle.Bundle) (*text.Tokenizer, error) {
	t, err := limit(files, b)
	if err != nil {
		return nil, err
	}
	if id, ok := files.Config.PadTokenID(); ok {
		t = t.WithPadID(id)
	} else if token, ok := files.TokenizerConfig.PadToken(); ok {
		if id, ok := t.TokenID(token); ok {
			t = t.WithPadID(id)
		}
	}
	return t, nil
}

// limit makes the tokenizer cut texts to what the model reads. docs/reference/models.md has the table:
// a file of the task says the length, else tokenizer_config.json or, where there is none,
// tokenizer.json, as in sentence-transformers and transformers; never more than the model has positions, nor than
// the operator wants; and some limit there always is.
func limit(files Files, b *bundle.Bundle) (*text.Tokenizer, error) {
	t, tc := files.Tokenizer, files.TokenizerConfig
	left, said := tc.TruncatesLeft()
	if !said {
		left = t.TruncatesLeft()
	}
	from, n := bundle.SentenceConfigName+": max_seq_length", files.Length
	if n == 0 {
		from = bundle.TokenizerConfigName + ": model_max_length"
		n, _ = tc.MaxLength()
	}
	var err error
	switch {
	case n > 0:
		if t, err = t.WithTruncation(n, left); err != nil {
			return nil, fmt.Errorf("%s: %w", from, err)
		}
	case tc != nil:
		t = t.WithoutTruncation() // transformers passes over the length that tokenizer.json says
	}
	_, truncates := t.MaxLength()
	if n, ok := files.Config.MaxPositions(); ok && (!truncates || !files.Config.Relative()) {
		if t, err = within(t, n, left); err != nil {
			return nil, fmt.Errorf("truncate texts to the %d positions of the model: %w", n, err)
		}
	}
	if n, ok := positions(b); ok {
		if t, err = within(t, n, left); err != nil {
			return nil, fmt.Errorf("truncate texts to the %d positions of the model's table: %w", n, err)
		}
	}
	if n := files.Limits.MaxTokens; n > 0 {
		if t, err = within(t, n, left); err != nil {
			return nil, fmt.Errorf("--max-tokens %d: %w", n, err)
		}
	} else if _, truncates := t.MaxLength(); !truncates {
		return within(t, DefaultMaxTokens, left)
	}
	return t, nil
}

// within is a tokenizer that truncates to no more than n tokens.
func within(t *text.Tokenizer, n int, left bool) (*text.Tokenizer, error) {
	have, truncates := t.MaxLength()
	switch {
	case !truncates:
		return t.WithTruncation(n, left)
	case have > n:
		return t.WithMaxLength(n)
	}
	return t, nil
}

// fitPadding has a tokenizer pad as far as a batch needs it, on a side on which that changes
// no answer: that of its file, where there is a choice. Without such a side it pads nothing.
// Without a mask, and where the model fixes the length, padding is part of what the model
// reads, and as the file says. mixes reports that texts of different lengths may be padded.
func fitPadding(t *text.Tokenizer, rows bundle.Rows, inputs []tensor.Spec) (_ *text.Tokenizer, mixes bool) {
	mask, masked := tensor.Find(inputs, "attention_mask")
	switch {
	case !masked || len(mask.Dims) == 2 && mask.Dims[1].IsFixed():
		return t, false
	case len(rows.Padding) == 0:
		return t.WithoutPadding(), false
	}
	side := bundle.Right
	if t.PadsLeft() {
		side = bundle.Left
	}
	if !slices.Contains(rows.Padding, side) {
		t = t.WithPaddingLeft(!t.PadsLeft())
	}
	return t.WithDynamicPadding(), true
}

// columns are the inputs of a text model by the names that exporters give them.
var columns = map[string]func(text.Batch) []int64{
	"input_ids":      func(b text.Batch) []int64 { return b.IDs },
	"attention_mask": func(b text.Batch) []int64 { return b.AttentionMask },
	"token_type_ids": func(b text.Batch) []int64 { return b.TypeIDs },
}

// WithOffsets is the Model with answers whose Tokens have the tokens' text and where in
// the text they are.
func (m *Model) WithOffsets() *Model {
	with := *m
	with.encode = (*text.Tokenizer).EncodeOffsets
	return &with
}

// Reduced is the Model with answers of which only what reduce makes of them is kept, so
// that much of an output need not be held until the last text is answered.
func (m *Model) Reduced(reduce func(Answer) Answer) *Model {
	with := *m
	with.reduce = reduce
	return &with
}

// Truncates reports whether the model does not read all of a text, since it is too long.
func (m *Model) Truncates(text string) (bool, error) { return m.tokenizer.Truncates(text) }

// Rows is how many texts the model computes at a time, whether there are so many or
// not; 0 is for as many as there are.
func (m *Model) Rows() int { return m.rows }

// Mixes reports whether texts of different lengths may be computed together: whether
// the model is told what is padding, and was seen to heed it.
func (m *Model) Mixes() bool { return m.pads }

// Alone reports whether every text has to be computed by itself.
func (m *Model) Alone() bool { return !m.beside.Independent }

// Beside says which texts may be computed together, and why no others.
func (m *Model) Beside() bundle.Rows { return m.beside }

// Tokenizer is the model's, as it is used.
func (m *Model) Tokenizer() *text.Tokenizer { return m.tokenizer }

// An Input is what the model reads as one.
type Input struct {
	Text string
	Pair *string // a second text that is read together with the first; nil: none
	Cut  bool    // cut it if it is too long, also where such texts are refused
}

// Inputs are texts, each to be read by itself.
func Inputs(texts []string) []Input {
	inputs := make([]Input, len(texts))
	for i, t := range texts {
		inputs[i].Text = t
	}
	return inputs
}

// A Text is an Input that was tokenised.
type Text struct {
	encoding text.Encoding
	// Length is how many tokens it has in a batch of its own, padding included. A
	// batch of several has the Length of the longest.
	Length int
}

// WriteTo writes what the model is given of the text, to tell it from others by a hash.
func (t Text) WriteTo(w io.Writer) (n int64, err error) {
	for _, list := range [][]int64{t.encoding.IDs, t.encoding.TypeIDs} {
		n += int64(8 * (len(list) + 1))
		if err := binary.Write(w, binary.LittleEndian, append([]int64{int64(len(list))}, list...)); err != nil {
			return n, err
		}
	}
	return n, nil
}

// Encode tokenises an input. What is wrong with it is a errcode.Invalid: that it cannot be
// tokenised, or has what the model's tables do not have.
func (m *Model) Encode(in Input) (Text, error) {
	var e text.Encoding
	var err error
	if in.Pair == nil {
		e, err = m.encode(m.tokenizer, in.Text)
	} else {
		e, err = m.tokenizer.EncodePair(in.Text, *in.Pair)
	}
	if err == nil && len(e.IDs) == 0 {
		err = errors.New("the text has no tokens")
	}
	if err != nil {
		return Text{}, errcode.Errorf(errcode.Invalid, "tokenise: %w", err)
	}
	if e.Truncated && m.refuse && !in.Cut {
		return Text{}, m.tooLong(in)
	}
	if err := m.known(e, in.Pair != nil); err != nil {
		return Text{}, err
	}
	return m.Text(e), nil
}

// Text is the Text of an encoding.
func (m *Model) Text(e text.Encoding) Text { return Text{e, m.tokenizer.PaddedLength(len(e.IDs))} }

// Encoding is what the text was made.
func (t Text) Encoding() text.Encoding { return t.encoding }

// countedText is the longest text, in bytes, whose tokens are counted to say how many
// they are: of longer ones it would take long, and their client has that answer too.
const countedText = 64 << 10

// tooLong is why an input is refused that is longer than the model reads.
func (m *Model) tooLong(in Input) error {
	most, _ := m.tokenizer.MaxLength()
	what, bytes := "the text has", len(in.Text)
	if in.Pair != nil {
		what, bytes = "the two texts have", bytes+len(*in.Pair)
	}
	tokens := fmt.Sprintf("more than %d tokens in %d bytes", most, bytes)
	if bytes <= countedText {
		whole := m.tokenizer.WithoutTruncation()
		e, err := whole.Encode(in.Text)
		if in.Pair != nil {
			e, err = whole.EncodePair(in.Text, *in.Pair)
		}
		if err == nil {
			tokens = fmt.Sprintf("%d tokens", len(own(e).IDs))
		}
	}
	return errcode.Errorf(errcode.TooLarge, "%s %s, more than the %d that are read; send less, or ask for truncation", what, tokens, most)
}

// maxListed bounds the texts that Truncated names.
const maxListed = 1000

// Truncated names the texts among n of which some was cut, as "0, 4, 7", for an answer that
// has no other place for it: the first 1,000 of them; "" is none.
func Truncated(n int, is func(i int) bool) string {
	var list []byte
	for i, listed := 0, 0; i < n && listed < maxListed; i++ {
		if !is(i) {
			continue
		}
		if listed++; listed > 1 {
			list = append(list, ", "...)
		}
		list = strconv.AppendInt(list, int64(i), 10)
	}
	return string(list)
}

// An Answer is what the model answers to one text: its part of the output, in
// row-major order and without the dimension of the batch; or why there is none.
//
// Of an output with a row for each token of the batch it is the rows of the text's own
// tokens: those of Tokens, padding left out.
type Answer struct {
	Values []float32
	Shape  []int64
	Tokens text.Encoding
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
	encodings := make([]text.Encoding, 0, max(len(texts), m.rows))
	for _, t := range texts {
		encodings = append(encodings, t.encoding)
	}
	for len(encodings) < m.rows { // the model computes so many rows in any case
		encodings = append(encodings, encodings[0])
	}
	padded, err := m.tokenizer.Pad(encodings)
	if err != nil {
		return nil, fmt.Errorf("pad: %w", err)
	}
	return &Batch{m.bag(padded), m, texts, padded}, nil
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
		a := Answer{Values: values[i*each : (i+1)*each : (i+1)*each], Shape: result.Shape[1:], Tokens: own(t.encoding)}
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
	if t, ok := m.runner.(pipeline.Tracer); ok {
		return t.Trace(ctx, in)
	}
	out, err := m.runner.Run(ctx, in)
	return out, nil, err
}

func (m *Model) bag(b text.Batch) tensor.Bag {
	bag := make(tensor.Bag, len(m.inputs))
	shape := []int64{int64(b.Rows), int64(b.Length)}
	for _, in := range m.inputs {
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
