// Package cluster starts a split model on this machine for benchmarks: the replicas of
// its stages, fronts, proxies on the links between them, and limits of what they use.
//
// It knows distinfer by its command line, its HTTP interface and the health service of
// its stages, and not what is measured.
package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/distinfer/distinfer/bench/cluster/cgroup"
	"github.com/distinfer/distinfer/server/client"
	"github.com/distinfer/distinfer/server/supervisor"
)

// Options say what a cluster is made of.
type Options struct {
	Programs
	Bundle string // folder of the split model
	Model  string // folder of a model that is split into as many stages; instead of Bundle
	Stages int

	Replicas   int // of each stage; 0 is 1
	Fronts     int
	StageFlags []string
	FrontFlags []string
	Threads    int  // of each stage; 0 is its default
	GRPC       bool // fronts answer by gRPC as well

	// Linked has every link that requests take go through a proxy of toxiproxy's, with the
	// toxics: from each caller to each of the replicas that it calls.
	Linked bool
	Toxics []Toxic
	// NewGroup makes the control group of each stage, with its limits; nil is none.
	NewGroup func() (*cgroup.Group, error)
	// OneByOne starts each process once those before are ready, so that the time it takes
	// is its own.
	OneByOne bool
	// Profiles is a folder in which every process writes a profile of its processor
	// time when it ends, NAME.pprof; none when empty.
	Profiles string
	// Logs is the folder of the logs, which is kept. Without it they are removed.
	Logs string
}

// A Cluster is the processes that serve one model.
type Cluster struct {
	Bundle    string
	Addresses [][]string   // of the stages, by rank, then replica
	Stages    [][]*Process // the same
	Groups    []*cgroup.Group
	Fronts    []*Process
	Clients   []*client.Client // of the fronts
	GRPC      []string         // addresses of the fronts for gRPC, if they have any

	Toxiproxy Toxiproxy
	Proxy     *Process // toxiproxy's server; nil where links are as they are
	Links     []Link

	o        Options
	dir      string
	ports    *Ports
	launcher supervisor.Launcher
	stop     sync.Once
	names    map[string]string // what an address is called

	mu       sync.Mutex
	troubles []string
}

// A Link is the way from one process to one replica that it calls.
type Link struct {
	Proxy    string // its name
	Address  string // that the caller has for the replica
	From, To *Process
}

// Start returns when all of the cluster is ready. Stop it; when it fails, all that was
// started is gone.
func Start(ctx context.Context, o Options) (_ *Cluster, err error) {
	o.Replicas = max(o.Replicas, 1)
	c := &Cluster{Bundle: o.Bundle, o: o, ports: NewPorts(), launcher: supervisor.NewLauncher(), names: map[string]string{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.OutOfMemory(), c.Kill())
		}
	}()
	if c.dir, err = os.MkdirTemp("", "distinfer-bench-"); err != nil {
		return nil, err
	}
	if c.Bundle == "" {
		c.Bundle = filepath.Join(c.dir, "stages")
		if err := o.Split(ctx, filepath.Join(o.Model, "model.onnx"), o.Stages, c.Bundle); err != nil {
			return nil, err
		}
	}
	for _, prepare := range []func(context.Context) error{c.addStages, c.addFronts, c.startProxy, c.route} {
		if err := prepare(ctx); err != nil {
			return nil, err
		}
	}
	processes := slices.Concat(slices.Concat(c.Stages...), c.Fronts)
	for i, p := range processes {
		if err := p.Start(); err != nil {
			return nil, err
		}
		if o.OneByOne || i+1 == len(processes) {
			for _, p := range processes[:i+1] {
				if err := p.AwaitReady(ctx); err != nil {
					return nil, err
				}
			}
		}
	}
	return c, nil
}

// name is that of one of several, such as front-b.
func name(what string, i, of int) string {
	if of == 1 {
		return what
	}
	return fmt.Sprintf("%s-%c", what, 'a'+i)
}

