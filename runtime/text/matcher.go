package text

import (
	"bytes"
	"regexp"
	"slices"
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

// regexMatcher matches a pattern, which never matches the empty text and has no anchors.
// A group in it are spaces, of which the last of several is left to what follows them.
type regexMatcher struct{ *regexp.Regexp }

func (p regexMatcher) matches(dst []match, s []byte) []match {
	start := 0
	for start < len(s) {
		m := p.FindSubmatchIndex(s[start:])
		if m == nil {
			break
		}
		from, to := start+m[0], start+m[1]
		if spaces := len(m) > 2 && m[2] >= 0; spaces && to < len(s) {
			if _, last := utf8.DecodeLastRune(s[from:to]); to-last > from {
				to -= last
			}
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

// setMatcher matches the characters of a set, one at a time or in runs. Most
// regexes in tokenizer.json files come down to it, and it is far faster than
// package regexp.
type setMatcher struct {
	ascii [utf8.RuneSelf]bool
	set   []rune // merged pairs of first and last
	runs  bool
}

func newSetMatcher(set []rune, runs bool) *setMatcher {
	m := &setMatcher{set: set, runs: runs}
	for r := range rune(utf8.RuneSelf) {
		m.ascii[r] = m.search(r)
	}
	return m
}

func (m *setMatcher) search(r rune) bool {
	i, found := slices.BinarySearch(m.set, r)
	return found || i%2 == 1 // a first or a last itself, or between the two
}

func (m *setMatcher) matches(dst []match, s []byte) []match {
	start, inside := 0, false
	for i := 0; i < len(s); {
		r, n := rune(s[i]), 1
		var is bool
		if r < utf8.RuneSelf {
			is = m.ascii[r]
		} else {
			r, n = utf8.DecodeRune(s[i:])
			is = m.search(r)
		}
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
