package text

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"slices"
	"testing"
	"unicode/utf8"
)

func TestPatternsOfLanguageModelsSplitAsTheOracle(t *testing.T) {
	t.Parallel()
	var want struct {
		Texts    []string
		Patterns map[string]struct {
			Pattern string
			Lengths [][]int // of the pieces of each text, in code points
		}
	}
	if err := json.NewDecoder(bytes.NewReader(readGzip(t, filepath.Join("testdata", "patterns.json.gz")))).Decode(&want); err != nil {
		t.Fatal(err)
	}
	if len(want.Patterns) < 4 || len(want.Texts) < 1000 {
		t.Fatalf("%d patterns and %d texts", len(want.Patterns), len(want.Texts))
	}
	for name, p := range want.Patterns {
		m, err := compileRegex(p.Pattern)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for i, s := range want.Texts {
			var lengths []int
			for _, piece := range m.matches(nil, []byte(s)) {
				lengths = append(lengths, utf8.RuneCountInString(s[piece.start:piece.end]))
			}
			if !slices.Equal(lengths, p.Lengths[i]) {
				t.Errorf("%s: %q has pieces of %d, want %d", name, s, lengths, p.Lengths[i])
			}
		}
	}
}
