package textmodel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/runtime/text"
)

// An Input is what the model reads as one.
type Input struct {
	Text string
	Pair *string // a second text that is read together with the first; nil: none
	Cut  bool    // cut it if it is too long, also where such texts are refused
	Skip int     // tokens at its beginning that its Answer should know as no part of it
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
	skip     int
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
	t := m.Text(e)
	t.skip = in.Skip
	return t, nil
}

// Text is the Text of an encoding.
func (m *Model) Text(e text.Encoding) Text {
	return Text{encoding: e, Length: m.tokenizer.PaddedLength(len(e.IDs))}
}

// Encoding is what the text was made.
func (t Text) Encoding() text.Encoding { return t.encoding }

// Own is what the text was made, without padding.
func (t Text) Own() text.Encoding { return own(t.encoding) }

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

// Truncated names the texts among n that were cut, as "0, 4, 7", for an answer that
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
