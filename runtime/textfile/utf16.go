package textfile

import (
	"bufio"
	"errors"
	"io"
	"unicode/utf16"
	"unicode/utf8"
)

// errUTF16 is about half of a surrogate pair, or half of a unit.
var errUTF16 = errors.New("it is not valid UTF-16")

// A utf16Reader makes UTF-8 of UTF-16. Decoders that put U+FFFD for what is wrong would have it
// read as a text.
type utf16Reader struct {
	r    *bufio.Reader
	big  bool
	left []byte // decoded and not read
	err  error
}

func (u *utf16Reader) Read(p []byte) (int, error) {
	for len(u.left) == 0 {
		if u.err != nil {
			return 0, u.err
		}
		u.fill()
	}
	n := copy(p, u.left)
	u.left = u.left[n:]
	return n, nil
}

// fill decodes what is there, and waits for one character at most.
func (u *utf16Reader) fill() {
	for u.left = u.left[:0]; u.err == nil && len(u.left) < headBytes; {
		r, err := u.rune()
		if u.err = err; err == nil {
			u.left = utf8.AppendRune(u.left, r)
		}
		if u.r.Buffered() < 4 && len(u.left) > 0 {
			return
		}
	}
}

func (u *utf16Reader) rune() (rune, error) {
	first, err := u.unit()
	if err != nil || !utf16.IsSurrogate(first) {
		return first, err
	}
	second, err := u.unit()
	if errors.Is(err, io.EOF) {
		err = errUTF16
	}
	r := utf16.DecodeRune(first, second)
	if err == nil && r == utf8.RuneError {
		err = errUTF16
	}
	return r, err
}

func (u *utf16Reader) unit() (rune, error) {
	a, err := u.r.ReadByte()
	if err != nil {
		return 0, err
	}
	b, err := u.r.ReadByte()
	if errors.Is(err, io.EOF) {
		err = errUTF16
	}
	if u.big {
		a, b = b, a
	}
	return rune(a) | rune(b)<<8, err
}
