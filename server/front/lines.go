package front

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/runtime/textmodel"
	"github.com/distinfer/distinfer/server/batch"
	"github.com/distinfer/distinfer/server/httpx"
	"github.com/distinfer/distinfer/server/limiter"
)

// Limits of streams. What one takes of the memory is bounded by the pieces that are
// under way, and a piece by its lines and their bytes.
const (
	streamsAtOnce = 64
	maxLine       = 64 << 10 // bytes
	maxListed     = 1000     // lines that the trailer names
	maxPiece      = 64 << 10 // bytes after which a piece takes no further line

	// maxEmpty is how many bytes may come without a text to answer, of blank lines and of
	// those that are refused with their refusals: a few bytes can be expanded to many.
	maxEmpty = 1 << 20
	refusal  = 128 // bytes, about

	// stalledStream is how long a stream may send nothing while others want its place.
	stalledStream = 30 * time.Second
)

// errGaveWay ends a stream whose place another client has.
var errGaveWay = errcode.Errorf(errcode.Overloaded, "%d streams are being answered, which are as many as can be, and other clients have fewer; send the lines from this one on again", streamsAtOnce)

// A line is one that was read. It has a request with one input, or is wrong.
type line struct {
	number  int // from 1 on
	request Request
	err     error
}

// A lineParser reads a line, which errors call by a name.
type lineParser func(line []byte, name string) (Request, error)

// isLines reports whether a request's body is lines of JSON.
func isLines(r *http.Request) bool {
	switch kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind {
	case "application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines":
		return true
	}
	return false
}

// A LineProblem is what a line is answered with that has no results.
type LineProblem struct {
	Error string `json:"error"`
	Line  int    `json:"line"`
}

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

