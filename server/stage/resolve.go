package stage

import (
	"context"
	"net"
	"slices"
	"time"

	"github.com/distinfer/distinfer/server/replica"
)

// ManyReplicas prefixes an address whose name stands for several replicas; it is
// how gRPC writes names to be resolved.
const ManyReplicas = "dns:///"

// A target is an address to connect to, and the name that its certificate must
// have.
type target struct{ address, name string }

func targets(single []string, resolved []target) []target {
	list := make([]target, 0, len(single)+len(resolved))
	for _, a := range single {
		list = append(list, target{a, a})
	}
	return append(list, resolved...)
}

// keep has a link for each target, or for as many as are to be connected to, and for no other.
func (c *Client) keep(list []target) {
	addresses := make([]string, len(list))
	for i, t := range list {
		addresses[i] = t.address
	}
	// Clients that all begin with the same replica, and go on to the next, stay together.
	addresses = replica.Subset(c.options.name, addresses, c.most())
	c.mu.Lock()
	defer c.mu.Unlock()
	added, gone := c.set.Keep(addresses)
	for _, a := range added {
		l := newLink(c, list[slices.IndexFunc(list, func(t target) bool { return t.address == a })])
		c.links[a] = l
		c.work.Go(l.watch)
	}
	for _, a := range gone {
		c.links[a].leave()
		delete(c.links, a)
	}
}

// most is how many replicas the client connects to; 0 is all.
func (c *Client) most() int {
	if c.options.routed && (c.options.Subset == 0 || c.options.Subset > maxHop) {
		return maxHop
	}
	return c.options.Subset
}

// resolve keeps the replicas of names that stand for several.
func (c *Client) resolve(single, several []string) {
	known := map[string][]target{}
	tick := time.NewTicker(lookupEvery)
	defer tick.Stop()
	for {
		var all []target
		for _, name := range several {
			host, port, _ := net.SplitHostPort(name)
			ctx, cancel := context.WithTimeout(c.ctx, lookupEvery)
			ips, err := c.options.Lookup(ctx, host)
			cancel()
			switch {
			case c.ctx.Err() != nil:
				return
			case err != nil: // what was known may still be right
				c.options.Log.Warn("cannot resolve the replicas of a stage", "stage", c.rank, "name", name, "error", err)
			default:
				known[name] = nil
				for _, ip := range ips {
					known[name] = append(known[name], target{net.JoinHostPort(ip, port), name})
				}
			}
			all = append(all, known[name]...)
		}
		c.keep(targets(single, all))
		select {
		case <-tick.C:
		case <-c.ctx.Done():
			return
		}
	}
}
