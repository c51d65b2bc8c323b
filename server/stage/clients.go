package stage

import (
	"fmt"
	"sync"
	"time"

	"github.com/distinfer/distinfer/runtime/fault"
)

// maxClients bounds the routes that a stage keeps connections for.
const maxClients = 64

// clients are the connections of a stage to the stages behind it, one for each
// route that callers sent. The one unused for longest makes room for a new one.
type clients struct {
	maxMessage int

	mu   sync.Mutex
	byID map[string]*shared
}

type shared struct {
	*Client
	users int
	last  time.Time
}

// get returns the client of a rank's replicas. done gives it back.
func (c *clients) get(rank int, addresses []string) (_ *Client, done func(), err error) {
	id := fmt.Sprintf("%d %q", rank, addresses)
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.byID[id]
	if s == nil {
		if err := c.makeRoom(); err != nil {
			return nil, nil, err
		}
		client, err := Dial(rank, addresses, c.maxMessage)
		if err != nil {
			return nil, nil, err
		}
		s = &shared{Client: client}
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
	}, nil
}

func (c *clients) makeRoom() error {
	if len(c.byID) < maxClients {
		return nil
	}
	oldest := ""
	for id, s := range c.byID {
		if s.users == 0 && (oldest == "" || s.last.Before(c.byID[oldest].last)) {
			oldest = id
		}
	}
	if oldest == "" {
		return fault.Errorf(fault.Overloaded, "calls along %d different routes are under way", maxClients)
	}
	_ = c.byID[oldest].Close()
	delete(c.byID, oldest)
	return nil
}

func (c *clients) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, s := range c.byID {
		_ = s.Close()
		delete(c.byID, id)
	}
}
