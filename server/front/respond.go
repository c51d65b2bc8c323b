package front

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"strconv"

	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/server/batch"
)

// A statusError is answered with a status that no fault has.
type statusError struct {
	status int
	why    string
}

func (e *statusError) Error() string { return e.why }

// statusClientClosed is what nginx logs for a client that left; the client never
// sees it.
const statusClientClosed = 499

// statuses is the one table from faults to HTTP statuses.
var statuses = map[errcode.Code]int{
	errcode.Internal:    http.StatusInternalServerError,
	errcode.Invalid:     http.StatusBadRequest,
	errcode.TooLarge:    http.StatusRequestEntityTooLarge,
	errcode.Overloaded:  http.StatusTooManyRequests,
	errcode.Unavailable: http.StatusServiceUnavailable,
	errcode.Mismatch:    http.StatusServiceUnavailable,
	errcode.Deadline:    http.StatusGatewayTimeout,
	errcode.Canceled:    statusClientClosed,
	// Clients and proxies try a 503 again by themselves, and here each try costs a process.
	errcode.Fatal:       http.StatusInternalServerError,
	errcode.Quarantined: http.StatusUnprocessableEntity,
}

// httpStatus maps an error to a status, and sets the headers that go with it.
func httpStatus(w http.ResponseWriter, err error) int {
	var own *statusError
	if errors.As(err, &own) {
		return own.status
	}
	status := statuses[errcode.Of(err)]
	if status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable {
		after, _ := batch.IsRefused(err)
		w.Header().Set("Retry-After", strconv.Itoa(max(1, int(math.Ceil(after.Seconds())))))
	}
	return status
}

type problem struct {
	Error string `json:"error"`
}

// Fail answers with an error as JSON, with its status and the headers that go with it,
// and has the log tell of it.
func (f *Front) Fail(w http.ResponseWriter, err error) {
	note(w, err)
	writeJSON(w, httpStatus(w, err), problem{err.Error()})
}

// failPlain is Fail in a line of plain text.
func failPlain(w http.ResponseWriter, err error) {
	note(w, err)
	writePlain(w, httpStatus(w, err), err.Error())
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil { // a float that JSON cannot say
		status = http.StatusInternalServerError
		buf.Reset()
		_ = e.Encode(problem{err.Error()})
	}
	write(w, status, typeJSON, buf.Bytes())
}

func writePlain(w http.ResponseWriter, status int, line string) {
	write(w, status, typePlain, append([]byte(line), '\n'))
}

// Values of headers that do not differ, which are made once. The package net/http does
// not change them.
var (
	typeJSON  = []string{"application/json; charset=utf-8"}
	typePlain = []string{"text/plain; charset=utf-8"}
	typeLines = []string{"application/x-ndjson"}
	noSniff   = []string{"nosniff"}
	noStore   = []string{"no-store"}
	noCache   = []string{"no-cache"} // but after asking whether it is still the same
)

// usualHeaders sets what every response of the front has.
func usualHeaders(h http.Header, contentType []string) {
	h["Content-Type"] = contentType
	h["X-Content-Type-Options"] = noSniff
	h["Cache-Control"] = noStore
}

func write(w http.ResponseWriter, status int, contentType []string, body []byte) {
	h := w.Header()
	usualHeaders(h, contentType)
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client may have left
}
