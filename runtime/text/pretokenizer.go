package text

import "unicode/utf8"

// A span is a piece of the normalised text, in bytes. It is either still text
// or an added token (and then no pre-tokenizer looks into it).
type span struct {
	start, end int
	added      bool
	id         uint32 // of the added token
}

// work is a text between normalizer and model: the text, and the spans that it
// was cut into so far.
type work struct {
	buffer
	spans []span

	more []span // what spans is made of anew
	next buffer // and the text
	room buffer // for a piece with something before it

	within    bool // the first span is the rest of a word
	rewriting int  // the span that is rewritten
}

// A preTokenizer cuts the spans that are text further. Empty spans vanish.
type preTokenizer interface {
	apply(w *work)
}

type preTokenizerSequence []preTokenizer

func (s preTokenizerSequence) apply(w *work) {
	for _, p := range s {
		p.apply(w)
	}
}

// A cutter cuts one piece of text, and appends the spans of what is left of it;
// base is the offset of s in the whole.
type cutter interface {
	cut(dst []span, s []byte, base int) []span
}

// cutting is the preTokenizer that a cutter makes.
type cutting struct{ cutter }

func (c cutting) apply(w *work) {
	out := w.more[:0]
	for _, s := range w.spans {
		if s.added {
			out = append(out, s)
			continue
		}
		out = c.cut(out, w.text[s.start:s.end], s.start)
	}
	w.spans, w.more = out, w.spans
}

func appendSpan(dst []span, start, end int) []span {
	if start >= end {
		return dst
	}
	return append(dst, span{start: start, end: end})
}

// bertPreTokenizer cuts at white space, which it drops, and around every
// punctuation character.
type bertPreTokenizer struct{}

func (bertPreTokenizer) cut(dst []span, s []byte, base int) []span {
	start := 0
	for i := 0; i < len(s); {
		r, n := rune(s[i]), 1
		if r >= utf8.RuneSelf {
			r, n = utf8.DecodeRune(s[i:])
		}
		bits := lookup(r).bits
		if bits&(isSpace|isPunct) != 0 {
			dst = appendSpan(dst, base+start, base+i)
			if bits&isSpace == 0 {
				dst = appendSpan(dst, base+i, base+i+n)
			}
			start = i + n
		}
		i += n
	}
	return appendSpan(dst, base+start, base+len(s))
}

// whitespaceSplit cuts at white space and drops it.
type whitespaceSplit struct{}

func (whitespaceSplit) cut(dst []span, s []byte, base int) []span {
	start := 0
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRune(s[i:])
		if has(r, isSpace) {
			dst = appendSpan(dst, base+start, base+i)
			start = i + n
		}
		i += n
	}
	return appendSpan(dst, base+start, base+len(s))
}

// whitespaceWords keeps the matches of \w+|[^\w\s]+ and drops the rest.
type whitespaceWords struct{}

func (whitespaceWords) cut(dst []span, s []byte, base int) []span {
	start, kind := 0, uint16(isSpace)
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRune(s[i:])
		// A character that were both would be a word's: \w+ is tried first.
		now := lookup(r).bits & isWord
		if now == 0 {
			now = lookup(r).bits & isSpace
		}
		if now != kind {
			if kind != isSpace {
				dst = appendSpan(dst, base+start, base+i)
			}
			start, kind = i, now
		}
		i += n
	}
	if kind != isSpace {
		dst = appendSpan(dst, base+start, base+len(s))
	}
	return dst
}

// delimiterSplit cuts by a matcher and a behavior.
type delimiterSplit struct {
	delimiter matcher
	behavior  behavior
	invert    bool
}

// behavior says what becomes of a delimiter.
type behavior int

const (
	removed behavior = iota
	isolated
	mergedWithPrevious
	mergedWithNext
	contiguous
)

func (p delimiterSplit) cut(dst []span, s []byte, base int) []span {
	var room [32]match
	found := p.delimiter.matches(room[:0], s)
	if p.invert {
		for i := range found {
			found[i].is = !found[i].is
		}
	}
	switch p.behavior {
	case removed:
		for _, m := range found {
			if !m.is {
				dst = appendSpan(dst, base+m.start, base+m.end)
			}
		}
	case isolated:
		for _, m := range found {
			dst = appendSpan(dst, base+m.start, base+m.end)
		}
	case contiguous, mergedWithPrevious:
		// Starting from "not a delimiter", so a text's first piece always opens a span.
		previous, open := false, false
		for _, m := range found {
			joins := m.is == previous
			if p.behavior == mergedWithPrevious {
				joins = m.is && !previous // only the first of several delimiters in a row
			}
			if open && joins {
				dst[len(dst)-1].end = base + m.end
			} else {
				dst = appendSpan(dst, base+m.start, base+m.end)
				open = true
			}
			previous = m.is
		}
	case mergedWithNext:
		// The mirror image, so from the end: the last of several joins what is after it.
		first := len(dst)
		previous, open := false, false
		for i := len(found) - 1; i >= 0; i-- {
			m := found[i]
			if open && m.is && !previous {
				dst[len(dst)-1].start = base + m.start
			} else {
				dst = appendSpan(dst, base+m.start, base+m.end)
				open = true
			}
			previous = m.is
		}
		for i, j := first, len(dst)-1; i < j; i, j = i+1, j-1 {
			dst[i], dst[j] = dst[j], dst[i]
		}
	}
	return dst
}
