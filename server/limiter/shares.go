package limiter

import (
	"container/list"
	"sync"
	"time"

	"github.com/distinfer/distinfer/runtime/errcode"
)

// Shares bound what clients hold at once: connections, streams, bytes of bodies. A client may
// hold all of it while nobody else wants any. When there is no capacity left, the client that holds the
// most gives way to clients that hold less, until they hold as much; and whatever waits for its
// client for longer than a time gives way to anybody. It is safe for concurrent use.
type Shares struct {
	capacity int64
	patience time.Duration

	mu      sync.Mutex
	inUse   int64
	clients map[string]*client
}

type client struct {
	name   string
	weight int64
	held   int       // holdings
	idle   list.List // *Holding that can give way, the longest without progress first
}

// A Holding is what a client holds of Shares, until it is released or has given way.
type Holding struct {
	shares *Shares
	client *client // nil when it is over
	weight int64
	evict  func()
	since  time.Time     // of the last progress
	place  *list.Element // in client.idle; nil while it cannot give way
}

// NewShares makes Shares of a capacity. A holding without progress for patience gives way to
// anybody.
func NewShares(capacity int64, patience time.Duration) *Shares {
	return &Shares{capacity: capacity, patience: patience, clients: map[string]*client{}}
}

// Acquire acquires a weight for a client. When that gives way later, evict is called, once,
// by the caller that needs the capacity; it must not block, nor use the holding. A nil evict never gives way.
// It fails with a errcode.Overloaded if there is no capacity left and no client gives way.
func (s *Shares) Acquire(name string, n int64, evict func()) (*Holding, error) {
	h := &Holding{shares: s, evict: evict, since: time.Now()}
	s.mu.Lock()
	h.client = s.clients[name]
	if h.client == nil {
		h.client = &client{name: name}
		s.clients[name] = h.client
	}
	h.client.held++
	evicted, err := s.grow(h, n)
	if err != nil {
		s.end(h)
		h = nil
	} else if evict != nil {
		h.place = h.client.idle.PushBack(h)
	}
	s.mu.Unlock()
	for _, e := range evicted {
		e.evict()
	}
	return h, err
}

// Grow acquires more weight for a holding. It fails as Acquire does, and when the holding has
// given way; what it has stays.
func (h *Holding) Grow(n int64) error {
	s := h.shares
	s.mu.Lock()
	evicted, err := s.grow(h, n)
	s.mu.Unlock()
	for _, e := range evicted {
		e.evict()
	}
	return err
}

// Progress notes that the client did something.
func (h *Holding) Progress() {
	h.shares.mu.Lock()
	defer h.shares.mu.Unlock()
	h.since = time.Now()
	if h.place != nil {
		h.client.idle.MoveToBack(h.place)
	}
}

// Keep says whether the holding is to stay, or can give way from now on.
func (h *Holding) Keep(stays bool) {
	h.shares.mu.Lock()
	defer h.shares.mu.Unlock()
	switch {
	case h.client == nil || h.evict == nil:
	case stays && h.place != nil:
		h.client.idle.Remove(h.place)
		h.place = nil
	case !stays && h.place == nil:
		h.since = time.Now()
		h.place = h.client.idle.PushBack(h)
	}
}

// Release ends the holding. Further calls do nothing.
func (h *Holding) Release() {
	h.shares.mu.Lock()
	defer h.shares.mu.Unlock()
	h.shares.end(h)
}

// InUse is the weight that is held.
func (s *Shares) InUse() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.inUse
}

// grow adds to a holding, and returns the holdings that gave way for it. The lock is held.
func (s *Shares) grow(h *Holding, n int64) (evicted []*Holding, err error) {
	if h.client == nil {
		return nil, errcode.Errorf(errcode.Overloaded, "gave way to other clients")
	}
	now := time.Now()
	for s.inUse+n > s.capacity {
		other := s.next(h, n, now)
		if other == nil {
			return evicted, errcode.Errorf(errcode.Overloaded, "%d of %d are in use; try again in a moment", s.inUse, s.capacity)
		}
		s.end(other)
		evicted = append(evicted, other)
	}
	h.weight += n
	h.client.weight += n
	s.inUse += n
	return evicted, nil
}

// next is the holding that gives way to one that wants n more: the longest without progress of
// the client with the most; nil when there is none. The lock is held.
func (s *Shares) next(h *Holding, n int64, now time.Time) *Holding {
	var found *Holding
	mine, most := h.client.weight+n, int64(0)
	for _, c := range s.clients {
		weight := c.weight
		if c == h.client {
			weight = mine
		}
		if weight < max(mine, most) {
			continue
		}
		first := c.idle.Front()
		if first != nil && first.Value.(*Holding) == h {
			first = first.Next()
		}
		if first == nil {
			continue
		}
		longest := first.Value.(*Holding)
		if weight == mine && now.Sub(longest.since) < s.patience {
			continue
		}
		if found == nil || weight > most || longest.since.Before(found.since) {
			found, most = longest, weight
		}
	}
	return found
}

// end takes a holding off the books. The lock is held.
func (s *Shares) end(h *Holding) {
	c := h.client
	if c == nil {
		return
	}
	if h.place != nil {
		c.idle.Remove(h.place)
	}
	h.client, h.place = nil, nil
	s.inUse -= h.weight
	c.weight -= h.weight
	if c.held--; c.held == 0 {
		delete(s.clients, c.name)
	}
}
