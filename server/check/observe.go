package check

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/encoding"
	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/runtime/pipeline"
	"github.com/distinfer/distinfer/runtime/selftest"
	"github.com/distinfer/distinfer/server/stage"
)

// Config says what to observe.
type Config struct {
	Stages  [][]string // the addresses of every rank
	Bundle  bundle.ID  // the ID of the bundle they should have; empty when that is not known
	Options stage.Options
	Timeout time.Duration // of each call
	Numbers []float32     // for the self-test
	Ballast int           // bytes to measure bandwidth with; 0 measures none
	Version string        // of distinfer
}

const (
	trips  = 5  // calls that a round trip is the median of
	loads  = 2  // calls with ballast; the faster one counts
	atOnce = 16 // links that are tried at a time
)

// shortest is the least time of the ballast that is more than chance.
const shortest = time.Millisecond

// A replica is one that was looked at.
type replica struct {
	Replica
	route string       // its address as it was configured, for the stages before it
	name  string       // host:port that its certificate must be for
	probe *stage.Probe // nil when it does not answer
}

func (r *replica) place() Place { return Place{r.Rank, r.Address} }

// testable reports whether the replica can run a self-test.
func (r *replica) testable() bool {
	return r.probe != nil && r.Holds.Protocol == stage.Protocol && r.Holds.Rank == r.Rank
}

// Observe looks at all stages. It fails only when ctx ends.
func Observe(ctx context.Context, c Config) (Observation, error) {
	o := Observation{
		Distinfer: c.Version, Protocol: stage.Protocol, TLS: c.Options.TLS != nil, Ranks: len(c.Stages), ExpectedBundle: c.Bundle,
		Numbers: len(c.Numbers), Mean: mean(c.Numbers), Replicas: []Replica{}, Links: []Link{}, Paths: []Path{},
	}
	if e := c.Options.Encoding; e != encoding.Float32 {
		o.Encoding = string(e)
	}
	all := c.lookAtAll(ctx)
	testable := make([][]*replica, len(c.Stages))
	for _, r := range all {
		o.Replicas = append(o.Replicas, r.Replica)
		if r.probe != nil {
			defer func() { _ = r.probe.Close() }()
		}
		if r.testable() && r.SelfTest.Error == "" {
			testable[r.Rank] = append(testable[r.Rank], r)
		}
	}
	links := c.tryLinks(ctx, testable)
	paths := choose(testable, links)
	o.Paths = append(o.Paths, c.runPaths(ctx, paths)...)
	c.load(ctx, paths, links)
	for _, l := range links {
		o.Links = append(o.Links, l.Link)
	}
	return o, ctx.Err()
}

func mean(values []float32) float64 {
	total := 0.0
	for _, v := range values {
		total += float64(v)
	}
	return total / float64(len(values))
}

// lookAtAll looks at every replica, all at once.
func (c *Config) lookAtAll(ctx context.Context) []*replica {
	all := c.resolve(ctx)
	var work errgroup.Group
	for _, r := range all {
		if r.Contact != "" {
			continue
		}
		work.Go(func() error {
			c.look(ctx, r)
			if r.testable() {
				r.SelfTest = &Result{}
				*r.SelfTest, _ = c.selfTest(ctx, r, nil, 0)
			}
			return nil
		})
	}
	_ = work.Wait()
	return all
}

// resolve makes replicas of the addresses. One that names several stands for all
// that its name has; which of them a stage calls, it chooses itself.
func (c *Config) resolve(ctx context.Context) (all []*replica) {
	lookup := c.Options.Lookup
	if lookup == nil {
		lookup = net.DefaultResolver.LookupHost
	}
	for rank, addresses := range c.Stages {
		for _, address := range addresses {
			name, many := strings.CutPrefix(address, stage.ManyReplicas)
			if !many {
				all = append(all, &replica{Replica: Replica{Rank: rank, Address: address}, route: address, name: address})
				continue
			}
			host, port, _ := net.SplitHostPort(name)
			ctx, cancel := context.WithTimeout(ctx, c.Timeout)
			ips, err := lookup(ctx, host)
			cancel()
			if err != nil {
				all = append(all, &replica{Replica: Replica{Rank: rank, Address: address, Contact: Unresolved, Error: printable(err.Error())}})
			}
			for _, ip := range ips {
				all = append(all, &replica{Replica: Replica{Rank: rank, Address: net.JoinHostPort(ip, port)}, route: address, name: name})
			}
		}
	}
	return all
}

// A run is how long a self-test took, and where.
type run struct {
	elapsed time.Duration
	timings []pipeline.Timing
}

