package text

import (
	"slices"
	"unicode/utf8"
)

// propShift splits a code point into the index of a block and the place in it.
const propShift = 7

// Bits of properties.bits; scripts/tokenizer-oracle/tables.py sets them. They
// are what the Rust library sees in a character, which for some characters is
// not what the current Unicode standard says.
const (
	isSpace   = 1 << iota // char::is_whitespace, and \s of the regex crate
	isRemoved             // dropped by BertNormalizer's clean_text: NUL, U+FFFD, controls
	isPunct               // ASCII punctuation or general category P
	isNumeric             // char::is_numeric
	isWord                // \w of the regex crate
	isMn                  // nonspacing mark, dropped by BertNormalizer's strip_accents
	isMark                // any mark, dropped by StripAccents
	hasLower              // in lowerTable
	hasCanon              // in canonTable
	hasCompat             // in compatTable
	isLetter              // \p{L} of Oniguruma
	isNumber              // \p{N} of Oniguruma
	isBlank               // \s of Oniguruma
)

// properties are what is known of a character. class orders combining marks as
// canonical combining classes do (0: not a mark); it is a rank, not the
// standard's number, since only the order matters.
type properties struct {
	bits  uint16
	class uint8
}

type mapping struct {
	from rune
	to   string
}

type composition struct {
	first, second, to rune
}

// lookup returns the properties of r, which must be a Unicode scalar value.
func lookup(r rune) properties {
	return propRecords[propBlocks[int(propIndex[r>>propShift])<<propShift|int(r)&(1<<propShift-1)]]
}

func has(r rune, bits uint16) bool { return lookup(r).bits&bits != 0 }

// mapped finds r in an ascending table that is known to hold it.
func mapped(table []mapping, r rune) string {
	i, _ := slices.BinarySearchFunc(table, r, func(m mapping, r rune) int { return int(m.from) - int(r) })
	return table[i].to
}

// appendLower appends r in lower case: character by character, as Rust's
// char::to_lowercase does, so without the final sigma rule.
func appendLower(dst []byte, r rune) []byte {
	if r < utf8.RuneSelf {
		if 'A' <= r && r <= 'Z' {
			r += 'a' - 'A'
		}
		return append(dst, byte(r))
	}
	if has(r, hasLower) {
		return append(dst, mapped(lowerTable[:], r)...)
	}
	return utf8.AppendRune(dst, r)
}

// isCJK reports whether BertNormalizer's handle_chinese_chars puts spaces around a character. The
// list is the Rust library's; its third block of extensions starts at U+2B920, not U+2B820.
func isCJK(r rune) bool {
	if r < 0x3400 {
		return false
	}
	return r <= 0x4DBF ||
		0x4E00 <= r && r <= 0x9FFF ||
		0xF900 <= r && r <= 0xFAFF ||
		0x20000 <= r && r <= 0x2A6DF ||
		0x2A700 <= r && r <= 0x2B73F ||
		0x2B740 <= r && r <= 0x2B81F ||
		0x2B920 <= r && r <= 0x2CEAF ||
		0x2F800 <= r && r <= 0x2FA1F
}

func isASCII(s []byte) bool {
	for _, c := range s {
		if c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
