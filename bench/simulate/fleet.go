package simulate

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/distinfer/distinfer/server/replica"
)

// Costs are what things take, as they were measured.
type Costs struct {
	Token    time.Duration // of the whole model, on one processor
	Overhead float64       // of a batch, in tokens
	Noise    float64       // of a run: a standard deviation, as a share
	Text     time.Duration // of a text in the front, on one processor
	Hop      time.Duration // one way, without the bytes
	Byte     time.Duration // of a link, for a thousand bytes
	Bytes    int           // that a token sends to the next stage
	Probe    time.Duration // of a replica's processor
}

// Small are the costs of sst2-minilm on one virtual processor, as docs/capacity.md says how they
// were measured. Medium are those of a model of five times the work and twice the width, about
// that of BERT base: with it, a replica has few texts a second, and a simulation is short.
var (
	Small = Costs{
		Token: 190 * time.Microsecond, Overhead: 13, Noise: 0.1, Text: 115 * time.Microsecond,
		Hop: 250 * time.Microsecond, Byte: 1500 * time.Nanosecond, Bytes: 1536, Probe: 80 * time.Microsecond,
	}
	Medium = Costs{
		Token: time.Millisecond, Overhead: 13, Noise: 0.1, Text: 115 * time.Microsecond,
		Hop: 250 * time.Microsecond, Byte: 1500 * time.Nanosecond, Bytes: 3072, Probe: 80 * time.Microsecond,
	}
)

// Config says what is simulated.
type Config struct {
	Costs
	Fronts, Ranks, Replicas int
	FrontProcessors         int
	Runs                    int // that a replica computes at once, on a processor each
	Subset                  int // replicas that a caller connects to; 0 is all
	Even                    bool
	Load                    float64 // texts that come, as a share of what the replicas can compute
	Rate                    float64 // texts a second, instead of Load
	Failing                 float64 // share of the replicas that fail during the measurement
	How                     Failure
	Down                    time.Duration // how long each of them fails
	Warm, Measured          time.Duration
	Seed                    uint64
}

// Times and limits of the product that no package exports.
const (
	beats       = 8
	deadAfter   = 2 * time.Second
	longestWait = 30 * time.Second
	maxQueue    = 256
)

// lengths are those of the sentences of SST-2 dev in tokens, one of twenty equal parts each.
var lengths = []int{8, 11, 13, 15, 17, 18, 20, 21, 22, 24, 25, 27, 28, 30, 32, 34, 36, 39, 42, 49}

// A fleet is fronts and replicas in virtual time.
type fleet struct {
	Config
	clock
	random   *rand.Rand
	fronts   []*front
	ranks    [][]*machine
	machines map[string]*machine
	result   Result
	arrivals []time.Duration // of texts, by number
	waits    []time.Duration // of texts, until they were answered
}

// Capacity is how many texts a second the replicas compute, in batches of many.
func (c Config) Capacity() float64 {
	return float64(c.Ranks*c.Replicas*c.Runs) / (c.perText().Seconds())
}

// perText is what a text costs in a full batch: its tokens, a tenth more for padding, and its
// share of the overhead of a batch of 32.
func (c Config) perText() time.Duration {
	sum := 0
	for _, l := range lengths {
		sum += l
	}
	tokens := 1.1*float64(sum)/float64(len(lengths)) + c.Overhead/32
	return time.Duration(tokens * float64(c.Token))
}

func newFleet(c Config) *fleet {
	f := &fleet{Config: c, random: rand.New(rand.NewPCG(c.Seed, 7)), machines: map[string]*machine{}}
	for rank := range c.Ranks {
		f.ranks = append(f.ranks, nil)
		for i := range c.Replicas {
			m := &machine{f: f, rank: rank, index: i, address: fmt.Sprintf("10.%d.%d.%d:2222", rank, i/250, i%250), slowness: 1, held: map[*attempt]bool{}}
			f.ranks[rank] = append(f.ranks[rank], m)
			f.machines[m.address] = m
		}
	}
	for rank := range c.Ranks - 1 {
		for i, m := range f.ranks[rank] {
			m.next = f.newCaller(m.address, i, c.Replicas, rank+1)
		}
	}
	for i := range c.Fronts {
		f.fronts = append(f.fronts, newFront(f, i))
	}
	return f
}

// newCaller makes the client side of a process towards a rank. It is the i-th of n callers.
func (f *fleet) newCaller(name string, i, n, rank int) *caller {
	addresses := make([]string, len(f.ranks[rank]))
	for j, m := range f.ranks[rank] {
		addresses[j] = m.address
	}
	if f.Even {
		addresses = evenly(addresses, i, n, f.Subset)
	} else {
		addresses = replica.Subset(name, addresses, f.Subset)
	}
	c := &caller{f: f, rank: rank, addresses: addresses, links: map[string]*link{}}
	for _, a := range addresses {
		l := &link{caller: c, to: f.machines[a], attempts: map[*attempt]bool{}}
		c.links[a] = l
		l.to.callers = append(l.to.callers, l)
	}
	c.begin()
	return c
}

// evenly is the choice of callers that know their number: each takes the replicas behind those
// of the one before it.
func evenly(addresses []string, i, n, size int) []string {
	if size <= 0 || size >= len(addresses) {
		return addresses
	}
	from := i * max(size, len(addresses)/max(n, 1)) % len(addresses)
	return slices.Concat(addresses[from:], addresses[:from])[:size]
}

// Simulate simulates a fleet. The same Config gives the same Result.
func Simulate(c Config) Result {
	f := newFleet(c)
	rate := c.Rate
	if rate == 0 {
		rate = c.Load * c.Capacity()
	}
	f.result.Offered = rate
	end := c.Warm + c.Measured
	f.come(rate, end)
	f.run(c.Warm)
	f.plan()
	busy := f.busy()
	f.run(end)
	f.sum(busy)
	f.run(end + longestWait/3) // what is under way
	f.finish()
	return f.result
}

// come has texts come at random times, to the fronts in turn.
func (f *fleet) come(rate float64, end time.Duration) {
	var next func()
	next = func() {
		f.after(time.Duration(f.random.ExpFloat64()/rate*float64(time.Second)), func() {
			if f.now >= end {
				return
			}
			n := len(f.arrivals)
			f.arrivals = append(f.arrivals, f.now)
			if f.measures(n) {
				f.result.Texts++
			}
			f.fronts[n%len(f.fronts)].come(n)
			next()
		})
	}
	next()
}

// measures reports whether a text came while results count.
func (f *fleet) measures(n int) bool { return f.arrivals[n] >= f.Warm }

// tokens is the length of a text.
func (f *fleet) tokens() int { return lengths[f.random.IntN(len(lengths))] }

// seen is how many replicas of a rank a caller connects to.
func (c Config) seen() int {
	if c.Subset <= 0 {
		return c.Replicas
	}
	return min(c.Subset, c.Replicas)
}

// connections are those of a front, of a replica, and of all. A caller has two to each replica
// that it calls, and one to each that it only watches: a front watches all ranks.
func (c Config) connections() (front, replica, all int) {
	front = c.seen() * (c.Ranks + 1)
	next := 2 * c.seen() * (c.Ranks - 1) * c.Replicas
	all = c.Fronts*front + next
	// Each is at two processes, and fronts have their ends only.
	replica = (c.Fronts*front + 2*next) / (c.Ranks * c.Replicas)
	return front, replica, all
}
