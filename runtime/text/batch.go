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
	onlyFirst  bool // of a pair of texts
	onlySecond bool // so that a single one cannot be cut
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

var (
	errOnlySecond = errors.New("the text is too long, and truncation strategy OnlySecond does not shorten a single text")
	errNoPad      = errors.New("neither tokenizer.json (padding, or a token [PAD]) nor config.json (pad_token_id) says what to pad with")
	errTooShort   = errors.New("the texts are too long, and shortening one of them, as the truncation strategy says, is not enough")
)

// A cut is the range of a text's tokens that is kept.
type cut struct {
	from, to int
}

func (c cut) len() int { return c.to - c.from }

// cut shortens a text, or a pair of texts, to what fits.
func (t *truncation) cut(texts [2]cut, pair bool, l layout) ([2]cut, error) {
	if !pair {
		if t.onlySecond && t.room(l) > 0 && texts[0].len() > t.room(l) {
			return texts, errOnlySecond
		}
		texts[0] = t.keep(texts[0], t.room(l))
		return texts, nil
	}
	if err := t.check(l); err != nil {
		return texts, err
	}
	room := t.room(l)
	n := [2]int{texts[0].len(), texts[1].len()}
	over := n[0] + n[1] - room
	switch {
	case over <= 0:
		return texts, nil
	case room == 0:
		n = [2]int{}
	case t.onlyFirst || t.onlySecond:
		which := 0
		if t.onlySecond {
			which = 1
		}
		if n[which] <= over {
			return texts, errTooShort
		}
		n[which] -= over
	default:
		n = longestFirst(n, room)
	}
	for i := range texts {
		if texts[i].len() > n[i] && n[i] > 0 && t.stride >= n[i] {
			return texts, fmt.Errorf("truncation leaves %d tokens of a text, not more than the stride %d", n[i], t.stride)
		}
		texts[i] = t.keep(texts[i], n[i])
	}
	return texts, nil
}

// longestFirst returns what is kept of two texts of n tokens, when it is the longer
// that is shortened until both are equally long.
func longestFirst(n [2]int, room int) [2]int {
	short, long := 0, 1
	if n[0] > n[1] {
		short, long = 1, 0
	}
	if n[short] > room {
		n[long] = n[short]
	} else {
		n[long] = max(n[short], room-n[short])
	}
	if n[short]+n[long] > room {
		n[short] = room / 2
		n[long] = n[short] + room%2
	}
	return n
}

// keep cuts a text down to n tokens.
func (t *truncation) keep(text cut, n int) cut {
	switch {
	case text.len() <= n:
		return text
	case t.left:
		return cut{text.to - n, text.to}
	}
	return cut{text.from, text.from + n}
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
			return Batch{}, fmt.Errorf("padding a batch: texts differ in length, and %w", errNoPad)
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
