package text

import (
	"fmt"
	"unicode/utf8"
)

// A model turns one pre-token into ids.
type model interface {
	// tokenize appends the ids of word, which is valid UTF-8 and not empty.
	tokenize(dst *tokens, word []byte) error
	// id returns the id of a token of the vocabulary.
	id(token string) (uint32, bool)
	// total reports whether tokenize never fails.
	total() bool
	// size returns the number of tokens in the vocabulary.
	size() int
}

// tokens collects a model's results: ids and, where wanted, the tokens' text and their places.
type tokens struct {
	ids     []uint32
	strings []string
	places  []place
	want    wants
	dropped int // tokens that are no longer there, which were the first

	// Of a word that is tokenised in parts, the score of what came before, and of the last
	// word with it: sums are rounded, so what is added up to counts.
	before, score float64

	// What models need for a word and the next word can use again.
	merging mergeRoom
	steps   []step
	path    []piece
}

// wants says what is wanted beyond ids.
type wants struct {
	strings bool
	places  bool
	padded  bool // as a batch of one
}

// place is the range of a word, in bytes, that a token stands for; later of the text.
type place struct {
	start, end int32
	word       int32
}

func (t *tokens) reset(want wants) {
	t.ids, t.strings, t.places, t.want, t.dropped = t.ids[:0], t.strings[:0], t.places[:0], want, 0
}

// add appends a token that stands for bytes start to end of the word. Where
// t.want.strings is set, its text must be appended to t.strings as well.
func (t *tokens) add(id uint32, start, end int) {
	t.ids = append(t.ids, id)
	if t.want.places {
		t.places = append(t.places, place{start: int32(start), end: int32(end)})
	}
}

// truncate takes back all but the first n tokens.
func (t *tokens) truncate(n int) {
	t.ids = t.ids[:n]
	if t.want.strings {
		t.strings = t.strings[:n]
	}
	if t.want.places {
		t.places = t.places[:n]
	}
}

type vocabulary map[string]uint32

func (v vocabulary) id(token string) (uint32, bool) {
	id, ok := v[token]
	return id, ok
}

func (v vocabulary) size() int { return len(v) }

// unknown appends the token that stands for a word out of the vocabulary. Without that token in the
// vocabulary, the first such word is an error, as in the Rust library.
func (v vocabulary) unknown(dst *tokens, token string, word []byte) error {
	id, ok := v[token]
	if !ok {
		return fmt.Errorf("a word is not in the vocabulary, and neither is the unknown token %q", token)
	}
	dst.add(id, 0, len(word))
	if dst.want.strings {
		dst.strings = append(dst.strings, token)
	}
	return nil
}

// whole appends the token that is the word, if there is one.
func (v vocabulary) whole(dst *tokens, word []byte) bool {
	id, ok := v[string(word)]
	if !ok {
		return false
	}
	dst.add(id, 0, len(word))
	if dst.want.strings {
		dst.strings = append(dst.strings, string(word))
	}
	return true
}

// wordLevel looks whole words up.
type wordLevel struct {
	vocabulary
	unk string
}

func (m *wordLevel) tokenize(dst *tokens, word []byte) error {
	if m.whole(dst, word) {
		return nil
	}
	return m.unknown(dst, m.unk, word)
}

// wordPiece cuts a word, from its start, into the longest pieces in the
// vocabulary, and gives up on the word if anything is left ("maximum matching";
// Schuster and Nakajima 2012, as BERT uses it).
type wordPiece struct {
	vocabulary
	unk      string
	prefix   string            // of pieces that are not the first, in the vocabulary
	inner    map[string]uint32 // those pieces, without the prefix
	maxChars int               // longer words are unknown
	longest  int               // bytes of the longest piece
}

func newWordPiece(vocab vocabulary, unk, prefix string, maxChars int) *wordPiece {
	m := &wordPiece{vocabulary: vocab, unk: unk, prefix: prefix, maxChars: maxChars}
	m.inner = make(map[string]uint32, len(vocab)/4)
	for token, id := range vocab {
		m.longest = max(m.longest, len(token))
		if len(token) > len(prefix) && token[:len(prefix)] == prefix {
			m.inner[token[len(prefix):]] = id
		}
	}
	return m
}

func (m *wordPiece) tokenize(dst *tokens, word []byte) error {
	if len(word) > m.maxChars && utf8.RuneCount(word) > m.maxChars {
		return m.unknown(dst, m.unk, word)
	}
	if m.whole(dst, word) { // most words are
		return nil
	}
	mark := len(dst.ids)
	pieces, prefix := map[string]uint32(m.vocabulary), ""
	for start := 0; start < len(word); {
		end := min(len(word), start+m.longest)
		for end < len(word) && end > start && !utf8.RuneStart(word[end]) {
			end--
		}
		var id uint32
		found := false
		for end > start {
			if id, found = pieces[string(word[start:end])]; found {
				break
			}
			for end--; end > start && !utf8.RuneStart(word[end]); end-- {
			}
		}
		if !found {
			dst.truncate(mark)
			return m.unknown(dst, m.unk, word)
		}
		dst.add(id, start, end)
		if dst.want.strings {
			dst.strings = append(dst.strings, prefix+string(word[start:end]))
		}
		start, pieces, prefix = end, m.inner, m.prefix
	}
	return nil
}
