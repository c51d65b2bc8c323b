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

// Body reads a request's body without its Content-Encoding, within MaxBody. What it takes
// of the memory for bodies is given back by release. It fails when too much is being
// received.
func (f *Front) Body(w http.ResponseWriter, r *http.Request) (body []byte, release func(), err error) {
	held := f.hold(w, r)
	body, err = f.body(r, held)
	if err != nil {
		held.release()
	}
	return body, held.release, err
}

// Failed has the log line of a request tell why it was not answered, and gives the status
// for that, with the headers that go with it.
func (f *Front) Failed(w http.ResponseWriter, err error) (status int) {
	note(w, err)
	return httpStatus(w, err)
}
