package text

import "unicode/utf8"

// A normalizer appends the normalised src, which is valid UTF-8, to dst. Either
// both are tracked or neither is.
type normalizer interface {
	normalize(dst *buffer, src buffer)
}

type normalizerSequence []normalizer

func (s normalizerSequence) normalize(dst *buffer, src buffer) {
	if len(s) == 0 {
		dst.append(src)
		return
	}
	for _, n := range s[:len(s)-1] {
		next := buffer{text: make([]byte, 0, len(src.text)+len(src.text)/4), tracked: dst.tracked}
		n.normalize(&next, src)
		dst.drifts = dst.drifts || next.drifts
		src = next
	}
	s[len(s)-1].normalize(dst, src)
}

// bertNormalizer does in one pass over ASCII, and step by step otherwise, what
// the file's BertNormalizer asks for.
type bertNormalizer struct {
	clean, chinese, strip, lower bool
}

func (b bertNormalizer) normalize(dst *buffer, src buffer) {
	if isASCII(src.text) {
		b.ascii(dst, src)
		return
	}
	if b.clean || b.chinese {
		prepared := buffer{text: make([]byte, 0, len(src.text)+16), tracked: dst.tracked}
		b.prepare(&prepared, src)
		src = prepared
	}
	if !b.strip {
		if b.lower {
			lowercase{}.normalize(dst, src)
		} else {
			dst.append(src)
		}
		return
	}
	// Short texts decompose on the stack.
	var room [256]char
	walk := walker{src: src}
	for _, c := range decompose(charsFor(room[:0], src.text), src.text, false) {
		at := 0
		if dst.tracked {
			at = walk.next(c.change)
		}
		switch {
		case has(c.r, isMn):
			continue
		case b.lower:
			dst.text = appendLower(dst.text, c.r)
		default:
			dst.text = utf8.AppendRune(dst.text, c.r)
		}
		dst.mark(src, at)
	}
}

func (b bertNormalizer) ascii(dst *buffer, src buffer) {
	text := dst.text
	for i, c := range src.text {
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
		text = append(text, c)
		if dst.tracked {
			dst.origins = append(dst.origins, src.origins[i])
		}
	}
	dst.text = text
}

// prepare cleans the text and puts spaces around Chinese characters. Neither
// step sees a character the other makes, so one pass does both.
func (b bertNormalizer) prepare(dst *buffer, src buffer) {
	for i := 0; i < len(src.text); {
		r, n := utf8.DecodeRune(src.text[i:])
		at := i
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
			dst.text = append(dst.text, ' ')
			dst.text = utf8.AppendRune(dst.text, r)
			dst.text = append(dst.text, ' ')
		} else {
			dst.text = utf8.AppendRune(dst.text, r)
		}
		dst.mark(src, at)
	}
}

type lowercase struct{}

func (lowercase) normalize(dst *buffer, src buffer) {
	for i := 0; i < len(src.text); {
		r, n := utf8.DecodeRune(src.text[i:])
		dst.text = appendLower(dst.text, r)
		dst.mark(src, i)
		i += n
	}
}

// stripAccents drops every mark the text holds as a character of its own; it
// does not decompose.
type stripAccents struct{}

func (stripAccents) normalize(dst *buffer, src buffer) {
	for i := 0; i < len(src.text); {
		r, n := utf8.DecodeRune(src.text[i:])
		if !has(r, isMark) {
			dst.append(src.slice(i, i+n))
		}
		i += n
	}
}

// unicodeForm is NFD, NFC, NFKD or NFKC.
type unicodeForm struct {
	compat, compose bool
}

func (f unicodeForm) normalize(dst *buffer, src buffer) {
	if isASCII(src.text) {
		dst.append(src)
		return
	}
	var room [256]char
	out := decompose(charsFor(room[:0], src.text), src.text, f.compat)
	if f.compose {
		out = recompose(out)
	}
	dst.appendChars(src, out)
}

type stripSpace struct {
	left, right bool
}

func (s stripSpace) normalize(dst *buffer, src buffer) {
	from, to := 0, len(src.text)
	if s.left {
		from = leadingSpace(src.text)
	}
	if s.right {
		to -= trailingSpace(src.text[from:])
	}
	dst.append(src.slice(from, to))
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

// replace replaces every match by a text.
type replace struct {
	old  matcher
	with []byte
}

func (p replace) normalize(dst *buffer, src buffer) {
	var room [32]match
	for _, m := range p.old.matches(room[:0], src.text) {
		if m.is {
			dst.text = append(dst.text, p.with...)
			dst.mark(src, m.end-1)
		} else {
			dst.append(src.slice(m.start, m.end))
		}
	}
}

type prepend []byte

func (p prepend) normalize(dst *buffer, src buffer) {
	if len(src.text) > 0 {
		dst.text = append(dst.text, p...)
		dst.mark(src, 0)
	}
	dst.append(src)
}

// maxGrowth bounds how much longer a file's own texts may make a text: a handful of Replace, one
// after the other, could otherwise fill any memory.
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
	case *precompiled:
		return float64(max(1, n.longest))
	case byteLevelNormalizer:
		return 2
	}
	return 1
}

// preGrowth is growth for pre-tokenizers.
func preGrowth(p preTokenizer) float64 {
	switch p := p.(type) {
	case preTokenizerSequence:
		product := 1.0
		for _, next := range p {
			product *= preGrowth(next)
		}
		return product
	case byteLevel:
		return 4 // two bytes for one, and so for a space before it
	case metaspace:
		return float64(2 * len(p.replacement))
	}
	return 1
}
