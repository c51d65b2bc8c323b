package text

import (
	"fmt"
	"unicode/utf8"
)

// A model turns one pre-token into ids. A model loaded from a file of another
// kind (BPE, Unigram) needs no more than this to work in a Tokenizer.
type model interface {
	// tokenize appends the ids of word, which is valid UTF-8 and not empty.
	tokenize(dst *tokens, word []byte) error
	// id returns the id of a token of the vocabulary.
	id(token string) (uint32, bool)
	// size returns the number of tokens in the vocabulary.
	size() int
}

// tokens collects what a model finds; strings only where they are wanted.
type tokens struct {
	ids         []uint32
	strings     []string
	wantStrings bool
}

func (t *tokens) add(id uint32, prefix string, word []byte) {
	t.ids = append(t.ids, id)
	if t.wantStrings {
		t.strings = append(t.strings, prefix+string(word))
	}
}

type vocabulary map[string]uint32

func (v vocabulary) id(token string) (uint32, bool) {
	id, ok := v[token]
	return id, ok
}

func (v vocabulary) size() int { return len(v) }

// unknown appends the token that stands for words out of the vocabulary. Like
// the Rust library, a file whose vocabulary lacks that token fails here, with
// the first such word, and not before.
func (v vocabulary) unknown(dst *tokens, token string) error {
	id, ok := v[token]
	if !ok {
		return fmt.Errorf("a word is not in the vocabulary, and neither is the unknown token %q", token)
	}
	dst.add(id, token, nil)
	return nil
}

// wordLevel looks whole words up.
type wordLevel struct {
	vocabulary
	unk string
}

func (m *wordLevel) tokenize(dst *tokens, word []byte) error {
	if id, ok := m.vocabulary[string(word)]; ok {
		dst.add(id, "", word)
		return nil
	}
	return m.unknown(dst, m.unk)
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
		return m.unknown(dst, m.unk)
	}
	if id, ok := m.vocabulary[string(word)]; ok { // most words are whole
		dst.add(id, "", word)
		return nil
	}
	mark, markStrings := len(dst.ids), len(dst.strings)
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
			dst.ids, dst.strings = dst.ids[:mark], dst.strings[:markStrings]
			return m.unknown(dst, m.unk)
		}
		dst.add(id, prefix, word[start:end])
		start, pieces, prefix = end, m.inner, m.prefix
	}
	return nil
}
