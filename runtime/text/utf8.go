package text

import "unicode/utf8"

// appendValid appends s to dst with every maximal subpart of an ill-formed
// sequence replaced by U+FFFD (the package comment says why).
func appendValid(dst []byte, s string) []byte {
	if utf8.ValidString(s) {
		return append(dst, s...)
	}
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 {
			n = illFormed(s[i:])
		}
		dst = utf8.AppendRune(dst, r)
		i += n
	}
	return dst
}

// illFormed returns the length of the maximal subpart at the start of s, which
// does not start with a well-formed sequence: the longest prefix that some
// well-formed sequence starts with, or one byte.
func illFormed(s string) int {
	lead := s[0]
	length, low, high := 0, byte(0x80), byte(0xBF)
	switch { // table 3-7 of the Unicode standard
	case 0xC2 <= lead && lead <= 0xDF:
		length = 2
	case 0xE0 <= lead && lead <= 0xEF:
		length = 3
		switch lead {
		case 0xE0:
			low = 0xA0
		case 0xED:
			high = 0x9F
		}
	case 0xF0 <= lead && lead <= 0xF4:
		length = 4
		switch lead {
		case 0xF0:
			low = 0x90
		case 0xF4:
			high = 0x8F
		}
	}
	n := 1
	for n < length && n < len(s) && low <= s[n] && s[n] <= high {
		n, low, high = n+1, 0x80, 0xBF
	}
	return n
}
