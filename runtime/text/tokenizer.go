package text

import (
	"fmt"
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
	model        model
	layout       layout
	truncation   *truncation // nil: texts of any length
	padding      *padder     // nil: nothing to pad with
	addedIDs     map[string]uint32
	scratch      *sync.Pool
}

// An Encoding is a text as a model reads it; all slices have one length.
type Encoding struct {
	IDs               []int64
	TypeIDs           []int64
	AttentionMask     []int64  // 0 for padding
	SpecialTokensMask []int64  // 1 for tokens that are not the text's, padding included
	Tokens            []string // only set by EncodeTokens
}

// scratch is what one Encode needs and the next can use again.
type scratch struct {
	input, text []byte
	spans, more []span
	found       []span
	tokens      tokens
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
	return t.encode(text, false)
}

// EncodeTokens is what Hugging Face's tokenizers answer for one text: Encode with
// the tokens' text as well (what the vocabulary has for an id, or, for an added
// token found in the text, what was found), and padded as a batch of one.
func (t *Tokenizer) EncodeTokens(text string) (Encoding, error) {
	e, err := t.encode(text, true)
	p := t.padding
	if err != nil || p == nil || !p.given || p.isFixed {
		return e, err
	}
	n := p.length(len(e.IDs)) - len(e.IDs)
	if n == 0 {
		return e, nil
	}
	tokens := slices.Repeat([]string{p.token}, n)
	special := slices.Repeat([]int64{1}, n)
	if p.left {
		e.Tokens, e.SpecialTokensMask = append(tokens, e.Tokens...), append(special, e.SpecialTokensMask...)
	} else {
		e.Tokens, e.SpecialTokensMask = append(e.Tokens, tokens...), append(slices.Clip(e.SpecialTokensMask), special...)
	}
	b, err := t.Pad([]Encoding{{IDs: e.IDs, TypeIDs: e.TypeIDs, AttentionMask: e.AttentionMask}})
	e.IDs, e.TypeIDs, e.AttentionMask = b.IDs, b.TypeIDs, b.AttentionMask
	return e, err
}

func (t *Tokenizer) encode(text string, wantTokens bool) (Encoding, error) {
	s := t.scratch.Get().(*scratch)
	if len(text) <= maxScratch {
		defer t.scratch.Put(s)
	}
	s.tokens = tokens{ids: s.tokens.ids[:0], wantStrings: wantTokens}
	if err := t.tokenize(s, text); err != nil {
		return Encoding{}, fmt.Errorf("encoding a text: %w", err)
	}
	from, to := 0, len(s.tokens.ids)
	if t.truncation != nil {
		var err error
		if from, to, err = t.truncation.cut(to, t.layout); err != nil {
			return Encoding{}, fmt.Errorf("encoding a text: %w", err)
		}
	}
	return t.lay(&s.tokens, from, to), nil
}

// tokenize fills s.tokens with the tokens of text.
func (t *Tokenizer) tokenize(s *scratch, text string) error {
	s.input = appendValid(s.input[:0], text)
	var err error
	if s.found, err = t.special.cut(s.found[:0], s.input); err != nil {
		return err
	}
	s.text, s.spans = s.text[:0], s.spans[:0]
	for _, f := range s.found {
		part := s.input[f.start:f.end]
		base := len(s.text)
		if f.added {
			s.text = append(s.text, part...)
			s.spans = append(s.spans, span{start: base, end: len(s.text), added: true, id: f.id})
			continue
		}
		if t.normalizer != nil {
			s.text = t.normalizer.normalize(s.text, part)
		} else {
			s.text = append(s.text, part...)
		}
		first := len(s.spans)
		if s.spans, err = t.normalized.cut(s.spans, s.text[base:]); err != nil {
			return err
		}
		for i := range s.spans[first:] {
			s.spans[first+i].start += base
			s.spans[first+i].end += base
		}
	}
	if t.preTokenizer != nil {
		s.more = preTokenize(t.preTokenizer, s.more[:0], s.text, s.spans)
		s.spans, s.more = s.more, s.spans
	}
	for _, p := range s.spans {
		word := s.text[p.start:p.end]
		if p.added {
			s.tokens.add(p.id, "", word)
		} else if err := t.model.tokenize(&s.tokens, word); err != nil {
			return err
		}
	}
	return nil
}

// lay puts tokens from:to where the layout has the text, and pads to a fixed
// length.
func (t *Tokenizer) lay(found *tokens, from, to int) Encoding {
	length := t.layout.literals + t.layout.texts*(to-from)
	total, p := length, t.padding
	if p != nil && p.isFixed {
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
	if found.wantStrings {
		e.Tokens = make([]string, total)
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
	for _, a := range t.layout.atoms {
		n := 1
		if a.text {
			n = to - from
			for i, id := range found.ids[from:to] {
				e.IDs[at+i] = int64(id)
			}
			if e.Tokens != nil {
				copy(e.Tokens[at:], found.strings[from:to])
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
// even if the file fixes a length. Models with an attention mask answer the
// same, with less to compute; models without one may not.
func (t *Tokenizer) WithDynamicPadding() *Tokenizer {
	if t.padding == nil || !t.padding.isFixed {
		return t
	}
	with, p := *t, *t.padding
	p.isFixed, p.fixed = false, 0
	with.padding = &p
	return &with
}
