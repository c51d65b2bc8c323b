package httpx

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"
)

// Content types of responses. Each is a header's value that is made once: net/http does not
// change it.
var (
	TypeJSON   = []string{"application/json"} // as it stands: KServe's client compares it
	TypePlain  = []string{"text/plain; charset=utf-8"}
	TypeLines  = []string{"application/x-ndjson"}
	TypeEvents = []string{"text/event-stream"}
	TypeBinary = []string{"application/octet-stream"}

	noSniff    = []string{"nosniff"}
	noStore    = []string{"no-store"}
	revalidate = []string{"no-cache"} // to be kept, and used after asking whether it is still the same
)

// SetHeaders sets the headers that every response has. It is not to be kept.
func SetHeaders(h http.Header, contentType []string) {
	h["Content-Type"] = contentType
	h["X-Content-Type-Options"] = noSniff
	h["Cache-Control"] = noStore
}

// Write answers with a body, in parts that follow each other.
func Write(w http.ResponseWriter, status int, contentType []string, parts ...[]byte) {
	size := 0
	for _, p := range parts {
		size += len(p)
	}
	h := w.Header()
	SetHeaders(h, contentType)
	h["Content-Length"] = []string{strconv.Itoa(size)}
	w.WriteHeader(status)
	for _, p := range parts {
		if _, err := w.Write(p); err != nil {
			return // the client has left
		}
	}
}

// WritePlain answers with a line of plain text.
func WritePlain(w http.ResponseWriter, status int, line string) {
	Write(w, status, TypePlain, append([]byte(line), '\n'))
}

// WriteJSON answers with JSON. What JSON cannot say is answered with 500.
func WriteJSON(w http.ResponseWriter, status int, v any) {
	body, err := Marshal(v)
	if err != nil {
		Note(w, err)
		status = http.StatusInternalServerError
		body, _ = Marshal(Problem{err.Error()})
	}
	Write(w, status, TypeJSON, body)
}

// Marshal gives JSON and a newline. Unlike json.Marshal it does not escape <, > and &.
func Marshal(v any) ([]byte, error) {
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return buf.Bytes(), err
}

// Alive answers a probe of whether the process runs.
func Alive(w http.ResponseWriter, _ *http.Request) { WritePlain(w, http.StatusOK, "ok") }
