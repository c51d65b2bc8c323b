package front

import (
	"net/http"

	"github.com/distinfer/distinfer/server/httpx"
)

// receive begins to count what a request's body takes.
func (f *Front) receive(w http.ResponseWriter, r *http.Request) *httpx.Body {
	return f.bodies.Receive(w, func() string { return f.client(r) })
}

// fail answers with an error: in a line of plain text where a label would be one, else with
// the error document.
func fail(w http.ResponseWriter, r *http.Request, err error) {
	if r.URL.Path == "/" && (r.Method == http.MethodGet || r.Method == http.MethodHead) && wantsPlain(r) {
		httpx.FailPlain(w, err)
		return
	}
	httpx.Fail(w, err)
}

// wantsPlain reports whether a client that asks for a label gets it as plain text: always but
// when it accepts JSON and not plain text.
func wantsPlain(r *http.Request) bool {
	accept := r.Header["Accept"]
	return httpx.Accepted(accept, "application/json") == 0 || httpx.Accepted(accept, "text/plain") > 0
}
