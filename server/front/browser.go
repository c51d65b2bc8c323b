package front

import (
	"net/http"
	"strings"

	"github.com/distinfer/distinfer/server/httpx"
)

// wantsPage reports whether a request is a browser's for the page or its files. A request for a
// label is not: every client gets the same response to it.
func wantsPage(r *http.Request) bool {
	if strings.HasPrefix(r.URL.Path, "/page/") {
		return true
	}
	get := r.Method == http.MethodGet || r.Method == http.MethodHead
	return get && r.URL.Path == "/" && !strings.Contains(r.URL.RawQuery, "text=") && prefersHTML(r)
}

// prefersHTML reports whether a client accepts HTML by name, and no less than plain text and JSON.
// Browsers do; other clients accept anything.
func prefersHTML(r *http.Request) bool {
	accept := r.Header["Accept"]
	html := httpx.Accepted(accept, "text/html")
	return html > 0 && html >= max(httpx.Accepted(accept, "text/plain"), httpx.Accepted(accept, "application/json"))
}