func (c *Cluster) process(name, address string, answers func(context.Context) error, command ...string) *Process {
	c.names[address] = name
	logs := c.o.Logs
	if logs == "" {
		logs = c.dir
	}
	if c.o.Profiles != "" {
		command = append(command, "--cpu-profile", filepath.Join(c.o.Profiles, name+".pprof"))
	}
	return &Process{
		Name: name, Command: command, Env: c.o.Environment(), Log: filepath.Join(logs, name+".log"),
		Launcher: c.launcher, Answers: answers, Trouble: c.Trouble,
	}
}

func (c *Cluster) addStages(context.Context) error {
	for rank := range c.o.Stages {
		c.Addresses, c.Stages = append(c.Addresses, nil), append(c.Stages, nil)
		for replica := range c.o.Replicas {
			address, err := c.ports.Address()
			if err != nil {
				return err
			}
			command := append([]string{
				c.o.Distinfer, "serve-stage", "--bundle", c.Bundle, "--rank", strconv.Itoa(rank), "--listen", address, "--threads", strconv.Itoa(c.o.Threads),
			}, c.o.StageFlags...)
			p := c.process(name(fmt.Sprintf("stage-%d", rank), replica, c.o.Replicas), address,
				func(ctx context.Context) error { return stageHealthy(ctx, address) }, command...)
			if c.o.NewGroup != nil {
				g, err := c.o.NewGroup()
				if err != nil {
					return err
				}
				c.Groups, p.Command = append(c.Groups, g), g.Command(p.Command...)
			}
			c.Addresses[rank], c.Stages[rank] = append(c.Addresses[rank], address), append(c.Stages[rank], p)
		}
	}
	return nil
}

func (c *Cluster) addFronts(context.Context) error {
	for i := range c.o.Fronts {
		address, err := c.ports.Address()
		if err != nil {
			return err
		}
		url := "http://" + address
		front, err := client.New(client.Config{URL: url})
		if err != nil {
			return err
		}
		p := c.process(name("front", i, c.o.Fronts), address, func(ctx context.Context) error { return frontReady(ctx, url+"/readyz") },
			append([]string{c.o.Distinfer, "front", "--bundle", c.Bundle, "--listen", address}, c.o.FrontFlags...)...)
		if c.o.GRPC {
			other, err := c.ports.Address()
			if err != nil {
				return err
			}
			_, port, _ := net.SplitHostPort(other)
			p.Command, c.GRPC = append(p.Command, "--grpc-port", port), append(c.GRPC, other)
		}
		c.Fronts, c.Clients = append(c.Fronts, p), append(c.Clients, front)
	}
	return nil
}

func (c *Cluster) startProxy(ctx context.Context) error {
	if !c.o.Linked {
		return nil
	}
	address, err := c.ports.Address()
	if err != nil {
		return err
	}
	c.Toxiproxy = Toxiproxy{Address: address}
	p := c.process("toxiproxy", address, c.Toxiproxy.Answers)
	p.Command = c.Toxiproxy.Command(c.o.Toxiproxy)
	c.Proxy = p
	if err := p.Start(); err != nil {
		return err
	}
	return p.AwaitReady(ctx)
}

// route has every caller know whom it calls, by links of its own where there are any. A
// front calls the first rank only: the others it just asks whether they are ready.
func (c *Cluster) route(ctx context.Context) error {
	for rank, replicas := range c.Stages {
		if rank+1 == c.o.Stages || !c.o.Linked {
			continue // nobody to call, or along the addresses that the front sends
		}
		for _, p := range replicas {
			addresses, err := c.link(ctx, p, rank+1)
			if err != nil {
				return err
			}
			p.Command = append(p.Command, "--stages", joined(addresses))
		}
	}
	for _, p := range c.Fronts {
		addresses, err := c.link(ctx, p, 0)
		if err != nil {
			return err
		}
		p.Command = append(p.Command, "--stages", joined(addresses))
	}
	return nil
}

