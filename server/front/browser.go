package front

import (
	"mime"
	"net/http"
	"strconv"
	"strings"
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
	html, other := 0.0, 0.0
	for _, part := range strings.Split(strings.Join(r.Header.Values("Accept"), ","), ",") {
		kind, parameters, err := mime.ParseMediaType(part)
		if err != nil {
			continue
		}
		q := 1.0
		if given, err := strconv.ParseFloat(parameters["q"], 64); err == nil {
			q = given
		}
		switch kind {
		case "text/html":
			html = max(html, q)
		case "text/plain", "application/json":
			other = max(other, q)
		}
	}
	return html > 0 && html >= other
}
