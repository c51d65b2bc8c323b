package text

import (
	"errors"
	"math"
	"slices"
	"sync"
	"unicode/utf8"
)

// unigram cuts a word into the tokens whose scores have the highest sum (Kudo 2018),
// as XLM-R, ALBERT, DeBERTa v3 and T5 do.
type unigram struct {
	vocabulary
	scores       []float64
	trie         prefixTrie
	unk          int // -1 for none
	unkScore     float64
	byteFallback bool
	joined       func() map[[2]rune]bool // see joinedPairs
}

// unknownPenalty is how much worse an unknown character is than the worst token.
const unknownPenalty = 10

var errNoUnknown = errors.New("a character is not in the vocabulary, and there is no unk_id")

func newUnigram(names []string, scores []float64, unk int, byteFallback bool) *unigram {
	m := &unigram{vocabulary: make(vocabulary, len(names)), scores: scores, unk: unk, byteFallback: byteFallback}
	lowest := math.Inf(1)
	for i, name := range names {
		m.vocabulary[name] = uint32(i)
		lowest = min(lowest, scores[i])
	}
	m.unkScore = lowest - unknownPenalty
	m.trie = newPrefixTrie(m.vocabulary)
	m.joined = sync.OnceValue(m.joinedPairs)
	return m
}

// size counts a token twice that is in the list twice, as the library does.
func (m *unigram) size() int { return len(m.scores) }

// step is the best way to reach a byte of a word: the score, and the last token.
type step struct {
	score float64
	from  int32 // -1 until there is a way
	id    int32
}

func (m *unigram) tokenize(dst *tokens, word []byte) error {
	best, err := m.search(dst.steps[:0], word, dst.before)
	dst.steps = best
	if err != nil {
		return err
	}
	dst.score = best[len(word)].score
	// Backwards: unknown characters in a row become one token.
	path := dst.path[:0]
	for end := len(word); end > 0; {
		s := best[end]
		start := int(s.from)
		if n := len(path); n > 0 && int(s.id) == m.unk && path[n-1].unknown {
			path[n-1].start = int32(start)
		} else {
			path = append(path, piece{int32(start), int32(end), uint32(s.id), int(s.id) == m.unk})
		}
		end = start
	}
	dst.path = path
	for _, p := range slices.Backward(path) {
		m.emit(dst, word, p)
	}
	return nil
}

// piece is a token of a word.
type piece struct {
	start, end int32
	id         uint32
	unknown    bool
}

// search finds the best way to every byte of a word. score is that of what came before it.
func (m *unigram) search(best []step, word []byte, before float64) ([]step, error) {
	best = slices.Grow(best, len(word)+1)[:len(word)+1]
	best[0] = step{score: before}
	for i := range word {
		best[i+1] = step{from: -1}
	}
	for start := 0; start < len(word); {
		here := best[start].score
		_, size := utf8.DecodeRune(word[start:])
		single := false
		for node, end := int32(0), start; end < len(word); {
			if node = m.trie.next(node, word[end]); node < 0 {
				break
			}
			end++
			id := m.trie.ids[node]
			if id < 0 {
				continue
			}
			if s := here + m.scores[id]; best[end].from < 0 || s > best[end].score {
				best[end] = step{s, int32(start), id}
			}
			single = single || end-start == size
		}
		if !single {
			end := start + size
			if s := here + m.unkScore; best[end].from < 0 || s > best[end].score {
				if m.unk < 0 {
					return best, errNoUnknown
				}
				best[end] = step{s, int32(start), int32(m.unk)}
			}
		}
		start += size
	}
	return best, nil
}

// emit appends a piece: as the token it is, or its bytes, or the unknown token.
func (m *unigram) emit(dst *tokens, word []byte, p piece) {
	text := word[p.start:p.end]
	id := p.id
	if p.unknown {
		known, ok := m.vocabulary[string(text)]
		if !ok && m.byteFallback && m.emitBytes(dst, text, p) {
			return
		}
		if ok {
			id = known
		}
	}
	dst.add(id, int(p.start), int(p.end))
	if dst.want.strings {
		dst.strings = append(dst.strings, string(text))
	}
}

func (m *unigram) emitBytes(dst *tokens, text []byte, p piece) bool {
	for _, b := range text {
		if _, ok := m.vocabulary[byteToken(b)]; !ok {
			return false
		}
	}
	for _, b := range text {
		name := byteToken(b)
		dst.add(m.vocabulary[name], int(p.start), int(p.end))
		if dst.want.strings {
			dst.strings = append(dst.strings, name)
		}
	}
	return true
}

// prefixTrie finds the tokens that a text starts with. Its nodes are numbered breadth first, so
// that the children of a node follow each other, in the order of their bytes.
type prefixTrie struct {
	root   [256]int32
	labels []byte
	first  []int32 // of node's children; the next node's is their end
	ids    []int32 // of the token that ends at node, or -1
}

func newPrefixTrie(v vocabulary) prefixTrie {
	names := make([]string, 0, len(v))
	for name := range v {
		if name != "" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	t := prefixTrie{labels: []byte{0}, ids: []int32{-1}}
	type group struct{ from, to, depth int } // the names below a node
	queue := []group{{0, len(names), 0}}
	for node := 0; node < len(queue); node++ {
		g := queue[node]
		t.first = append(t.first, int32(len(queue)))
		for i := g.from; i < g.to; {
			if len(names[i]) == g.depth {
				t.ids[node] = int32(v[names[i]])
				i++
				continue
			}
			c, from := names[i][g.depth], i
			for i < g.to && names[i][g.depth] == c {
				i++
			}
			queue = append(queue, group{from, i, g.depth + 1})
			t.labels, t.ids = append(t.labels, c), append(t.ids, -1)
		}
	}
	t.first = append(t.first, int32(len(queue)))
	for i := range t.root {
		t.root[i] = -1
	}
	for child := t.first[0]; child < t.first[1]; child++ {
		t.root[t.labels[child]] = child
	}
	return t
}

// next returns the child of a node by a byte, or -1.
func (t *prefixTrie) next(node int32, c byte) int32 {
	if node == 0 {
		return t.root[c]
	}
	from, to := t.first[node], t.first[node+1]
	if i, ok := slices.BinarySearch(t.labels[from:to], c); ok {
		return from + int32(i)
	}
	return -1
}
