package text

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
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
			Lengths [][]int // of the pieces of each text, in code points; nil where the library gives up
		}
	}
	if err := json.NewDecoder(bytes.NewReader(readGzip(t, filepath.Join("testdata", "patterns.json.gz")))).Decode(&want); err != nil {
		t.Fatal(err)
	}
	if len(want.Patterns) < 24 || len(want.Texts) < 1000 {
		t.Fatalf("%d patterns and %d texts", len(want.Patterns), len(want.Texts))
	}
	for name, p := range want.Patterns {
		m, err := compileRegex(p.Pattern)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		compared := 0
		for i, s := range want.Texts {
			if p.Lengths[i] == nil {
				continue
			}
			compared++
			var lengths []int
			for _, piece := range m.matches(nil, []byte(s)) {
				lengths = append(lengths, utf8.RuneCountInString(s[piece.start:piece.end]))
			}
			if !slices.Equal(lengths, p.Lengths[i]) {
				t.Errorf("%s: %q has pieces of %d, want %d", name, s, lengths, p.Lengths[i])
			}
		}
		if compared < len(want.Texts)-5 {
			t.Errorf("%s: only %d texts compared", name, compared)
		}
	}
}

// Patterns are followed in two ways; package regexp knows how it is right.
func TestFastAndSlowRegexesFindTheSame(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(3, 4))
	followed := map[bool]int{}
	for _, pattern := range []string{
		`a+b|a`, `a*b|a`, `[ab]+b`, `[ab]*[bc]+|a`, `a?[ab]b`, `[ab]{1,2}b`, `a{2,3}a`, `(?:ab|a)b`, `(?:ab|a|[bc]+)?c`, `a(?:b(?:c|ä)?|bc)?ä`, `(?i:k|ab)c?`, `ä+é|[äb]`,
		`a(?:b|)c`, `[^a]+a|\s*[\n]+|\s+(?!\S)|\s+`, `b|\s+(?!\S)|\s`, `\p{L}{0,2}\n`,
		`a*b*[ab]+c`, `(?:ab){2}`, `(?:a|b)+c`, `a+?b`, `a{1,2}+c`, `a$`, `(?:a|b){0}c`,
	} {
		m, err := compileRegex(pattern)
		if err != nil {
			t.Fatal(err)
		}
		both := m.(*regexMatcher)
		slow := *both
		slow.fast = nil
		followed[both.fast != nil]++
		for range 2000 {
			var s []byte
			for range random.IntN(12) {
				s = utf8.AppendRune(s, []rune("aabbcäé\n \u212a")[random.IntN(10)])
			}
			got, want := both.matches(nil, s), slow.matches(nil, s)
			if !slices.Equal(got, want) {
				t.Fatalf("%s on %q: %v, want %v", pattern, s, got, want)
			}
		}
	}
	if followed[true] != 15 || followed[false] != 8 {
		t.Errorf("%d patterns are followed, %d are not", followed[true], followed[false])
	}
}

// What a pattern makes of a text must not take much longer for a hostile one.
func TestPatternsThatWouldTakeLongAreNotFollowed(t *testing.T) {
	t.Parallel()
	for _, pattern := range []string{`a*a*b`, `a+[ab]+c`, `[ab]{0,50}[ab]{0,50}[ab]c`, `a*(?:ab|a*b)c`, `(?:a*a)?b`, `a*a{2}`, `a*(?:a|b)`} {
		m, err := compileRegex(pattern)
		if err != nil {
			t.Fatal(err)
		}
		if m.(*regexMatcher).fast != nil {
			t.Errorf("%s is followed", pattern)
		}
	}
}
