package front

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zlib"

	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/server/limiter"
)

// Bodies being received or read may take so much memory: the first bytes of each, which
// are all of a usual one, and beyond these as much as so many of the largest. Memory is
// acquired as bytes come. So clients that send much and slowly keep out others who do, but
// nobody else, and those who hold the most or send nothing give way.
const (
	freeBody     = 16 << 10
	bodiesAtOnce = 16

	// stalledBody is how long a body may make no progress while others want its memory.
	stalledBody = 2 * time.Second

	// perText is what an input and its answer take in memory, of a list that is longer
	// than the batcher takes at a time.
	perText = 256
)

// A hold is what a request takes of the memory for bodies.
type hold struct {
	front    *Front
	client   func() string
	evict    func()
	holding  *limiter.Holding // nil until there is more than what is free
	gaveWay  atomic.Bool
	received bool
}

// hold begins to count what a request takes.
func (f *Front) hold(w http.ResponseWriter, r *http.Request) *hold {
	h := &hold{front: f, client: func() string { return f.client(r) }}
	control := http.NewResponseController(w)
	h.evict = func() {
		h.gaveWay.Store(true)
		_ = control.SetReadDeadline(time.Now()) // which ends the reading
	}
	return h
}

// add acquires n bytes more.
func (h *hold) add(n int64) (err error) {
	if h.holding == nil {
		h.holding, err = h.front.bodies.Acquire(h.client(), n, h.evict)
	} else {
		err = h.holding.Grow(n)
	}
	if err != nil {
		return errBodies()
	}
	if h.received {
		h.holding.Keep(true)
	} else {
		h.holding.Progress()
	}
	return nil
}

func errBodies() error {
	return errcode.Errorf(errcode.Overloaded, "too many large requests are being received; try again in a moment")
}

// all notes that the body is here: what it takes is given back by us, soon.
func (h *hold) all() {
	h.received = true
	if h.holding != nil {
		h.holding.Keep(true)
	}
}

func (h *hold) release() {
	if h.holding != nil {
		h.holding.Release()
	}
}

// decoded is a request's body without its Content-Encoding.
func decoded(r *http.Request) (io.Reader, error) {
	var z io.Reader
	var err error
	encoding := strings.ToLower(strings.Join(r.Header["Content-Encoding"], ", "))
	switch encoding {
	case "", "identity":
		return r.Body, nil
	case "gzip", "x-gzip":
		z, err = gzip.NewReader(r.Body)
	case "deflate": // RFC 9110, section 8.4.1.2: in the format of zlib
		z, err = zlib.NewReader(r.Body)
	default:
		return nil, &statusError{http.StatusUnsupportedMediaType, "the header Content-Encoding is " + quoted(encoding) + "; a body can be compressed with gzip or deflate, or not"}
	}
	if err != nil {
		return nil, errcode.Errorf(errcode.Invalid, "read the body: it is not %s, as Content-Encoding says: %w", encoding, err)
	}
	return z, nil
}

// body reads a request's body, no more than MaxBody bytes of it once it is decoded.
func (f *Front) body(r *http.Request, held *hold) ([]byte, error) {
	tooLarge := errcode.Errorf(errcode.TooLarge, "the body is larger than %d bytes; send fewer texts at a time, or a line for each as application/x-ndjson, or raise --max-body", f.MaxBody)
	if r.ContentLength > f.MaxBody {
		return nil, tooLarge
	}
	compressed := &io.LimitedReader{R: r.Body, N: f.MaxBody + 1} // also of what becomes nothing
	r.Body = struct {
		io.Reader
		io.Closer
	}{compressed, r.Body}
	from, err := decoded(r)
	var buf bytes.Buffer
	for free := int64(freeBody); err == nil; free = 0 {
		// Room is taken before it is filled.
		part := min(freeBody, f.MaxBody+1-int64(buf.Len()))
		if free == 0 {
			if err := held.add(part); err != nil {
				return nil, err
			}
		}
		_, err = io.CopyN(&buf, from, part)
		if int64(buf.Len()) > f.MaxBody {
			return nil, tooLarge
		}
	}
	switch {
	case held.gaveWay.Load():
		return nil, errBodies()
	case compressed.N <= 0:
		return nil, tooLarge
	case errors.Is(err, io.EOF):
		held.all()
		return buf.Bytes(), nil
	case errors.As(err, new(*statusError)) || errcode.Of(err) == errcode.Invalid:
		return nil, err
	}
	return nil, errcode.Errorf(errcode.Invalid, "read the body: %w", err)
}
