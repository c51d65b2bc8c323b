package front

import (
	"container/list"
	"context"
	"net"
	"net/http"
	"sync"
)

// connections bounds how many there are. When there are too many, that which has been
// without a request being answered for longest is closed, so that those that only sit
// there, or send their headers one by one, keep nobody out.
type connections struct {
	most int // 0 is no bound

	mu      sync.Mutex
	all     map[net.Conn]*connection
	waiting list.List // *connection, the longest waiting first
}

type connection struct {
	net.Conn
	of       *connections
	requests int           // being answered
	place    *list.Element // in waiting; nil while requests are answered
}

type connectionKey struct{}

// context has requests know their connection, for use; it is an
// http.Server's ConnContext, which is called before the first state.
func (c *connections) context(ctx context.Context, conn net.Conn) context.Context {
	if c.most == 0 {
		return ctx
	}
	known := &connection{Conn: conn, of: c}
	c.mu.Lock()
	c.all[conn] = known
	known.place = c.waiting.PushBack(known)
	var tooMany net.Conn
	if len(c.all) > c.most {
		longest := c.waiting.Front().Value.(*connection) // it may be the new one
		c.forget(longest)
		tooMany = longest.Conn
	}
	c.mu.Unlock()
	if tooMany != nil {
		_ = tooMany.Close()
	}
	return context.WithValue(ctx, connectionKey{}, known)
}

// state is an http.Server's ConnState.
func (c *connections) state(conn net.Conn, s http.ConnState) {
	if c.most == 0 || s != http.StateClosed && s != http.StateHijacked {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if known := c.all[conn]; known != nil {
		c.forget(known)
	}
}

// forget takes a connection off the books. The lock is held.
func (c *connections) forget(known *connection) {
	delete(c.all, known.Conn)
	if known.place != nil {
		c.waiting.Remove(known.place)
		known.place = nil
	}
}

// use keeps the request's connection from being closed until done is called.
func use(r *http.Request) (done func()) {
	known, ok := r.Context().Value(connectionKey{}).(*connection)
	if !ok {
		return func() {}
	}
	known.add(1)
	return func() { known.add(-1) }
}

func (k *connection) add(n int) {
	k.of.mu.Lock()
	defer k.of.mu.Unlock()
	k.requests += n
	switch _, open := k.of.all[k.Conn]; {
	case !open:
	case k.requests > 0 && k.place != nil:
		k.of.waiting.Remove(k.place)
		k.place = nil
	case k.requests == 0:
		k.place = k.of.waiting.PushBack(k)
	}
}
