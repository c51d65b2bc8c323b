package page

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/distinfer/distinfer/server/httpx"
)

const (
	// every is the time from one snapshot of a stream to the next.
	every = time.Second
	// patience is how long a listener may take to accept a snapshot.
	patience = 10 * time.Second
)

// A Live gives snapshots away, one at a time or as a stream.
type Live struct {
	snapshot func() Snapshot
	done     <-chan struct{}
}

// NewLive makes a Live. Streams end when done is closed, so that they do not hold up a
// server that is to stop.
func NewLive(done <-chan struct{}, snapshot func() Snapshot) *Live {
	return &Live{snapshot, done}
}

// Status answers with one snapshot, as JSON.
func (l *Live) Status(w http.ResponseWriter, _ *http.Request) {
	httpx.WriteJSON(w, http.StatusOK, l.snapshot())
}

// Events answers with a snapshot a second, as server-sent events, while its client listens.
// How many may is for the server to bound.
func (l *Live) Events(w http.ResponseWriter, r *http.Request) {
	httpx.SetHeaders(w.Header(), httpx.TypeEvents)
	w.Header().Set("X-Accel-Buffering", "no") // a proxy is not to gather events
	if r.Method == http.MethodHead {
		return
	}
	control := http.NewResponseController(w)
	// A stream lasts for longer than the server lets a request take.
	if err := control.SetReadDeadline(time.Time{}); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		if err := l.send(w, control); err != nil {
			return // such as that the client has left
		}
		select {
		case <-tick.C:
		case <-r.Context().Done():
			return
		case <-l.done:
			return
		}
	}
}

func (l *Live) send(w http.ResponseWriter, control *http.ResponseController) error {
	if err := control.SetWriteDeadline(time.Now().Add(patience)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	data, err := httpx.Marshal(l.snapshot()) // which ends the line
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(w, "data: %s\n", data); err != nil {
		return err
	}
	return control.Flush()
}
