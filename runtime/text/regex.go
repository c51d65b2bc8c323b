package text

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
)

// The Rust library hands patterns to Oniguruma, in Ruby's syntax. Go's regexp
// finds the same matches, the leftmost by preference of alternatives, for a
// part of that syntax, and compileRegex accepts that part only: literals, the
// dot, classes, groups, alternatives, greedy and lazy repeats, the end of a line.
// Classes are spelt out as the code points Oniguruma has in them. Possessive
// repeats of a class are accepted where greedy ones find the same, of look-around
// how the patterns of GPT-2 and its successors end (lastSpaces), and of options
// (?i:…) around ASCII. Other anchors, back-references and whatever else differs is
// refused, as are patterns that match the empty text, since the two go on
// differently after an empty match.
func compileRegex(pattern string) (matcher, error) {
	if len(pattern) > maxPattern {
		return nil, fmt.Errorf("a regex of %d bytes is not supported (at most %d)", len(pattern), maxPattern)
	}
	before, leaves := pattern, false
	for _, end := range lastSpaces {
		if before, leaves = strings.CutSuffix(pattern, end); leaves {
			break
		}
	}
	p := regexParser{rest: before}
	all, err := p.alternatives(0)
	if err == nil && p.rest != "" {
		err = errors.New("unmatched closing parenthesis")
	}
	if err == nil && all.empty {
		err = errors.New("can match the empty text")
	}
	if err != nil {
		return nil, fmt.Errorf("regex %q is not supported: %w", pattern, err)
	}
	if set, runs, ok := singleSet(pattern); ok {
		return setMatcher{newCharSet(set), runs}, nil
	}
	m := &regexMatcher{fast: regexSteps(all.group)}
	shaped := all.group
	if leaves {
		spaces, err := namedClass("s")
		if err != nil {
			return nil, err
		}
		all.out += "|(" + spellOut(spaces) + "+)"
		m.spaces = newCharSet(spaces)
		shaped = append(slices.Clone(shaped), []regexPart{{class: true, first: spaces, least: 1, most: math.MaxInt}})
	}
	m.shape = newRegexShape(shaped)
	if m.slow, err = regexp.Compile(all.out); err != nil {
		return nil, fmt.Errorf("regex %q is not supported: %w", pattern, err)
	}
	return m, nil
}

// lastSpaces are runs of spaces whose last one is left for the word that follows, if there is a
// word and more than one space; in two ways of writing it. They need look-ahead, which Go's regexp
// lacks: regexMatcher does it.
var lastSpaces = []string{`|\s+(?!\S)|\s+`, `|\s+(?!\S)|\s`}

// singleSet takes a pattern of one class, repeated or not, apart.
func singleSet(pattern string) (set []rune, runs, ok bool) {
	p := regexParser{rest: pattern}
	var err error
	switch p.next() {
	case '[':
		set, err = p.class()
	case '\\':
		set, err = p.escape("w")
	default:
		return nil, false, false
	}
	return set, p.rest == "+", err == nil && (p.rest == "" || p.rest == "+")
}

// Bounds on a pattern, since the memory and time it takes grow with them.
const (
	maxPattern = 1000 // bytes
	maxGroups  = 32   // nested
	maxRepeat  = 100  // in {…}
)
