package front

import (
	"net/http"
	"strings"

	"github.com/distinfer/distinfer/server/httpx"
)

// wantsPage reports whether a request is a browser's for the page or its files. Asking
// / for a label is not: the answer to that is the same for everybody.
func wantsPage(r *http.Request) bool {
	if strings.HasPrefix(r.URL.Path, "/page/") {
		return true
	}
	get := r.Method == http.MethodGet || r.Method == http.MethodHead
	return get && r.URL.Path == "/" && !strings.Contains(r.URL.RawQuery, "text=") && prefersHTML(r)
}

// prefersHTML reports whether a request names HTML among what it accepts, and nothing
// that the other clients are answered with before it. That is what browsers do; others
// accept anything.
func prefersHTML(r *http.Request) bool {
	accept := r.Header["Accept"]
	html := httpx.Accepted(accept, "text/html")
	return html > 0 && html >= max(httpx.Accepted(accept, "text/plain"), httpx.Accepted(accept, "application/json"))
}
