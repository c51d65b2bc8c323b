package chaos

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/distinfer/distinfer/bench/cluster"
)

// A scenario is one kind of fault, done to a cluster of its own again and again
// while requests are made.
type scenario struct {
	name, about string
	replicas    int             // of each rank
	linked      bool            // the links go through toxiproxy
	serves      bundleKind      // what is asked
	front       []string        // more flags of the fronts
	grpc        bool            // the fronts answer by gRPC as well
	least       time.Duration   // of the load, beside the front's timeout
	toxics      []cluster.Toxic // of the links
	// inject does the faults until the context ends, and undoes what they leave.
	// It fails only when a fault could not be done.
	inject func(context.Context, *injector) error
	// faultless says that no faults are meant to be done.
	faultless bool
	// outage allows typed errors while nothing could have served.
	outage bool
}

// scenarios are in the order in which they are run.
var scenarios = []scenario{
	{name: "none", about: "no fault", replicas: 2, faultless: true, inject: nothing},
	{name: "kill", about: "kill -9 of a random replica every 2 s, started again at once", replicas: 2, inject: killEvery(2 * time.Second)},
	{name: "stop", about: "a random replica stopped (SIGSTOP) for 4 s every 6 s", replicas: 2, inject: stopAndContinue},
	{name: "reset", about: "the connections of a random link reset every 1 s", replicas: 2, linked: true, toxics: resets, inject: reset},
	{name: "latency", about: "300 ms ± 100 ms on all links of one replica, another one every 3 s", replicas: 2, linked: true, inject: delay},
	{name: "partition", about: "no byte passes a random link for 4 s every 6 s", replicas: 2, linked: true, inject: partition},
	{name: "rolling", about: "SIGTERM and restart of every process, one after the other", replicas: 2, inject: rolling},
	{name: "disk", about: "a replica loses its disk, and fetches its slice onto a full one, then onto a larger one", replicas: 2, inject: fullDisk},
	{name: "single", about: "one replica a rank: kill -9 of one every 6 s, started again at once", replicas: 1, inject: killEvery(6 * time.Second)},
	{name: "adversary-texts", about: "8 clients send texts with an id that the model's table does not have", replicas: 2, serves: badTokenizer, inject: attack("bad texts", 8, 5*time.Millisecond, badTexts)},
	{name: "adversary-poison", about: "4 clients send tensors with which the processor traps, the same and others", replicas: 2, serves: quotient, inject: attack("poison", 4, 50*time.Millisecond, poison)},
	{name: "adversary-shapes", about: "4 clients send compressed tensors of large shapes", replicas: 2, inject: attack("large shapes", 4, 50*time.Millisecond, shapes)},
	{name: "adversary-senders", about: "4 clients hold 400 connections each with half a request, of 512 that a front takes", replicas: 2, front: []string{"--max-connections", "512"}, inject: attack("half-sent requests", 4, 0, halfSent)},
	{name: "adversary-lines", about: "4 clients send compressed streams of blank lines, and half of them leave", replicas: 2, inject: attack("blank lines", 4, 100*time.Millisecond, blankLines)},
	{name: "adversary-headers", about: "4 clients open 32 calls by gRPC each and send no message", replicas: 2, grpc: true, inject: both(attack("idle calls", 4, 0, idleHeaders), askGRPC)},
	{name: "gone", about: "all replicas of the last rank killed, for longer than the front's timeout", replicas: 2, least: 12 * time.Second, outage: true, inject: gone},
}

// What is served is the text model, unless said otherwise.
type bundleKind string

const (
	usual        bundleKind = "stages"
	badTokenizer bundleKind = "bad-tokenizer" // badTokenModel, with a token whose id its table does not have
	quotient     bundleKind = quotientName
)

// warmUp is how long there is load before the first fault.
const warmUp = 2 * time.Second

// pollEvery is how often it is looked whether there is somebody to do a fault to.
const pollEvery = 20 * time.Millisecond

