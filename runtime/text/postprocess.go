package text

import "errors"

// Post-processors put special tokens around a text. What they do to one text
// does not depend on the text, so the whole chain is run once, when the file
// is loaded, on a stand-in, and what comes out is a layout: literal tokens,
// and the places where the text goes.

// atom is one part of a layout.
type atom struct {
	text    bool // the text's own tokens; else a literal token
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

// plainLayout is that of a file without a post-processor.
func plainLayout() layout {
	return layout{atoms: []atom{{text: true}}, texts: 1}
}

// The chain works on a list of encodings, as the Rust library does: one at
// first; a template answers one a piece, and a processor after it sees them all.
type postProcessor interface {
	apply(encodings [][]atom) ([][]atom, error)
	added() int
}

func newLayout(p postProcessor) (layout, error) {
	encodings, err := p.apply([][]atom{{{text: true}}})
	if err != nil {
		return layout{}, err
	}
	l := layout{counted: p.added()}
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
	return l, nil
}

type literal struct {
	token string
	id    uint32
}

// bertProcessing is [CLS] text [SEP]. RobertaProcessing does the same to one
// text, and sets every type id to 0 first. A further encoding, which is what a
// template before it makes of one text, ends in [SEP]; for RoBERTa it starts
// with [SEP] too.
type bertProcessing struct {
	cls, sep literal
	roberta  bool
}

func (p bertProcessing) added() int { return 2 }

func (p bertProcessing) apply(encodings [][]atom) ([][]atom, error) {
	out := make([][]atom, 0, len(encodings))
	for i, e := range encodings {
		var made []atom
		endType := uint32(1)
		switch {
		case i == 0:
			made = append(made, atom{id: p.cls.id, token: p.cls.token, special: 1})
			endType = 0
		case p.roberta:
			made = append(made, atom{id: p.sep.id, token: p.sep.token, special: 1})
		}
		for _, a := range e {
			// The mask is written anew: earlier special tokens lose their mark.
			a.special = 0
			if p.roberta {
				a.typeID = 0
			}
			made = append(made, a)
		}
		if p.roberta {
			endType = 0
		}
		out = append(out, append(made, atom{id: p.sep.id, token: p.sep.token, typeID: endType, special: 1}))
	}
	return out, nil
}

var errTemplateAfterTemplate = errors.New("a TemplateProcessing after another cannot be applied to a single text")

// Bounds on a template, which could otherwise make much of little text.
const (
	maxPieces   = 64
	maxLiterals = 1024
)

// templateProcessing lays a text out by a list of pieces.
type templateProcessing struct {
	pieces []templatePiece
	count  int
}

type templatePiece struct {
	text   bool
	typeID uint32
	tokens []literal
}

func (p templateProcessing) added() int { return p.count }

func (p templateProcessing) apply(encodings [][]atom) ([][]atom, error) {
	if len(encodings) != 1 {
		// The library would take two for a pair of texts and panics at three.
		return nil, errTemplateAfterTemplate
	}
	out := make([][]atom, 0, len(p.pieces))
	for _, piece := range p.pieces {
		var made []atom
		if piece.text {
			for _, a := range encodings[0] {
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

func (s postProcessorSequence) added() int {
	n := 0
	for _, p := range s {
		n += p.added()
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
