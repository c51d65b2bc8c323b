package text

import (
	"unicode/utf8"
)

// parts reports whether merging never crosses a seam within a word.
func (m *bpe) parts(s seam) bool {
	if m.prefix != "" || m.suffix != "" || m.ignoreMerges {
		return false
	}
	for _, r := range []rune{s.left, s.right} {
		if _, ok := m.vocabulary[string(r)]; !ok {
			return false // it may be one of several that become one unknown token
		}
	}
	return !isInside(s.right) && !m.joined()[[2]rune{s.left, s.right}]
}

// joinedPairs are the pairs of characters that some merge joins. The second is never one that no
// word has: nothing looks those up.
func (m *bpe) joinedPairs() map[[2]rune]bool {
	all := map[[2]rune]bool{}
	for p := range m.merges {
		if r, _ := utf8.DecodeRuneInString(m.names[p.right]); !isInside(r) {
			l, _ := utf8.DecodeLastRuneInString(m.names[p.left])
			all[[2]rune{l, r}] = true
		}
	}
	return all
}

// parts reports whether no token crosses a seam within a word.
func (m *unigram) parts(s seam) bool {
	for _, r := range []rune{s.left, s.right} {
		if _, ok := m.vocabulary[string(r)]; !ok {
			return false // unknown ones in a row become one token
		}
	}
	return !isInside(s.right) && !m.joined()[[2]rune{s.left, s.right}]
}

// joinedPairs are the pairs of characters that some token has, as those of bpe.
func (m *unigram) joinedPairs() map[[2]rune]bool {
	all := map[[2]rune]bool{}
	for name := range m.vocabulary {
		left := utf8.RuneError
		for _, r := range name {
			if !isInside(r) {
				all[[2]rune{left, r}] = true
			}
			left = r
		}
	}
	return all
}

func (m *wordLevel) total() bool { _, ok := m.vocabulary[m.unk]; return ok }

func (m *wordPiece) total() bool { _, ok := m.vocabulary[m.unk]; return ok }

func (m *unigram) total() bool { return m.unk >= 0 }

func (m *bpe) total() bool {
	_, ok := m.vocabulary[m.unk]
	return ok || !m.hasUnk
}
