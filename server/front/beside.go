package front

import (
	"context"
	"net/http"

	"github.com/distinfer/distinfer/server/httpx"
)

// What handlers that were given to Handle need from the front.

// Body reads a request's body without its content coding, within MaxBody. release gives its memory
// back. It fails when too much is being received.
func (f *Front) Body(w http.ResponseWriter, r *http.Request) (body []byte, release func(), err error) {
	held := f.receive(w, r)
	body, err = held.Read(r)
	if err != nil {
		held.Release()
	}
	return body, held.Release, err
}

// Lasting bounds responses that last as long as their clients listen. When there are too many, one
// of the client with the most ends.
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

// listenersAtOnce is the most concurrent Lasting responses.
const listenersAtOnce = 32
