package textfile

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/transform"
)

// Names of encodings, as the WHATWG has them.
const (
	utf8Name    = "utf-8"
	utf16LE     = "utf-16le"
	utf16BE     = "utf-16be"
	windows1252 = "windows-1252"
)

// What is printed of how lines disagree.
var (
	errNUL    = errors.New("it has a NUL byte, as no text has")
	errNotUTF = errors.New("its bytes are not UTF-8")
	errMixed  = errors.New("it is UTF-8 while lines before are Windows-1252")
	errLater  = errors.New("its bytes are not UTF-8 while lines before are")
)

// decode finds the encoding, and gives lines of text. The rule: a byte order mark; else UTF-16 if
// every second byte is zero; else the first line with bytes beyond ASCII, which is UTF-8 if it is
// valid, and else Windows-1252. A line of the other kind later is an error of that line.
func (f *File) decode(content *bufio.Reader) (*lineReader, error) {
	head := beginning(content)
	if err := refuseKind(head); err != nil {
		return nil, err
	}
	name, err := encodingOf(f.options.Encoding)
	if err != nil {
		return nil, err
	}
	marked := markOf(head)
	if marked == "" && name == "" {
		marked, err = withoutMark(head)
		if err != nil {
			return nil, err
		}
	} else if marked != "" {
		f.about.Mark = true
		if name != "" && name != marked && f.options.Encoding != "utf-16" {
			return nil, &EncodingError{1, fmt.Sprintf("the file begins with the byte order mark of %s, and %s was asked for", marked, name)}
		}
	}
	if name == "" || f.options.Encoding == "utf-16" && marked != "" {
		name = marked
	}
	if f.about.Mark {
		_, _ = content.Discard(len(marks[marked])) // it was peeked at
	}
	c := &charset{name: name, found: func(name string) { f.find(func(a *About) { a.Encoding = name }) }}
	var from io.Reader = content
	switch name {
	case "", utf8Name, windows1252:
	case utf16LE, utf16BE:
		from = &utf16Reader{r: content, big: name == utf16BE}
	default:
		e, err := htmlindex.Get(name)
		if err != nil {
			return nil, err
		}
		from = transform.NewReader(content, e.NewDecoder())
		c.replaced = true
	}
	f.about.Encoding = name
	if name == "" {
		f.about.Encoding = utf8Name
	}
	if in, ok := from.(*bufio.Reader); ok {
		return newLineReader(in, c), nil
	}
	return newLineReader(bufio.NewReaderSize(from, headBytes), c), nil
}

// encodingOf is the WHATWG's name of an encoding; "" is by rule.
func encodingOf(asked string) (string, error) {
	switch asked = strings.ToLower(asked); asked {
	case "", "auto":
		return "", nil
	case "utf-16":
		return utf16LE, nil // as Windows has it
	}
	e, err := htmlindex.Get(asked)
	if err == nil {
		var name string
		if name, err = htmlindex.Name(e); err == nil && name != "replacement" && name != "x-user-defined" {
			return name, nil
		}
	}
	return "", &EncodingNameError{asked}
}

// An EncodingNameError is about an encoding that nobody knows.
type EncodingNameError struct{ Name string }

func (e *EncodingNameError) Error() string {
	return fmt.Sprintf("the encoding %q is not known; utf-8, utf-16, windows-1252, windows-1251, gbk, big5, shift_jis and euc-kr are some that are", e.Name)
}

var marks = map[string]string{utf8Name: "\xef\xbb\xbf", utf16LE: "\xff\xfe", utf16BE: "\xfe\xff"}

func markOf(head []byte) string {
	for name, mark := range marks {
		if bytes.HasPrefix(head, []byte(mark)) {
			return name
		}
	}
	return ""
}

// withoutMark tells UTF-16, in which every second byte of Latin letters is zero, from binary.
func withoutMark(head []byte) (string, error) {
	even, odd := 0, 0
	for i, b := range head {
		switch {
		case b != 0:
		case i%2 == 0:
			even++
		default:
			odd++
		}
	}
	half := len(head) / 2
	switch {
	case even+odd == 0 && controls(head)*10 <= len(head):
		return "", nil
	case odd > 0 && odd*10 >= 4*half && even*20 <= odd:
		return utf16LE, nil
	case even > 0 && even*10 >= 4*half && odd*20 <= even:
		return utf16BE, nil
	case even+odd == 0:
		return "", &KindError{"not text: it is full of control characters", "name a file of texts"}
	}
	return "", &KindError{"not text: it has NUL bytes", "name a file of texts; if it is UTF-16 without a mark, say the encoding, utf-16le or utf-16be"}
}

// controls counts bytes that stand in no text.
func controls(head []byte) (n int) {
	for _, b := range head {
		if b < 0x09 || b > 0x0d && b < 0x20 && b != 0x1b && b != 0x1a {
			n++
		}
	}
	return n
}

// A charset decodes lines of bytes in which ASCII is ASCII.
type charset struct {
	name     string // "" until the first line beyond ASCII
	asked    bool
	replaced bool // was decoded already, with U+FFFD for what could not be
	found    func(name string)
}

// decode decodes a line. fatal ends the reading.
func (c *charset) decode(number int, line []byte) (text string, bad, fatal error) {
	if bytes.IndexByte(line, 0) >= 0 {
		return "", errNUL, nil
	}
	if isASCII(line) {
		return string(line), nil, nil
	}
	valid := utf8.Valid(line)
	if c.name == "" {
		if c.name = utf8Name; !valid {
			c.name = windows1252
			if !isWestern(line) {
				return "", nil, &EncodingError{number, "its bytes are neither UTF-8 nor likely to be Windows-1252; say the encoding, such as windows-1251, gbk or shift_jis"}
			}
		}
		c.found(c.name)
	}
	switch {
	case c.replaced && strings.ContainsRune(string(line), utf8.RuneError):
		return "", fmt.Errorf("its bytes are not %s", c.name), nil
	case c.replaced || c.name == utf16LE || c.name == utf16BE:
		return string(line), nil, nil
	case c.name == utf8Name && valid:
		return string(line), nil, nil
	case c.name == utf8Name:
		return "", c.wrong(errNotUTF, errLater), nil
	case valid && !c.asked:
		return "", errMixed, nil
	}
	return western(line)
}

func (c *charset) wrong(asked, byRule error) error {
	if c.asked {
		return asked
	}
	return byRule
}

func western(line []byte) (text string, bad, fatal error) {
	for _, b := range []byte{0x81, 0x8d, 0x8f, 0x90, 0x9d} {
		if bytes.IndexByte(line, b) >= 0 {
			return "", errors.New("its bytes are neither UTF-8 nor Windows-1252"), nil
		}
	}
	decoded, err := charmap.Windows1252.NewDecoder().Bytes(line)
	return string(decoded), nil, err
}

func isASCII(line []byte) bool {
	for _, b := range line {
		if b >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// isWestern reports whether a line has no more bytes beyond ASCII than letters of it, as texts of
// the languages of Windows-1252 do.
func isWestern(line []byte) bool {
	high, letters := 0, 0
	for _, b := range line {
		switch {
		case b >= utf8.RuneSelf:
			high++
		case b|0x20 >= 'a' && b|0x20 <= 'z':
			letters++
		}
	}
	return high <= max(3, letters)
}
