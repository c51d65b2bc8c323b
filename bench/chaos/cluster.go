package main

import (
	"context"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/distinfer/distinfer/bench/rig"
)

const fronts = 2

// A cluster is the processes that serve one model: replicas of every rank, two
// fronts and, if asked for, a proxy on every link that requests take.
type cluster struct {
	stages [][]*rig.Process // by rank, then replica
	fronts []*rig.Process
	urls   []string // of the fronts
	grpc   []string // their addresses for gRPC, if they have any

	proxies rig.Toxiproxy
	links   []link
	others  []*rig.Process // such as toxiproxy's server

	names    map[string]string // what an address is called in the report
	launcher rig.Launcher

	mu       sync.Mutex
	troubles []string
}

// A link is the way from one process to one replica that it calls.
type link struct {
	proxy    string
	from, to *rig.Process
}

// A layout says what a cluster is made of.
type layout struct {
	binary, toxiproxy string
	bundle            string
	logs              string // folder
	ranks, replicas   int
	proxied           bool
	timeout           time.Duration // of a front
	front             []string      // more flags of a front
	grpc              bool          // fronts answer by gRPC as well
}

// startCluster returns when all of the cluster is ready. stop has to be called
// even when it fails.
func startCluster(ctx context.Context, launcher rig.Launcher, l layout) (*cluster, error) {
	c := &cluster{names: map[string]string{}, launcher: launcher}
	ports := rig.NewPorts()
	addresses := make([][]string, l.ranks)
	c.stages = make([][]*rig.Process, l.ranks)
	for rank := range l.ranks {
		for replica := range l.replicas {
			address, err := ports.Address()
			if err != nil {
				return c, err
			}
			p := c.process(l, fmt.Sprintf("stage-%d-%c", rank, 'a'+replica), address)
			p.Answers = func(ctx context.Context) error { return rig.StageHealthy(ctx, address) }
			addresses[rank] = append(addresses[rank], address)
			c.stages[rank] = append(c.stages[rank], p)
		}
	}
	for i := range fronts {
		address, err := ports.Address()
		if err != nil {
			return c, err
		}
		p := c.process(l, fmt.Sprintf("front-%c", 'a'+i), address)
		p.Answers = func(ctx context.Context) error { return rig.FrontReady(ctx, "http://"+address+"/readyz") }
		p.Command = []string{l.binary, "front", "--bundle", l.bundle, "--listen", address, "--timeout", l.timeout.String(), "--log-level", "warn"}
		p.Command = append(p.Command, l.front...)
		if l.grpc {
			other, err := ports.Address()
			if err != nil {
				return c, err
			}
			_, port, _ := strings.Cut(other, ":")
			p.Command = append(p.Command, "--grpc-port", port)
			c.grpc = append(c.grpc, other)
		}
		c.fronts, c.urls = append(c.fronts, p), append(c.urls, "http://"+address)
	}
	if l.proxied {
		if err := c.startToxiproxy(ctx, l, ports); err != nil {
			return c, err
		}
	}
	// Every caller has its own proxies to those it calls. A front calls the first
	// rank only: the others it just asks whether they are ready.
	for rank := range l.ranks {
		for replica, p := range c.stages[rank] {
			p.Command = []string{l.binary, "serve-stage", "--bundle", l.bundle, "--rank", strconv.Itoa(rank), "--listen", addresses[rank][replica], "--threads", "1"}
			if rank+1 == l.ranks || !l.proxied {
				continue // nobody to call, or along the addresses that the front sends
			}
			route, err := c.route(ctx, ports, p, rank+1, addresses)
			if err != nil {
				return c, err
			}
			p.Command = append(p.Command, "--stages", route)
		}
	}
	for _, p := range c.fronts {
		route, err := c.route(ctx, ports, p, 0, addresses)
		if err != nil {
			return c, err
		}
		p.Command = append(p.Command, "--stages", route)
	}

	for _, p := range c.serving() {
		if err := p.Start(); err != nil {
			return c, err
		}
	}
	for _, p := range c.serving() {
		if err := p.AwaitReady(ctx); err != nil {
			return c, err
		}
	}
	return c, nil
}

func (c *cluster) process(l layout, name, address string) *rig.Process {
	c.names[address] = name
	return &rig.Process{Name: name, Log: filepath.Join(l.logs, name+".log"), Launcher: c.launcher, Trouble: c.trouble}
}

func (c *cluster) startToxiproxy(ctx context.Context, l layout, ports *rig.Ports) error {
	address, err := ports.Address()
	if err != nil {
		return err
	}
	c.proxies = rig.Toxiproxy{Address: address}
	p := c.process(l, "toxiproxy", address)
	p.Command = c.proxies.Command(l.toxiproxy)
	p.Answers = c.proxies.Answers
	c.others = append(c.others, p)
	if err := p.Start(); err != nil {
		return err
	}
	return p.AwaitReady(ctx)
}

// route is what a process is told with --stages: its own proxies for the rank
// that it calls, and the plain addresses of the others.
func (c *cluster) route(ctx context.Context, ports *rig.Ports, from *rig.Process, rank int, addresses [][]string) (string, error) {
	ranks := make([]string, len(addresses))
	for r, replicas := range addresses {
		ranks[r] = strings.Join(replicas, "|")
	}
	if c.proxies.Address != "" {
		var own []string
		for replica, upstream := range addresses[rank] {
			listen, err := ports.Address()
			if err != nil {
				return "", err
			}
			to := c.stages[rank][replica]
			name := from.Name + "-to-" + to.Name
			if err := c.proxies.AddProxy(ctx, name, listen, upstream); err != nil {
				return "", err
			}
			c.names[listen] = to.Name
			c.links = append(c.links, link{name, from, to})
			own = append(own, listen)
		}
		ranks[rank] = strings.Join(own, "|")
	}
	return strings.Join(ranks, ","), nil
}

// stop ends all processes, at once.
func (c *cluster) stop() {
	for _, p := range append(c.serving(), c.others...) {
		p.Kill()
	}
}

// serving is the stages and the fronts.
func (c *cluster) serving() []*rig.Process {
	return append(slices.Concat(c.stages...), c.fronts...)
}

// told is what trouble there was.
func (c *cluster) told() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.troubles)
}

func (c *cluster) trouble(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !slices.Contains(c.troubles, what) {
		c.troubles = append(c.troubles, what)
	}
}

// named puts names in the place of addresses, so that alike messages are counted
// as one.
func (c *cluster) named(message string) string {
	return addressPattern.ReplaceAllStringFunc(message, func(address string) string {
		if name := c.names[address]; name != "" {
			return name
		}
		return "(a port)"
	})
}

var addressPattern = regexp.MustCompile(`127\.0\.0\.1:[0-9]+`)
