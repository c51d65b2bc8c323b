package page

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/distinfer/distinfer/server/httpx"
)

const (
	// every is the time between two snapshots of a stream.
	every = time.Second
	// sendTimeout is how long a client may take to receive a snapshot.
	sendTimeout = 10 * time.Second
)

// A Live serves snapshots, one at a time or as a stream.
type Live struct {
	snapshot func() Snapshot
	done     <-chan struct{}
}

// NewLive makes a Live. Streams end when done is closed, so that they do not keep a server from
// stopping.
func NewLive(done <-chan struct{}, snapshot func() Snapshot) *Live {
	return &Live{snapshot, done}
}

// Status answers with one snapshot, as JSON.
func (l *Live) Status(w http.ResponseWriter, _ *http.Request) {
	httpx.WriteJSON(w, http.StatusOK, l.snapshot())
}

// Events answers with a snapshot a second, as server-sent events, until its client leaves. The
// server bounds how many clients listen.
func (l *Live) Events(w http.ResponseWriter, r *http.Request) {
	httpx.SetHeaders(w.Header(), httpx.TypeEvents)
	w.Header().Set("X-Accel-Buffering", "no") // proxies must not buffer events
	if r.Method == http.MethodHead {
		return
	}
	control := http.NewResponseController(w)
	// A stream lasts longer than the server allows a request.
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
	if err := control.SetWriteDeadline(time.Now().Add(sendTimeout)); err != nil && !errors.Is(err, http.ErrNotSupported) {
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
