package text

import (
	"errors"
	"math"
	"unicode/utf8"

	"github.com/distinfer/distinfer/runtime/strictjson"
)

// addedToken is a token that is found in the text itself, before the model gets it.
type addedToken struct {
	id         uint32
	content    string
	singleWord bool // only where no \w is next to it
	lstrip     bool // takes the white space before it along
	rstrip     bool // and after it
	normalized bool // is looked for, itself normalised, in the normalised text
	special    bool
}

// errOverlap is where the Rust library panics: a token that takes white space
// along met another that ends in that white space.
var errOverlap = errors.New("added tokens that take white space along overlap")

// tokenTrie finds added tokens: the leftmost first, and of those the longest.
type tokenTrie struct {
	first [256]bool
	next  map[uint64]uint32 // node<<8 | byte -> node
	ends  []int32           // node -> index into tokens, or -1
	found []addedToken

	patterns [][]byte // of found
}

func newTokenTrie() *tokenTrie {
	return &tokenTrie{next: map[uint64]uint32{}, ends: []int32{-1}}
}

// add reports false if a token with the same pattern is there already.
func (t *tokenTrie) add(pattern []byte, token addedToken) bool {
	node := uint32(0)
	for _, c := range pattern {
		key := uint64(node)<<8 | uint64(c)
		next, ok := t.next[key]
		if !ok {
			next = uint32(len(t.ends))
			t.next[key] = next
			t.ends = append(t.ends, -1)
		}
		node = next
	}
	if t.ends[node] >= 0 {
		return false
	}
	t.first[pattern[0]] = true
	t.ends[node] = int32(len(t.found))
	t.found, t.patterns = append(t.found, token), append(t.patterns, pattern)
	return true
}

func (t *tokenTrie) empty() bool { return t == nil || len(t.found) == 0 }

// find returns the first match at or after from; token is nil if there is none.
func (t *tokenTrie) find(s []byte, from int) (start, end int, token *addedToken) {
	for i := from; i < len(s); i++ {
		if !t.first[s[i]] {
			continue
		}
		node := uint32(0)
		for j := i; j < len(s); j++ {
			next, ok := t.next[uint64(node)<<8|uint64(s[j])]
			if !ok {
				break
			}
			node = next
			if t.ends[node] >= 0 {
				token, end = &t.found[t.ends[node]], j+1
			}
		}
		if token != nil {
			return i, end, token
		}
	}
	return 0, 0, nil
}

// cut appends the spans of s: added tokens and the text between them. It
// follows AddedVocabulary::find_matches, odd corners included.
func (t *tokenTrie) cut(dst []span, s []byte) ([]span, error) {
	if t.empty() {
		return appendSpan(dst, 0, len(s)), nil
	}
	done := 0
	for from := 0; ; {
		start, end, token := t.find(s, from)
		if token == nil {
			break
		}
		from = end
		if token.singleWord && (endsWithWord(s[:start]) || startsWithWord(s[end:])) {
			continue
		}
		if token.lstrip {
			start = max(start-trailingSpace(s[:start]), done)
		}
		if token.rstrip {
			end += leadingSpace(s[end:])
		}
		if start > end {
			return nil, errOverlap
		}
		dst = appendSpan(dst, done, start)
		if start < end {
			dst = append(dst, span{start: start, end: end, added: true, id: token.id})
		}
		done = end
	}
	return appendSpan(dst, done, len(s)), nil
}

func endsWithWord(s []byte) bool {
	if len(s) == 0 {
		return false
	}
	r, _ := utf8.DecodeLastRune(s)
	return has(r, isWord)
}

func startsWithWord(s []byte) bool {
	if len(s) == 0 {
		return false
	}
	r, _ := utf8.DecodeRune(s)
	return has(r, isWord)
}

// loadAdded follows AddedVocabulary::add_tokens, which ignores the ids in the file. A token of the
// vocabulary keeps its id; others get the following numbers, in the order of the file.
func (t *Tokenizer) loadAdded(n strictjson.Value) error {
	list, err := n.List()
	if err != nil {
		return err
	}
	nextID := uint64(t.model.size())
	byContent := map[string]uint32{}
	byID := map[uint32]addedToken{}
	paths := map[uint32]strictjson.Value{}
	var order []uint32
	for _, f := range list {
		o, err := f.Object()
		if err != nil {
			return err
		}
		o.Uint32("id")
		token := addedToken{
			content:    o.Text("content"),
			singleWord: o.Bool("single_word"),
			lstrip:     o.Bool("lstrip"),
			rstrip:     o.Bool("rstrip"),
			normalized: o.Bool("normalized"),
			special:    o.Bool("special"),
		}
		if err := o.Finish(); err != nil {
			return err
		}
		if token.content == "" {
			continue // ignored there too
		}
		id, known := byContent[token.content]
		if !known {
			if id, known = t.model.id(token.content); !known {
				if nextID > math.MaxUint32 {
					return f.Errorf("no id left")
				}
				id = uint32(nextID)
				nextID++
			}
		}
		token.id = id
		byContent[token.content] = id
		if _, again := byID[id]; !again {
			order = append(order, id)
		}
		byID[id], paths[id] = token, f
	}
	t.addedIDs, t.specialIDs = byContent, map[uint32]bool{}
	for _, id := range order {
		token := byID[id]
		t.specialIDs[id] = token.special
		trie, pattern := &t.special, []byte(token.content)
		if token.normalized {
			trie = &t.normalized
			if t.normalizer != nil {
				var normal buffer
				t.normalizer.normalize(&normal, buffer{text: pattern})
				pattern = normal.text
			}
		}
		if len(pattern) == 0 {
			return paths[id].Errorf("added token %q is empty once normalised", token.content)
		}
		if *trie == nil {
			*trie = newTokenTrie()
		}
		if !(*trie).add(pattern, token) {
			return paths[id].Errorf("added token %q is the same as an earlier one once normalised", token.content)
		}
	}
	return nil
}
