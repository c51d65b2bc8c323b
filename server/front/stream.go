package front

import (
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

// Limits of streams. The memory of a stream is bounded by its pieces in flight, and a piece by its
// lines and their bytes.
const (
	streamsAtOnce = 64
	maxListed     = 1000 // lines that the trailer names

	// stalledStream is how long a stream may send nothing while others want its place.
	stalledStream = 30 * time.Second
)

// Why the front ends a stream.
var (
	errEvicted  = errcode.Errorf(errcode.Overloaded, "%d streams are being answered, which is the limit, and other clients have fewer; send the lines from this one on again", streamsAtOnce)
	errStopping = errcode.Errorf(errcode.Unavailable, "the front stops; send the lines from this one on again")
)

// isLines reports whether a request's body is lines of JSON.
func isLines(r *http.Request) bool {
	switch kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind {
	case "application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines":
		return true
	}
	return false
}

// A LineProblem is the response to a line without a result.
type LineProblem struct {
	Error string `json:"error"`
	Line  int    `json:"line"`
}

// stream answers lines, one line each and in order, while it reads further ones. A client must
// read while it sends: no more lines are read than can be answered.
func (f *Front) stream(b *batch.Batcher, parse lineParser, w http.ResponseWriter, r *http.Request) {
	timeout, err := f.TimeAllowed(w, r)
	if err != nil {
		httpx.Fail(w, err)
		return
	}
	ctx, cancel := context.WithCancelCause(f.named(r))
	defer cancel(nil)
	share, err := f.streams.Acquire(f.client(r), 1, func() { cancel(errEvicted) })
	if err != nil {
		if r.ProtoMajor == 1 { // or the response would wait for the end of the lines
			w.Header().Set("Connection", "close")
		}
		httpx.Fail(w, errcode.Errorf(errcode.Overloaded, "%d streams are being answered, which is the limit; try again later", streamsAtOnce))
		return
	}
	defer share.Release()
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(bodyTime))
	body, err := httpx.Decode(r)
	if err != nil {
		httpx.Fail(w, err)
		return
	}
	// Reading ends when the front stops, or when nobody reads the answers.
	defer context.AfterFunc(f.stopping, func() { cancel(errStopping) })()
	defer after(ctx, func() { _ = control.SetReadDeadline(time.Now()) })()
	_ = control.SetWriteDeadline(time.Time{})
	_ = control.EnableFullDuplex() // HTTP/1 is not by itself
	httpx.SetHeaders(w.Header(), httpx.TypeLines)
	w.Header().Set("Trailer", TruncatedHeader)
	w.WriteHeader(http.StatusOK)
	s := &stream{batcher: b, control: control, timeout: timeout, w: w, cancel: func() { cancel(nil) }, share: share}
	s.run(ctx, newLineReader(ctx, body, parse))
}

// run answers all lines, and then says in the trailer which were cut.
func (s *stream) run(ctx context.Context, lines *lineReader) {
	pieces := make(chan *piece, piecesAtOnce-1)
	var writing sync.WaitGroup
	writing.Go(func() { s.write(pieces) })
	texts, err := s.read(ctx, lines, pieces)
	if err != nil && !errors.Is(err, io.EOF) {
		if cause := context.Cause(ctx); errors.Is(cause, errEvicted) || errors.Is(cause, errStopping) {
			err = cause
		}
		httpx.Note(s.w, err)
		last := &piece{lines: []line{{number: lines.read + 1, err: err}}, done: make(chan struct{})}
		close(last.done)
		pieces <- last
	}
	close(pieces)
	writing.Wait()
	if len(s.cut) > 0 {
		s.w.Header().Set(TruncatedHeader, strings.Join(s.cut, ", "))
	}
	noteTexts(s.w, texts)
}

// after calls f once ctx ends. stop prevents that, or waits for it.
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

// A stream is a request of lines.
type stream struct {
	batcher *batch.Batcher
	control *http.ResponseController
	timeout time.Duration // for each piece
	w       http.ResponseWriter
	cancel  context.CancelFunc
	share   *limiter.Holding
	cut     []string // numbers of the first lines that were cut; written by write
}

// A piece is lines that are answered together, until done.
type piece struct {
	lines   []line
	answers []textmodel.Answer // of the lines with a request
	err     error              // of all of them
	done    chan struct{}
}

// read starts the answers of pieces until there are no more lines, and counts the lines.
func (s *stream) read(ctx context.Context, from *lineReader, to chan<- *piece) (texts int, err error) {
	for err == nil {
		if ctx.Err() == nil { // else the deadline that ends the reading must stand
			_ = s.control.SetReadDeadline(time.Now().Add(bodyTime))
		}
		if ctx.Err() != nil {
			return texts, ctx.Err()
		}
		p := &piece{done: make(chan struct{})}
		p.lines, err = from.piece(pieceSize(s.batcher))
		texts += len(p.lines)
		s.share.Progress()
		go s.answer(ctx, p)
		to <- p
	}
	return texts, err
}

// answer answers a piece.
func (s *stream) answer(ctx context.Context, p *piece) {
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
	p.answers, _, p.err = answerOnceAdmitted(ctx, s.batcher, inputs)
	if _, refused := batch.IsRefused(p.err); p.err != nil && !refused && ctx.Err() != nil {
		p.err = errcode.Errorf(errcode.Deadline, "there was no answer within %s", s.timeout)
	}
}

// write writes the answers of pieces. Once nobody reads them, it only takes the rest.
func (s *stream) write(from <-chan *piece) {
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
func (s *stream) encode(to *bytes.Buffer, p *piece) {
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