// grace is how long after an outage there may still be errors: what waits before
// it is tried again was chosen while nothing was there.
const grace = 2 * time.Second

// allowed reports whether a request that was not answered right may be so.
func (s *scenario) allowed(r request, faults []fault) bool {
	if !s.outage || r.verdict.outcome != typed ||
		r.verdict.status != http.StatusServiceUnavailable && r.verdict.status != http.StatusGatewayTimeout {
		return false
	}
	return slices.ContainsFunc(faults, func(f fault) bool {
		return f.outage && r.end >= f.at && r.start <= f.until+grace
	})
}

// An injector does faults to a cluster and notes them.
type injector struct {
	cluster *cluster.Cluster
	random  *rand.Rand
	clock   clock
	timeout time.Duration // of a front

	memory []memory // of the processes, when that was watched

	mu      sync.Mutex
	faults  []fault
	answers map[reasonCount]int // that an adversary got
}

// begin notes a fault that is about to be done. The function it returns notes
// its end.
func (in *injector) begin(f fault) (end func()) {
	in.mu.Lock()
	defer in.mu.Unlock()
	f.at = in.clock.now()
	f.until = f.at
	i := len(in.faults)
	in.faults = append(in.faults, f)
	return func() {
		in.mu.Lock()
		defer in.mu.Unlock()
		in.faults[i].until = in.clock.now()
	}
}

// sleep reports whether the time passed before the context ended.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// every does something at once and then again and again, as the interval says,
// for as long as the context lives.
func every(ctx context.Context, interval time.Duration, do func() error) error {
	if !sleep(ctx, warmUp) {
		return nil
	}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		if err := do(); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			return nil
		}
	}
}

// settled is for how long a replica must have been ready before the other one of
// its rank is killed: until then its callers may not know that it is back.
const settled = time.Second

// victim is a random replica of a rank all of whose replicas are there. It waits
// for one, and is nil when the context ends before.
func (in *injector) victim(ctx context.Context) *cluster.Process {
	for {
		var candidates []*cluster.Process
		for _, replicas := range in.cluster.Stages {
			if !slices.ContainsFunc(replicas, func(p *cluster.Process) bool { return p.ReadyFor() < settled }) {
				candidates = append(candidates, replicas...)
			}
		}
		if len(candidates) > 0 {
			return candidates[in.random.IntN(len(candidates))]
		}
		if !sleep(ctx, pollEvery) {
			return nil
		}
	}
}

func killEvery(interval time.Duration) func(context.Context, *injector) error {
	return func(ctx context.Context, in *injector) (err error) {
		var restarts sync.WaitGroup
		defer restarts.Wait()
		return every(ctx, interval, func() error {
			p := in.victim(ctx)
			if p == nil {
				return nil
			}
			end := in.begin(fault{what: "kill " + p.Name})
			p.Kill()
			if err := p.Start(); err != nil {
				return err
			}
			restarts.Go(func() {
				if err := p.AwaitReady(context.WithoutCancel(ctx)); err != nil {
					in.cluster.Trouble(err.Error())
				}
				end()
			})
			return nil
		})
	}
}

func stopAndContinue(ctx context.Context, in *injector) error {
	return every(ctx, 6*time.Second, func() error {
		p := in.victim(ctx)
		if p == nil {
			return nil
		}
		end := in.begin(fault{what: "stop " + p.Name})
		if err := p.Signal(syscall.SIGSTOP); err != nil {
			return err
		}
		sleep(ctx, 4*time.Second)
		defer end()
		return p.Signal(syscall.SIGCONT)
	})
}

func (in *injector) link() cluster.Link {
	return in.cluster.Links[in.random.IntN(len(in.cluster.Links))]
}

// resets are toxics for no connection yet. Only those that are made while they have a
// toxicity are really reset; others would just be closed.
var resets = []cluster.Toxic{newReset("upstream"), newReset("downstream")}

func newReset(stream string) cluster.Toxic {
	return cluster.Toxic{Name: "reset_" + stream, Type: "reset_peer", Stream: stream, Attributes: map[string]int{"timeout": 0}}
}

