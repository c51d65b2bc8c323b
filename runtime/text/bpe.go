package text

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"unicode/utf8"
)

// bpe merges the characters of a word, the pair of the lowest rank first, until no
// pair is in its list (byte pair encoding; Sennrich, Haddow and Birch 2016). With
// the ByteLevel pre-tokenizer, characters are bytes, as in GPT-2 and RoBERTa.
type bpe struct {
	vocabulary
	names  map[uint32]string // the tokens by id
	merges map[pair]merging
	whole  map[string]uint32 // words that merging makes one token of

	unk          string
	hasUnk       bool
	prefix       string // of a word's characters that are not the first
	suffix       string // of its last
	fuseUnk      bool
	byteFallback bool
	ignoreMerges bool // a word in the vocabulary is a token, whatever merging makes of it

	joined func() map[[2]rune]bool // see joinedPairs
}

type pair struct {
	left, right uint32
}

type merging struct {
	rank uint32
	id   uint32 // of both in one
}

// symbol is a token that may still be merged with its neighbours.
type symbol struct {
	id         uint32
	prev, next int32 // -1 for none
	size       int32 // bytes of the word; 0 once merged into another
}

// candidate is a pair that can be merged: the symbol at and the next.
type candidate struct {
	rank, at uint32
	id       uint32
}

func (c candidate) before(d candidate) bool {
	return c.rank < d.rank || c.rank == d.rank && c.at < d.at
}

// finish fills m.names and m.whole.
func (m *bpe) finish() {
	m.joined = sync.OnceValue(m.joinedPairs)
	m.names = make(map[uint32]string, len(m.vocabulary))
	for token, id := range m.vocabulary {
		m.names[id] = token
	}
	m.whole = make(map[string]uint32, len(m.vocabulary))
	var w mergeRoom
	for token, id := range m.vocabulary {
		if token == "" || len(token) > maxWholeWord {
			continue
		}
		if m.ignoreMerges {
			m.whole[token] = id
			continue
		}
		if err := m.split(&w, []byte(token)); err != nil {
			continue // met again when such a word is
		}
		m.merge(&w)
		if len(w.symbols) == 0 {
			continue
		}
		if s := w.symbols[0]; s.next < 0 && s.id == id && int(s.size) == len(token) {
			m.whole[token] = id
		}
	}
}

// maxWholeWord bounds the words looked up before merging; others take their time.
const maxWholeWord = 64

// mergeRoom is the scratch memory of merging one word.
type mergeRoom struct {
	symbols []symbol
	heap    []candidate
	text    []byte
}

func (m *bpe) tokenize(dst *tokens, word []byte) error {
	if id, ok := m.whole[string(word)]; ok {
		dst.add(id, 0, len(word))
		if dst.want.strings {
			dst.strings = append(dst.strings, m.name(id, word))
		}
		return nil
	}
	if m.ignoreMerges {
		if id, ok := m.vocabulary[string(word)]; ok {
			dst.add(id, 0, len(word))
			if dst.want.strings {
				dst.strings = append(dst.strings, string(word))
			}
			return nil
		}
	}
	w := &dst.merging
	if err := m.split(w, word); err != nil {
		return err
	}
	m.merge(w)
	at := 0
	for _, s := range w.symbols {
		if s.size == 0 {
			continue
		}
		dst.add(s.id, at, at+int(s.size))
		if dst.want.strings {
			dst.strings = append(dst.strings, m.names[s.id])
		}
		at += int(s.size)
	}
	return nil
}

// name is what the library calls a whole word: what it found, or with merges what
// the vocabulary has for the id.
func (m *bpe) name(id uint32, word []byte) string {
	if m.ignoreMerges {
		return string(word)
	}
	return m.names[id]
}

// split makes a symbol of every character of a word. A character that is not in the
// vocabulary becomes its bytes, or the unknown token, or nothing.
func (m *bpe) split(w *mergeRoom, word []byte) error {
	w.symbols = slices.Grow(w.symbols[:0], utf8.RuneCount(word))
	var unk uint32
	unkSize := 0 // of an unknown token that was not appended yet
	for i := 0; i < len(word); {
		_, n := utf8.DecodeRune(word[i:])
		piece := word[i : i+n]
		if i > 0 && m.prefix != "" || i+n == len(word) && m.suffix != "" {
			w.text = w.text[:0]
			if i > 0 {
				w.text = append(w.text, m.prefix...)
			}
			w.text = append(w.text, piece...)
			if i+n == len(word) {
				w.text = append(w.text, m.suffix...)
			}
			piece = w.text
		}
		i += n
		if id, ok := m.vocabulary[string(piece)]; ok {
			if unkSize > 0 {
				w.push(unk, unkSize)
				unkSize = 0
			}
			w.push(id, n)
			continue
		}
		if m.byteFallback && m.pushBytes(w, piece) {
			continue // an unknown token that waits comes after them, as in the library
		}
		if !m.hasUnk {
			continue
		}
		if unkSize > 0 && !m.fuseUnk {
			w.push(unk, unkSize)
			unkSize = 0
		}
		if unkSize == 0 {
			var ok bool
			if unk, ok = m.vocabulary[m.unk]; !ok {
				return fmt.Errorf("a character is not in the vocabulary, and neither is the unknown token %q", m.unk)
			}
		}
		unkSize += n
	}
	if unkSize > 0 {
		w.push(unk, unkSize)
	}
	return nil
}

