package text

import "unicode/utf8"

// A normalizer appends the normalised src to dst. src is valid UTF-8.
type normalizer interface {
	normalize(dst, src []byte) []byte
}

type normalizerSequence []normalizer

func (s normalizerSequence) normalize(dst, src []byte) []byte {
	if len(s) == 0 {
		return append(dst, src...)
	}
	for _, n := range s[:len(s)-1] {
		src = n.normalize(make([]byte, 0, len(src)+len(src)/4), src)
	}
	return s[len(s)-1].normalize(dst, src)
}

// bertNormalizer does in one pass over ASCII, and step by step otherwise, what
// the file's BertNormalizer asks for.
type bertNormalizer struct {
	clean, chinese, strip, lower bool
}

func (b bertNormalizer) normalize(dst, src []byte) []byte {
	if isASCII(src) {
		return b.ascii(dst, src)
	}
	if b.clean || b.chinese {
		src = b.prepare(make([]byte, 0, len(src)+16), src)
	}
	if !b.strip {
		if b.lower {
			return lowercase{}.normalize(dst, src)
		}
		return append(dst, src...)
	}
	// Short texts decompose on the stack.
	var room [256]rune
	for _, r := range decompose(room[:0], src, false) {
		switch {
		case has(r, isMn):
		case b.lower:
			dst = appendLower(dst, r)
		default:
			dst = utf8.AppendRune(dst, r)
		}
	}
	return dst
}

func (b bertNormalizer) ascii(dst, src []byte) []byte {
	for _, c := range src {
		if b.clean {
			bits := lookup(rune(c)).bits
			if bits&isRemoved != 0 {
				continue
			}
			if bits&isSpace != 0 {
				c = ' '
			}
		}
		if b.lower && 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		dst = append(dst, c)
	}
	return dst
}

// prepare cleans the text and puts spaces around Chinese characters. Neither
// step sees a character the other makes, so one pass does both.
func (b bertNormalizer) prepare(dst, src []byte) []byte {
	for i := 0; i < len(src); {
		r, n := utf8.DecodeRune(src[i:])
		i += n
		if b.clean {
			bits := lookup(r).bits
			if bits&isRemoved != 0 {
				continue
			}
			if bits&isSpace != 0 {
				r = ' '
			}
		}
		if b.chinese && isCJK(r) {
			dst = append(dst, ' ')
			dst = utf8.AppendRune(dst, r)
			dst = append(dst, ' ')
			continue
		}
		dst = utf8.AppendRune(dst, r)
	}
	return dst
}

type lowercase struct{}

func (lowercase) normalize(dst, src []byte) []byte {
	for i := 0; i < len(src); {
		r, n := utf8.DecodeRune(src[i:])
		i += n
		dst = appendLower(dst, r)
	}
	return dst
}

// stripAccents drops every mark the text holds as a character of its own; it
// does not decompose.
type stripAccents struct{}

func (stripAccents) normalize(dst, src []byte) []byte {
	for i := 0; i < len(src); {
		r, n := utf8.DecodeRune(src[i:])
		if !has(r, isMark) {
			dst = append(dst, src[i:i+n]...)
		}
		i += n
	}
	return dst
}

// unicodeForm is NFD, NFC, NFKD or NFKC.
type unicodeForm struct {
	compat, compose bool
}

func (f unicodeForm) normalize(dst, src []byte) []byte {
	if isASCII(src) {
		return append(dst, src...)
	}
	var room [256]rune
	out := decompose(room[:0], src, f.compat)
	if f.compose {
		out = recompose(out)
	}
	for _, r := range out {
		dst = utf8.AppendRune(dst, r)
	}
	return dst
}

type stripSpace struct {
	left, right bool
}

func (s stripSpace) normalize(dst, src []byte) []byte {
	if s.left {
		src = src[leadingSpace(src):]
	}
	if s.right {
		src = src[:len(src)-trailingSpace(src)]
	}
	return append(dst, src...)
}

// leadingSpace returns the bytes of white space s starts with.
func leadingSpace(s []byte) int {
	i := 0
	for i < len(s) {
		r, n := utf8.DecodeRune(s[i:])
		if !has(r, isSpace) {
			break
		}
		i += n
	}
	return i
}

// trailingSpace returns the bytes of white space s ends with.
func trailingSpace(s []byte) int {
	i := len(s)
	for i > 0 {
		r, n := utf8.DecodeLastRune(s[:i])
		if !has(r, isSpace) {
			break
		}
		i -= n
	}
	return len(s) - i
}

// replace puts a text in the place of every match.
type replace struct {
	old  matcher
	with []byte
}

func (p replace) normalize(dst, src []byte) []byte {
	var room [32]match
	for _, m := range p.old.matches(room[:0], src) {
		if m.is {
			dst = append(dst, p.with...)
		} else {
			dst = append(dst, src[m.start:m.end]...)
		}
	}
	return dst
}

type prepend []byte

func (p prepend) normalize(dst, src []byte) []byte {
	if len(src) > 0 {
		dst = append(dst, p...)
	}
	return append(dst, src...)
}

// maxGrowth bounds how much longer a file's own texts may make a text: a
// handful of Replace in a row could otherwise fill any memory.
const maxGrowth = 4096

// growth bounds how many times longer n can make a text, as far as the file
// and not Unicode decides it.
func growth(n normalizer) float64 {
	switch n := n.(type) {
	case normalizerSequence:
		product := 1.0
		for _, next := range n {
			product *= growth(next)
		}
		return product
	case prepend:
		return float64(1 + len(n))
	case replace:
		shortest := 1 // bytes of a match
		if l, ok := n.old.(literalMatcher); ok {
			shortest = len(l)
		}
		return max(1, float64(len(n.with))/float64(shortest))
	}
	return 1
}
