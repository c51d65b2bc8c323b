package httpx

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/distinfer/distinfer/runtime/errcode"
)

// A Problem is the error document: the body of every response that is an error.
type Problem struct {
	Error string `json:"error"`
}

// An Error has a status that no error code has.
type Error struct {
	Status  int
	Message string
}

// Errorf makes an Error.
func Errorf(status int, format string, args ...any) *Error {
	return &Error{status, fmt.Sprintf(format, args...)}
}

func (e *Error) Error() string { return e.Message }

// statusClientClosed is what nginx logs for a client that left; the client never sees it.
const statusClientClosed = 499

// statuses is the one table from error codes to HTTP statuses.
var statuses = map[errcode.Code]int{
	errcode.Internal:    http.StatusInternalServerError,
	errcode.Invalid:     http.StatusBadRequest,
	errcode.TooLarge:    http.StatusRequestEntityTooLarge,
	errcode.Overloaded:  http.StatusTooManyRequests,
	errcode.Unavailable: http.StatusServiceUnavailable,
	errcode.Mismatch:    http.StatusServiceUnavailable,
	errcode.Deadline:    http.StatusGatewayTimeout,
	errcode.Canceled:    statusClientClosed,
	// Clients and proxies retry a 503 by themselves, and here each retry costs a process.
	errcode.Fatal:       http.StatusInternalServerError,
	errcode.Quarantined: http.StatusUnprocessableEntity,
}

// Status is the HTTP status of an error: that of an Error in its chain, else its code's.
func Status(err error) int {
	if own, ok := errors.AsType[*Error](err); ok {
		return own.Status
	}
	return statuses[errcode.Of(err)]
}

// A retryError says how long its client should wait.
type retryError interface {
	error
	RetryAfter() time.Duration
}

// PrepareError notes the error for the log, sets the headers that go with its status, which it
// returns, and leaves the body to the caller. An error with a method RetryAfter says how long
// the client should wait.
func PrepareError(w http.ResponseWriter, err error) (status int) {
	Note(w, err)
	status = Status(err)
	if status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable {
		var after time.Duration
		if known, ok := errors.AsType[retryError](err); ok {
			after = known.RetryAfter()
		}
		w.Header()["Retry-After"] = []string{strconv.Itoa(max(1, int(math.Ceil(after.Seconds()))))}
	}
	return status
}

// Fail answers with the error document.
func Fail(w http.ResponseWriter, err error) { WriteJSON(w, PrepareError(w, err), Problem{err.Error()}) }

// FailPlain answers with an error in a line of plain text.
func FailPlain(w http.ResponseWriter, err error) { WritePlain(w, PrepareError(w, err), err.Error()) }

// Note gives an error to the first of the wrapped writers that has a method Note: the one that logs
// the request.
func Note(w http.ResponseWriter, err error) {
	if n, ok := Find[interface{ Note(error) }](w); ok {
		n.Note(err)
	}
}
