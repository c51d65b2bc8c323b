package batch

import (
	"math"
	"slices"
	"time"

	"github.com/distinfer/distinfer/runtime/pipeline"
)

// A concurrency finds how many batches should be in flight: as many as keep the busiest
// machine busy. More would wait at a stage, where no text can join them, instead of in the queue.
//
// By Little's law the number is the rate at which the busiest machine computes batches, times
// the time that one takes from end to end without waiting. Both come from the timings of the
// last batches: what each machine computed for them, with all its stages and replicas, and how
// many runs it computes at once.
//
// Replicas of a rank are taken to share its work as they can compute it: which of them a few
// batches went to is chance.
type concurrency struct {
	last   []trip // the latest
	places map[place]*share
	now    int
	old    int // batches since now was computed

	atOnce int // runs that a stage computes at once, as far as timings say
}

// A trip is what was observed of one batch.
type trip struct {
	outside time.Duration // of the stages, without waiting
	stages  []pipeline.Timing
}

// A place is a replica of a rank, by its machine; a share is its part in the last batches.
type place struct {
	machine uint64
	rank    int
}

type share struct {
	computed           time.Duration
	batches            int
	atOnce, processors int
}

const (
	// trips is how many batches count at least, and tripsAPlace how many for each place, so that
	// nearly all replicas are seen.
	trips       = 64
	tripsAPlace = 4
	maxTrips    = 2048
	// countedAtOnce is how many places are counted for each batch.
	countedAtOnce = 8
	// The time outside the stages is that of the fastest 1/calm of the batches.
	calm = 4
	// maxConcurrency bounds the effect of wrong timings.
	maxConcurrency = 1024
)

// newConcurrency returns a concurrency of begin batches until some are measured.
func newConcurrency(begin int) *concurrency {
	return &concurrency{now: min(max(begin, 1), maxConcurrency), atOnce: 1, places: map[place]*share{}}
}

// learn records a computed batch and where its time went.
func (c *concurrency) learn(took time.Duration, stages []pipeline.Timing) {
	if len(stages) == 0 {
		return
	}
	for _, s := range stages {
		took -= s.Waited + s.Computed
		c.atOnce = max(c.atOnce, s.AtOnce)
		p := place{s.Machine, s.Rank}
		if c.places[p] == nil {
			c.places[p] = &share{}
		}
		at := c.places[p]
		at.computed += s.Computed
		at.batches++
		at.atOnce, at.processors = max(s.AtOnce, 1), max(s.Processors, 1)
	}
	c.last = append(c.last, trip{took, stages})
	for len(c.last) > min(max(trips, tripsAPlace*len(c.places)), maxTrips) {
		c.forget()
	}
	// With many replicas counting takes long, and one batch changes little.
	if c.old++; c.old*countedAtOnce >= len(c.places) {
		c.now, c.old = c.count(), 0
	}
}

// forget removes the oldest trip.
func (c *concurrency) forget() {
	for _, s := range c.last[0].stages {
		p := place{s.Machine, s.Rank}
		at := c.places[p]
		at.computed -= s.Computed
		if at.batches--; at.batches == 0 {
			delete(c.places, p)
		}
	}
	c.last[0] = trip{}
	c.last = c.last[1:]
}

func (c *concurrency) count() int {
	var total time.Duration
	atOnce := map[int]int{} // runs of all replicas of a rank
	computed := map[int]time.Duration{}
	for p, at := range c.places {
		total += at.computed
		computed[p.rank] += at.computed
		atOnce[p.rank] += at.atOnce
	}
	// Messages between the stages wait for a processor too if a machine is busy. Too many
	// batches in flight cause that, so it must not raise the number: the fastest batches count.
	latest := c.last[max(0, len(c.last)-trips):]
	outside := make([]time.Duration, len(latest))
	for i, t := range latest {
		outside[i] = t.outside
	}
	slices.Sort(outside)
	total += outside[len(outside)/calm] * time.Duration(len(c.last))
	busiest := c.busiest(func(rank int) float64 { return computed[rank].Seconds() / float64(atOnce[rank]) })
	if busiest <= 0 {
		return c.now
	}
	// One more waits at the stage when another one leaves.
	n := math.Ceil(total.Seconds()/busiest-0.25) + 1
	return int(min(max(n, 1), maxConcurrency))
}

// busiest is how long the busiest machine was busy, given how long each run that a rank may
// compute at once was computed. A machine is busy if its processors are, or if one of its stages
// computes as many runs as it may.
func (c *concurrency) busiest(run func(rank int) float64) (busiest float64) {
	work := map[uint64]float64{}
	capacity := map[uint64]int{}
	for p, at := range c.places {
		busiest = max(busiest, run(p.rank))
		work[p.machine] += run(p.rank) * float64(at.atOnce)
		capacity[p.machine] += at.atOnce
	}
	for p, at := range c.places {
		if capacity[p.machine] > at.processors {
			busiest = max(busiest, work[p.machine]/float64(at.processors))
		}
	}
	return busiest
}

// enough reports whether a text that comes now should wait until one of the inFlight batches
// ends. The stages are busy until then, more texts arrive meanwhile, and a short text costs
// little in a batch compared with what it costs alone.
func (c *concurrency) enough(inFlight int, batch *cost, length int) bool {
	return inFlight >= max(2, c.now*2/5) && batch.overhead >= 2*float64(length)
}
