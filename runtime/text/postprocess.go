package text

import (
	"errors"
	"slices"
	"unicode/utf8"
)

// Post-processors put special tokens around a text, or around two. What they do
// does not depend on the text, so the whole chain is run when the file is loaded,
// on a stand-in for one text and for two, and what comes out are layouts: literal
// tokens, and the places where the texts go.

// atom is one part of a layout.
type atom struct {
	text    bool // a text's own tokens; else a literal token
	which   int  // 0, or 1 for the second text of a pair
	trims   []trim
	id      uint32
	token   string
	typeID  uint32
	special uint32 // in the special tokens mask
}

// layout is the result of post-processing: the atoms in order.
type layout struct {
	atoms    []atom
	texts    int // how many atoms are text
	counted  int // how many tokens the post-processors say they add (what truncation leaves room for)
	literals int // how many they add
}

// trims reports whether offsets are trimmed, which needs the tokens' text.
func (l layout) trims() bool {
	return slices.ContainsFunc(l.atoms, func(a atom) bool { return len(a.trims) > 0 })
}

// standIn is what post-processors get: one text or two, a token list each.
func standIn(pair bool) [][]atom {
	if pair {
		return [][]atom{{{text: true}}, {{text: true, which: 1, typeID: 1}}}
	}
	return [][]atom{{{text: true}}}
}

// plainLayout is that of a file without a post-processor.
func plainLayout(pair bool) layout { return joined(standIn(pair), 0) }

// The chain works on a list of encodings, as the Rust library does: one or two at
// first; a template answers one a piece, and a processor after it sees them all.
type postProcessor interface {
	apply(encodings [][]atom) ([][]atom, error)
	added(pair bool) int
}

func newLayout(p postProcessor, pair bool) (layout, error) {
	encodings, err := p.apply(standIn(pair))
	if err != nil {
		return layout{}, err
	}
	return joined(encodings, p.added(pair)), nil
}

func joined(encodings [][]atom, counted int) layout {
	l := layout{counted: counted}
	for _, e := range encodings {
		for _, a := range e {
			if a.text {
				l.texts++
			} else {
				l.literals++
			}
			l.atoms = append(l.atoms, a)
		}
	}
	return l
}

// trim takes white space off the offsets of tokens that hold it.
type trim struct {
	prefixed bool // the first token starts with a space that was put there
	first    bool // the text's first token is the first of all
}

func (t trim) apply(offsets []Offset, tokens []string) {
	for i, token := range tokens {
		o := &offsets[i]
		if lead := countSpaces(utf8.DecodeRuneInString, token, false); lead > 0 {
			if (i == 0 && t.first || o.Start == 0) && t.prefixed && lead == 1 {
				lead = 0
			}
			o.Start = min(o.Start+lead, o.End)
		}
		if trail := countSpaces(utf8.DecodeLastRuneInString, token, true); trail > 0 && o.End >= trail {
			o.End = max(o.End-trail, o.Start)
		}
	}
}

// countSpaces counts the characters at one end of a token that are white space or
// stand for the byte of a space.
func countSpaces(decode func(string) (rune, int), token string, atEnd bool) int {
	n := 0
	for token != "" {
		r, size := decode(token)
		if r != byteSpace && !has(r, isSpace) {
			break
		}
		if n++; atEnd {
			token = token[:len(token)-size]
		} else {
			token = token[size:]
		}
	}
	return n
}

// byteSpace is how a byte-level vocabulary writes a space.
const byteSpace = 'Ġ'

// trimmed adds a trim to every text.
func trimmed(encodings [][]atom, prefixed bool) [][]atom {
	for _, e := range encodings {
		for i := range e {
			if e[i].text {
				e[i].trims = append(slices.Clip(e[i].trims), trim{prefixed, i == 0})
			}
		}
	}
	return encodings
}

// byteLevelProcessing takes white space off offsets, or does nothing.
type byteLevelProcessing struct {
	trim, prefixed bool
}

func (p byteLevelProcessing) added(bool) int { return 0 }

func (p byteLevelProcessing) apply(encodings [][]atom) ([][]atom, error) {
	if p.trim {
		encodings = trimmed(encodings, p.prefixed)
	}
	return encodings, nil
}

type literal struct {
	token string
	id    uint32
}

// bertProcessing is [CLS] text [SEP], and for a second text: text [SEP].
// RobertaProcessing puts a [SEP] before the second text as well, and sets every
// type id to 0 first. What a template before it makes of one text counts as
// further texts.
type bertProcessing struct {
	cls, sep literal
	roberta  *byteLevelProcessing // nil for BERT
}

func (p bertProcessing) added(pair bool) int {
	switch {
	case !pair:
		return 2
	case p.roberta == nil:
		return 3
	}
	return 4
}

func (p bertProcessing) apply(encodings [][]atom) ([][]atom, error) {
	if p.roberta != nil && p.roberta.trim {
		encodings = trimmed(encodings, p.roberta.prefixed)
	}
	out := make([][]atom, 0, len(encodings))
	for i, e := range encodings {
		var made []atom
		endType := uint32(1)
		switch {
		case i == 0:
			made = append(made, atom{id: p.cls.id, token: p.cls.token, special: 1})
			endType = 0
		case p.roberta != nil:
			made = append(made, atom{id: p.sep.id, token: p.sep.token, special: 1})
		}
		for _, a := range e {
			// The mask is written anew: earlier special tokens lose their mark.
			a.special = 0
			if p.roberta != nil {
				a.typeID = 0
			}
			made = append(made, a)
		}
		if p.roberta != nil {
			endType = 0
		}
		out = append(out, append(made, atom{id: p.sep.id, token: p.sep.token, typeID: endType, special: 1}))
	}
	return out, nil
}

var errTemplateAfterTemplate = errors.New("a TemplateProcessing after another cannot be applied")

// Bounds on a template, which could otherwise make much of little text.
const (
	maxPieces   = 64
	maxLiterals = 1024
)

// templateProcessing lays texts out by a list of pieces.
type templateProcessing struct {
	single, pair template
}

type template struct {
	pieces []templatePiece
	count  int // special tokens
}

type templatePiece struct {
	text   bool
	which  int
	typeID uint32
	tokens []literal
}

func (p templateProcessing) added(pair bool) int {
	if pair {
		return p.pair.count
	}
	return p.single.count
}

func (p templateProcessing) apply(encodings [][]atom) ([][]atom, error) {
	var pieces []templatePiece
	switch len(encodings) {
	case 1:
		pieces = p.single.pieces
	case 2:
		pieces = p.pair.pieces
	default: // the library panics
		return nil, errTemplateAfterTemplate
	}
	out := make([][]atom, 0, len(pieces))
	for _, piece := range pieces {
		var made []atom
		if piece.text {
			for _, a := range encodings[piece.which] {
				a.typeID = piece.typeID
				made = append(made, a)
			}
		}
		for _, t := range piece.tokens {
			made = append(made, atom{id: t.id, token: t.token, typeID: piece.typeID, special: 1})
		}
		out = append(out, made)
	}
	return out, nil
}

type postProcessorSequence []postProcessor

func (s postProcessorSequence) added(pair bool) int {
	n := 0
	for _, p := range s {
		n += p.added(pair)
	}
	return n
}

func (s postProcessorSequence) apply(encodings [][]atom) ([][]atom, error) {
	for _, p := range s {
		var err error
		if encodings, err = p.apply(encodings); err != nil {
			return nil, err
		}
	}
	return encodings, nil
}