// pushBytes appends a piece as the tokens <0x00> to <0xFF>, if they all exist.
func (m *bpe) pushBytes(w *mergeRoom, piece []byte) bool {
	mark := len(w.symbols)
	for _, b := range piece {
		id, ok := m.vocabulary[byteToken(b)]
		if !ok {
			w.symbols = w.symbols[:mark]
			if mark > 0 {
				w.symbols[mark-1].next = -1
			}
			return false
		}
		w.push(id, 1)
	}
	return true
}

func byteToken(b byte) string {
	const digits = "0123456789ABCDEF"
	return string([]byte{'<', '0', 'x', digits[b>>4], digits[b&15], '>'})
}

func (w *mergeRoom) push(id uint32, size int) {
	n := int32(len(w.symbols))
	if n > 0 {
		w.symbols[n-1].next = n
	}
	w.symbols = append(w.symbols, symbol{id: id, prev: n - 1, next: -1, size: int32(size)})
}

// merge merges the symbols of w. It takes n log n steps for n symbols.
func (m *bpe) merge(w *mergeRoom) {
	w.heap = slices.Grow(w.heap[:0], len(w.symbols))
	for i := 1; i < len(w.symbols); i++ {
		m.consider(w, int32(i-1), int32(i))
	}
	for len(w.heap) > 0 {
		top := w.pop()
		left := &w.symbols[top.at]
		if left.size == 0 || left.next < 0 {
			continue
		}
		right := w.symbols[left.next]
		// What was found earlier may be gone.
		if now, ok := m.merges[pair{left.id, right.id}]; !ok || now.id != top.id {
			continue
		}
		w.symbols[left.next].size = 0
		left.id, left.size, left.next = top.id, left.size+right.size, right.next
		if right.next >= 0 {
			w.symbols[right.next].prev = int32(top.at)
		}
		if left.prev >= 0 {
			m.consider(w, left.prev, int32(top.at))
		}
		if left.next >= 0 {
			m.consider(w, int32(top.at), left.next)
		}
	}
}

// consider puts two neighbours on the heap if they can be merged.
func (m *bpe) consider(w *mergeRoom, left, right int32) {
	found, ok := m.merges[pair{w.symbols[left].id, w.symbols[right].id}]
	if !ok {
		return
	}
	w.heap = append(w.heap, candidate{rank: found.rank, at: uint32(left), id: found.id})
	for i := len(w.heap) - 1; i > 0; {
		parent := (i - 1) / 2
		if !w.heap[i].before(w.heap[parent]) {
			return
		}
		w.heap[i], w.heap[parent] = w.heap[parent], w.heap[i]
		i = parent
	}
}

// pop takes the first candidate off the heap.
func (w *mergeRoom) pop() candidate {
	top, last := w.heap[0], len(w.heap)-1
	w.heap[0] = w.heap[last]
	w.heap = w.heap[:last]
	for i := 0; ; {
		child := 2*i + 1
		if child >= last {
			return top
		}
		if child+1 < last && w.heap[child+1].before(w.heap[child]) {
			child++
		}
		if !w.heap[child].before(w.heap[i]) {
			return top
		}
		w.heap[i], w.heap[child] = w.heap[child], w.heap[i]
		i = child
	}
}

// addMerge adds the merge of two tokens; a later one of the same two counts.
func (m *bpe) addMerge(rank int, left, right string) error {
	if len(right) < len(m.prefix) || !utf8.ValidString(right[len(m.prefix):]) {
		return errors.New("its second part is shorter than the continuing_subword_prefix, or cut within a character by it")
	}
	l, lok := m.vocabulary[left]
	r, rok := m.vocabulary[right]
	id, ok := m.vocabulary[left+right[len(m.prefix):]]
	if !lok || !rok || !ok {
		return fmt.Errorf("not all of %q, %q and the two together are in the vocabulary", left, right)
	}
	m.merges[pair{l, r}] = merging{uint32(rank), id}
	return nil
}
