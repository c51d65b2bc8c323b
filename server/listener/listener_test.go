package listener

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A failing listener accepts nothing.
type failing struct {
	net.Listener
	err error
}

func (f *failing) Accept() (net.Conn, error) { return nil, f.err }

func (f *failing) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

func TestWhatIsNotAcceptedIsLoggedNowAndThen(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	now := time.Now()
	f := &failing{err: syscall.EMFILE}
	l := Logged(f, slog.New(slog.NewTextHandler(&log, nil))).(*logged)
	l.now = func() time.Time { return now }
	for range 100 {
		if _, err := l.Accept(); !errors.Is(err, f.err) {
			t.Fatalf("the error is %v", err)
		}
		now = now.Add(time.Second / 4)
	}
	lines := strings.Split(strings.TrimSpace(log.String()), "\n")
	if len(lines) != 3 || !strings.Contains(lines[0], "level=WARN") || !strings.Contains(lines[0], "too many open files") || !strings.Contains(lines[0], "times=1") || !strings.Contains(lines[1], "times=40") {
		t.Errorf("100 errors in 25 s are logged as %q", lines)
	}
	log.Reset()
	f.err = net.ErrClosed
	now = now.Add(time.Hour)
	if _, err := l.Accept(); !errors.Is(err, f.err) || log.Len() > 0 {
		t.Errorf("the end of a listener: %v, %s", err, &log)
	}
}
