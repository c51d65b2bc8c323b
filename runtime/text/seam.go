package text

import (
	"slices"
	"sync"
	"unicode/utf8"
)

// A long text is tokenised part by part, no further than truncation keeps. Parts begin at seams:
// places between two characters where taking the text apart changes no token. Nothing is tried out:
// each component decides from three characters, the two beside the place and the next. Where a
// component cannot decide, there is no seam.

// A seam is what stands at a place that may be one.
type seam struct {
	left, right rune // beside it
	next        rune // after right
	rest        bool // a pre-tokenizer would put something before right, if a word did not go on there
}

// cuts are what a Tokenizer knows of where texts can be taken apart. Nil means nowhere.
type cuts struct {
	special, normalized fringe

	// inner are the normalizer as it treats a part of a text that lacks the text's
	// beginning, its end, or both, by begins and ends.
	inner [2][2]normalizer

	first, usual, each int // firstPart, usualPart, bytesEach
}

// newCuts is for a tokenizer that is loaded.
func newCuts(t *Tokenizer) *cuts {
	if !t.model.total() {
		return nil // it fails for a text that has certain words, wherever these are
	}
	c := &cuts{first: firstPart, usual: usualPart, each: bytesEach, special: newFringe(t.special), normalized: newFringe(t.normalized)}
	for begins := range 2 {
		for ends := range 2 {
			if t.normalizer != nil {
				c.inner[begins][ends] = inner(t.normalizer, begins == 1, ends == 1)
			}
		}
	}
	return c
}

// inner is a normalizer for a part of a text.
func inner(n normalizer, begins, ends bool) normalizer {
	switch n := n.(type) {
	case normalizerSequence:
		all := make(normalizerSequence, len(n))
		for i, next := range n {
			all[i] = inner(next, begins, ends)
		}
		return all
	case stripSpace:
		return stripSpace{left: n.left && begins, right: n.right && ends}
	case prepend:
		if !begins {
			return normalizerSequence{}
		}
	}
	return n
}

// normalizerFor is the normalizer of a part.
func (t *Tokenizer) normalizerFor(begins, ends bool) normalizer {
	if begins && ends {
		return t.normalizer
	}
	var i, j int
	if begins {
		i = 1
	}
	if ends {
		j = 1
	}
	return t.cuts.inner[i][j]
}

// fringe is what added tokens begin with, end with and have inside.
type fringe struct {
	single, taking map[rune]bool    // first characters: of single ones, of ones that take a space
	begin          map[[2]rune]bool // first two
	last           map[rune]bool
	inside         map[[2]rune]bool
}

func newFringe(t *tokenTrie) fringe {
	f := fringe{map[rune]bool{}, map[rune]bool{}, map[[2]rune]bool{}, map[rune]bool{}, map[[2]rune]bool{}}
	if t == nil {
		return f
	}
	for i, pattern := range t.patterns {
		runes := []rune(string(pattern))
		f.last[runes[len(runes)-1]] = true
		if t.found[i].lstrip {
			f.taking[runes[0]] = true
		}
		if len(runes) == 1 {
			f.single[runes[0]] = true
			continue
		}
		f.begin[[2]rune(runes[:2])] = true
		for j := range runes[1:] {
			f.inside[[2]rune(runes[j:j+2])] = true
		}
	}
	return f
}

// touches reports whether a token may begin, end or continue at the seam.
func (f *fringe) touches(s seam) bool {
	return f.last[s.left] || f.single[s.right] || f.taking[s.next] ||
		f.begin[[2]rune{s.right, s.next}] || f.inside[[2]rune{s.left, s.right}]
}

// isSeam reports whether a text can be taken apart at a place, and whether one word ends there and
// another begins, or the seam is within a word.
func (t *Tokenizer) isSeam(s seam) (words, ok bool) {
	if t.cuts.special.touches(s) {
		return false, false
	}
	if t.normalizer != nil {
		if s, ok = normalSeam(t.normalizer, s); !ok {
			return false, false
		}
	}
	if t.cuts.normalized.touches(s) {
		return false, false
	}
	if t.preTokenizer != nil {
		if s, words, ok = preSeam(t.preTokenizer, s, false); !ok {
			return false, false
		}
	}
	if words {
		return true, !s.rest
	}
	switch m := t.model.(type) {
	case *bpe:
		return false, m.parts(s)
	case *unigram:
		return false, m.parts(s)
	}
	return false, false
}

// calm reports whether a character stands for itself in any text: it neither joins a cluster nor
// composes with its neighbours, nor is made of several.
func calm(r rune) bool {
	p := lookup(r)
	if r == utf8.RuneError || p.class != 0 || p.bits&(isRemoved|isMark|isMn|hasCanon|hasCompat) != 0 && r != ' ' {
		return false
	}
	switch clusterClass(r) {
	case clusterOther:
		return true
	case clusterLV, clusterLVT: // Hangul syllables
		return true
	}
	return false
}

// quiet reports whether every character at a seam is calm, and apart from its neighbours.
func (s seam) quiet() bool {
	return calm(s.left) && calm(s.right) && calm(s.next) && clusterClass(s.right) == clusterOther
}

