// Package tokenclass reads the logits of a text's tokens as entities: what each is, how
// sure the model is of it, and where in the text it stands. The answers are those of
// TokenClassificationPipeline of Hugging Face's transformers.
//
// It does not know what computes the logits; package textmodel does. It knows nothing
// of HTTP.
package tokenclass

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/pipeline"
	"github.com/distinfer/distinfer/runtime/text"
	"github.com/distinfer/distinfer/runtime/textmodel"
)

// A Tagger is a model with what its answers mean. It is safe for concurrent use.
type Tagger struct {
	*textmodel.Model
	labels      []string
	join        func(tokens []string) string
	tokens      map[int64]string
	unknown     int64 // -1 when there is none
	marksPieces bool  // pieces of a word that are not its first begin with a prefix
}

// New makes a tagger of a bundle's text files and a Runner that computes the bundle's
// model. It fails when the model's inputs and outputs are not those of a token classifier.
func New(b *bundle.Bundle, files textmodel.Files, runner pipeline.Runner) (*Tagger, error) {
	labels := files.Config.Labels()
	output, err := textmodel.Logits(b.Outputs, 3, len(labels))
	if err != nil {
		return nil, err
	}
	m, err := textmodel.New(b, files, runner, output)
	if err != nil {
		return nil, err
	}
	t := &Tagger{Model: m.WithOffsets(), labels: labels, tokens: files.Tokenizer.Tokens(), unknown: -1, marksPieces: files.Tokenizer.InnerPrefix() != ""}
	if id, ok := unknownID(files); ok {
		t.unknown = id
	}
	t.join, err = files.Tokenizer.Joiner()
	return t, err
}

// unknownID is the id of the token for what the vocabulary does not have.
func unknownID(files textmodel.Files) (id int64, ok bool) {
	if token, ok := files.Tokens.UnknownToken(); ok {
		return files.Tokenizer.TokenID(token)
	}
	return files.Tokenizer.UnknownID()
}

// Labels are the labels by id.
func (t *Tagger) Labels() []string { return slices.Clone(t.labels) }

// Answered is the Model, with answers of all numbers that a text may have: the logits of its
// tokens, and their scores.
func (t *Tagger) Answered() *textmodel.Model {
	return t.Reduced(func(a textmodel.Answer) textmodel.Answer {
		for logits := range slices.Chunk(a.Values, len(t.labels)) {
			scores := make([]float64, len(logits))
			for i, l := range logits {
				scores[i] = float64(l)
			}
			if err := text.Probabilities(scores); err != nil {
				a.Err = err
				return a
			}
			for _, s := range scores {
				a.Values = append(a.Values, float32(s))
			}
		}
		return a
	})
}

// A Strategy is how tokens are put together to entities.
type Strategy string

// The strategies of the pipeline. None makes an entity of each token. Simple joins neighbours of
// the same kind. The others do so too, after each word got one label: that of its First piece, that
// of the highest Average score, or that of the piece with the highest score (Max).
const (
	None    Strategy = "none"
	Simple  Strategy = "simple"
	First   Strategy = "first"
	Average Strategy = "average"
	Max     Strategy = "max"
)

// Strategies are all of them.
func Strategies() []Strategy { return []Strategy{None, Simple, First, Average, Max} }

// Options say which entities are wanted.
type Options struct {
	Strategy Strategy
	Ignore   []string // labels, without B- or I- unless the strategy is None
}

// DefaultOptions are those of the pipeline.
func DefaultOptions() Options { return Options{Strategy: None, Ignore: []string{"O"}} }

// An Entity is a part of a text that has a kind. Entity and Index, the token's place among all of
// the text's, are set for the strategy None only, Group for the others. A kind may be empty: that
// of a label such as "B-".
type Entity struct {
	Entity string  `json:"entity"`
	Group  string  `json:"entity_group"`
	Score  float64 `json:"score"`
	Index  *int    `json:"index"`
	Word   string  `json:"word"`
	Start  int     `json:"start"` // in code points
	End    int     `json:"end"`
}

// MarshalJSON writes what the pipeline answers. The strategy decides which fields there are, not
// their contents.
func (e Entity) MarshalJSON() ([]byte, error) {
	if e.Index != nil {
		return marshal(struct {
			Entity string  `json:"entity"`
			Score  float64 `json:"score"`
			Index  int     `json:"index"`
			Word   string  `json:"word"`
			Start  int     `json:"start"`
			End    int     `json:"end"`
		}{e.Entity, e.Score, *e.Index, e.Word, e.Start, e.End})
	}
	return marshal(struct {
		Group string  `json:"entity_group"`
		Score float64 `json:"score"`
		Word  string  `json:"word"`
		Start int     `json:"start"`
		End   int     `json:"end"`
	}{e.Group, e.Score, e.Word, e.Start, e.End})
}

// marshal is json.Marshal without escaping for HTML.
func marshal(v any) ([]byte, error) {
	var to bytes.Buffer
	e := json.NewEncoder(&to)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return to.Bytes(), err
}

// a part is a token or a word with what is known of it.
type part struct {
	scores     []float64 // a label
	label      int
	score      float64
	word       string
	start, end int
	index      int
	inner      bool // of a word that began before
}

