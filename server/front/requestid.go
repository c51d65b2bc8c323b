package front

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"net/http"
	"strings"
)

// maxRequestID bounds what is taken over from a client, in characters.
const maxRequestID = 128

// requestID is what a request is called in the log and in its response: what the
// client says, else the trace's id of its traceparent (W3C Trace Context), else a
// new one.
func requestID(r *http.Request) string {
	if id := r.Header.Get("X-Request-Id"); canBeRequestID(id) {
		return id
	}
	if id, ok := traceID(r.Header.Get("Traceparent")); ok {
		return id
	}
	var random [16]byte
	binary.NativeEndian.PutUint64(random[:8], rand.Uint64())
	binary.NativeEndian.PutUint64(random[8:], rand.Uint64())
	return hex.EncodeToString(random[:])
}

// canBeRequestID reports whether s can stand in a log without harm.
func canBeRequestID(s string) bool { return len(s) <= maxRequestID && CanBeToken(s) }

// traceID is the second part of version-traceid-parent-flags.
func traceID(traceparent string) (string, bool) {
	if len(traceparent) < 55 || traceparent[2] != '-' || traceparent[35] != '-' {
		return "", false
	}
	id := traceparent[3:35]
	ok := strings.IndexFunc(id, func(c rune) bool { return (c < '0' || c > '9') && (c < 'a' || c > 'f') }) < 0
	return id, ok && strings.Trim(id, "0") != ""
}
