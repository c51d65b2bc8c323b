package httpx

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"net/http"
	"strings"
)

// maxRequestID bounds what is taken over from a client, in characters.
const maxRequestID = 128

// RequestID is what a request is called in the log and in its response: what the
// client says, else the trace's id of its traceparent (W3C Trace Context), else a
// new one.
func RequestID(r *http.Request) string {
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
func canBeRequestID(s string) bool { return len(s) <= maxRequestID && IsToken(s) }

// traceID is the second part of version-traceid-parent-flags.
func traceID(traceparent string) (string, bool) {
	if len(traceparent) < 55 || traceparent[2] != '-' || traceparent[35] != '-' {
		return "", false
	}
	id := traceparent[3:35]
	ok := strings.IndexFunc(id, func(c rune) bool { return (c < '0' || c > '9') && (c < 'a' || c > 'f') }) < 0
	return id, ok && strings.Trim(id, "0") != ""
}

// IsToken reports whether s has only characters of a bearer token (RFC 6750).
func IsToken(s string) bool {
	const symbols = "-._~+/="
	return s != "" && strings.IndexFunc(s, func(c rune) bool {
		return (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && !strings.ContainsRune(symbols, c)
	}) < 0
}
