package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/distinfer/distinfer/bench/rig"
	"github.com/distinfer/distinfer/bench/scale/cgroup"
	"github.com/distinfer/distinfer/server/client"
)

// A layout says what a cluster is made of.
type layout struct {
	bundle          string
	ranks, replicas int           // a machine each
	limits          cgroup.Limits // of a machine
	mbit            int           // of every link; 0 is the loopback interface as it is
}

// A cluster is machines that serve a model, and the front before them, which is on
// none of them.
type cluster struct {
	groups   []*cgroup.Group // by machine
	machines []*rig.Process
	front    *rig.Process
	proxy    *rig.Process // nil where links are as they are
	client   *client.Client

	mu       sync.Mutex
	troubles []string
}

// startCluster returns when all of the cluster is ready. stop has to be called
// even when it fails.
func (b *bench) startCluster(ctx context.Context, l layout) (*cluster, error) {
	c := &cluster{}
	ports := rig.NewPorts()
	addresses := make([][]string, l.ranks)
	for rank := range l.ranks {
		for range l.replicas {
			address, err := ports.Address()
			if err != nil {
				return c, err
			}
			addresses[rank] = append(addresses[rank], address)
		}
	}
	links := &links{ports: ports, addresses: addresses}
	if l.mbit > 0 {
		if err := b.startProxy(ctx, c, links, l); err != nil {
			return c, err
		}
	}
	for rank, replicas := range addresses {
		for _, address := range replicas {
			route, err := links.route(ctx, rank+1)
			if err != nil {
				return c, err
			}
			if err := b.startMachine(c, l, rank, address, route); err != nil {
				return c, err
			}
		}
	}
	route, err := links.route(ctx, 0)
	if err != nil {
		return c, err
	}
	address, err := ports.Address()
	if err != nil {
		return c, err
	}
	if c.client, err = client.New(client.Config{URL: "http://" + address}); err != nil {
		return c, err
	}
	c.front = b.process(c, "front", func(ctx context.Context) error { return rig.FrontReady(ctx, c.client.URL()+"/readyz") },
		b.binary, "front", "--bundle", l.bundle, "--listen", address, "--stages", route, "--timeout", timeout.String(), "--log-level", "debug")
	if err := c.front.Start(); err != nil {
		return c, err
	}
	for _, p := range append(c.machines, c.front) {
		if err := p.AwaitReady(ctx); err != nil {
			return c, err
		}
	}
	return c, nil
}

// group makes a group that nobody else has.
func (b *bench) group(l cgroup.Limits) (*cgroup.Group, error) {
	b.made++
	return b.root.New(fmt.Sprintf("distinfer-scale-%d-%d", os.Getpid(), b.made), l)
}

// startMachine starts a stage in a group of its own.
func (b *bench) startMachine(c *cluster, l layout, rank int, address, route string) error {
	g, err := b.group(l.limits)
	if err != nil {
		return err
	}
	c.groups = append(c.groups, g)
	line := []string{b.binary, "serve-stage", "--bundle", l.bundle, "--rank", strconv.Itoa(rank), "--listen", address, "--threads", "1",
		"--nice", "0"} // as on a machine of its own, which loopback does not tell
	if route != "" {
		line = append(line, "--stages", route)
	}
	p := b.process(c, fmt.Sprintf("machine-%d", len(c.machines)),
		func(ctx context.Context) error { return rig.StageHealthy(ctx, address) }, g.Command(line...)...)
	c.machines = append(c.machines, p)
	return p.Start()
}

func (b *bench) process(c *cluster, name string, answers func(context.Context) error, line ...string) *rig.Process {
	return &rig.Process{Name: name, Command: line, Log: filepath.Join(b.logs, name+".log"), Launcher: b.launcher, Answers: answers, Trouble: c.trouble}
}

func (b *bench) startProxy(ctx context.Context, c *cluster, links *links, l layout) error {
	address, err := links.ports.Address()
	if err != nil {
		return err
	}
	links.proxy = &rig.Toxiproxy{Address: address}
	for _, stream := range rig.Streams {
		links.toxics = append(links.toxics, rig.Toxic{Type: "bandwidth", Stream: stream, Toxicity: 1, Attributes: map[string]int{"rate": l.mbit * 1000 / 8}}) // kB/s
	}
	// Toxiproxy knows whole milliseconds; those of one direction are there and back.
	links.toxics = append(links.toxics, rig.Toxic{Type: "latency", Stream: "upstream", Toxicity: 1, Attributes: map[string]int{"latency": int(b.rtt.Milliseconds())}})
	c.proxy = b.process(c, "toxiproxy", links.proxy.Answers, links.proxy.Command(b.toxiproxy)...)
	if err := c.proxy.Start(); err != nil {
		return err
	}
	return c.proxy.AwaitReady(ctx)
}

// links are the ways between front and machines.
type links struct {
	ports     *rig.Ports
	addresses [][]string // of the machines, by rank
	proxy     *rig.Toxiproxy
	toxics    []rig.Toxic
	made      int
}

// route is what a process is told with --stages that calls the given rank: the
// addresses of its own links there, and the plain ones of the other ranks. A
// stage without links that are shaped needs none.
func (l *links) route(ctx context.Context, rank int) (string, error) {
	if rank > 0 && (l.proxy == nil || rank == len(l.addresses)) {
		return "", nil
	}
	ranks := make([]string, len(l.addresses))
	for r, replicas := range l.addresses {
		ranks[r] = strings.Join(replicas, "|")
	}
	if l.proxy == nil {
		return strings.Join(ranks, ","), nil
	}
	var own []string
	for _, upstream := range l.addresses[rank] {
		listen, err := l.ports.Address()
		if err != nil {
			return "", err
		}
		l.made++
		name := fmt.Sprintf("link-%d", l.made)
		if err := l.proxy.AddProxy(ctx, name, listen, upstream); err != nil {
			return "", err
		}
		for _, t := range l.toxics {
			if err := l.proxy.AddToxic(ctx, name, t); err != nil {
				return "", err
			}
		}
		own = append(own, listen)
	}
	ranks[rank] = strings.Join(own, "|")
	return strings.Join(ranks, ","), nil
}

// stop ends all processes at once, and removes the machines.
func (c *cluster) stop() error {
	for _, p := range append(c.machines, c.front, c.proxy) {
		if p != nil {
			p.Kill()
		}
	}
	var failed error
	for _, g := range c.groups {
		failed = errors.Join(failed, g.Remove())
	}
	return failed
}

func (c *cluster) trouble(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.troubles = append(c.troubles, what)
}

// trouble of a cluster that nobody asked to end is an error.
func (c *cluster) told() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.troubles) == 0 {
		return nil
	}
	return errors.New(strings.Join(c.troubles, "; "))
}
