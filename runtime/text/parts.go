package text

import (
	"errors"
	"slices"
	"unicode/utf8"
)

// Sizes of the parts of long texts, in bytes. The first one is as long as the tokens that
// are kept usually need.
const (
	firstPart   = 4 << 10
	usualPart   = 16 << 10
	bytesEach   = 8   // of a token, with room
	maxAttempts = 512 // places that may turn out to be no seam before no further ones are looked at
	keptBeside  = 4 << 10
	manyWindows = 4 // times a window of the text's end grows
)

// tokenize fills s.tokens[which] with the tokens of text: with all, or with at least
// the first most, or the last when truncation is on the left. whole reports that they are all.
func (t *Tokenizer) tokenize(s *scratch, text string, which int, want wants, most int) (whole bool, err error) {
	out := &s.tokens[which]
	out.reset(want)
	first := 0
	if t.cuts != nil {
		first = max(t.cuts.first, t.cuts.each*most)
	}
	if most > 0 && first > 0 && len(text) >= 2*first {
		whole, err := t.someParts(s, out, text, first, most)
		if !errors.Is(err, errDrifts) {
			return whole, err
		}
		out.reset(want)
	}
	_, err = t.part(s, out, text, part{begins: true, ends: true})
	return true, err
}

// errDrifts says that only the whole text gives the offsets.
var errDrifts = errors.New("offsets depend on all that is before")

// someParts is tokenize for a long text, in parts.
func (t *Tokenizer) someParts(s *scratch, out *tokens, text string, first, most int) (whole bool, err error) {
	if !t.truncation.left {
		return t.inParts(s, text, first, func() bool { return len(out.ids) < most }, out)
	}
	if !out.want.places { // for these all that comes before has to be counted
		if done, err := t.fromEnd(s, out, text, first, most); done || err != nil {
			return false, err
		}
		out.reset(out.want)
	}
	return t.inParts(s, text, first, func() bool {
		if n := len(out.ids); n > most+keptBeside {
			out.drop(n - most)
		}
		return true
	}, out)
}

// inParts tokenises a text part by part while more returns true. whole reports that
// no tokens of it are missing.
func (t *Tokenizer) inParts(s *scratch, text string, first int, more func() bool, out *tokens) (whole bool, err error) {
	p := part{begins: true}
	size := first
	for {
		n, words := t.findSeam(text, size)
		p.ends = n == len(text)
		made, err := t.part(s, out, text[:n], p)
		if err != nil || p.ends {
			return out.dropped == 0, err
		}
		if !more() {
			return false, nil
		}
		p.begins, p.characters, p.words = false, p.characters+made.characters, p.words+made.words
		if p.within = !words; p.within {
			p.words--
		}
		text, size = text[n:], t.cuts.usual
	}
}

// fromEnd tokenises as much of a text's end as has that number of tokens. done is false when there
// is no place to begin at.
func (t *Tokenizer) fromEnd(s *scratch, out *tokens, text string, size, most int) (done bool, err error) {
	for ; size < len(text); size *= manyWindows {
		from := len(text) - size
		n, words := t.findSeam(text[from:], 1)
		if _, sums := t.model.(*unigram); sums && !words {
			return false, nil
		}
		if from+n >= len(text)-size/2 {
			return false, nil
		}
		out.reset(out.want)
		if _, err := t.part(s, out, text[from+n:], part{ends: true, within: !words}); err != nil {
			return false, err
		}
		if len(out.ids) >= most {
			return true, nil
		}
	}
	return false, nil
}

// ordered bounds the tokens found of a pair so that it is shortened as the whole would be: of two
// texts that are both too long, the longer one matters.
func (t *Tokenizer) ordered(s *scratch, texts [2]string, whole [2]bool, found [2]cut, most int) ([2]cut, error) {
	if tr := t.truncation; found[0].len() >= most && found[1].len() >= most && !tr.onlyFirst && !tr.onlySecond {
		var counts [2]int
		var spare tokens
		for i := range texts {
			if counts[i] = found[i].len(); whole[i] {
				continue
			}
			counts[i] = 0
			spare.reset(wants{})
			_, err := t.inParts(s, texts[i], t.cuts.usual, func() bool {
				counts[i] += len(spare.ids)
				spare.ids = spare.ids[:0]
				return true
			}, &spare)
			if err != nil {
				return found, err
			}
			counts[i] += len(spare.ids)
		}
		for i := range found {
			n := most
			if counts[i] < counts[1-i] {
				n = most - 1
			}
			found[i] = t.truncation.keep(found[i], n)
		}
		return found, nil
	}
	for i := range found {
		if !whole[i] {
			found[i] = t.truncation.keep(found[i], most)
		}
	}
	return found, nil
}

// A part is one of a text: whether it has its beginning and its end, and what comes before it.
type part struct {
	begins, ends bool
	within       bool // it begins within a word
	characters   int
	words        int
}

// part appends the tokens of a part of a text, and returns its number of characters and words.
func (t *Tokenizer) part(s *scratch, out *tokens, text string, p part) (made part, err error) {
	if err := t.prepare(s, text, out.want.places || t.tracks, p); err != nil {
		return made, err
	}
	first := len(out.ids)
	for i, w := range s.work.spans {
		if out.before = 0; i == 0 && p.within {
			out.before = out.score
		}
		mark := len(out.ids)
		word := s.work.text[w.start:w.end]
		if w.added {
			out.add(w.id, 0, len(word))
			if out.want.strings {
				out.strings = append(out.strings, string(word))
			}
		} else if err := t.model.tokenize(out, word); err != nil {
			return made, err
		}
		if out.want.places {
			s.work.place(out.places[mark:], w, i)
		}
	}
	if out.want.places {
		if whole := p.begins && p.ends; s.work.drifts && !whole {
			return made, errDrifts
		}
		found := out.places[first:]
		countCharacters(found, s.input.text)
		if p.characters > 0 || p.words > 0 {
			for i := range found {
				found[i].start += int32(p.characters)
				found[i].end += int32(p.characters)
				found[i].word += int32(p.words)
			}
		}
		// What comes behind it begins after these.
		made.characters, made.words = utf8.RuneCount(s.input.text), len(s.work.spans)
	}
	return made, nil
}

// findSeam returns where the part of a text ends that has at least size bytes, if the
// text has a seam, or else the text, and whether a word ends there.
func (t *Tokenizer) findSeam(text string, size int) (n int, words bool) {
	i := min(size, len(text))
	for i < len(text) && !utf8.RuneStart(text[i]) {
		i++
	}
	if i >= len(text) {
		return len(text), true
	}
	left, _ := utf8.DecodeLastRuneInString(text[:i])
	right, n := utf8.DecodeRuneInString(text[i:])
	for tries := 0; i+n < len(text) && tries < maxAttempts; {
		next, m := utf8.DecodeRuneInString(text[i+n:])
		if isInside(left) && isInside(next) && (!isInside(right) || isCJK(right)) {
			if words, ok := t.isSeam(seam{left: left, right: right, next: next}); ok {
				return i, words
			}
			tries++
		}
		i, n, left, right = i+n, m, right, next
	}
	return len(text), true
}

// isInside reports whether words are made of a character.
func isInside(r rune) bool { return has(r, isLetter|isNumber) && calm(r) }

// drop takes back the first n tokens.
func (t *tokens) drop(n int) {
	t.dropped += n
	t.ids = slices.Delete(t.ids, 0, n)
	if t.want.strings {
		t.strings = slices.Delete(t.strings, 0, n)
	}
	if t.want.places {
		t.places = slices.Delete(t.places, 0, n)
	}
}
