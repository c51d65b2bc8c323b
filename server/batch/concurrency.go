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
type concurrency struct {
	last []trip // the latest, in a ring
	at   int
	now  int

	atOnce int // runs that a stage computes at once, as far as timings say
}

// A trip is what was observed of one batch.
type trip struct {
	took   time.Duration // from end to end, without waiting
	stages []pipeline.Timing
}

const (
	// trips is how many batches count; many more than there are replicas.
	trips = 64
	// The time outside the stages is that of the fastest 1/calm of the batches.
	calm = 4
	// maxConcurrency bounds the effect of wrong timings.
	maxConcurrency = 128
)

// newConcurrency returns a concurrency of begin batches until some are measured.
func newConcurrency(begin int) *concurrency {
	return &concurrency{now: min(max(begin, 1), maxConcurrency), atOnce: 1}
}

// learn records a computed batch and where its time went.
func (c *concurrency) learn(took time.Duration, stages []pipeline.Timing) {
	if len(stages) == 0 {
		return
	}
	for _, s := range stages {
		took -= s.Waited
		c.atOnce = max(c.atOnce, s.AtOnce)
	}
	t := trip{took, stages}
	if len(c.last) < trips {
		c.last = append(c.last, t)
	} else {
		c.last[c.at] = t
		c.at = (c.at + 1) % trips
	}
	c.now = c.count()
}

func (c *concurrency) count() int {
	type place struct {
		machine uint64
		rank    int
	}
	var total time.Duration
	outside := make([]time.Duration, len(c.last)) // of the stages
	computed := map[place]time.Duration{}
	atOnce := map[place]int{}
	processors := map[uint64]int{}
	for i, t := range c.last {
		outside[i] = t.took
		for _, s := range t.stages {
			outside[i] -= s.Computed
			total += s.Computed
			p := place{s.Machine, s.Rank}
			computed[p] += s.Computed
			atOnce[p] = max(s.AtOnce, 1)
			processors[s.Machine] = max(s.Processors, 1)
		}
	}
	// Messages between the stages wait for a processor too if a machine is busy. Too many
	// batches in flight cause that, so it must not raise the number: the fastest batches count.
	slices.Sort(outside)
	total += outside[len(outside)/calm] * time.Duration(len(outside))
	// A machine is busy if its processors are, or if one of its stages computes as many runs
	// as it may.
	var busiest float64
	work := map[uint64]float64{}
	capacity := map[uint64]int{}
	for p, took := range computed {
		busiest = max(busiest, took.Seconds()/float64(atOnce[p]))
		work[p.machine] += took.Seconds()
		capacity[p.machine] += atOnce[p]
	}
	for m, seconds := range work {
		busiest = max(busiest, seconds/float64(min(capacity[m], processors[m])))
	}
	if busiest <= 0 {
		return c.now
	}
	// One more waits at the stage when another one leaves.
	n := math.Ceil(total.Seconds()/busiest-0.25) + 1
	return int(min(max(n, 1), maxConcurrency))
}

// enough reports whether a text that comes now should wait until one of the inFlight batches
// ends. The stages are busy until then, more texts arrive meanwhile, and a short text costs
// little in a batch compared with what it costs alone.
func (c *concurrency) enough(inFlight int, batch *cost, length int) bool {
	return inFlight >= max(2, c.now*2/5) && batch.overhead >= 2*float64(length)
}
