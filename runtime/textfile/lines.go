package textfile

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// A line is one of a file, without its end.
type line struct {
	number int // from 1 on
	text   string
	err    error // why it cannot be decoded
}

// A lineReader reads lines. They end with a line feed, and a carriage return before it is no part
// of them. Where the first line ends with a carriage return alone, as old Macs write, all may.
type lineReader struct {
	r       *bufio.Reader
	charset *charset
	number  int
	cr      bool
	back    []line // to be read again, the next one last
}

func newLineReader(r *bufio.Reader, c *charset) *lineReader {
	c.asked = c.name != ""
	l := &lineReader{r: r, charset: c}
	head := l.head()
	i := bytes.IndexAny(head, "\r\n")
	if i >= 0 && i+1 == len(head) && head[i] == '\r' {
		head, _ = r.Peek(i + 2)
	}
	l.cr = i >= 0 && i+1 < len(head) && head[i] == '\r' && head[i+1] != '\n'
	return l
}

// head is the beginning of what was not read yet.
func (l *lineReader) head() []byte { return beginning(l.r) }

// next reads a line. It ends with io.EOF, or with why no line can follow.
func (l *lineReader) next() (line, error) {
	if n := len(l.back); n > 0 {
		again := l.back[n-1]
		l.back = l.back[:n-1]
		return again, nil
	}
	data, err := l.bytes()
	if err != nil {
		return line{}, err
	}
	out := line{number: l.number}
	var fatal error
	out.text, out.err, fatal = l.charset.decode(l.number, data)
	return out, fatal
}

// unread has lines read again.
func (l *lineReader) unread(lines []line) {
	for i := len(lines) - 1; i >= 0; i-- {
		l.back = append(l.back, lines[i])
	}
}

func (l *lineReader) bytes() ([]byte, error) {
	var data []byte
	for {
		part, err := l.part()
		if len(data)+len(part) > maxRow {
			return nil, fmt.Errorf("line %d is longer than %d MB", l.number+1, maxRow>>20)
		}
		data = append(data, part...)
		switch {
		case err == nil:
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, errUTF16):
			return nil, &EncodingError{l.number + 1, "it is not valid UTF-16"}
		case !errors.Is(err, io.EOF):
			return nil, fmt.Errorf("line %d: %w", l.number+1, err)
		case len(data) == 0:
			return nil, io.EOF
		}
		l.number++
		return data, nil
	}
}

// part reads up to the end of a line, which is no part of it.
func (l *lineReader) part() ([]byte, error) {
	if !l.cr {
		part, err := l.r.ReadSlice('\n')
		switch {
		case err == nil:
			part = bytes.TrimSuffix(part[:len(part)-1], []byte("\r"))
		case errors.Is(err, bufio.ErrBufferFull) && part[len(part)-1] == '\r':
			part = part[:len(part)-1] // a line feed may follow
			_ = l.r.UnreadByte()
		case errors.Is(err, io.EOF):
			part = bytes.TrimSuffix(part, []byte("\r"))
		}
		return part, err
	}
	if _, err := l.r.Peek(1); err != nil {
		return nil, err
	}
	buffered, _ := l.r.Peek(l.r.Buffered())
	i := bytes.IndexAny(buffered, "\r\n")
	if i < 0 {
		_, _ = l.r.Discard(len(buffered))
		return append([]byte(nil), buffered...), bufio.ErrBufferFull
	}
	part := append([]byte(nil), buffered[:i]...)
	_, _ = l.r.Discard(i + 1)
	if buffered[i] == '\r' {
		if next, err := l.r.Peek(1); err == nil && next[0] == '\n' {
			_, _ = l.r.Discard(1)
		}
	}
	return part, nil
}
