package text

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The Rust library hands patterns to Oniguruma, in Ruby's syntax. Go's regexp
// finds the same matches, the leftmost by preference of alternatives, for a
// part of that syntax, and compileRegex accepts that part only: literals, the
// dot, classes, groups, alternatives, greedy and lazy repeats. Classes are
// spelt out as the code points Oniguruma has in them. Of look-around it accepts
// how the patterns of GPT-2 and its successors end (lastSpace), and of options
// (?i:…) around ASCII. Anchors, back-references and whatever else differs is
// refused, as are patterns that match the empty text, since the two go on
// differently after an empty match.
func compileRegex(pattern string) (matcher, error) {
	if len(pattern) > maxPattern {
		return nil, fmt.Errorf("a regex of %d bytes is not supported (at most %d)", len(pattern), maxPattern)
	}
	before, leaves := strings.CutSuffix(pattern, lastSpace)
	p := regexParser{rest: before}
	out, empty, err := p.alternatives(0)
	if err == nil && p.rest != "" {
		err = errors.New("unmatched closing parenthesis")
	}
	if err == nil && empty {
		err = errors.New("can match the empty text")
	}
	if err != nil {
		return nil, fmt.Errorf("regex %q is not supported: %w", pattern, err)
	}
	if set, runs, ok := singleSet(pattern); ok {
		return newSetMatcher(set, runs), nil
	}
	if leaves {
		spaces, err := namedClass("s")
		if err != nil {
			return nil, err
		}
		out += "|(" + spellOut(spaces) + "+)"
	}
	re, err := regexp.Compile(out)
	if err != nil {
		return nil, fmt.Errorf("regex %q is not supported: %w", pattern, err)
	}
	return regexMatcher{re}, nil
}

// lastSpace are spaces of which the last one is left for the word that follows, if
// one does and there are several. It has look-ahead, which Go's regexp has not:
// regexMatcher does it.
const lastSpace = `|\s+(?!\S)|\s+`

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

// regexClass is a named class of Oniguruma's: pairs of first and last.
type regexClass struct {
	name   string
	ranges []rune
}

type regexParser struct {
	rest string
	fold bool // letters of either case match
}

// Bounds on a pattern, since the memory and time it takes grow with them.
const (
	maxPattern = 1000 // bytes
	maxGroups  = 32   // nested
	maxRepeat  = 100  // in {…}
)

// alternatives translates up to the end or a closing parenthesis, and tells
// whether what it translated can match the empty text.
func (p *regexParser) alternatives(depth int) (out string, empty bool, err error) {
	if depth > maxGroups {
		return "", false, errors.New("groups nested too deep")
	}
	var b strings.Builder
	all := true // every part of the current alternative can be empty
	for p.rest != "" && p.rest[0] != ')' {
		if p.rest[0] == '|' {
			p.rest = p.rest[1:]
			b.WriteByte('|')
			empty, all = empty || all, true
			continue
		}
		atom, canBeEmpty, err := p.atom(depth)
		if err != nil {
			return "", false, err
		}
		repeat, optional, err := p.repeat()
		if err != nil {
			return "", false, err
		}
		if repeat != "" && canBeEmpty {
			return "", false, errors.New("a repeat of something that can be empty")
		}
		b.WriteString(atom)
		b.WriteString(repeat)
		all = all && (canBeEmpty || optional)
	}
	return b.String(), empty || all, nil
}

func (p *regexParser) next() rune {
	r, n := utf8.DecodeRuneInString(p.rest)
	p.rest = p.rest[n:]
	return r
}

func (p *regexParser) atom(depth int) (out string, empty bool, err error) {
	switch r := p.next(); r {
	case '(':
		switch {
		case strings.HasPrefix(p.rest, "?:"):
			p.rest = p.rest[2:]
		case strings.HasPrefix(p.rest, "?i:"):
			p.rest = p.rest[3:]
			if err := checkFolded(p.rest); err != nil {
				return "", false, err
			}
			p.fold = true
		case strings.HasPrefix(p.rest, "?"):
			return "", false, errors.New("a group with options, other than (?:…) and (?i:…)")
		}
		inner, empty, err := p.alternatives(depth + 1)
		if err != nil {
			return "", false, err
		}
		if p.rest == "" {
			return "", false, errors.New("unmatched opening parenthesis")
		}
		p.rest, p.fold = p.rest[1:], false // there are no groups in (?i:…)
		return "(?:" + inner + ")", empty, nil
	case '[':
		set, err := p.class()
		return spellOut(set), false, err
	case '.':
		return `[^\n]`, false, nil
	case '\\':
		set, err := p.escape("w")
		return spellOut(set), false, err
	case '^', '$', '*', '+', '?', '{', '}', ']':
		return "", false, fmt.Errorf("%q here", r)
	default:
		if p.fold && unicode.IsLetter(r) {
			return spellOut(folded(r)), false, nil
		}
		return regexp.QuoteMeta(string(r)), false, nil
	}
}

