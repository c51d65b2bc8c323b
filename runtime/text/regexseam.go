package text

import (
	"slices"
	"unicode/utf8"
)

// A matched seam is what a matcher finds there.
type matched struct {
	known       bool // else it cannot tell
	apart       bool // no match has the characters of both sides
	left, right bool // whether these characters are in a match
	rightAlone  bool // that match has no other character
}

func (b bitMatcher) seam(s seam) matched {
	return matched{known: true, apart: true, left: has(s.left, uint16(b)), right: has(s.right, uint16(b)), rightAlone: true}
}

func (l literalMatcher) seam(s seam) matched {
	runes := []rune(string(l))
	if len(runes) == 1 {
		return matched{known: true, apart: true, left: s.left == runes[0], right: s.right == runes[0], rightAlone: true}
	}
	m := matched{known: !slices.Contains(runes, s.left) && (runes[0] != s.right || runes[1] != s.next), apart: true}
	return m // no match ends at the left one, none begins at the right one
}

func (m setMatcher) seam(s seam) matched {
	left, right := m.search(s.left), m.search(s.right)
	return matched{known: true, apart: !m.runs || !left || !right, left: left, right: right, rightAlone: !m.runs || !m.search(s.next)}
}

func (p *regexMatcher) seam(s seam) matched {
	h := p.shape
	if h == nil || p.spaces != nil && p.spaces.search(s.left) || h.follows(s.left, s.right) {
		return matched{}
	}
	m := matched{known: true, apart: true, rightAlone: !h.follows(s.right, s.next)}
	single := func(r rune) bool {
		from, to := p.next(utf8.AppendRune(nil, r), 0)
		return from == 0 && to > 0
	}
	// A character by which a match can begin, and end, is never left out.
	if h.has(s.left) {
		m.left = true
		m.known = single(s.left)
	}
	if h.has(s.right) {
		m.right = single(s.right)
		m.known = m.known && (m.right || m.rightAlone)
	}
	return m
}

// regexShape says which characters can follow each other in a match of a pattern: its classes, and
// which of them may come after which (Glushkov 1961).
type regexShape struct {
	classes [][]rune // pairs of first and last, sorted
	after   [][]int
}

// newRegexShape is nil for patterns with the end of a line, which see what follows.
func newRegexShape(alternatives [][]regexPart) *regexShape {
	h := &regexShape{}
	if _, _, _, ok := h.add(alternatives); !ok {
		return nil
	}
	return h
}

// add adds alternatives, and returns by which classes they begin and end, and whether they can
// match the empty text.
func (h *regexShape) add(alternatives [][]regexPart) (first, last []int, empty, ok bool) {
	for _, parts := range alternatives {
		var begin, end []int
		nothing := true // so far
		for _, p := range parts {
			var f, l []int
			e := p.least == 0 || p.empty
			switch {
			case p.lineEnd:
				return nil, nil, false, false
			case p.class:
				f = []int{len(h.classes)}
				l = f
				h.classes, h.after = append(h.classes, merge(p.first)), append(h.after, nil)
			case p.group == nil:
				return nil, nil, false, false
			default:
				var inner bool
				if f, l, inner, ok = h.add(p.group); !ok {
					return nil, nil, false, false
				}
				e = e || inner
			}
			if p.most != 1 || p.odd {
				h.link(l, f)
			}
			h.link(end, f)
			if nothing {
				begin = append(begin, f...)
			}
			if e {
				end = append(slices.Clone(end), l...)
			} else {
				end = l
			}
			nothing = nothing && e
		}
		first, last, empty = append(first, begin...), append(last, end...), empty || nothing
	}
	return first, last, empty, true
}

func (h *regexShape) link(from, to []int) {
	for _, i := range from {
		h.after[i] = append(h.after[i], to...)
	}
}

func inRanges(set []rune, r rune) bool {
	i, found := slices.BinarySearch(set, r)
	return found || i%2 == 1
}

// has reports whether the match can have the character.
func (h *regexShape) has(r rune) bool {
	return slices.ContainsFunc(h.classes, func(set []rune) bool { return inRanges(set, r) })
}

// follows reports whether a match can have one character after the other.
func (h *regexShape) follows(l, r rune) bool {
	for i, set := range h.classes {
		if inRanges(set, l) && slices.ContainsFunc(h.after[i], func(j int) bool { return inRanges(h.classes[j], r) }) {
			return true
		}
	}
	return false
}
