package text

import (
	"fmt"
	"math"
	"slices"
	"sync"
)

// A Tokenizer turns text into token ids as a tokenizer.json says. It is
// immutable and safe for concurrent use.
type Tokenizer struct {
	special      *tokenTrie // added tokens looked for in the text as given
	normalized   *tokenTrie // and in the normalised text; both may be nil
	normalizer   normalizer // may be nil
	preTokenizer preTokenizer
	tracks       bool // the pre-tokenizer must know where pieces come from
	model        model
	layout       layout // of one text
	pairLayout   layout
	pairError    error // why pairs cannot be laid out
	decoder      decoder
	decoderError error       // why there is none
	truncation   *truncation // nil: texts of any length
	padding      *padder     // nil: nothing to pad with
	addedIDs     map[string]uint32
	specialIDs   map[uint32]bool // of added tokens
	cuts         *cuts           // where long texts can be taken apart; nil: nowhere
	scratch      *sync.Pool
}

// An Encoding is a text, or a pair of texts, as a model reads it; all slices have
// one length.
type Encoding struct {
	IDs               []int64
	TypeIDs           []int64
	AttentionMask     []int64  // 0 for padding
	SpecialTokensMask []int64  // 1 for tokens that are not the text's, padding included
	Tokens            []string // only set by EncodeTokens
	Offsets           []Offset // only set by EncodeOffsets
	Words             []int32  // only set by EncodeOffsets; -1 for tokens that are not the text's

	// Truncated reports that truncation left out some of the text, or of either of a pair.
	Truncated bool
}

// An Offset is the range of the text that a token stands for, in code points; 0 to
// 0 for tokens that are not the text's. Each maximal subpart of what is not UTF-8
// counts as one (see the package comment).
type Offset struct {
	Start, End int
}

// scratch is what one Encode needs and the next can use again.
type scratch struct {
	input  buffer
	work   work
	found  []span
	tokens [2]tokens
}

func newScratchPool() *sync.Pool {
	return &sync.Pool{New: func() any { return new(scratch) }}
}

// maxScratch bounds the text whose buffers are kept for the next one.
const maxScratch = 64 << 10

// Encode turns one text into ids: it looks for added tokens, normalises,
// splits, looks words up, truncates, adds special tokens, and pads if the file
// fixes a length. It does not pad to the longest of a batch; [Tokenizer.Pad]
// does. What is not UTF-8 is replaced (see the package comment).
//
// It fails only where Hugging Face's tokenizers fail: for a word that is not in
// a vocabulary without the unknown token, for a text too long for the
// truncation strategy OnlySecond, and for added tokens that overlap.
func (t *Tokenizer) Encode(text string) (Encoding, error) {
	return t.encode(text, nil, wants{})
}

// EncodePair is Encode for two texts that the model reads as one, such as a
// premise and a hypothesis. It also fails when the file's truncation strategy
// shortens only one of the two and that is not enough.
func (t *Tokenizer) EncodePair(a, b string) (Encoding, error) {
	return t.encode(a, &b, wants{})
}

// EncodeTokens is what Hugging Face's tokenizers answer for one text: Encode with
// the tokens' text as well (what the vocabulary has for an id, or, for an added
// token found in the text, what was found), and padded as a batch of one.
func (t *Tokenizer) EncodeTokens(text string) (Encoding, error) {
	return t.encode(text, nil, wants{strings: true, padded: true})
}

// EncodeOffsets is Encode with the part of the text that each token stands for, and its word: words
// are what the pre-tokenizer cuts the text into, counted from 0. It takes about twice the time of
// Encode.
func (t *Tokenizer) EncodeOffsets(text string) (Encoding, error) {
	e, err := t.encode(text, nil, wants{strings: t.layout.trims(), places: true})
	e.Tokens = nil
	return e, err
}

func (t *Tokenizer) encode(a string, b *string, want wants) (Encoding, error) {
	s := t.scratch.Get().(*scratch)
	l, size := t.layout, len(a)
	if b != nil {
		l, size = t.pairLayout, max(size, len(*b))
		if t.pairError != nil {
			return Encoding{}, fmt.Errorf("encoding a pair of texts: %w", t.pairError)
		}
	}
	if size <= maxScratch {
		defer t.scratch.Put(s)
	}
	s.tokens[1].reset(want)
	most := 0 // tokens that tell a text which is too long; 0: none is
	if t.truncation != nil {
		most = max(t.truncation.room(l), 0) + 1
	}
	var whole [2]bool
	var err error
	if whole[0], err = t.tokenize(s, a, 0, want, most); err != nil {
		return Encoding{}, fmt.Errorf("encoding a text: %w", err)
	}
	if b != nil {
		if whole[1], err = t.tokenize(s, *b, 1, want, most); err != nil {
			return Encoding{}, fmt.Errorf("encoding the second text: %w", err)
		}
	}
	kept := [2]cut{{0, len(s.tokens[0].ids)}, {0, len(s.tokens[1].ids)}}
	truncated := false
	if t.truncation != nil {
		if b != nil && (!whole[0] || !whole[1]) {
			if kept, err = t.ordered(s, [2]string{a, *b}, whole, kept, most); err != nil {
				return Encoding{}, fmt.Errorf("encoding a text: %w", err)
			}
		}
		found := kept[0].len() + kept[1].len()
		if kept, err = t.truncation.cut(kept, b != nil, l); err != nil {
			return Encoding{}, fmt.Errorf("encoding a text: %w", err)
		}
		truncated = kept[0].len()+kept[1].len() < found
	}
	e := t.lay(l, &s.tokens, kept, want)
	e.Truncated = truncated
	return e, nil
}