// checkFolded checks what is in a group in which case does not matter: ASCII letters,
// apostrophes and alternatives. Two letters that Oniguruma also takes for one
// character, as ss for ß, would need more.
func checkFolded(rest string) error {
	inner, _, ok := strings.Cut(rest, ")")
	if !ok || strings.Trim(strings.ToLower(inner), "abcdefghijklmnopqrstuvwxyz'|") != "" {
		return errors.New("(?i:…) around other things than ASCII letters, apostrophes and alternatives")
	}
	for _, two := range []string{"ss", "st", "ff", "fi", "fl"} {
		if strings.Contains(strings.ToLower(inner), two) {
			return fmt.Errorf("%q in (?i:…)", two)
		}
	}
	return nil
}

// folded are the characters that differ from a letter in case only.
func folded(r rune) []rune {
	set := []rune{r, r}
	for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
		set = append(set, f, f)
	}
	return merge(set)
}

// repeat reads what may follow an atom: nothing, or one repeat.
func (p *regexParser) repeat() (out string, optional bool, err error) {
	if p.rest == "" {
		return "", false, nil
	}
	lazy := true
	switch p.rest[0] {
	case '*', '+', '?':
		out, optional = p.rest[:1], p.rest[0] != '+'
	case '{':
		end := strings.IndexByte(p.rest, '}')
		if end < 0 {
			return "", false, errors.New("unmatched opening brace")
		}
		from, to, ranged := strings.Cut(p.rest[1:end], ",")
		if from == "" || strings.Trim(from+to, "0123456789") != "" {
			return "", false, fmt.Errorf("repeat %s", p.rest[:end+1])
		}
		if tooMany(from) || tooMany(to) {
			return "", false, fmt.Errorf("repeat %s (at most %d)", p.rest[:end+1], maxRepeat)
		}
		out, optional = p.rest[:end+1], strings.Trim(from, "0") == ""
		lazy = ranged // x{2}? is not a lazy repeat in Ruby
	default:
		return "", false, nil
	}
	p.rest = p.rest[len(out):]
	if lazy && strings.HasPrefix(p.rest, "?") {
		out, p.rest = out+"?", p.rest[1:]
	}
	if p.rest != "" && strings.ContainsRune("*+?{", rune(p.rest[0])) {
		return "", false, errors.New("a repeat of a repeat, or a possessive one")
	}
	return out, optional, nil
}

func tooMany(count string) bool {
	n, err := strconv.Atoi(count)
	return count != "" && (err != nil || n > maxRepeat)
}

// escape reads what follows a backslash, as a set of characters. word is the
// name of the class \w, which means less in brackets.
func (p *regexParser) escape(word string) ([]rune, error) {
	if p.rest == "" {
		return nil, errors.New(`\ at the end`)
	}
	r := p.next()
	switch {
	case r == 'w':
		return namedClass(word)
	case r == 'W':
		set, err := namedClass(word)
		return complement(set), err
	case r == 's' || r == 'd':
		return namedClass(string(r))
	case r == 'S' || r == 'D':
		set, err := namedClass(strings.ToLower(string(r)))
		return complement(set), err
	case r == 'p' || r == 'P':
		end := strings.IndexByte(p.rest, '}')
		if end < 0 || p.rest[0] != '{' {
			return nil, fmt.Errorf(`\%c without {…}`, r)
		}
		name := p.rest[1:end]
		if !isCategory(name) {
			return nil, fmt.Errorf("class %q", name)
		}
		set, err := namedClass(name)
		p.rest = p.rest[end+1:]
		if r == 'P' {
			set = complement(set)
		}
		return set, err
	case r == 't':
		return []rune{'\t', '\t'}, nil
	case r == 'n':
		return []rune{'\n', '\n'}, nil
	case r == 'r':
		return []rune{'\r', '\r'}, nil
	case r == 'u' && len(p.rest) >= 4:
		v, err := strconv.ParseUint(p.rest[:4], 16, 32)
		if err != nil || !utf8.ValidRune(rune(v)) {
			return nil, fmt.Errorf(`\u%s`, p.rest[:4])
		}
		p.rest = p.rest[4:]
		return []rune{rune(v), rune(v)}, nil
	case r < utf8.RuneSelf && has(r, isPunct):
		return []rune{r, r}, nil
	}
	return nil, fmt.Errorf(`\%c`, r)
}