// link makes the links from a caller to the replicas of a rank. It returns the addresses of
// all stages as the caller is to know them.
func (c *Cluster) link(ctx context.Context, from *Process, rank int) ([][]string, error) {
	addresses := slices.Clone(c.Addresses)
	if !c.o.Linked {
		return addresses, nil
	}
	addresses[rank] = nil
	for replica, upstream := range c.Addresses[rank] {
		listen, err := c.ports.Address()
		if err != nil {
			return nil, err
		}
		to := c.Stages[rank][replica]
		l := Link{from.Name + "-to-" + to.Name, listen, from, to}
		if err := c.Toxiproxy.AddProxy(ctx, l.Proxy, listen, upstream); err != nil {
			return nil, err
		}
		for _, t := range c.o.Toxics {
			if err := c.Toxiproxy.AddToxic(ctx, l.Proxy, t); err != nil {
				return nil, err
			}
		}
		c.names[listen] = to.Name
		c.Links, addresses[rank] = append(c.Links, l), append(addresses[rank], listen)
	}
	return addresses, nil
}

// joined are addresses as --stages takes them.
func joined(addresses [][]string) string {
	ranks := make([]string, len(addresses))
	for i, replicas := range addresses {
		ranks[i] = strings.Join(replicas, "|")
	}
	return strings.Join(ranks, ",")
}

// Serving is the fronts and the stages.
func (c *Cluster) Serving() []*Process {
	return slices.Concat(append([][]*Process{c.Fronts}, c.Stages...)...)
}

// Run runs a program in the environment of the cluster's processes, such that it ends with
// this one, and returns its exit code and what it printed.
func (c *Cluster) Run(ctx context.Context, line ...string) (code int, output string, err error) {
	cmd := exec.CommandContext(ctx, line[0], line[1:]...)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.Env = &said, &said, c.o.Environment()
	if err := c.launcher.Start(cmd); err != nil {
		return 0, "", err
	}
	_ = cmd.Wait() // its code is what counts
	return cmd.ProcessState.ExitCode(), said.String(), nil
}

// Stop asks all processes to end, the fronts first, and returns when they have. That one
// of them did not, or not well, or any other trouble, is an error.
func (c *Cluster) Stop() error {
	for _, p := range c.Serving() {
		p.Terminate()
	}
	return errors.Join(c.Kill(), c.Err())
}

// Kill ends all processes at once, and removes what they had.
func (c *Cluster) Kill() (err error) {
	c.stop.Do(func() {
		for _, p := range append(c.Serving(), c.Proxy) {
			if p != nil {
				p.Kill()
			}
		}
		close(c.launcher)
		for _, g := range c.Groups {
			err = errors.Join(err, g.Remove())
		}
		err = errors.Join(err, os.RemoveAll(c.dir))
	})
	return err
}

// Trouble notes what nobody asked for, once each.
func (c *Cluster) Trouble(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !slices.Contains(c.troubles, what) {
		c.troubles = append(c.troubles, what)
	}
}

// Troubles are what was noted.
func (c *Cluster) Troubles() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.troubles)
}

// Err is the troubles as an error, or nil.
func (c *Cluster) Err() error {
	if t := c.Troubles(); len(t) > 0 {
		return errors.New(strings.Join(t, "; "))
	}
	return nil
}

// Named puts names in the place of addresses, so that alike messages are counted as one.
func (c *Cluster) Named(message string) string {
	return addressPattern.ReplaceAllStringFunc(message, func(address string) string {
		if name := c.names[address]; name != "" {
			return name
		}
		return "(a port)"
	})
}

var addressPattern = regexp.MustCompile(`127\.0\.0\.1:[0-9]+`)

// ErrOutOfMemory is that the kernel ended a stage for want of memory.
var ErrOutOfMemory = errors.New("the kernel ended a stage for want of memory")

// OutOfMemory is ErrOutOfMemory when that happened to a stage in a group.
func (c *Cluster) OutOfMemory() error {
	for _, g := range c.Groups {
		u, err := g.Usage()
		if err != nil {
			return err
		}
		if u.OOMKills > 0 {
			return ErrOutOfMemory
		}
	}
	return nil
}
