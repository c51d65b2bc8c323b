package front

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"strconv"

	"github.com/distinfer/distinfer/runtime/errcode"
)

const (
	maxLine  = 64 << 10 // bytes
	maxPiece = 64 << 10 // bytes after which a piece takes no further line

	// maxEmpty is how many bytes may come without a text to answer: those of blank lines, and of
	// wrong lines and their errors. A few compressed bytes can become many.
	maxEmpty   = 1 << 20
	errorBytes = 128 // of the error of a line, about
)

// A line is one that was read. It has a request with one input, or an error.
type line struct {
	number  int // from 1 on
	request Request
	err     error
}

// A lineParser reads a line, which errors call by a name.
type lineParser func(line []byte, name string) (Request, error)

// A lineReader reads lines of NDJSON.
type lineReader struct {
	ctx   context.Context //nolint:containedctx // its lifetime is the request's
	from  *bufio.Reader
	parse lineParser
	read  int // lines
	empty int // bytes since the last text
}

func newLineReader(ctx context.Context, r io.Reader, parse lineParser) *lineReader {
	return &lineReader{ctx: ctx, from: bufio.NewReaderSize(r, maxLine), parse: parse}
}

// nothing counts bytes that came without a text.
func (l *lineReader) nothing(n int) error {
	if l.empty += n; l.empty > maxEmpty {
		return errcode.Errorf(errcode.Invalid, "about %d bytes came without a text to answer, up to line %d; leave out blank and wrong lines", maxEmpty, l.read)
	}
	return l.ctx.Err()
}

// piece reads a line, and then lines that are there already, up to a number. It ends
// with io.EOF, or why no more can be read, together with the last lines.
func (l *lineReader) piece(most int) (lines []line, err error) {
	for size := 0; len(lines) < most && size < maxPiece; {
		data, err := l.line()
		if trimmed := trim(data); len(trimmed) > 0 {
			next := line{number: l.read}
			next.request, next.err = l.parse(trimmed, "line "+strconv.Itoa(l.read))
			lines, size = append(lines, next), size+len(data)
			if next.err == nil {
				l.empty = 0
			} else if err := l.nothing(len(data) + errorBytes); err != nil {
				return lines, err
			}
		} else if err := l.nothing(len(data)); err != nil {
			return lines, err
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			lines = append(lines, line{number: l.read, err: errcode.Errorf(errcode.TooLarge, "line %d is longer than %d bytes", l.read, maxLine)})
			if err := l.skip(); err != nil {
				return lines, err
			}
		case err != nil:
			return lines, err
		}
		if len(lines) > 0 && !l.buffered() {
			break
		}
	}
	return lines, nil
}

// trim is a line without spaces around it, and without a byte order mark, which files that
// are sent one after the other have in the middle.
func trim(line []byte) []byte {
	return bytes.TrimSpace(bytes.TrimPrefix(line, []byte("\ufeff")))
}

// line reads a line. Of one that is too long, which is bufio.ErrBufferFull, it
// returns nothing.
func (l *lineReader) line() ([]byte, error) {
	data, err := l.from.ReadSlice('\n')
	if len(data) > 0 {
		l.read++
	}
	if errors.Is(err, bufio.ErrBufferFull) {
		return nil, err
	}
	return data, err
}

// skip passes over the rest of a line.
func (l *lineReader) skip() error {
	for {
		data, err := l.from.ReadSlice('\n')
		if tooMuch := l.nothing(len(data)); tooMuch != nil {
			return tooMuch
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
	}
}

// buffered reports whether a whole line can be had without waiting.
func (l *lineReader) buffered() bool {
	data, _ := l.from.Peek(l.from.Buffered())
	return bytes.IndexByte(data, '\n') >= 0
}
