package text

import "unicode/utf8"

// byteRunes holds the character that a byte-level vocabulary has for each byte:
// itself where that can be seen, else one from U+0100 on (GPT-2's bytes_to_unicode).
type byteRunes [256]rune

func newByteRunes() *byteRunes {
	var t byteRunes
	next := rune(0x100)
	for b := range t {
		if '!' <= b && b <= '~' || 0xA1 <= b && b <= 0xAC || 0xAE <= b {
			t[b] = rune(b)
		} else {
			t[b] = next
			next++
		}
	}
	return &t
}

// append appends a part of src with each byte as a character.
func (t *byteRunes) append(dst *buffer, src buffer) {
	for i, b := range src.text {
		dst.text = utf8.AppendRune(dst.text, t[b])
		dst.mark(src, i)
	}
}

// byteLevelNormalizer is the normalizer ByteLevel.
type byteLevelNormalizer struct{ bytes *byteRunes }

func (n byteLevelNormalizer) normalize(dst *buffer, src buffer) { n.bytes.append(dst, src) }

// byteLevel is the pre-tokenizer ByteLevel.
type byteLevel struct {
	bytes  *byteRunes
	prefix bool // put a space before a piece that does not start with one
	words  bool // cut by GPT-2's regex
}

func (p byteLevel) apply(w *work) {
	w.rewrite(func(src buffer) {
		if p.prefix && src.text[0] != ' ' && !w.goesOn() {
			src = w.prefixed(" ", src)
		}
		for from := 0; from < len(src.text); {
			to := len(src.text)
			if p.words {
				to = from + nextWord(src.text[from:])
			}
			start := len(w.next.text)
			p.bytes.append(&w.next, src.slice(from, to))
			w.spans = appendSpan(w.spans, start, len(w.next.text))
			from = to
		}
	})
}

// nextWord returns the length of the first match of GPT-2's regex in s,
//
//	's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
//
// which always matches at the start of a text that is not empty.
func nextWord(s []byte) int {
	if n := contraction(s); n > 0 {
		return n
	}
	const all = isLetter | isNumber | isBlank
	i := 0
	if s[0] == ' ' {
		i = 1
	}
	if i < len(s) {
		r, n := utf8.DecodeRune(s[i:])
		if kind := lookup(r).bits & all; kind&isBlank == 0 {
			for i += n; i < len(s); i += n {
				if r, n = utf8.DecodeRune(s[i:]); lookup(r).bits&all != kind {
					break
				}
			}
			return i
		}
	}
	// White space, but for the last of it if something follows.
	last := 0
	for i = 0; i < len(s); {
		r, n := utf8.DecodeRune(s[i:])
		if !has(r, isBlank) {
			if last > 0 {
				return last
			}
			return i
		}
		last = i
		i += n
	}
	return i
}

// contraction returns the length of 's, 'll and the like at the start of s, or 0.
func contraction(s []byte) int {
	if s[0] != '\'' || len(s) < 2 {
		return 0
	}
	switch s[1] {
	case 's', 't', 'm', 'd':
		return 2
	}
	if len(s) > 2 {
		switch string(s[1:3]) {
		case "re", "ve", "ll":
			return 3
		}
	}
	return 0
}

// metaspace is the pre-tokenizer Metaspace: it writes spaces as another character,
// which it also puts before pieces, and cuts before every such character.
type metaspace struct {
	replacement string
	prepend     prependScheme
	split       bool
}

type prependScheme int

const (
	prependAlways prependScheme = iota
	prependFirst                // only to what the text starts with
	prependNever
)

func (p metaspace) apply(w *work) {
	w.rewrite(func(src buffer) {
		start := len(w.next.text)
		if first := src.text[0] == ' ' || hasPrefix(src.text, p.replacement); !first && p.prepends(src) && !w.goesOn() {
			w.next.text = append(w.next.text, p.replacement...)
			w.next.mark(src, 0)
		}
		for i := 0; i < len(src.text); {
			n := 1
			if src.text[i] == ' ' || hasPrefix(src.text[i:], p.replacement) {
				if p.split {
					w.spans = appendSpan(w.spans, start, len(w.next.text))
					start = len(w.next.text)
				}
				if src.text[i] != ' ' {
					n = len(p.replacement)
				}
				w.next.text = append(w.next.text, p.replacement...)
			} else {
				w.next.text = append(w.next.text, src.text[i])
			}
			w.next.mark(src, i)
			i += n
		}
		w.spans = appendSpan(w.spans, start, len(w.next.text))
	})
}

func (p metaspace) prepends(src buffer) bool {
	return p.prepend == prependAlways || p.prepend == prependFirst && src.origins[0].start == 0
}

func hasPrefix(s []byte, prefix string) bool {
	return len(s) >= len(prefix) && string(s[:len(prefix)]) == prefix
}

// rewrite makes w's text and spans anew: f gets every piece that is text, and
// appends to w.next and w.spans what becomes of it.
func (w *work) rewrite(f func(src buffer)) {
	w.next.reset(w.tracked)
	w.next.drifts = w.drifts
	in := w.spans
	w.spans = w.more[:0]
	for i, s := range in {
		w.rewriting = i
		src := w.slice(s.start, s.end)
		if !s.added {
			f(src)
			continue
		}
		start := len(w.next.text)
		w.next.append(src)
		w.spans = append(w.spans, span{start: start, end: len(w.next.text), added: true, id: s.id})
	}
	w.more = in
	w.buffer, w.next = w.next, w.buffer
}

// goesOn reports that what rewrite gives is the rest of a word.
func (w *work) goesOn() bool { return w.within && w.rewriting == 0 }

// prefixed returns src with a text before it.
func (w *work) prefixed(s string, src buffer) buffer {
	w.room.reset(w.tracked)
	w.room.text = append(w.room.text, s...)
	w.room.mark(src, 0)
	w.room.append(src)
	return w.room
}
