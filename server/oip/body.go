package oip

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/distinfer/distinfer/runtime/errcode"
)

// headerLength is the header that says how much of a body is JSON; binary tensors follow.
const headerLength = "Inference-Header-Content-Length"

// readBody reads a request's body, and parts it into JSON and what follows. The caller
// needs the room for it no more once release is called.
func (s *Server) readBody(w http.ResponseWriter, r *http.Request) (header, tail []byte, release func(), err error) {
	data, release, err := s.Host.Body(w, r)
	if err != nil {
		return nil, nil, nil, err
	}
	value := r.Header.Get(headerLength)
	if value == "" {
		return data, nil, release, nil
	}
	n, err := strconv.ParseUint(value, 10, 63)
	if err != nil || n > uint64(len(data)) {
		release()
		return nil, nil, nil, errcode.Errorf(errcode.Invalid, "the header %s is %.40q, the body has %d bytes", headerLength, value, len(data))
	}
	return data[:n], data[n:], release, nil
}

// worthCompressing is the least answer that is compressed, in bytes: what is smaller
// fits into a packet.
const worthCompressing = 1 << 10

// write writes an answer of JSON and, if there is any, binary data, compressed in a way
// that the client takes.
func write(w http.ResponseWriter, r *http.Request, status int, header []byte, tail ...[]byte) {
	h := w.Header()
	h.Set("Content-Type", "application/json") // as it stands: KServe's client compares it
	if len(tail) > 0 {
		h.Set("Content-Type", "application/octet-stream")
		h.Set(headerLength, strconv.Itoa(len(header)))
	}
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	h.Add("Vary", "Accept-Encoding")
	parts := append([][]byte{header}, tail...)
	size := 0
	for _, p := range parts {
		size += len(p)
	}
	var to io.Writer = w
	if encoding := accepted(r.Header.Values("Accept-Encoding")); encoding != "" && size >= worthCompressing {
		h.Set("Content-Encoding", encoding)
		c := compressor(w, encoding)
		defer func() { _ = c.Close() }() // the client may have left
		to = c
	} else {
		h.Set("Content-Length", strconv.Itoa(size))
	}
	w.WriteHeader(status)
	for _, p := range parts {
		if _, err := to.Write(p); err != nil {
			return // the client has left
		}
	}
}

func compressor(w io.Writer, encoding string) io.WriteCloser {
	if encoding == "gzip" {
		c, _ := gzip.NewWriterLevel(w, gzip.BestSpeed) // the level is one that there is
		return c
	}
	c, _ := zlib.NewWriterLevel(w, zlib.BestSpeed)
	return c
}

// accepted is the encoding that the client takes, of those that there are, or none.
func accepted(headers []string) string {
	takes := map[string]bool{}
	for name := range strings.SplitSeq(strings.Join(headers, ","), ",") {
		name, quality, _ := strings.Cut(name, ";")
		_, value, _ := strings.Cut(quality, "=")
		q, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
		takes[strings.ToLower(strings.TrimSpace(name))] = err != nil || q > 0
	}
	for _, encoding := range []string{"gzip", "deflate"} {
		if takes[encoding] {
			return encoding
		}
	}
	return ""
}

// maxObjects is how many JSON objects a request may have. Two bytes of an empty one
// become the hundreds of what it is read into.
const maxObjects = 1 << 14

// countable fails when JSON has more objects than that. Those in strings are not counted.
func countable(b []byte) error {
	if bytes.Count(b, []byte("{")) <= maxObjects {
		return nil // with those in strings
	}
	objects, inString := 0, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case c == '{' && !inString:
			objects++
		}
	}
	if objects > maxObjects {
		return errcode.Errorf(errcode.Invalid, "the JSON has %d objects, more than %d", objects, maxObjects)
	}
	return nil
}