// prepare fills s.work with the pre-tokens of a part of a text.
func (t *Tokenizer) prepare(s *scratch, text string, tracked bool, p part) error {
	if tracked && len(text) > math.MaxInt32/4 {
		return fmt.Errorf("a text of %d bytes is too long for offsets", len(text))
	}
	s.input.reset(tracked)
	s.input.text = appendValid(s.input.text, text)
	if tracked {
		s.input.setOrigins()
	}
	var err error
	if s.found, err = t.special.cut(s.found[:0], s.input.text); err != nil {
		return err
	}
	w := &s.work
	w.reset(tracked)
	w.within = p.within
	w.spans = w.spans[:0]
	for i, f := range s.found {
		part := s.input.slice(f.start, f.end)
		base := len(w.text)
		if f.added {
			w.append(part)
			w.spans = append(w.spans, span{start: base, end: len(w.text), added: true, id: f.id})
			continue
		}
		if t.normalizer != nil {
			t.normalizerFor(p.begins || i > 0, p.ends || i < len(s.found)-1).normalize(&w.buffer, part)
		} else {
			w.append(part)
		}
		first := len(w.spans)
		if w.spans, err = t.normalized.cut(w.spans, w.text[base:]); err != nil {
			return err
		}
		for i := range w.spans[first:] {
			w.spans[first+i].start += base
			w.spans[first+i].end += base
		}
	}
	if t.preTokenizer != nil {
		t.preTokenizer.apply(w)
	}
	return nil
}

// lay puts what is kept of the texts' tokens where the layout has them, and pads.
func (t *Tokenizer) lay(l layout, found *[2]tokens, kept [2]cut, want wants) Encoding {
	length, p := l.literals, t.padding
	for _, a := range l.atoms {
		if a.text {
			length += kept[a.which].len()
		}
	}
	total := length
	if p != nil && (p.isFixed || want.padded && p.given) {
		total = max(length, p.length(length))
	}
	start := 0
	if total > length && p.left {
		start = total - length
	}
	room := make([]int64, 4*total)
	e := Encoding{
		IDs:               room[:total:total],
		TypeIDs:           room[total : 2*total : 2*total],
		AttentionMask:     room[2*total : 3*total : 3*total],
		SpecialTokensMask: room[3*total:],
	}
	if want.strings {
		e.Tokens = make([]string, total)
	}
	if want.places {
		e.Offsets, e.Words = make([]Offset, total), slices.Repeat([]int32{-1}, total)
	}
	for i := 0; i < total; i++ {
		if i == start {
			i += length
			if i == total {
				break
			}
		}
		e.IDs[i], e.TypeIDs[i], e.SpecialTokensMask[i] = p.id, p.typeID, 1
		if e.Tokens != nil {
			e.Tokens[i] = p.token
		}
	}
	at := start
	for _, a := range l.atoms {
		n := 1
		if a.text {
			from, to := kept[a.which].from, kept[a.which].to
			n = to - from
			for i, id := range found[a.which].ids[from:to] {
				e.IDs[at+i] = int64(id)
			}
			if e.Tokens != nil {
				copy(e.Tokens[at:], found[a.which].strings[from:to])
			}
			if want.places {
				for i, p := range found[a.which].places[from:to] {
					e.Offsets[at+i], e.Words[at+i] = Offset{int(p.start), int(p.end)}, p.word
				}
				for _, trim := range a.trims {
					trim.apply(e.Offsets[at:at+n], e.Tokens[at:at+n])
				}
			}
		} else {
			e.IDs[at] = int64(a.id)
			if e.Tokens != nil {
				e.Tokens[at] = a.token
			}
		}
		for i := at; i < at+n; i++ {
			e.TypeIDs[i], e.AttentionMask[i], e.SpecialTokensMask[i] = int64(a.typeID), 1, int64(a.special)
		}
		at += n
	}
	return e
}

