package text

import (
	"errors"
	"fmt"
	"math"
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
	all := complement(nil) // of the parts before &&
	var set []rune
	for {
		switch {
		case p.rest == "":
			return nil, errors.New("unmatched opening bracket")
		case strings.HasPrefix(p.rest, "]"):
			p.rest = p.rest[1:]
			all = intersection(all, merge(set))
			if negated {
				all = complement(all)
			}
			if p.fold {
				all = folded(all)
			}
			return all, nil
		case strings.HasPrefix(p.rest, "&&"):
			p.rest = p.rest[2:]
			if set == nil || p.rest == "" || strings.ContainsRune("]^-&", rune(p.rest[0])) {
				return nil, errors.New("&& in a class, not between two parts")
			}
			all, set = intersection(all, merge(set)), nil
			continue
		}
		item, err := p.item(len(set) == 0)
		if err != nil {
			return nil, err
		}
		set = append(set, item...)
	}
}

// item reads a character, a range or a class in a class.
func (p *regexParser) item(first bool) (item []rune, err error) {
	single := true // a character, so that a range may start here
	switch r := p.next(); r {
	case '[':
		if strings.HasPrefix(p.rest, ":") {
			return nil, errors.New("[: in a class")
		}
		single = false
		item, err = p.class()
	case '-':
		// Literal only at either end; elsewhere its meaning is the syntax's secret.
		if !first && !strings.HasPrefix(p.rest, "]") {
			return nil, errors.New("- inside a class")
		}
		item = []rune{r, r}
	case '\\':
		single = p.rest != "" && !strings.ContainsRune("pPwWsSdD", rune(p.rest[0]))
		item, err = p.escape("[w]")
	default:
		item = []rune{r, r}
	}
	if err != nil || !strings.HasPrefix(p.rest, "-") || strings.HasPrefix(p.rest, "-]") {
		return item, err
	}
	p.rest = p.rest[1:]
	to := p.next()
	if to == '\\' && p.rest != "" && p.rest[0] < utf8.RuneSelf && has(rune(p.rest[0]), isPunct) {
		to = p.next()
	} else if to == '\\' || to == '[' || to == utf8.RuneError {
		return nil, errors.New("range in a class")
	}
	if !single || to < item[0] {
		return nil, errors.New("range in a class")
	}
	return []rune{item[0], to}, nil
}

// isCategory distinguishes general categories, their groups and scripts from the names that only
// namedClass knows.
func isCategory(name string) bool {
	return name != "" && 'A' <= name[0] && name[0] <= 'Z'
}

// namedClass returns a class of Oniguruma's, or a group of them such as L.
func namedClass(name string) ([]rune, error) {
	var set []rune
	for _, c := range regexClasses {
		if c.name == name || isCategory(name) && len(name) == 1 && len(c.name) == 2 && c.name[:1] == name {
			set = append(set, c.ranges...)
		}
	}
	if set == nil {
		return nil, fmt.Errorf("class %q", name)
	}
	return merge(set), nil
}

// merge sorts pairs of first and last and joins adjoining ones.
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

// intersection is what is in both of two merged sets.
func intersection(a, b []rune) []rune {
	return complement(merge(slices.Concat(complement(a), complement(b))))
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
