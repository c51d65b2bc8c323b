package text

import (
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

// total reports whether a model has tokens for every word.