func reset(ctx context.Context, in *injector) error {
	set := func(l cluster.Link, toxicity float64) error {
		var err error
		for _, stream := range cluster.Streams {
			err = errors.Join(err, in.cluster.Toxiproxy.SetToxicity(context.WithoutCancel(ctx), l.Proxy, "reset_"+stream, toxicity))
		}
		return err
	}
	return every(ctx, time.Second, func() error {
		l := in.link()
		end := in.begin(fault{what: "reset " + l.Proxy})
		defer end()
		err := set(l, 1)
		sleep(ctx, 200*time.Millisecond)
		return errors.Join(err, set(l, 0))
	})
}

// poison adds a toxic to some of the links, and takes it off after a while.
func (in *injector) poison(ctx context.Context, links []cluster.Link, t cluster.Toxic, streams []string, d time.Duration) error {
	uncanceled := context.WithoutCancel(ctx)
	var err error
	added := map[string][]string{}
	for _, l := range links {
		for _, stream := range streams {
			t.Name, t.Stream, t.Toxicity = t.Type+"_"+stream, stream, 1
			if e := in.cluster.Toxiproxy.AddToxic(uncanceled, l.Proxy, t); e != nil {
				err = errors.Join(err, e)
				continue
			}
			added[l.Proxy] = append(added[l.Proxy], t.Name)
		}
	}
	if err == nil {
		sleep(ctx, d)
	}
	for proxy, names := range added {
		for _, name := range names {
			err = errors.Join(err, in.cluster.Toxiproxy.RemoveToxic(uncanceled, proxy, name))
		}
	}
	return err
}

func delay(ctx context.Context, in *injector) error {
	var last *cluster.Process
	return every(ctx, 3*time.Second, func() error {
		p := in.victim(ctx)
		for p == last && p != nil {
			p = in.victim(ctx)
		}
		if p == nil {
			return nil
		}
		last = p
		links := slices.DeleteFunc(slices.Clone(in.cluster.Links), func(l cluster.Link) bool { return l.From != p && l.To != p })
		end := in.begin(fault{what: "delay " + p.Name})
		defer end()
		return in.poison(ctx, links, cluster.Toxic{Type: "latency", Attributes: map[string]int{"latency": 300, "jitter": 100}}, []string{"downstream"}, 2800*time.Millisecond)
	})
}

func partition(ctx context.Context, in *injector) error {
	return every(ctx, 6*time.Second, func() error {
		l := in.link()
		end := in.begin(fault{what: "partition " + l.Proxy})
		defer end()
		return in.poison(ctx, []cluster.Link{l}, cluster.Toxic{Type: "timeout", Attributes: map[string]int{"timeout": 0}}, cluster.Streams, 4*time.Second)
	})
}

func rolling(ctx context.Context, in *injector) error {
	if !sleep(ctx, warmUp) {
		return nil
	}
	all := in.cluster.Serving()
	for ctx.Err() == nil {
		in.random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		for _, p := range all {
			if ctx.Err() != nil {
				break
			}
			end := in.begin(fault{what: "restart " + p.Name})
			p.Terminate()
			if err := p.Start(); err != nil {
				return err
			}
			if err := p.AwaitReady(context.WithoutCancel(ctx)); err != nil {
				return err
			}
			end()
		}
	}
	return nil
}

func gone(ctx context.Context, in *injector) error {
	if !sleep(ctx, warmUp) {
		return nil
	}
	rank := in.cluster.Stages[len(in.cluster.Stages)-1]
	end := in.begin(fault{what: "outage of the last rank", outage: true})
	for _, p := range rank {
		p.Kill()
	}
	sleep(ctx, in.timeout+2*time.Second)
	for _, p := range rank {
		if err := p.Start(); err != nil {
			return err
		}
	}
	for _, p := range rank {
		if err := p.AwaitReady(context.WithoutCancel(ctx)); err != nil {
			return err
		}
	}
	end()
	<-ctx.Done()
	return nil
}
