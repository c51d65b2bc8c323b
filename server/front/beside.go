package front

import (
	"net/http"
	"time"
)

// What handlers beside the front's own, given to Handle, need of it.

// TimeAllowed is how long a request may take: as long as every other, or what its client
// says it waits for.
func (f *Front) TimeAllowed(w http.ResponseWriter, r *http.Request) (time.Duration, error) {
	return f.timeout(w, r)
}

// Reserve takes room for a request's body of n bytes, or of any size when n is negative.
// It fails when too much is being received.
func (f *Front) Reserve(n int64) (release func(), err error) {
	if n < 0 || n > f.MaxBody {
		n = f.MaxBody
	}
	h := &hold{front: f}
	if err := h.add(n); err != nil {
		h.release()
		return nil, err
	}
	return h.release, nil
}

// Failed has the log line of a request tell why it was not answered, and gives the status
// for that, with the headers that go with it.
func (f *Front) Failed(w http.ResponseWriter, err error) (status int) {
	note(w, err)
	return httpStatus(w, err)
}
