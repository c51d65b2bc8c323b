package httpx

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zlib"

	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/server/limiter"
)

const (
	// FreeBody is how many bytes of each body are not counted, which are all of a usual one.
	FreeBody = 16 << 10

	// bodiesAtOnce is how many of the largest bodies fit into the memory for bodies.
	bodiesAtOnce = 16

	// stalledBody is how long a body may make no progress while others want its memory.
	stalledBody = 2 * time.Second
)

// Bodies bounds the memory of all bodies that are received or read. A body acquires memory as
// its bytes come. So clients that send much and slowly keep out others that do the same, but
// nobody else, and the bodies that hold the most or make no progress are evicted.
type Bodies struct {
	max    int64
	shares *limiter.Shares
}

// NewBodies makes Bodies of at most max bytes each, without their content coding.
func NewBodies(max int64) *Bodies {
	return &Bodies{max, limiter.NewShares(bodiesAtOnce*max, stalledBody)}
}

// A Body is the memory that one request takes for its body, and for what is made of it.
type Body struct {
	bodies   *Bodies
	max      int64
	client   func() string
	evict    func()
	holding  *limiter.Holding // nil until there is more than FreeBody
	evicted  atomic.Bool
	received bool
}

// Receive begins to count what a request takes. client names whom it counts for.
func (b *Bodies) Receive(w http.ResponseWriter, client func() string) *Body {
	body := &Body{bodies: b, max: b.max, client: client}
	control := http.NewResponseController(w)
	body.evict = func() {
		body.evicted.Store(true)
		_ = control.SetReadDeadline(time.Now()) // which ends the reading
	}
	return body
}

// Allow sets how many bytes the body may have, instead of what Bodies allow each.
func (b *Body) Allow(max int64) { b.max = max }

// Grow acquires n bytes more. It fails when there is too little memory.
func (b *Body) Grow(n int64) (err error) {
	if b.holding == nil {
		b.holding, err = b.bodies.shares.Acquire(b.client(), n, b.evict)
	} else {
		err = b.holding.Grow(n)
	}
	if err != nil {
		return errBodies()
	}
	if b.received {
		b.holding.Keep(true)
	} else {
		b.holding.Progress()
	}
	return nil
}

func errBodies() error {
	return errcode.Errorf(errcode.Overloaded, "too many large requests are being received; try again in a moment")
}

// Evicted fails once the memory went to another client.
func (b *Body) Evicted() error {
	if b.evicted.Load() {
		return errBodies()
	}
	return nil
}

// Received notes that all of the body is here. From then on it is not evicted: the server
// gives its memory back soon.
func (b *Body) Received() {
	b.received = true
	if b.holding != nil {
		b.holding.Keep(true)
	}
}

// Release gives the memory back. It may be called again.
func (b *Body) Release() {
	if b.holding != nil {
		b.holding.Release()
	}
}

// Read reads a request's body without its content coding. It fails with errcode.TooLarge when
// either form of it is larger than Bodies allows.
func (b *Body) Read(r *http.Request) ([]byte, error) {
	most := b.max
	tooLarge := errcode.Errorf(errcode.TooLarge, "the body is larger than %d bytes; send fewer texts at a time, or a line for each as application/x-ndjson", most)
	if r.ContentLength > most {
		return nil, tooLarge
	}
	compressed := &io.LimitedReader{R: r.Body, N: most + 1} // also of what becomes nothing
	r.Body = struct {
		io.Reader
		io.Closer
	}{compressed, r.Body}
	from, err := Decode(r)
	var buf bytes.Buffer
	for free := int64(FreeBody); err == nil; free = 0 {
		part := min(FreeBody, most+1-int64(buf.Len()))
		if free == 0 { // memory is acquired before it is filled
			if err := b.Grow(part); err != nil {
				return nil, err
			}
		}
		_, err = io.CopyN(&buf, from, part)
		if int64(buf.Len()) > most {
			return nil, tooLarge
		}
	}
	switch {
	case b.evicted.Load():
		return nil, errBodies()
	case compressed.N <= 0:
		return nil, tooLarge
	case errors.Is(err, io.EOF):
		b.Received()
		return buf.Bytes(), nil
	case errors.As(err, new(*Error)) || errcode.Of(err) == errcode.Invalid:
		return nil, err
	}
	return nil, errcode.Errorf(errcode.Invalid, "read the body: %w", err)
}

// Decode gives a request's body without its content coding.
func Decode(r *http.Request) (io.Reader, error) {
	var z io.Reader
	var err error
	coding := strings.ToLower(strings.Join(r.Header["Content-Encoding"], ", "))
	switch coding {
	case "", "identity":
		return r.Body, nil
	case "gzip", "x-gzip":
		z, err = gzip.NewReader(r.Body)
	case "deflate": // RFC 9110, section 8.4.1.2: in the format of zlib
		z, err = zlib.NewReader(r.Body)
	default:
		return nil, Errorf(http.StatusUnsupportedMediaType, "the header Content-Encoding is %s; a body can be compressed with gzip or deflate, or not", strconv.Quote(coding[:min(len(coding), 40)]))
	}
	if err != nil {
		return nil, errcode.Errorf(errcode.Invalid, "read the body: it is not %s, as Content-Encoding says: %w", coding, err)
	}
	return z, nil
}
