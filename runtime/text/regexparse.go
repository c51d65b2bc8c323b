package text

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// regexClass is a named class of Oniguruma's: pairs of first and last.
type regexClass struct {
	name   string
	ranges []rune
}

type regexParser struct {
	rest string
	fold bool // letters of either case match
}

// A regexPart is a part of a sequence, translated.
type regexPart struct {
	out        string
	empty      bool   // can match the empty text
	first      []rune // what it can start with, if it is not empty; not merged
	class      bool   // it is a class, repeated or not: all of it is of first
	possessive bool
	lineEnd    bool // the end of a line, which is nothing by itself

	// How often it is repeated at least and at most, but for repeats of repeats and lazy
	// ones, which are plain by out alone.
	least, most int
	odd         bool
	group       [][]regexPart // its alternatives, if it is a group
}

// alternatives translates up to the end or a closing parenthesis. It returns what the alternatives
// can start with, and whether they can match the empty text.
func (p *regexParser) alternatives(depth int) (regexPart, error) {
	if depth > maxGroups {
		return regexPart{}, errors.New("groups nested too deep")
	}
	all := regexPart{least: 1, most: 1}
	for {
		parts, err := p.sequence(depth)
		if err == nil {
			err = unpossessed(parts, depth == 0)
		}
		if err != nil {
			return all, err
		}
		empty := true // every part so far can be empty
		for _, part := range parts {
			all.out += part.out
			if empty {
				all.first = append(all.first, part.first...)
			}
			empty = empty && part.empty
		}
		all.empty = all.empty || empty
		all.group = append(all.group, parts)
		if !strings.HasPrefix(p.rest, "|") {
			return all, nil
		}
		p.rest = p.rest[1:]
		all.out += "|"
	}
}

// sequence translates one alternative.
func (p *regexParser) sequence(depth int) ([]regexPart, error) {
	var parts []regexPart
	for p.rest != "" && p.rest[0] != ')' && p.rest[0] != '|' {
		part, err := p.atom(depth)
		if err != nil {
			return nil, err
		}
		empty := part.empty
		repeated, err := p.repeat(&part)
		if err != nil {
			return nil, err
		}
		if repeated && empty {
			return nil, errors.New("a repeat of something that can be empty")
		}
		parts = append(parts, part)
	}
	return parts, nil
}

// unpossessed makes the possessive repeats of a sequence greedy. That finds the same
// where giving something back never helps: where what follows a class cannot start
// with anything of it, and where what follows, up to the very end, can be empty.
func unpossessed(parts []regexPart, last bool) error {
	for i, part := range parts {
		if !part.possessive {
			continue
		}
		if !part.class {
			return errors.New("a possessive repeat of other things than a class")
		}
		rest := parts[i+1:]
		if len(rest) == 1 && rest[0].lineEnd {
			if newline := []rune{'\n', '\n'}; overlap(part.first, newline) {
				rest[0].out = `\z` // all that are before the end of a line lie behind it
			}
			continue
		}
		if !keeps(part.first, rest, last) {
			return errors.New("a possessive repeat before something that it may take")
		}
	}
	return nil
}

// keeps reports whether a class never has to give anything back for the rest to match.
func keeps(class []rune, rest []regexPart, last bool) bool {
	apart := true
	for _, next := range rest {
		apart = apart && !next.lineEnd && !overlap(class, next.first)
		if !next.empty || next.lineEnd {
			return apart
		}
	}
	return last
}

func overlap(a, b []rune) bool {
	return len(intersection(merge(a), merge(b))) > 0
}

func (p *regexParser) next() rune {
	r, n := utf8.DecodeRuneInString(p.rest)
	p.rest = p.rest[n:]
	return r
}

func (p *regexParser) atom(depth int) (regexPart, error) {
	switch r := p.next(); r {
	case '(':
		switch {
		case strings.HasPrefix(p.rest, "?:"):
			p.rest = p.rest[2:]
		case strings.HasPrefix(p.rest, "?i:"):
			p.rest = p.rest[3:]
			if err := checkFolded(p.rest); err != nil {
				return regexPart{}, err
			}
			p.fold = true
		case strings.HasPrefix(p.rest, "?"):
			return regexPart{}, errors.New("a group with options, other than (?:…) and (?i:…)")
		}
		inner, err := p.alternatives(depth + 1)
		if err != nil {
			return inner, err
		}
		if p.rest == "" {
			return inner, errors.New("unmatched opening parenthesis")
		}
		p.rest, p.fold = p.rest[1:], false // there are no groups in (?i:…)
		inner.out = "(?:" + inner.out + ")"
		return inner, nil
	case '[':
		set, err := p.class()
		return classPart(set), err
	case '.':
		return classPart(complement([]rune{'\n', '\n'})), nil
	case '\\':
		set, err := p.escape("w")
		return classPart(set), err
	case '$':
		return regexPart{out: "(?m:$)", empty: true, lineEnd: true}, nil
	case '^', '*', '+', '?', '{', '}', ']':
		return regexPart{}, fmt.Errorf("%q here", r)
	default:
		if p.fold {
			return classPart(folded([]rune{r, r})), nil
		}
		return classPart([]rune{r, r}), nil
	}
}

