package front

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"

	"github.com/klauspost/compress/gzip"

	"github.com/distinfer/distinfer/runtime/fault"
)

// Bodies being received or read may take so much memory: the first bytes of each, which
// are all of a usual one, and beyond these as much as so many of the largest. So clients
// that send much and slowly keep out others who do, but nobody else.
const (
	freeBody     = 16 << 10
	bodiesAtOnce = 16

	// perText is what an input and its answer take in memory, of a list that is longer
	// than the batcher takes at a time.
	perText = 256
)

// A hold is what a request takes of the memory for bodies.
type hold struct {
	front *Front
	bytes int64
}

func (h *hold) add(n int64) error {
	h.bytes += n
	if h.front.held.Add(n) > bodiesAtOnce*h.front.MaxBody {
		return fault.Errorf(fault.Overloaded, "too many large requests are being received; try again in a moment")
	}
	return nil
}

func (h *hold) release() {
	h.front.held.Add(-h.bytes)
	h.bytes = 0
}

// decoded is a request's body without its Content-Encoding.
func decoded(r *http.Request) (io.Reader, error) {
	switch strings.ToLower(strings.Join(r.Header["Content-Encoding"], ", ")) {
	case "", "identity":
		return r.Body, nil
	case "gzip", "x-gzip":
		z, err := gzip.NewReader(r.Body)
		if err != nil {
			return nil, fault.Errorf(fault.Invalid, "the body is not gzip, as Content-Encoding says: %w", err)
		}
		return z, nil
	default:
		return nil, &statusError{http.StatusUnsupportedMediaType, "the body has a Content-Encoding that is not known; it can be gzip, or none"}
	}
}

// body reads a request's body, no more than MaxBody bytes of it once it is decoded.
func (f *Front) body(r *http.Request, held *hold) ([]byte, error) {
	tooLarge := fault.Errorf(fault.TooLarge, "the body is larger than %d bytes; send fewer texts at a time, or a line for each as application/x-ndjson", f.MaxBody)
	if r.ContentLength > f.MaxBody {
		return nil, tooLarge
	}
	from, err := decoded(r)
	if err != nil {
		return nil, err
	}
	var buf bytes.Buffer
	for free := int64(freeBody); ; free = 0 {
		// Room is taken before it is filled.
		part := min(freeBody, f.MaxBody+1-int64(buf.Len()))
		if free == 0 {
			if err := held.add(part); err != nil {
				return nil, err
			}
		}
		_, err := io.CopyN(&buf, from, part)
		switch {
		case int64(buf.Len()) > f.MaxBody:
			return nil, tooLarge
		case errors.Is(err, io.EOF):
			return buf.Bytes(), nil
		case err != nil:
			return nil, fault.Errorf(fault.Invalid, "read the body: %w", err)
		}
	}
}