// class reads a bracketed class after its opening bracket.
func (p *regexParser) class() ([]rune, error) {
	negated := strings.HasPrefix(p.rest, "^")
	if negated {
		p.rest = p.rest[1:]
	}
	if strings.HasPrefix(p.rest, "]") {
		return nil, errors.New("] first in a class")
	}
	var set []rune
	for {
		if p.rest == "" {
			return nil, errors.New("unmatched opening bracket")
		}
		if strings.HasPrefix(p.rest, "&&") {
			return nil, errors.New("&& in a class")
		}
		var item []rune
		switch r := p.next(); r {
		case ']':
			set = merge(set)
			if negated {
				set = complement(set)
			}
			return set, nil
		case '[':
			return nil, errors.New("[ in a class")
		case '-':
			// Literal only at either end; elsewhere its meaning is the syntax's secret.
			if len(set) > 0 && !strings.HasPrefix(p.rest, "]") {
				return nil, errors.New("- inside a class")
			}
			item = []rune{r, r}
		case '\\':
			var err error
			if item, err = p.escape("[w]"); err != nil {
				return nil, err
			}
		default:
			item = []rune{r, r}
		}
		if strings.HasPrefix(p.rest, "-") && !strings.HasPrefix(p.rest, "-]") {
			p.rest = p.rest[1:]
			to := p.next()
			if to == '\\' && p.rest != "" && p.rest[0] < utf8.RuneSelf && has(rune(p.rest[0]), isPunct) {
				to = p.next()
			} else if to == '\\' || to == '[' || to == utf8.RuneError {
				return nil, errors.New("range in a class")
			}
			if len(item) != 2 || item[0] != item[1] || to < item[0] {
				return nil, errors.New("range in a class")
			}
			item = []rune{item[0], to}
		}
		set = append(set, item...)
	}
}

// isCategory tells general categories and their groups from the names that
// only namedClass knows.
func isCategory(name string) bool {
	return name != "" && 'A' <= name[0] && name[0] <= 'Z'
}

// namedClass returns a class of Oniguruma's, or a group of them such as L.
func namedClass(name string) ([]rune, error) {
	var set []rune
	for _, c := range regexClasses {
		if c.name == name || isCategory(name) && len(name) == 1 && c.name[:1] == name {
			set = append(set, c.ranges...)
		}
	}
	if set == nil {
		return nil, fmt.Errorf("class %q", name)
	}
	return merge(set), nil
}

// merge sorts pairs of first and last and joins those that touch.
func merge(set []rune) []rune {
	pairs := make([][2]rune, 0, len(set)/2)
	for i := 0; i < len(set); i += 2 {
		pairs = append(pairs, [2]rune{set[i], set[i+1]})
	}
	slices.SortFunc(pairs, func(a, b [2]rune) int { return int(a[0]) - int(b[0]) })
	var out []rune
	for _, p := range pairs {
		if n := len(out); n > 0 && p[0] <= out[n-1]+1 {
			out[n-1] = max(out[n-1], p[1])
			continue
		}
		out = append(out, p[0], p[1])
	}
	return out
}

// complement inverts a merged set.
func complement(set []rune) []rune {
	var out []rune
	from := rune(0)
	for i := 0; i < len(set); i += 2 {
		if from < set[i] {
			out = append(out, from, set[i]-1)
		}
		from = set[i+1] + 1
	}
	if from <= utf8.MaxRune {
		out = append(out, from, utf8.MaxRune)
	}
	return out
}

// spellOut writes a set as a class of Go's.
func spellOut(set []rune) string {
	if len(set) == 0 {
		return `[^\x{0}-\x{10FFFF}]`
	}
	var b strings.Builder
	b.WriteByte('[')
	for i := 0; i < len(set); i += 2 {
		fmt.Fprintf(&b, `\x{%X}-\x{%X}`, set[i], set[i+1])
	}
	b.WriteByte(']')
	return b.String()
}
