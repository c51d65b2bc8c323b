// Package listener logs when connections cannot be accepted: servers retry without a word. It must
// not know any protocol.
package listener

import (
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"
)

// logEvery is the least time between two log lines of one listener.
const logEvery = 10 * time.Second

// Logged wraps a listener to log errors of Accept, at most every ten seconds.
func Logged(l net.Listener, log *slog.Logger) net.Listener {
	return &logged{Listener: l, log: log, now: time.Now}
}

type logged struct {
	net.Listener
	log *slog.Logger
	now func() time.Time

	mu    sync.Mutex
	last  time.Time // when a line was logged
	count int       // of errors since
}

func (l *logged) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil && !errors.Is(err, net.ErrClosed) {
		l.failed(err)
	}
	return c, err
}

func (l *logged) failed(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.count++
	now := l.now()
	if !l.last.IsZero() && now.Sub(l.last) < logEvery {
		return
	}
	l.log.Warn("cannot accept connections", "listen", l.Addr().String(), "times", l.count, "error", err)
	l.last, l.count = now, 0
}