// piece reads a line, and then those that are there already, up to so many. It ends
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
			} else if err := l.nothing(len(data) + refusal); err != nil {
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

// stream answers lines, a line each and in order, while further ones are read. A client
// has to read while it sends: no more lines are taken than can be answered.
func (f *Front) stream(b *batch.Batcher, parse lineParser, w http.ResponseWriter, r *http.Request) {
	timeout, err := f.timeout(w, r)
	if err != nil {
		httpx.Fail(w, err)
		return
	}
	control := http.NewResponseController(w)
	ctx, cancelCause := context.WithCancelCause(f.named(r))
	cancel := func() { cancelCause(nil) }
	defer cancel()
	share, err := f.streams.Acquire(f.client(r), 1, func() { cancelCause(errGaveWay) })
	if err != nil {
		if r.ProtoMajor == 1 { // or the answer would wait for the lines' end
			w.Header().Set("Connection", "close")
		}
		httpx.Fail(w, errcode.Errorf(errcode.Overloaded, "%d streams are being answered, which are as many as can be; try again later", streamsAtOnce))
		return
	}
	defer share.Release()
	s := &stream{batcher: b, control: control, timeout: timeout, w: w, cancel: cancel, share: share}
	_ = control.SetReadDeadline(time.Now().Add(bodyTime))
	body, err := httpx.Decode(r)
	if err != nil {
		httpx.Fail(w, err)
		return
	}
	// Reading ends when the front is to stop, or nobody takes the answers any more.
	defer context.AfterFunc(f.stopping, cancel)()
	defer after(ctx, func() { _ = control.SetReadDeadline(time.Now()) })()
	_ = control.SetWriteDeadline(time.Time{})
	_ = control.EnableFullDuplex() // of HTTP/1, which is not by itself
	httpx.SetHeaders(w.Header(), httpx.TypeLines)
	w.Header().Set("Trailer", TruncatedHeader)
	w.WriteHeader(http.StatusOK)

	under := make(chan *answered, piecesAtOnce-1)
	var writing sync.WaitGroup
	writing.Go(func() { s.write(under) })
	lines := newLineReader(ctx, body, parse)
	texts, err := s.read(ctx, lines, under)
	if err != nil && !errors.Is(err, io.EOF) {
		switch {
		case errors.Is(context.Cause(ctx), errGaveWay):
			err = errGaveWay
		case f.stopping.Err() != nil:
			err = errcode.Errorf(errcode.Unavailable, "the front is to stop; send the lines from this one on again")
		}
		httpx.Note(w, err)
		last := &answered{lines: []line{{number: lines.read + 1, err: err}}, done: make(chan struct{})}
		close(last.done)
		under <- last
	}
	close(under)
	writing.Wait()
	if len(s.cut) > 0 {
		w.Header().Set(TruncatedHeader, strings.Join(s.cut, ", "))
	}
	noteTexts(w, texts)
}

// after calls f once ctx ends. stop keeps it from that, or waits for it.
func after(ctx context.Context, f func()) (stop func()) {
	called := make(chan struct{})
	cancel := context.AfterFunc(ctx, func() {
		defer close(called)
		f()
	})
	return func() {
		if !cancel() {
			<-called
		}
	}
}

// A stream is a request with lines.
type stream struct {
	batcher *batch.Batcher
	control *http.ResponseController
	timeout time.Duration // for each piece
	w       http.ResponseWriter
	cancel  context.CancelFunc
	share   *limiter.Holding
	cut     []string // the numbers of lines that were cut, the first of them; the writer's
}

// An answered piece is being answered until done.
type answered struct {
	lines   []line
	answers []textmodel.Answer // of the lines with a request
	err     error              // of all of them
	done    chan struct{}
}

// read has pieces answered until there are no more lines, and counts those.
func (s *stream) read(ctx context.Context, from *lineReader, to chan<- *answered) (texts int, err error) {
	for err == nil {
		if ctx.Err() == nil { // else the deadline that ends the reading stands
			_ = s.control.SetReadDeadline(time.Now().Add(bodyTime))
		}
		if ctx.Err() != nil {
			return texts, ctx.Err()
		}
		p := &answered{done: make(chan struct{})}
		p.lines, err = from.piece(pieceSize(s.batcher))
		texts += len(p.lines)
		s.share.Progress()
		go s.answer(ctx, p)
		to <- p
	}
	return texts, err
}

// answer answers a piece.
func (s *stream) answer(ctx context.Context, p *answered) {
	defer close(p.done)
	var inputs []textmodel.Input
	for _, l := range p.lines {
		if l.err == nil {
			inputs = append(inputs, l.request.Inputs[0])
		}
	}
	if len(inputs) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.timeout)
	defer cancel()
	p.answers, _, p.err = patient{s.batcher}.Answer(ctx, inputs)
	if _, refused := batch.IsRefused(p.err); p.err != nil && !refused && ctx.Err() != nil {
		p.err = errcode.Errorf(errcode.Deadline, "there was no answer within %s", s.timeout)
	}
}

// write writes the answers of pieces. When nobody reads them, the rest is taken only.
func (s *stream) write(from <-chan *answered) {
	var failed error
	var buf bytes.Buffer
	for p := range from {
		<-p.done
		if failed != nil {
			continue
		}
		buf.Reset()
		s.encode(&buf, p)
		_ = s.control.SetWriteDeadline(time.Now().Add(writeTime))
		if _, failed = s.w.Write(buf.Bytes()); failed == nil {
			failed = s.control.Flush()
		}
		_ = s.control.SetWriteDeadline(time.Time{})
		if failed != nil {
			s.cancel()
		}
	}
}

// encode encodes the answers of a piece.
func (s *stream) encode(to *bytes.Buffer, p *answered) {
	e := json.NewEncoder(to)
	e.SetEscapeHTML(false)
	answers := p.answers
	for _, l := range p.lines {
		err := l.err
		if err == nil && p.err != nil {
			err = p.err
		}
		var v any
		if err == nil {
			var a textmodel.Answer
			a, answers = answers[0], answers[1:]
			v, err = l.request.one(0, a)
			if a.Tokens.Truncated && len(s.cut) < maxListed {
				s.cut = append(s.cut, strconv.Itoa(l.number))
			}
		}
		if err == nil {
			err = e.Encode(v)
		}
		if err != nil {
			_ = e.Encode(LineProblem{err.Error(), l.number})
		}
	}
}