// selfTest runs the self-test on a replica and along a route behind it.
func (c *Config) selfTest(ctx context.Context, first *replica, route []*replica, ballast int) (Result, run) {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	addresses := make([]string, len(route))
	for i, r := range route {
		addresses[i] = r.route
	}
	started := time.Now()
	out, timings, err := first.probe.SelfTest(ctx, addresses, selftest.Request(c.Numbers, ballast))
	took := run{time.Since(started), timings}
	total := 0.0
	if err == nil {
		total, err = selftest.Sum(out)
	}
	m := total / float64(len(c.Numbers))
	switch {
	case err != nil && errcode.Of(err) == errcode.Deadline && ctx.Err() != nil:
		return Result{Error: fmt.Sprintf("no answer in %s", c.Timeout)}, run{}
	case err != nil:
		return Result{Error: printable(err.Error())}, run{}
	case math.IsNaN(m) || math.IsInf(m, 0): // JSON has no such numbers
		return Result{Error: "the answer is no number"}, run{}
	case len(timings) != 1+len(route):
		return Result{Error: fmt.Sprintf("the answer has timings of %d stages, not %d", len(timings), 1+len(route))}, run{}
	}
	return Result{Mean: m}, took
}

// A link is one that is tried. from is nil for the way from here.
type link struct {
	Link
	from, to *replica
}

// test runs the self-test over the link, and returns how long the link itself took.
func (l *link) test(ctx context.Context, c *Config, ballast int) (time.Duration, error) {
	first, route := l.to, []*replica(nil)
	if l.from != nil {
		first, route = l.from, []*replica{l.to}
	}
	result, r := c.selfTest(ctx, first, route, ballast)
	if result.Error != "" {
		return 0, errors.New(result.Error)
	}
	sent, there := r.elapsed, r.timings[0]
	if l.from != nil {
		sent, there = r.timings[0].Next, r.timings[1]
	}
	return max(sent-there.Total, 0), nil
}

// tryLinks tries the way from here to each replica of rank 0, and from each replica
// to each of the next rank. The replicas compute, as they have shown.
func (c *Config) tryLinks(ctx context.Context, testable [][]*replica) []*link {
	var links []*link
	for rank, tos := range testable {
		froms := []*replica{nil}
		if rank > 0 {
			froms = testable[rank-1]
		}
		for _, from := range froms {
			for _, to := range tos {
				l := &link{Link: Link{From: Here, To: to.place()}, from: from, to: to}
				if from != nil {
					l.From = from.place()
				}
				links = append(links, l)
			}
		}
	}
	var work errgroup.Group
	work.SetLimit(atOnce)
	for _, l := range links {
		work.Go(func() error {
			_, err := l.test(ctx, c, 0) // makes the connection
			if err != nil {
				l.Error = err.Error()
			}
			return nil
		})
	}
	_ = work.Wait()
	return links
}

// choose chooses paths over links that work, so that every replica that such a path
// leads over takes part in one.
func choose(testable [][]*replica, links []*link) (paths [][]*link) {
	last := len(testable) - 1
	leads := map[*replica]bool{} // to the last rank
	next := func(from *replica) (list []*link) {
		for _, l := range links {
			if l.from == from && l.Error == "" && leads[l.to] {
				list = append(list, l)
			}
		}
		return list
	}
	most := 0
	for rank := last; rank >= 0; rank-- {
		n := 0
		for _, r := range testable[rank] {
			if rank == last || len(next(r)) > 0 {
				leads[r] = true
				n++
			}
		}
		most = max(most, n)
	}
	for turn := range most {
		var path []*link
		var from *replica
		for range testable {
			list := next(from)
			if len(list) == 0 {
				return nil
			}
			path = append(path, list[turn%len(list)])
			from = path[len(path)-1].to
		}
		paths = append(paths, path)
	}
	return paths
}

// runPaths runs the self-test over whole paths.
func (c *Config) runPaths(ctx context.Context, paths [][]*link) []Path {
	list := make([]Path, len(paths))
	var work errgroup.Group
	work.SetLimit(atOnce)
	for i, path := range paths {
		work.Go(func() error {
			var through []*replica
			for _, l := range path {
				through = append(through, l.to)
				list[i].Addresses = append(list[i].Addresses, l.to.Address)
			}
			list[i].Result, _ = c.selfTest(ctx, through[0], through[1:], 0)
			return nil
		})
	}
	_ = work.Wait()
	return list
}

// load measures the links of the paths, one after the other, so that none disturbs
// another. Where there is no whole path it measures every link that works.
func (c *Config) load(ctx context.Context, paths [][]*link, links []*link) {
	which := slices.Concat(paths...)
	if len(paths) == 0 {
		which = links
	}
	done := map[*link]bool{}
	for _, l := range which {
		if done[l] || l.Error != "" {
			continue
		}
		done[l] = true
		var light []time.Duration
		for range trips {
			if took, err := l.test(ctx, c, 0); err == nil {
				light = append(light, took)
			}
		}
		if len(light) == 0 {
			l.Error = "it worked once, and then no more"
			continue
		}
		l.RoundTrip = milliseconds(median(light))
		if c.Ballast == 0 {
			continue
		}
		heavy := time.Duration(math.MaxInt64)
		var failed error
		for range loads {
			took, err := l.test(ctx, c, c.Ballast)
			if failed = err; err != nil {
				break
			}
			heavy = min(heavy, took)
		}
		if failed != nil {
			l.BallastError = failed.Error()
			continue
		}
		extra := heavy - median(light)
		l.AtLeast = extra < shortest
		l.BytesPerSecond = float64(c.Ballast) / max(extra, shortest).Seconds()
	}
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}

func milliseconds(d time.Duration) float64 {
	return math.Round(float64(d)/float64(time.Microsecond)) / 1000
}
