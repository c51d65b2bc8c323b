package oip

import (
	"bytes"
	"net/http"
	"strconv"

	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/runtime/strictjson"
)

// headerLength is the header that says how much of a body is JSON; binary tensors follow.
const headerLength = "Inference-Header-Content-Length"

// readBody reads a request's body, and parts it into JSON and what follows. The caller
// needs the room for it no more once release is called.
func (s *Server) readBody(w http.ResponseWriter, r *http.Request) (header, tail []byte, release func(), err error) {
	data, release, err := s.config.Host.Body(w, r)
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

// maxObjects is how many JSON objects a request may have. Two bytes of an empty one
// become the hundreds of what it is read into.
const maxObjects = 1 << 14

// countable fails when JSON has more objects than that. Those in strings are not counted.
func countable(b []byte) error {
	if bytes.Count(b, []byte("{")) <= maxObjects {
		return nil // with those in strings
	}
	if objects := strictjson.Measure(b).Objects; objects > maxObjects {
		return errcode.Errorf(errcode.Invalid, "the JSON has %d objects, more than %d", objects, maxObjects)
	}
	return nil
}
