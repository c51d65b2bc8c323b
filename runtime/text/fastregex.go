package text

import (
	"slices"
	"unicode/utf8"
)

// A regexStep is a part of a pattern that regexMatcher follows by itself, which is several times
// faster than package regexp: a repeated class, or a choice between ways to go on. Nil is the end
// of the pattern.
type regexStep struct {
	set         *charSet
	least, most int
	keeps       bool // never has to give anything back for the rest to match
	next        *regexStep

	ways []*regexStep // in the order of preference; set is nil then
}

// run returns where a match ends that starts at i, or -1.
func (n *regexStep) run(s []byte, i int) int {
	for n != nil {
		if n.set == nil {
			for _, way := range n.ways {
				if end := way.run(s, i); end >= 0 {
					return end
				}
			}
			return -1
		}
		var count int
		if i, count = n.set.run(s, i, n.most); count < n.least {
			return -1
		}
		for ; !n.keeps && count > n.least; count-- {
			if end := n.next.run(s, i); end >= 0 {
				return end
			}
			_, size := utf8.DecodeLastRune(s[:i])
			i -= size
		}
		n = n.next
	}
	return i
}

// maxTries bounds how often a step of a pattern may be tried at a place.
const maxTries = 64

// regexSteps are the alternatives of a pattern, or nil where following them takes a time out of
// proportion to the text, or where they have more than classes and groups.
func regexSteps(alternatives [][]regexPart) []*regexStep {
	var all []*regexStep
	for _, parts := range alternatives {
		if tries(parts, true) > maxTries {
			return nil
		}
		all = append(all, stepsBefore(nil, parts, true))
	}
	return all
}

// tries returns how often a step of a sequence may be tried at a place. It is more than maxTries
// for what cannot be followed.
func tries(parts []regexPart, last bool) int {
	n := 1
	for i, part := range parts {
		rest := parts[i+1:]
		switch {
		case part.odd || !part.class && (part.group == nil || part.most != 1):
			return maxTries + 1
		case !part.class:
			ways := 1 - part.least
			for _, inner := range part.group {
				ways += tries(inner, false)
			}
			n *= ways
		case part.least == part.most || keeps(part.first, rest, last):
		case part.most <= maxRepeat:
			n *= 1 + part.most - part.least
		case !last || !anyGoesOn(rest):
			return maxTries + 1
		}
		n = min(n, maxTries+1)
	}
	return n
}

// anyGoesOn reports whether one character decides that the rest of a pattern matches. It may be
// called for every place that a class gives back.
func anyGoesOn(rest []regexPart) bool {
	return rest[0].class && rest[0].least == 1 && !slices.ContainsFunc(rest[1:], func(p regexPart) bool { return !p.empty })
}

// stepsBefore puts the steps of a sequence before others.
func stepsBefore(next *regexStep, parts []regexPart, last bool) *regexStep {
	for i, part := range slices.Backward(parts) {
		if part.class {
			next = &regexStep{
				set: newCharSet(part.first), least: part.least, most: part.most,
				keeps: keeps(part.first, parts[i+1:], last), next: next,
			}
			continue
		}
		choice := &regexStep{}
		for _, inner := range part.group {
			choice.ways = append(choice.ways, stepsBefore(next, inner, false))
		}
		if part.least == 0 {
			choice.ways = append(choice.ways, next)
		}
		next = choice
	}
	return next
}

// A charSet is a set of characters.
type charSet struct {
	ascii  [utf8.RuneSelf]bool
	bits   []uint64 // of U+0000 to U+FFFF, for a set of many ranges
	ranges []rune   // merged pairs of first and last
}

// fewRanges is the number of ranges up to which a search is fast enough.
const fewRanges = 8

func newCharSet(ranges []rune) *charSet {
	c := &charSet{ranges: ranges}
	for r := range rune(utf8.RuneSelf) {
		c.ascii[r] = c.search(r)
	}
	if len(ranges) <= 2*fewRanges {
		return c
	}
	c.bits = make([]uint64, 1<<16/64)
	for pair := range slices.Chunk(ranges, 2) {
		for r := pair[0]; r <= min(pair[1], 1<<16-1); r++ {
			c.bits[r/64] |= 1 << (r % 64)
		}
	}
	return c
}

func (c *charSet) search(r rune) bool {
	i, found := slices.BinarySearch(c.ranges, r)
	return found || i%2 == 1 // a first or a last itself, or between the two
}

// at reports whether the character at i is in the set, and its size.
func (c *charSet) at(s []byte, i int) (is bool, size int) {
	if s[i] < utf8.RuneSelf {
		return c.ascii[s[i]], 1
	}
	r, size := utf8.DecodeRune(s[i:])
	if c.bits != nil && r < 1<<16 {
		return c.bits[r/64]>>(r%64)&1 == 1, size
	}
	return c.search(r), size
}

// run returns where a run of at most that number of the set's characters ends that starts at i, and
// their number.
func (c *charSet) run(s []byte, i, most int) (end, count int) {
	for ; count < most && i < len(s); count++ {
		is, size := c.at(s, i)
		if !is {
			break
		}
		i += size
	}
	return i, count
}
