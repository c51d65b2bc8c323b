package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
)

const fronts = 2

// A cluster is the processes that serve one model: replicas of every rank, two
// fronts and, if asked for, a proxy on every link that requests take.
type cluster struct {
	stages [][]*process // by rank, then replica
	fronts []*process
	urls   []string // of the fronts

	proxies toxiproxy
	links   []link
	others  []*process // such as toxiproxy's server

	names    map[string]string // what an address is called in the report
	launcher launcher

	mu       sync.Mutex
	troubles []string
}

// A link is the way from one process to one replica that it calls.
type link struct {
	proxy    string
	from, to *process
}

// A layout says what a cluster is made of.
type layout struct {
	binary, toxiproxy string
	bundle            string
	logs              string // folder
	ranks, replicas   int
	proxied           bool
	timeout           time.Duration // of a front
}

// startCluster returns when all of the cluster is ready. stop has to be called
// even when it fails.
func startCluster(ctx context.Context, launcher launcher, l layout) (*cluster, error) {
	c := &cluster{names: map[string]string{}, launcher: launcher}
	ports := newPorts()
	addresses := make([][]string, l.ranks)
	c.stages = make([][]*process, l.ranks)
	for rank := range l.ranks {
		for replica := range l.replicas {
			address, err := ports.address()
			if err != nil {
				return c, err
			}
			p := c.process(l, fmt.Sprintf("stage-%d-%c", rank, 'a'+replica), address)
			p.answers = func(ctx context.Context) error { return stageHealthy(ctx, address) }
			addresses[rank] = append(addresses[rank], address)
			c.stages[rank] = append(c.stages[rank], p)
		}
	}
	for i := range fronts {
		address, err := ports.address()
		if err != nil {
			return c, err
		}
		p := c.process(l, fmt.Sprintf("front-%c", 'a'+i), address)
		p.answers = func(ctx context.Context) error { return frontReady(ctx, "http://"+address+"/readyz") }
		p.command = []string{l.binary, "front", "--bundle", l.bundle, "--listen", address, "--timeout", l.timeout.String(), "--log-level", "warn"}
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
			p.command = []string{l.binary, "serve-stage", "--bundle", l.bundle, "--rank", strconv.Itoa(rank), "--listen", addresses[rank][replica], "--threads", "1"}
			if rank+1 == l.ranks || !l.proxied {
				continue // nobody to call, or along the addresses that the front sends
			}
			route, err := c.route(ctx, ports, p, rank+1, addresses)
			if err != nil {
				return c, err
			}
			p.command = append(p.command, "--stages", route)
		}
	}
	for _, p := range c.fronts {
		route, err := c.route(ctx, ports, p, 0, addresses)
		if err != nil {
			return c, err
		}
		p.command = append(p.command, "--stages", route)
	}

	for _, p := range c.serving() {
		if err := p.start(); err != nil {
			return c, err
		}
	}
	for _, p := range c.serving() {
		if err := p.awaitReady(ctx); err != nil {
			return c, err
		}
	}
	return c, nil
}

func (c *cluster) process(l layout, name, address string) *process {
	c.names[address] = name
	return &process{name: name, log: filepath.Join(l.logs, name+".log"), launcher: c.launcher, trouble: c.trouble}
}

func (c *cluster) startToxiproxy(ctx context.Context, l layout, ports *ports) error {
	address, err := ports.address()
	if err != nil {
		return err
	}
	host, port, _ := strings.Cut(address, ":")
	c.proxies = toxiproxy{"http://" + address}
	p := c.process(l, "toxiproxy", address)
	p.command = []string{l.toxiproxy, "-host", host, "-port", port}
	p.answers = c.proxies.version
	c.others = append(c.others, p)
	if err := p.start(); err != nil {
		return err
	}
	return p.awaitReady(ctx)
}

// route is what a process is told with --stages: its own proxies for the rank
// that it calls, and the plain addresses of the others.
func (c *cluster) route(ctx context.Context, ports *ports, from *process, rank int, addresses [][]string) (string, error) {
	ranks := make([]string, len(addresses))
	for r, replicas := range addresses {
		ranks[r] = strings.Join(replicas, "|")
	}
	if c.proxies.url != "" {
		var own []string
		for replica, upstream := range addresses[rank] {
			listen, err := ports.address()
			if err != nil {
				return "", err
			}
			to := c.stages[rank][replica]
			name := from.name + "-to-" + to.name
			if err := c.proxies.addProxy(ctx, name, listen, upstream); err != nil {
				return "", err
			}
			c.names[listen] = to.name
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
		p.kill()
	}
}

// serving is the stages and the fronts.
func (c *cluster) serving() []*process {
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
	c.troubles = append(c.troubles, what)
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

// stageHealthy asks a stage with gRPC's health service whether it serves.
func stageHealthy(ctx context.Context, address string) (err error) {
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	answer, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
	if err != nil {
		return err
	}
	if answer.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
		return fmt.Errorf("the stage at %s says %s", address, answer.GetStatus())
	}
	return nil
}

// frontReady asks a front whether it is ready.
func frontReady(ctx context.Context, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	request.Close = true // the connection would be in the way of a restart
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		why, _ := io.ReadAll(io.LimitReader(response.Body, 1000))
		return fmt.Errorf("%s: %s: %s", url, response.Status, why)
	}
	return nil
}
