package page

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"
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
func (l *Live) Status(w http.ResponseWriter, r *http.Request) {
	if onlyGet(w, r) {
		answer(w, http.StatusOK, l.snapshot())
	}
}

// Events answers with a snapshot a second, as server-sent events, while its client listens.
// How many may is for the server to bound.
func (l *Live) Events(w http.ResponseWriter, r *http.Request) {
	if !onlyGet(w, r) {
		return
	}
	header := w.Header()
	header.Set("Content-Type", "text/event-stream")
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("X-Accel-Buffering", "no") // a proxy is not to gather events
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
			return // the client has left
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
	event := append([]byte("data: "), encode(l.snapshot())...)
	if _, err := w.Write(append(event, '\n')); err != nil { // encode ends the line, this the event
		return err
	}
	return control.Flush()
}

// encode gives JSON and a newline.
func encode(v any) []byte {
	var buf bytes.Buffer
	if err := json.NewEncoder(&buf).Encode(v); err != nil {
		panic(err) // there is nothing in it that JSON cannot say
	}
	return buf.Bytes()
}

func refuse(w http.ResponseWriter, status int, why string) {
	answer(w, status, map[string]string{"error": why})
}

func answer(w http.ResponseWriter, status int, v any) {
	body := encode(v)
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client may have left
}