func classPart(set []rune) regexPart {
	return regexPart{out: spellOut(set), first: set, class: true, least: 1, most: 1}
}

// checkFolded checks what is in a group in which case does not matter: ASCII letters and
// classes of them, apostrophes and alternatives. Two letters that Oniguruma also takes for
// one character, as ss for ß, would need more; two of a class are not taken for one.
func checkFolded(rest string) error {
	inner, _, ok := strings.Cut(rest, ")")
	if !ok || strings.Trim(strings.ToLower(inner), "abcdefghijklmnopqrstuvwxyz'|[]") != "" {
		return errors.New("(?i:…) around other things than ASCII letters, classes of them, apostrophes and alternatives")
	}
	inClass := false
	outside := strings.Map(func(r rune) rune {
		inClass = r == '[' || inClass && r != ']'
		if inClass {
			return '|'
		}
		return r
	}, strings.ToLower(inner))
	for _, two := range []string{"ss", "st", "ff", "fi", "fl"} {
		if strings.Contains(outside, two) {
			return fmt.Errorf("%q in (?i:…)", two)
		}
	}
	return nil
}

// folded adds the characters that differ from ASCII letters of a set in case only.
func folded(set []rune) []rune {
	all := slices.Clone(set)
	for r := range rune(utf8.RuneSelf) {
		if !unicode.IsLetter(r) || !overlap(set, []rune{r, r}) {
			continue
		}
		for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
			all = append(all, f, f)
		}
	}
	return merge(all)
}

// repeat reads what may follow a part: nothing, or one repeat.
func (p *regexParser) repeat(part *regexPart) (repeated bool, err error) {
	if p.rest == "" {
		return false, nil
	}
	var out string
	lazy := true
	switch p.rest[0] {
	case '*', '+', '?':
		out = p.rest[:1]
		part.empty = part.empty || out != "+"
		if out != "+" {
			part.least = 0
		}
		if out != "?" {
			part.most = math.MaxInt
		}
	case '{':
		end := strings.IndexByte(p.rest, '}')
		if end < 0 {
			return false, errors.New("unmatched opening brace")
		}
		from, to, ranged := strings.Cut(p.rest[1:end], ",")
		if from == "" || strings.Trim(from+to, "0123456789") != "" {
			return false, fmt.Errorf("repeat %s", p.rest[:end+1])
		}
		if !ranged {
			to = from
		}
		part.least, part.most = counted(from, 0), counted(to, math.MaxInt)
		if part.least > maxRepeat || to != "" && part.most > maxRepeat {
			return false, fmt.Errorf("repeat %s (at most %d)", p.rest[:end+1], maxRepeat)
		}
		out = p.rest[:end+1]
		part.empty = part.empty || part.least == 0
		lazy = ranged // x{2}? is not a lazy repeat in Ruby
	default:
		return false, nil
	}
	p.rest = p.rest[len(out):]
	switch {
	case lazy && strings.HasPrefix(p.rest, "?"):
		out, p.rest, part.odd = out+"?", p.rest[1:], true
	case strings.HasPrefix(p.rest, "+") && out[0] != '{':
		p.rest, part.possessive = p.rest[1:], true
	case strings.HasPrefix(p.rest, "+") && part.class && !part.empty: // no possessive repeat in Ruby
		part.out, out, p.rest = "(?:"+part.out+out+")", "+", p.rest[1:]
		part.odd = true
	}
	if p.rest != "" && strings.ContainsRune("*+?{", rune(p.rest[0])) {
		return false, errors.New("a repeat of a repeat")
	}
	part.out += out
	return true, nil
}

// counted is a number of digits, or what it is when there are none.
func counted(digits string, none int) int {
	n, err := strconv.Atoi(digits)
	switch {
	case digits == "":
		return none
	case err != nil:
		return math.MaxInt
	}
	return n
}
