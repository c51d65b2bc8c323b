package httpx

import (
	"io"
	"net/http"
	"strconv"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zlib"
)

// minCompressed is the least response that is compressed, in bytes: it takes a packet of
// Ethernet's in any case.
const minCompressed = 1400

// A compressor writes in a content coding.
type compressor interface {
	io.WriteCloser
	Flush() error
	Reset(io.Writer)
}

// A responseCoding is a content coding of responses, with compressors to be used again.
type responseCoding struct {
	name []string // as a header's value
	pool sync.Pool
}

// responseCodings are the codings of responses, the preferred one first, at their fastest level.
var responseCodings = []*responseCoding{
	{name: []string{"gzip"}, pool: sync.Pool{New: func() any {
		c, _ := gzip.NewWriterLevel(nil, gzip.BestSpeed) // the level is valid
		return c
	}}},
	{name: []string{"deflate"}, pool: sync.Pool{New: func() any {
		c, _ := zlib.NewWriterLevel(nil, zlib.BestSpeed)
		return c
	}}},
}

// responseCodingFor is the coding that headers Accept-Encoding like best; nil is none.
func responseCodingFor(headers []string) (best *responseCoding) {
	if len(headers) == 0 {
		return nil
	}
	most := 0.0
	for _, c := range responseCodings {
		quality := Accepted(headers, c.name[0])
		if quality == 0 && !names(headers, c.name[0]) {
			quality = Accepted(headers, "*")
		}
		if quality > most {
			best, most = c, quality
		}
	}
	return best
}

// Compress compresses what a handler answers, in a coding that the client accepts, unless it
// is short or has a coding already. A response of unknown length is compressed from its
// beginning, and flushed when the handler flushes.
func Compress(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h := w.Header(); h["Vary"] == nil {
			h["Vary"] = varies
		} else {
			h["Vary"] = append(h["Vary"], varies...)
		}
		coding := responseCodingFor(r.Header["Accept-Encoding"])
		if coding == nil {
			next.ServeHTTP(w, r)
			return
		}
		c := &compressedWriter{ResponseWriter: w, coding: coding}
		next.ServeHTTP(c, r)
		c.end() // not when next panics, or what is cut off would look whole
	})
}

// varies is a header's value that is made once; whoever adds to it gets a copy.
var varies = []string{"Accept-Encoding"}

// A compressedWriter compresses what is written to it, if that is worth it.
type compressedWriter struct {
	http.ResponseWriter
	coding *responseCoding
	status int        // 0 until WriteHeader
	begun  bool       // the header was written
	to     compressor // nil while nothing is compressed
}

// Unwrap gives http.ResponseController the writer below.
func (c *compressedWriter) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// WriteHeader implements http.ResponseWriter. The header is written with the body, which
// says whether it is compressed.
func (c *compressedWriter) WriteHeader(status int) {
	switch {
	case status < http.StatusOK: // others may follow
		c.ResponseWriter.WriteHeader(status)
	case c.status == 0:
		c.status = status
	}
}

func (c *compressedWriter) Write(p []byte) (int, error) {
	if !c.begun {
		c.begin(true)
	}
	if c.to != nil {
		return c.to.Write(p)
	}
	return c.ResponseWriter.Write(p)
}

// FlushError is for http.ResponseController.
func (c *compressedWriter) FlushError() error {
	if !c.begun {
		c.begin(true)
	}
	if c.to != nil {
		if err := c.to.Flush(); err != nil {
			return err
		}
	}
	return http.NewResponseController(c.ResponseWriter).Flush()
}

// begin writes the header, and decides whether the body is compressed.
func (c *compressedWriter) begin(hasBody bool) {
	c.begun = true
	if c.status == 0 {
		c.status = http.StatusOK
	}
	h := c.Header()
	if hasBody && c.status != http.StatusNoContent && c.status != http.StatusNotModified &&
		h["Content-Encoding"] == nil && h["Content-Range"] == nil && isLong(h["Content-Length"]) {
		delete(h, "Content-Length")
		h["Content-Encoding"] = c.coding.name
		c.to, _ = c.coding.pool.Get().(compressor)
		c.to.Reset(c.ResponseWriter)
	}
	c.ResponseWriter.WriteHeader(c.status)
}

// isLong reports whether a response is long enough to be compressed, or its length unknown.
func isLong(contentLength []string) bool {
	if len(contentLength) == 0 {
		return true
	}
	n, err := strconv.Atoi(contentLength[0])
	return err == nil && n >= minCompressed
}

// end writes what is left.
func (c *compressedWriter) end() {
	if !c.begun {
		c.begin(false)
	}
	if c.to != nil {
		_ = c.to.Close() // the client may have left
		c.to.Reset(nil)
		c.coding.pool.Put(c.to)
		c.to = nil
	}
}
