package front

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"sync"

	"github.com/distinfer/distinfer/server/batch"
	"github.com/distinfer/distinfer/server/limiter"
)

// connections bounds how many there are. When there are too many, one that waits for its client
// is closed: one without a request, or whose request is still being sent. It is the one of the
// client with the most that has sent nothing for longest. So clients that are idle, or send byte
// by byte, keep nobody out.
type connections struct {
	shares *limiter.Shares // nil is no bound

	mu  sync.Mutex
	all map[net.Conn]*connection
}

func newConnections(most int) *connections {
	c := &connections{all: map[net.Conn]*connection{}}
	if most > 0 {
		c.shares = limiter.NewShares(int64(most), 0)
	}
	return c
}

type connection struct {
	holding *limiter.Holding

	mu   sync.Mutex
	ours int // requests that are received and not answered
}

type connectionKey struct{}

// context puts the connection into the context of its requests, for use. It is an http.Server's
// ConnContext, which is called before the first state.
func (c *connections) context(ctx context.Context, conn net.Conn) context.Context {
	address := clientAddress(conn.RemoteAddr().String())
	ctx = batch.WithClient(ctx, address)
	if c.shares == nil {
		return ctx
	}
	raw := conn
	if secure, ok := conn.(*tls.Conn); ok {
		raw = secure.NetConn() // closing it does not wait for the client
	}
	holding, err := c.shares.Acquire(address, 1, func() { _ = raw.Close() })
	if err != nil {
		_ = raw.Close()
		return ctx
	}
	known := &connection{holding: holding}
	c.mu.Lock()
	c.all[conn] = known
	c.mu.Unlock()
	return context.WithValue(ctx, connectionKey{}, known)
}

// state is an http.Server's ConnState.
func (c *connections) state(conn net.Conn, s http.ConnState) {
	if c.shares == nil || s != http.StateClosed && s != http.StateHijacked {
		return
	}
	c.mu.Lock()
	known := c.all[conn]
	delete(c.all, conn)
	c.mu.Unlock()
	if known != nil {
		known.holding.Release()
	}
}

// use keeps the request's connection open from when all of the request is received until done is
// called.
func use(r *http.Request) (done func()) {
	known, ok := r.Context().Value(connectionKey{}).(*connection)
	if !ok {
		return func() {}
	}
	if r.Body == nil || r.Body == http.NoBody {
		known.add(1)
		return func() { known.add(-1) }
	}
	known.holding.Progress()
	body := &sentBody{ReadCloser: r.Body, over: known}
	r.Body = body
	return body.done
}

func (k *connection) add(n int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.ours += n
	k.holding.Keep(k.ours > 0)
}

// progressBytes is how much a connection must send to count as one that makes progress.
const progressBytes = 4 << 10

// A sentBody is a request's body while it is sent.
type sentBody struct {
	io.ReadCloser
	over *connection
	came int // bytes since the last progress

	mu           sync.Mutex
	whole, ended bool
}

func (b *sentBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.came += n; b.came >= progressBytes {
		b.came = 0
		b.over.holding.Progress()
	}
	if err != nil {
		b.mu.Lock()
		if !b.whole && !b.ended {
			b.whole = true
			b.over.add(1)
		}
		b.mu.Unlock()
	}
	return n, err
}

func (b *sentBody) done() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ended = true
	if b.whole {
		b.over.add(-1)
	}
}
