package stage

import (
	"fmt"
	"testing"
	"time"

	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/runtime/testkit"
)

// elsewhere are options for addresses that are never connected to.
func elsewhere() Options {
	o := options()
	o.Insecure = true
	return o
}

func getClient(t *testing.T, c *clients, rank int, addresses ...string) (*Client, func()) {
	t.Helper()
	client, done, err := c.get(thisBundle, rank, addresses, "", false, false)
	if err != nil {
		t.Fatal(err)
	}
	return client, done
}

func isClosed(c *Client) bool { return c.ctx.Err() != nil }

func TestRoutesShareClients(t *testing.T) {
	t.Parallel()
	c := &clients{options: elsewhere()}
	defer c.close()
	one, done := getClient(t, c, 1, "a:1", "b:2")
	defer done()
	for name, other := range map[string]struct {
		rank      int
		addresses []string
		same      bool
	}{
		"the same":       {1, []string{"a:1", "b:2"}, true},
		"another rank":   {2, []string{"a:1", "b:2"}, false},
		"another order":  {1, []string{"b:2", "a:1"}, false},
		"fewer replicas": {1, []string{"a:1"}, false},
		// Else a caller could have others' calls go nowhere.
		"one address that looks like two": {1, []string{"a:1|b:2"}, false},
	} {
		got, done := getClient(t, c, other.rank, other.addresses...)
		done()
		if (got == one) != other.same {
			t.Errorf("%s: shared is %v", name, got == one)
		}
	}
}

func TestUnusedClientsMakeRoom(t *testing.T) {
	t.Parallel()
	c := &clients{options: elsewhere()}
	busy, done := getClient(t, c, 1, "busy:1")
	var idle []*Client
	for i := range maxClients + 10 {
		client, done := getClient(t, c, 1, fmt.Sprintf("idle:%d", i))
		done()
		idle = append(idle, client)
	}
	if n := len(c.byID); n != maxClients {
		t.Errorf("%d clients are kept, want %d", n, maxClients)
	}
	if isClosed(busy) {
		t.Error("a client that is used was closed")
	}
	for i, client := range idle {
		// Those used longest ago went first: 10, and one for the busy client.
		if want := i < 11; isClosed(client) != want {
			t.Errorf("client %d: closed is %v", i, !want)
		}
	}
	again, doneAgain := getClient(t, c, 1, "busy:1")
	if again != busy {
		t.Error("the client that is used was forgotten")
	}
	doneAgain()
	done()
	c.close()
	if !isClosed(busy) || !isClosed(idle[len(idle)-1]) || len(c.byID) != 0 {
		t.Error("close left clients open")
	}
}

func TestRoutesInUseAreBounded(t *testing.T) {
	t.Parallel()
	c := &clients{options: elsewhere()}
	defer c.close()
	var last func()
	for i := range maxClients {
		_, last = getClient(t, c, 1, fmt.Sprintf("busy:%d", i))
	}
	_, _, err := c.get(thisBundle, 1, []string{"other:1"}, "", false, false)
	wantFault(t, err, errcode.Overloaded, "different routes")
	last()
	_, done := getClient(t, c, 1, "other:1")
	done()
}

// A stage that many callers send over many routes keeps few connections.
func TestStageKeepsFewConnections(t *testing.T) {
	t.Parallel()
	processes, addresses := chain(t, 2, nil)
	began := time.Now()
	for i := range maxClients + 6 {
		// One replica more is another route to the same place.
		route := []string{addresses[1][0], fmt.Sprintf("127.1.0.%d:1", 1+i)}
		x := float32(i)
		p := dialPipeline(t, [][]string{addresses[0], route})
		out, err := p.Run(testkit.Context(t), input(x, 0))
		wantAnswer(t, 2, x, 0, out, err)
		_ = p.Close()
	}
	next := processes[0].next
	next.mu.Lock()
	defer next.mu.Unlock()
	if n := len(next.byID); n > maxClients || n < maxClients && time.Since(began) < idleTime {
		t.Errorf("%d clients are kept, want %d", n, maxClients)
	}
}