// normalSeam is what a normalizer makes of the characters at a seam, if it makes the same
// of two parts as of the whole.
func normalSeam(n normalizer, s seam) (seam, bool) {
	switch n := n.(type) {
	case normalizerSequence:
		for _, next := range n {
			var ok bool
			if s, ok = normalSeam(next, s); !ok {
				return s, false
			}
		}
		return s, true
	case stripSpace:
		return s, !has(s.left, isSpace) && !has(s.next, isSpace)
	case prepend:
		return s, true
	case replace:
		return n.seam(s)
	case lowercase, stripAccents, nmt, byteLevelNormalizer: // character by character
	default:
		if !s.quiet() {
			return s, false
		}
	}
	var out buffer
	var made [3][]rune
	for i, r := range []rune{s.left, s.right, s.next} {
		out.reset(false)
		n.normalize(&out, buffer{text: utf8.AppendRune(nil, r)})
		made[i] = []rune(string(out.text))
		if len(made[i]) == 0 {
			return s, false
		}
	}
	return seam{left: made[0][len(made[0])-1], right: made[1][0], next: append(made[1], made[2]...)[1]}, true
}

func (p replace) seam(s seam) (seam, bool) {
	m := p.old.seam(s)
	if !m.known || !m.apart || m.left {
		return s, false
	}
	if m.right {
		with := []rune(string(p.with))
		if len(with) == 0 || !m.rightAlone {
			return s, false
		}
		s.right = with[0]
		if len(with) > 1 {
			s.next = with[1]
		}
	}
	return s, true
}

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

// preSeam is what a pre-tokenizer makes of the characters at a seam, if it makes the same
// of two parts as of the whole, and whether a word ends there.
func preSeam(p preTokenizer, s seam, words bool) (_ seam, _, ok bool) {
	switch p := p.(type) {
	case preTokenizerSequence:
		for _, next := range p {
			if s, words, ok = preSeam(next, s, words); !ok {
				return s, false, false
			}
		}
		return s, words, true
	case cutting:
		if words {
			return s, true, true
		}
		words, ok = cutSeam(p.cutter, s)
		return s, words, ok
	case byteLevel:
		s.rest = s.rest || p.prefix && !words && s.right != ' '
		if p.words && !words {
			if words, ok = cutSeam(gpt2Words(), s); !ok {
				return s, false, false
			}
		}
		left, right := utf8.AppendRune(nil, s.left), utf8.AppendRune(utf8.AppendRune(nil, s.right), s.next)
		return seam{p.bytes[left[len(left)-1]], p.bytes[right[0]], p.bytes[right[1]], s.rest}, words, true
	case metaspace:
		sign, _ := utf8.DecodeRuneInString(p.replacement)
		space := s.right == ' ' || s.right == sign
		if !space && words && p.prepend == prependFirst {
			return s, false, false // of a part, it would be what comes first
		}
		s.rest = s.rest || !space && !words && p.prepend != prependNever
		for _, r := range []*rune{&s.left, &s.right, &s.next} {
			if *r == ' ' {
				*r = sign
			}
		}
		return s, words || p.split && space, true
	}
	return s, false, false
}

// gpt2Words is the cutter of the ByteLevel pre-tokenizer; nextWord is a faster form of it.
var gpt2Words = sync.OnceValue(func() cutter {
	m, err := compileRegex(`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`)
	if err != nil {
		panic(err) // it is a constant
	}
	return delimiterSplit{delimiter: m, behavior: isolated}
})

// cutSeam reports whether a cutter cuts at a seam, if it cuts the two parts elsewhere as it does
// the whole.
func cutSeam(c cutter, s seam) (words, ok bool) {
	switch c := c.(type) {
	case bertPreTokenizer:
		return has(s.left, isSpace|isPunct) || has(s.right, isSpace|isPunct), true
	case whitespaceSplit:
		return has(s.left, isSpace) || has(s.right, isSpace), true
	case whitespaceWords:
		kind := func(r rune) uint16 {
			if now := lookup(r).bits & isWord; now != 0 {
				return now
			}
			return lookup(r).bits & isSpace
		}
		return kind(s.left) != kind(s.right), true
	case delimiterSplit:
		m := c.delimiter.seam(s)
		if !m.known {
			return false, false
		}
		left, right := m.left != c.invert, m.right != c.invert
		switch {
		case !m.apart || !m.left && !m.right: // one piece goes across
			return false, c.behavior != removed || !left // but if it is dropped, no word goes on
		case c.behavior == contiguous:
			return left != right, true
		case c.behavior == mergedWithPrevious:
			return left, true
		case c.behavior == mergedWithNext:
			return right, true
		}
		return true, true
	}
	return false, false
}

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

// total reports whether a model has tokens for every word.

func (m *wordLevel) total() bool { _, ok := m.vocabulary[m.unk]; return ok }
func (m *wordPiece) total() bool { _, ok := m.vocabulary[m.unk]; return ok }
func (m *unigram) total() bool   { return m.unk >= 0 }
func (m *bpe) total() bool {
	_, ok := m.vocabulary[m.unk]
	return ok || !m.hasUnk
}
