package stage

import (
	"crypto/rand"
	"fmt"
	"sync"
	"time"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/encoding"
	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/server/quarantine"
)

const (
	// maxClients bounds the routes that a stage keeps connections for.
	maxClients = 64
	// maxAddresses bounds the replicas of them all; each has two connections.
	maxAddresses = 256
	// idleTime is how long a route may be without a call until its connections are
	// closed, and its replicas no longer watched.
	idleTime = time.Minute
)

// clients are the connections of a stage to the stages behind it, one for each
// route that callers sent and each encoding that they want on it. The one unused for longest
// is closed for a new one.
type clients struct {
	options Options

	mu   sync.Mutex
	byID map[string]*shared
}

// newClients makes the connections of a stage. All share what is known of inputs, and the choice
// of replicas.
func newClients(o Options) *clients {
	o.bad = quarantine.New(quarantine.DefaultPolicy)
	o.name = rand.Text()
	return &clients{options: o}
}

type shared struct {
	*Client
	users int
	last  time.Time
	idle  *time.Timer
}

// get returns the client of the replicas of a bundle's rank, which are sent tensors in
// the given encoding. done gives it back.
func (c *clients) get(bundle bundle.ID, rank int, addresses []string, e encoding.Encoding, routed, trusted bool) (_ *Client, done func(), err error) {
	id := fmt.Sprintf("%s %d %s %t %q", bundle, rank, e, trusted, addresses)
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.byID[id]
	if s == nil {
		for !c.hasCapacity(len(addresses)) {
			if err := c.closeOldest(); err != nil {
				return nil, nil, err
			}
		}
		options := c.options
		options.Encoding, options.narrow = e, e != encoding.Float32
		options.routed, options.trusted = routed, trusted
		client, err := Dial(bundle, rank, addresses, options)
		if err != nil {
			return nil, nil, err
		}
		s = &shared{Client: client}
		s.idle = time.AfterFunc(idleTime, func() { c.forget(id, s) })
		if c.byID == nil {
			c.byID = map[string]*shared{}
		}
		c.byID[id] = s
	}
	s.users++
	return s.Client, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		s.users--
		s.last = time.Now()
		s.idle.Reset(idleTime)
	}, nil
}

// forget closes a client that was not used for idleTime.
func (c *clients) forget(id string, s *shared) {
	c.mu.Lock()
	idle := c.byID[id] == s && s.users == 0 && time.Since(s.last) >= idleTime
	if idle {
		delete(c.byID, id)
	}
	c.mu.Unlock()
	if idle {
		_ = s.Close()
	}
}

// starved reports whether calls wait for a stage that has no usable replica.
func (c *clients) starved() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.byID {
		if s.starved() {
			return true
		}
	}
	return false
}

// hasCapacity reports whether a route with this number of replicas may be added.
func (c *clients) hasCapacity(replicas int) bool {
	for _, s := range c.byID {
		replicas += max(len(s.names), s.replicas())
	}
	return len(c.byID) == 0 || len(c.byID) < maxClients && replicas <= maxAddresses
}

// closeOldest closes the client that was unused for longest.
func (c *clients) closeOldest() error {
	oldest := ""
	for id, s := range c.byID {
		if s.users == 0 && (oldest == "" || s.last.Before(c.byID[oldest].last)) {
			oldest = id
		}
	}
	if oldest == "" {
		return errcode.Errorf(errcode.Overloaded, "calls along %d different routes are in flight; there can be %d routes with %d replicas", len(c.byID), maxClients, maxAddresses)
	}
	c.byID[oldest].idle.Stop()
	_ = c.byID[oldest].Close()
	delete(c.byID, oldest)
	return nil
}

func (c *clients) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, s := range c.byID {
		s.idle.Stop()
		_ = s.Close()
		delete(c.byID, id)
	}
}
