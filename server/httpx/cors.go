package httpx

import (
	"net/http"
	"slices"
)

// Origins are the web pages whose scripts may read the answers, such as
// https://example.org; "*" is any.
type Origins []string

// What a script may send and read beyond what every script may.
const (
	corsMethods = "GET, HEAD, POST"
	corsSend    = "Accept, Authorization, Content-Encoding, Content-Type, Inference-Header-Content-Length, Prefer, Traceparent, X-Request-Id"
	corsRead    = "ETag, Inference-Header-Content-Length, Preference-Applied, Retry-After, Server-Timing, X-Request-Id, X-Truncated"
	corsAge     = "600" // seconds that a browser may remember it
)

// Allow lets the scripts of the request's origin read the response, if it is one of
// the origins. It reports whether the request only asks about that.
func (o Origins) Allow(w http.ResponseWriter, r *http.Request) (preflight bool) {
	if len(o) == 0 {
		return false
	}
	h, origin := w.Header(), r.Header.Get("Origin")
	h.Add("Vary", "Origin")
	if origin == "" || !slices.Contains(o, origin) && !slices.Contains(o, "*") {
		return false
	}
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Access-Control-Expose-Headers", corsRead)
	h.Set("Timing-Allow-Origin", origin)
	if r.Method != http.MethodOptions || r.Header.Get("Access-Control-Request-Method") == "" {
		return false
	}
	h.Set("Access-Control-Allow-Methods", corsMethods)
	h.Set("Access-Control-Allow-Headers", corsSend)
	h.Set("Access-Control-Max-Age", corsAge)
	w.WriteHeader(http.StatusNoContent)
	return true
}
