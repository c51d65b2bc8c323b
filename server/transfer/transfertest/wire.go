// Package transfertest is for tests of what moves over a network.
package transfertest

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// A Wire is a TCP proxy that counts what a server sends, and may slow it down or cut
// it off.
type Wire struct {
	// Address is where clients connect to.
	Address string
	bytes   atomic.Int64
}

// Bytes is how many bytes the server has sent through.
func (w *Wire) Bytes() int64 { return w.bytes.Load() }

// NewWire makes a proxy of the server at the address to. When n bytes have come from
// the server, cut says how many of them go on; if these are fewer, the connection
// breaks after them. Without cut all go on.
func NewWire(t testing.TB, to string, cut func(n int) int) *Wire {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &Wire{Address: l.Addr().String()}
	if cut == nil {
		cut = func(n int) int { return n }
	}
	var all sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	all.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", to)
			if err != nil {
				_ = in.Close()
				continue
			}
			mu.Lock()
			open = append(open, in, out)
			mu.Unlock()
			all.Go(func() {
				_, _ = io.Copy(out, in)
				_ = out.Close()
			})
			all.Go(func() {
				w.pass(out, in, cut)
				_, _ = in.Close(), out.Close()
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for _, c := range open {
			_ = c.Close()
		}
		mu.Unlock()
		all.Wait()
	})
	return w
}

func (w *Wire) pass(from, to net.Conn, cut func(int) int) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		pass := min(n, cut(n))
		w.bytes.Add(int64(pass))
		if _, errWrite := to.Write(buffer[:pass]); err != nil || errWrite != nil || pass < n {
			return
		}
	}
}
