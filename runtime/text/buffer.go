package text

import "unicode/utf8"

// origin is what a byte of a text being worked on stands for: a range of bytes
// of the text as it was given.
type origin struct {
	start, end int32
}

// A buffer is a text being worked on. A tracked one has the origin of every byte, for offsets,
// which few callers want.
type buffer struct {
	text    []byte
	origins []origin
	tracked bool
	// drifts says that a normalizer lost characters that the Rust library does not count: the
	// origins of all that follow are off by them.
	drifts bool
}

// reset empties the buffer and keeps its memory.
func (b *buffer) reset(tracked bool) {
	b.text, b.origins, b.tracked, b.drifts = b.text[:0], b.origins[:0], tracked, false
}

// setOrigins makes the buffer's bytes stand for themselves, character by character.
func (b *buffer) setOrigins() {
	for i := 0; i < len(b.text); {
		n := 1
		if b.text[i] >= utf8.RuneSelf {
			_, n = utf8.DecodeRune(b.text[i:])
		}
		o := origin{int32(i), int32(i + n)}
		for range n {
			b.origins = append(b.origins, o)
		}
		i += n
	}
}

// slice returns a part of the buffer, which shares its memory.
func (b *buffer) slice(from, to int) buffer {
	part := buffer{text: b.text[from:to], tracked: b.tracked}
	if b.tracked {
		part.origins = b.origins[from:to]
	}
	return part
}

// append appends a text and where it came from.
func (b *buffer) append(src buffer) {
	b.text = append(b.text, src.text...)
	if b.tracked {
		b.origins = append(b.origins, src.origins...)
	}
}

// mark says that the bytes appended to b.text since the last mark stand for what
// the byte at of src stands for.
func (b *buffer) mark(src buffer, at int) {
	if !b.tracked {
		return
	}
	o := src.origins[at]
	for len(b.origins) < len(b.text) {
		b.origins = append(b.origins, o)
	}
}

// A char is a character that a normalizer made of a text. change is how the Rust library aligns the
// two (NormalizedString::transform): 0 replaces the next character of the old text, -n one that
// also stands for the n after it, and 1 was inserted.
type char struct {
	r      rune
	change int32
}

// appendChars appends what a normalizer made of the whole of src.
func (b *buffer) appendChars(src buffer, chars []char) {
	walk := walker{src: src}
	for _, c := range chars {
		b.text = utf8.AppendRune(b.text, c.r)
		if b.tracked {
			b.mark(src, walk.next(c.change))
		}
	}
	b.drifts = b.drifts || b.tracked && (walk.at != len(src.text) || walk.over)
}

// A walker goes through an old text as the characters of the new one replace it.
type walker struct {
	src  buffer
	at   int
	over bool // more was asked for than there is
}

// next returns the byte of the old text that a character stands for.
func (w *walker) next(change int32) int {
	if change > 0 {
		return max(w.at-1, 0)
	}
	at := w.at
	for ; change <= 0 && w.at < len(w.src.text); change++ {
		_, n := utf8.DecodeRune(w.src.text[w.at:])
		w.at += n
	}
	w.over = w.over || change <= 0
	return min(at, len(w.src.text)-1)
}

// place turns places within the span p, the i-th, into places within the text as it
// was given.
func (w *work) place(places []place, p span, i int) {
	origins := w.origins[p.start:p.end]
	for j := range places {
		at := &places[j]
		at.word = int32(i)
		// A model that writes a word's bytes as tokens may count more of them than
		// there are; the library then leaves the place as it is.
		if at.start < at.end && int(at.end) <= len(origins) {
			at.start, at.end = origins[at.start].start, origins[at.end-1].end
		}
	}
}

// countCharacters turns places in bytes of a text into places in characters.
func countCharacters(places []place, text []byte) {
	characters := make([]int32, len(text)) // byte -> character
	n := int32(-1)
	for i, c := range text {
		if utf8.RuneStart(c) {
			n++
		}
		characters[i] = n
	}
	size := int32(len(text))
	for j := range places {
		p := &places[j]
		switch {
		case p.start < 0 || p.start >= size:
		case p.end < size:
			p.start, p.end = characters[p.start], characters[p.end]
		case p.end == size:
			p.start, p.end = characters[p.start], n+1
		default:
			p.start, p.end = characters[p.start], characters[p.start]+2
		}
	}
}
