package text

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

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
