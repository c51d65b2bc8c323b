package text

import (
	"bytes"
	"math"
	"regexp"
	"unicode/utf8"
)

// A match is a piece of a text that a delimiter matches, or does not.
type match struct {
	start, end int
	is         bool
}

// A matcher appends contiguous matches that cover the whole of s.
type matcher interface {
	matches(dst []match, s []byte) []match
	// seam says what is matched at a place where a text may be taken apart.
	seam(s seam) matched
}

// bitMatcher matches single characters by their properties.
type bitMatcher uint16

func (b bitMatcher) matches(dst []match, s []byte) []match {
	start := 0
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRune(s[i:])
		if has(r, uint16(b)) {
			if start < i {
				dst = append(dst, match{start, i, false})
			}
			dst = append(dst, match{i, i + n, true})
			start = i + n
		}
		i += n
	}
	if start < len(s) {
		dst = append(dst, match{start, len(s), false})
	}
	return dst
}

// literalMatcher matches a non-empty text.
type literalMatcher []byte

func (l literalMatcher) matches(dst []match, s []byte) []match {
	start := 0
	for {
		i := bytes.Index(s[start:], l)
		if i < 0 {
			break
		}
		if i > 0 {
			dst = append(dst, match{start, start + i, false})
		}
		dst = append(dst, match{start + i, start + i + len(l), true})
		start += i + len(l)
	}
	if start < len(s) {
		dst = append(dst, match{start, len(s), false})
	}
	return dst
}

// regexMatcher matches a pattern, which never matches the empty text and has no anchors at its
// start. A group in slow, and spaces in fast, are runs of spaces whose last one is left to what
// follows.
type regexMatcher struct {
	slow   *regexp.Regexp
	fast   []*regexStep // finds what starts at a place; nil when it cannot
	spaces *charSet
	shape  *regexShape // nil when what matches may depend on what is beside it
}

func (p *regexMatcher) matches(dst []match, s []byte) []match {
	start := 0
	for start < len(s) {
		from, to := p.next(s, start)
		if to < 0 {
			break
		}
		if start < from {
			dst = append(dst, match{start, from, false})
		}
		dst = append(dst, match{from, to, true})
		start = to
	}
	if start < len(s) {
		dst = append(dst, match{start, len(s), false})
	}
	return dst
}

// next finds the first match from start on; to is negative if there is none.
func (p *regexMatcher) next(s []byte, start int) (from, to int) {
	for _, alternative := range p.fast {
		if to := alternative.run(s, start); to >= 0 {
			return start, to
		}
	}
	if p.fast != nil && p.spaces != nil {
		if to, _ := p.spaces.run(s, start, math.MaxInt); to > start {
			return start, leaveLast(s, start, to)
		}
	}
	m := p.slow.FindSubmatchIndex(s[start:])
	if m == nil {
		return 0, -1
	}
	from, to = start+m[0], start+m[1]
	if len(m) > 2 && m[2] >= 0 {
		to = leaveLast(s, from, to)
	}
	return from, to
}

// leaveLast leaves the last of several spaces to what follows them.
func leaveLast(s []byte, from, to int) int {
	if _, last := utf8.DecodeLastRune(s[from:to]); to < len(s) && to-last > from {
		return to - last
	}
	return to
}

// setMatcher matches the characters of a set, one at a time or in runs. Most
// regexes in tokenizer.json files come down to it, and it is far faster than
// package regexp.
type setMatcher struct {
	*charSet
	runs bool
}

func (m setMatcher) matches(dst []match, s []byte) []match {
	start, inside := 0, false
	for i := 0; i < len(s); {
		is, n := m.at(s, i)
		if is != inside || is && !m.runs {
			if start < i {
				dst = append(dst, match{start, i, inside})
			}
			start, inside = i, is
		}
		i += n
	}
	if start < len(s) {
		dst = append(dst, match{start, len(s), inside})
	}
	return dst
}
