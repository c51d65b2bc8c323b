package text

import (
	"errors"
	"fmt"
)

// truncation is the file's truncation section.
type truncation struct {
	max        int // tokens, special ones included
	stride     int // only matters to the pieces cut off, which are not kept
	left       bool
	onlySecond bool // of a pair of texts; a single one cannot be cut
}

// room returns how many tokens of the text itself fit.
func (t *truncation) room(l layout) int { return t.max - l.counted }

// check refuses what makes the Rust library panic, or wrap around and not
// truncate at all.
func (t *truncation) check(l layout) error {
	room := t.room(l)
	if room < 0 {
		return fmt.Errorf("max_length %d is less than the %d special tokens of the post_processor", t.max, l.counted)
	}
	if room > 0 && t.stride >= room {
		return fmt.Errorf("stride %d is not less than max_length %d without the %d special tokens", t.stride, t.max, l.counted)
	}
	return nil
}

var errOnlySecond = errors.New("the text is too long, and truncation strategy OnlySecond does not shorten a single text")

// cut returns the range of n tokens that is kept.
func (t *truncation) cut(n int, l layout) (from, to int, err error) {
	room := t.room(l)
	if n <= room {
		return 0, n, nil
	}
	if t.onlySecond && room > 0 {
		return 0, 0, errOnlySecond
	}
	if t.left {
		return n - room, n, nil
	}
	return 0, room, nil
}

// padder is the file's padding section, or what stands in for it.
type padder struct {
	given    bool // the file has the section
	isFixed  bool // pad to fixed, else to the longest of a batch
	fixed    int
	multiple int // round the length up to a multiple of this; 0: don't
	left     bool
	id       int64
	typeID   int64
	token    string
}

// length returns what a batch whose longest text has n tokens is padded to.
func (p *padder) length(n int) int {
	if p.isFixed {
		n = p.fixed
	}
	if p.multiple > 0 && n%p.multiple > 0 {
		n += p.multiple - n%p.multiple
	}
	return n
}

// PaddedLength is how many tokens a batch has whose longest text has n.
func (t *Tokenizer) PaddedLength(n int) int {
	if t.padding == nil {
		return n
	}
	return t.padding.length(n)
}

// A Batch holds several encodings padded to one length, row after row: each
// slice is a matrix of Rows × Length.
type Batch struct {
	Rows, Length int

	IDs           []int64
	TypeIDs       []int64
	AttentionMask []int64
}

// Pad puts encodings into one batch. What it pads with, where, and to what
// length is the file's padding section. A file without one (null) is padded
// on the right to the longest encoding, with the id given by
// [Tokenizer.WithPadID], else the id of the token "[PAD]" if the vocabulary
// has one; else only encodings of equal length can be batched, and others are
// an error. An encoding longer than the length the file fixes is an error too.
//
// Pad of one encoding is what Hugging Face's tokenizers answer for one text.
func (t *Tokenizer) Pad(encodings []Encoding) (Batch, error) {
	longest := 0
	for _, e := range encodings {
		longest = max(longest, len(e.IDs))
	}
	length, p := t.PaddedLength(longest), t.padding
	if p == nil {
		p = &padder{}
	}
	if longest > length {
		return Batch{}, fmt.Errorf("padding a batch: a text has %d tokens, and the file pads to %d", longest, length)
	}
	n := len(encodings) * length
	room := make([]int64, 3*n)
	b := Batch{
		Rows: len(encodings), Length: length,
		IDs: room[:n:n], TypeIDs: room[n : 2*n : 2*n], AttentionMask: room[2*n:],
	}
	for i, e := range encodings {
		if t.padding == nil && len(e.IDs) < length {
			return Batch{}, errors.New("padding a batch: texts differ in length, and neither tokenizer.json (padding, or a token [PAD]) nor config.json (pad_token_id) says what to pad with")
		}
		from, to := i*length, (i+1)*length
		p.pad(b.IDs[from:to], e.IDs, p.id)
		p.pad(b.TypeIDs[from:to], e.TypeIDs, p.typeID)
		p.pad(b.AttentionMask[from:to], e.AttentionMask, 0)
	}
	return b, nil
}

// pad copies src to one end of row and fills the rest.
func (p *padder) pad(row, src []int64, with int64) {
	rest := row[len(src):]
	if p.left {
		rest = row[:len(row)-len(src)]
		copy(row[len(rest):], src)
	} else {
		copy(row, src)
	}
	if with != 0 {
		for i := range rest {
			rest[i] = with
		}
	}
}
