// Package listener has it logged when connections cannot be accepted: whoever serves on a
// listener tries again, and says nothing of it. It knows no protocol.
package listener

import (
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"
)

// logEvery is how much time is between two lines of one listener.
const logEvery = 10 * time.Second

// Logged is the listener, and logs what goes wrong when it accepts, at most every ten
// seconds.
func Logged(l net.Listener, log *slog.Logger) net.Listener {
	return &logged{Listener: l, log: log, now: time.Now}
}

type logged struct {
	net.Listener
	log *slog.Logger
	now func() time.Time

	mu    sync.Mutex
	last  time.Time // that a line was logged
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
