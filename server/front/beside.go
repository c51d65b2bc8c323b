package front

import (
	"context"
	"net/http"
	"time"

	"github.com/distinfer/distinfer/server/httpx"
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
	held := f.receive(w, r)
	body, err = held.Read(r)
	if err != nil {
		held.Release()
	}
	return body, held.Release, err
}

// Lasting is a handler whose responses last for as long as their clients listen, of which there
// are few at a time. When there are as many as may be, one of the client with the most ends.
func (f *Front) Lasting(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		share, err := f.listeners.Acquire(f.client(r), 1, cancel)
		if err != nil {
			httpx.Fail(w, httpx.Errorf(http.StatusServiceUnavailable, "%d clients listen already; ask for /status instead, or try again later", listenersAtOnce))
			return
		}
		defer share.Release()
		h(w, r.WithContext(ctx))
	}
}

// listenersAtOnce is how many Lasting responses there are at a time.
const listenersAtOnce = 32
