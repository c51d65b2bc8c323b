package text

import (
	"slices"
	"unicode/utf8"
)

// Hangul syllables are composed by arithmetic (Unicode standard, section 3.12).
const (
	hangulS, hangulL, hangulV, hangulT     = 0xAC00, 0x1100, 0x1161, 0x11A7
	hangulLCount, hangulVCount             = 19, 21
	hangulTCount                           = 28
	hangulNCount                           = hangulVCount * hangulTCount
	hangulSCount                           = hangulLCount * hangulNCount
	insertionLimit                     int = 32
)

// decompose appends the canonical, or the compatibility, decomposition of s:
// NFD or NFKD (Unicode standard annex 15) over the oracle's tables.
func decompose(dst []char, s []byte, compat bool) []char {
	run := len(dst) // where the current run of marks starts
	var last uint8  // class of the last character, 0 outside a run
	sorted := true
	var change int32 // 0 for the first character that one becomes, 1 for further ones
	emit := func(r rune) {
		class := lookup(r).class
		if class == 0 {
			if !sorted {
				reorder(dst[run:])
				sorted = true
			}
			dst = append(dst, char{r, change})
			run = len(dst)
		} else {
			sorted = sorted && class >= last
			dst = append(dst, char{r, change})
		}
		last, change = class, 1
	}
	for i := 0; i < len(s); change = 0 {
		if s[i] < utf8.RuneSelf {
			emit(rune(s[i]))
			i++
			continue
		}
		r, n := utf8.DecodeRune(s[i:])
		i += n
		bits := lookup(r).bits
		switch {
		case hangulS <= r && r < hangulS+hangulSCount:
			index := r - hangulS
			emit(hangulL + index/hangulNCount)
			emit(hangulV + index%hangulNCount/hangulTCount)
			if t := index % hangulTCount; t > 0 {
				emit(hangulT + t)
			}
		case compat && bits&hasCompat != 0:
			for _, d := range mapped(compatTable[:], r) {
				emit(d)
			}
		case bits&hasCanon != 0:
			for _, d := range mapped(canonTable[:], r) {
				emit(d)
			}
		default:
			emit(r)
		}
	}
	if !sorted {
		reorder(dst[run:])
	}
	return dst
}

// reorder sorts a run of marks by class, keeping the order within a class.
func reorder(marks []char) {
	if len(marks) > insertionLimit { // hostile text: a run may be a megabyte long
		slices.SortStableFunc(marks, func(a, b char) int { return int(lookup(a.r).class) - int(lookup(b.r).class) })
		return
	}
	for i := 1; i < len(marks); i++ {
		c, class := marks[i], lookup(marks[i].r).class
		j := i
		for ; j > 0 && lookup(marks[j-1].r).class > class; j-- {
			marks[j] = marks[j-1]
		}
		marks[j] = c
	}
}

// recompose composes a decomposition in place (NFC, NFKC) and returns what is
// left of it. It follows the crate unicode-normalization-alignments.
func recompose(s []char) []char {
	out := s[:0]
	starter := -1    // index of the character that marks may join
	var last uint8   // class of the last mark kept after it
	blocked := false // whether there is such a mark
	for _, c := range s {
		class := lookup(c.r).class
		if starter < 0 {
			if class == 0 {
				starter = len(out)
			}
			out = append(out, c)
			continue
		}
		if !blocked || last < class {
			if r, ok := compose(out[starter].r, c.r); ok {
				out[starter] = char{r, out[starter].change + c.change - 1}
				continue
			}
		}
		if class == 0 {
			starter, blocked = len(out), false
		} else {
			last, blocked = class, true
		}
		out = append(out, c)
	}
	return out
}

func compose(a, b rune) (rune, bool) {
	switch {
	case hangulL <= a && a < hangulL+hangulLCount && hangulV <= b && b < hangulV+hangulVCount:
		return hangulS + (a-hangulL)*hangulNCount + (b-hangulV)*hangulTCount, true
	case hangulS <= a && a < hangulS+hangulSCount && (a-hangulS)%hangulTCount == 0 && hangulT < b && b < hangulT+hangulTCount:
		return a + b - hangulT, true
	case b < utf8.RuneSelf: // no composite ends in ASCII
		return 0, false
	}
	i, ok := slices.BinarySearchFunc(composeTable[:], composition{first: a, second: b}, func(c, want composition) int {
		if c.first != want.first {
			return int(c.first) - int(want.first)
		}
		return int(c.second) - int(want.second)
	})
	if !ok {
		return 0, false
	}
	return composeTable[i].to, true
}
