package text

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// inPieces is a Tokenizer that takes texts apart wherever it can, and atOnce the same one
// that never does.
func inPieces(t *Tokenizer) *Tokenizer {
	if t.cuts == nil {
		return t
	}
	with, c := *t, *t.cuts
	c.first, c.usual, c.each = 1, 1, 1
	with.cuts = &c
	return &with
}

func atOnce(t *Tokenizer) *Tokenizer {
	with := *t
	with.cuts = nil
	return &with
}

// committedTokenizers are all there are, by name.
func committedTokenizers(t testing.TB) map[string]*Tokenizer {
	all := map[string]*Tokenizer{}
	for _, set := range []string{"configs", "families"} {
		names, files := orderedConfigs(t, set)
		for i, name := range names {
			all[set+"/"+name] = loadString(t, files[i])
		}
	}
	for _, name := range []string{"sst2-minilm", "seed-rnn"} {
		all[name], _ = loadModelTokenizer(t, name)
	}
	data, err := os.ReadFile(filepath.Join(models, "testdata", "tasks", "tokenizer.json"))
	if err != nil {
		t.Fatal(err)
	}
	all["tasks"] = loadString(t, string(data))
	return all
}

// longTexts makes long texts of real ones, in several scripts, and of such as nobody writes.
type longTexts struct {
	random *rand.Rand
	from   [][]string
}

func newLongTexts(t testing.TB, random *rand.Rand) *longTexts {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "scripts.json"))
	if err != nil {
		t.Fatal(err)
	}
	var samples map[string]string
	if err := json.Unmarshal(data, &samples); err != nil {
		t.Fatal(err)
	}
	var scripts []string
	for _, s := range samples {
		scripts = append(scripts, s, strings.ReplaceAll(s, " ", ""))
	}
	var odd []string
	for _, s := range adversarialTexts(t) {
		if len(s) < 200 {
			odd = append(odd, s)
		}
	}
	odd = append(odd, "\xff", "e\u0301", " \u0301", "``", "''", "[MASK]", "[SEP]", "<mask>", " <mask> ", "</s>", "\u2581", "\n\n", "  ", "\t", "👨‍👩‍👧", "क्षि", "don't", "I'LL", "각", "\u1100\u1161\u11A8", "ﬁ", "ﷺ", "123456", "x", "😀")
	return &longTexts{random, [][]string{sst2(t, "dev.tsv"), scripts, odd}}
}

func (l *longTexts) next(size int) string {
	var b strings.Builder
	kind := l.random.IntN(len(l.from) + 1)
	joint := []string{" ", "", ". ", "\n", "  "}[l.random.IntN(5)]
	for b.Len() < size {
		from := l.from[min(kind, len(l.from)-1)]
		if kind == len(l.from) { // of everything
			from = l.from[l.random.IntN(len(l.from))]
			joint = []string{" ", "", ". ", "\n", "  "}[l.random.IntN(5)]
		}
		b.WriteString(from[l.random.IntN(len(from))])
		b.WriteString(joint)
	}
	return b.String()
}

// TestLongTextsInPartsHaveTheSameTokens compares what is tokenised part by part, no further
// than truncation keeps, with the whole at once, for every tokenizer there is.
func TestLongTextsInPartsHaveTheSameTokens(t *testing.T) {
	t.Parallel()
	const all = 60
	rounds := all
	if oneOf() > 1 {
		rounds = 10
	}
	apart := map[string]bool{}
	for name, tok := range committedTokenizers(t) {
		t.Run(name, func(t *testing.T) {
			random := rand.New(rand.NewPCG(1, uint64(len(name))))
			texts := newLongTexts(t, random)
			early := 0
			for range rounds {
				a, b := texts.next(random.IntN(600)), texts.next(random.IntN(600))
				with := *tok
				room := []int{0, 1, 2, 3, 7, 16, 17, 64, 200}[random.IntN(9)]
				tr := truncation{max: room + tok.layout.counted, left: random.IntN(3) == 0}
				if pair := random.IntN(2) == 0; pair && tok.pairError == nil {
					tr.max = room + tok.pairLayout.counted
					tr.onlyFirst, tr.onlySecond = random.IntN(5) == 0, random.IntN(5) == 0
					if random.IntN(6) == 0 {
						tr.stride = 2
					}
					with.truncation = &tr
					got, err := inPieces(&with).EncodePair(a, b)
					want, wantErr := atOnce(&with).EncodePair(a, b)
					compareParts(t, fmt.Sprintf("pair %q, %q, %+v", a, b, tr), got, want, err, wantErr)
					continue
				}
				with.truncation = &tr
				for kind, encode := range map[string]func(*Tokenizer, string) (Encoding, error){
					"ids": (*Tokenizer).Encode, "offsets": (*Tokenizer).EncodeOffsets, "tokens": (*Tokenizer).EncodeTokens,
				} {
					got, err := encode(inPieces(&with), a)
					want, wantErr := encode(atOnce(&with), a)
					compareParts(t, fmt.Sprintf("%s of %q, %+v", kind, a, tr), got, want, err, wantErr)
				}
				if with.cuts == nil {
					continue
				}
				var s scratch
				if whole, err := inPieces(&with).tokenize(&s, a, 0, wants{}, room+1); err == nil && !whole {
					early++
				}
			}
			if early > 0 {
				apart[name] = true
			}
			t.Logf("%d of %d ended early", early, rounds)
		})
	}
	if rounds < all {
		return // by chance, some do not end early in so few
	}
	for _, name := range []string{"sst2-minilm", "seed-rnn", "tasks", "families/roberta", "families/gpt2", "families/xlm-roberta", "families/albert", "families/deberta-v3", "families/t5", "families/llama"} {
		if !apart[name] {
			t.Errorf("%s never ends early", name)
		}
	}
	if len(apart) < 60 {
		t.Errorf("only %d tokenizers end early", len(apart))
	}
}

func compareParts(t *testing.T, what string, got, want Encoding, err, wantErr error) {
	t.Helper()
	switch {
	case (err == nil) != (wantErr == nil):
		t.Errorf("%s: %v, at once %v", what, err, wantErr)
	case err == nil && !reflect.DeepEqual(got, want):
		t.Errorf("%s:\n%s %v\nat once:\n%s %v", what, describe(got, nil), got.Truncated, describe(want, nil), want.Truncated)
	}
}