// Entities reads the model's answer to a text.
func (t *Tagger) Entities(s string, a textmodel.Answer, o Options) ([]Entity, error) {
	if a.Err != nil {
		return nil, a.Err
	}
	parts, err := t.parts(s, a)
	if err != nil {
		return nil, err
	}
	if o.Strategy != None && o.Strategy != Simple {
		parts = t.words(parts, o.Strategy)
	}
	entities := []Entity{}
	if o.Strategy == None {
		for _, p := range parts {
			if label := t.labels[p.label]; !slices.Contains(o.Ignore, label) {
				entities = append(entities, Entity{Entity: label, Score: p.score, Index: &p.index, Word: p.word, Start: p.start, End: p.end})
			}
		}
		return entities, nil
	}
	for _, g := range t.groups(parts) {
		if !slices.Contains(o.Ignore, g.Group) {
			entities = append(entities, g)
		}
	}
	return entities, nil
}

// parts are the text's tokens without special ones.
func (t *Tagger) parts(s string, a textmodel.Answer) ([]part, error) {
	n := len(t.labels)
	if len(a.Shape) != 2 || a.Shape[0] != int64(len(a.Tokens.IDs)) || a.Shape[1] != int64(n) {
		return nil, fmt.Errorf("logits of shape %v for %d tokens and %d labels", a.Shape, len(a.Tokens.IDs), n)
	}
	letters := []rune(text.Valid(s))
	parts := make([]part, 0, len(a.Tokens.IDs))
	for i, id := range a.Tokens.IDs {
		if a.Tokens.SpecialTokensMask[i] == 1 {
			continue
		}
		p := part{scores: make([]float64, n), word: t.tokens[id], start: a.Tokens.Offsets[i].Start, end: a.Tokens.Offsets[i].End, index: i}
		for k, l := range a.Values[i*n : (i+1)*n] {
			if l != l {
				return nil, fmt.Errorf("the logit of %q of token %d is not a number", t.labels[k], i)
			}
			p.scores[k] = float64(l)
		}
		if err := text.Probabilities(p.scores); err != nil {
			return nil, fmt.Errorf("scoring token %d: %w", i, err)
		}
		p.label = best(p.scores)
		p.score = p.scores[p.label]
		// Where the tokenizer marks pieces, the pipeline knows them by the mark making
		// them longer; else by there being no space before.
		if t.marksPieces {
			p.inner = utf8.RuneCountInString(p.word) != p.end-p.start
		} else {
			p.inner = p.start > 0 && !slices.Contains(letters[p.start-1:min(p.start+1, len(letters))], ' ')
		}
		if id == t.unknown {
			p.word, p.inner = string(letters[p.start:p.end]), false
		}
		parts = append(parts, p)
	}
	return parts, nil
}

// best is the first of the highest.
func best(scores []float64) int {
	at := 0
	for i, s := range scores {
		if s > scores[at] {
			at = i
		}
	}
	return at
}

// words joins pieces to words, each with one label.
func (t *Tagger) words(parts []part, s Strategy) []part {
	var words []part
	for len(parts) > 0 {
		n := 1
		for n < len(parts) && parts[n].inner {
			n++
		}
		words, parts = append(words, t.word(parts[:n], s)), parts[n:]
	}
	return words
}

func (t *Tagger) word(pieces []part, s Strategy) part {
	w := pieces[0]
	switch s {
	case Max:
		for _, p := range pieces[1:] {
			if p.score > w.score {
				w.label, w.score = p.label, p.score
			}
		}
	case Average:
		mean := make([]float64, len(w.scores))
		for _, p := range pieces {
			for k, score := range p.scores {
				mean[k] += score / float64(len(pieces))
			}
		}
		w.label = best(mean)
		w.score = mean[w.label]
	}
	w.word, w.end = t.joined(pieces), pieces[len(pieces)-1].end
	return w
}

func (t *Tagger) joined(parts []part) string {
	words := make([]string, len(parts))
	for i, p := range parts {
		words[i] = p.word
	}
	return t.join(words)
}

// groups joins neighbours of the same kind, except where an entity begins anew.
func (t *Tagger) groups(parts []part) []Entity {
	var groups []Entity
	for len(parts) > 0 {
		_, kind := tag(t.labels[parts[0].label])
		n, sum := 1, parts[0].score
		for ; n < len(parts); n++ {
			begins, next := tag(t.labels[parts[n].label])
			if begins || next != kind {
				break
			}
			sum += parts[n].score
		}
		groups = append(groups, Entity{
			Group: group(t.labels[parts[0].label]), Score: sum / float64(n), Word: t.joined(parts[:n]),
			Start: parts[0].start, End: parts[n-1].end,
		})
		parts = parts[n:]
	}
	return groups
}

// tag splits a label into whether an entity begins there and its kind. Labels without B- or I-
// continue what is before them.
func tag(label string) (begins bool, kind string) {
	if kind, ok := strings.CutPrefix(label, "B-"); ok {
		return true, kind
	}
	return false, strings.TrimPrefix(label, "I-")
}

// group is the kind as the pipeline names it: anything before the first hyphen counts as a prefix.
func group(label string) string {
	if _, kind, ok := strings.Cut(label, "-"); ok {
		return kind
	}
	return label
}