// id returns the id of a token, added or of the vocabulary.
func (t *Tokenizer) id(token string) (uint32, bool) {
	if id, ok := t.addedIDs[token]; ok {
		return id, true
	}
	return t.model.id(token)
}

// TokenID returns the id of a token of the vocabulary or of an added token.
func (t *Tokenizer) TokenID(token string) (id int64, ok bool) {
	found, ok := t.id(token)
	return int64(found), ok
}

// MaxLength returns the most tokens an encoding can have before padding,
// special tokens included; ok is false if the file does not truncate.
func (t *Tokenizer) MaxLength() (n int, ok bool) {
	if t.truncation == nil {
		return 0, false
	}
	room, most := t.truncation.room(t.layout), t.layout.literals
	for range t.layout.texts {
		most += room
	}
	return most, true
}

// WithMaxLength returns a Tokenizer that truncates texts to n tokens, special
// tokens included, for a file that does not truncate or truncates later than
// the model can read. Where the file says how to truncate, that stays.
func (t *Tokenizer) WithMaxLength(n int) (*Tokenizer, error) {
	tr := truncation{}
	if t.truncation != nil {
		tr = *t.truncation
		tr.stride = 0
	}
	tr.max = n
	if err := tr.check(t.layout); err != nil {
		return nil, fmt.Errorf("setting the maximum length: %w", err)
	}
	with := *t
	with.truncation = &tr
	return &with, nil
}

// WithTruncation returns a Tokenizer that truncates texts to n tokens, special tokens
// included, whatever the file says: of a pair the longer text first, and on the left if
// so wanted. That is what transformers does with truncation=True.
func (t *Tokenizer) WithTruncation(n int, left bool) (*Tokenizer, error) {
	tr := truncation{max: n, left: left}
	if err := tr.check(t.layout); err != nil {
		return nil, fmt.Errorf("setting the maximum length: %w", err)
	}
	with := *t
	with.truncation = &tr
	return &with, nil
}

// TruncatesLeft reports whether a text that is too long loses its beginning.
func (t *Tokenizer) TruncatesLeft() bool { return t.truncation != nil && t.truncation.left }

// WithoutTruncation returns a Tokenizer for texts of any length.
func (t *Tokenizer) WithoutTruncation() *Tokenizer {
	with := *t
	with.truncation = nil
	return &with
}

// WithPadID returns a Tokenizer that pads with id (config.json's pad_token_id)
// if the file has no padding section; else the Tokenizer itself.
func (t *Tokenizer) WithPadID(id int64) *Tokenizer {
	if t.padding != nil && t.padding.given {
		return t
	}
	with := *t
	with.padding = &padder{id: id, token: "[PAD]"}
	return &with
}

// WithDynamicPadding returns a Tokenizer that pads to the longest of a batch
// even if the file fixes a length.
func (t *Tokenizer) WithDynamicPadding() *Tokenizer {
	if t.padding == nil || !t.padding.isFixed {
		return t
	}
	with, p := *t, *t.padding
	p.isFixed, p.fixed = false, 0
	with.padding = &p
	return &with
}

// WithFixedPadding returns a Tokenizer that pads every text to n tokens, before it or behind it. It
// fails when it is not known what to pad with.
func (t *Tokenizer) WithFixedPadding(n int, left bool) (*Tokenizer, error) {
	if t.padding == nil {
		return nil, errNoPad
	}
	with, p := *t, *t.padding
	p.isFixed, p.fixed, p.multiple, p.left = true, n, 0, left
	with.padding = &p
	return &with, nil
}

// WithoutPadding returns a Tokenizer that pads nothing, so that Pad takes only encodings
// of equal length.
func (t *Tokenizer) WithoutPadding() *Tokenizer {
	with := *t
	with.padding = nil
	return &with
}

// PadsLeft reports whether the padding is before the text, not behind it.
func (t *Tokenizer) PadsLeft() bool { return t.padding != nil && t.padding.left }

// WithPaddingLeft returns a Tokenizer that pads before the text, or behind it.
func (t *Tokenizer) WithPaddingLeft(left bool) *Tokenizer {
	if t.padding == nil || t.padding.left == left {
		return t
	}
	with, p := *t, *t.padding
	p.left = left
	with.padding = &p
	return &with
}

// PadID returns the id that is padded with; ok is false when none is known.
func (t *Tokenizer) PadID() (id int64, ok bool) {
	if t.padding == nil {
		return 0, false
	}
	return t.padding.id, true
}

// IsSpecial reports whether an id is that of an added token that the file calls special.
func (t *Tokenizer) IsSpecial(id int64) bool { return t.specialIDs[uint32(id)] }

// AddedIDs returns the ids of the file's added tokens in rising order.
func (t *Tokenizer) AddedIDs() []int64 {
	var ids []int64
	for _, id := range t.addedIDs {
		ids = append(ids, int64(id))
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}
