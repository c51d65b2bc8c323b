package batch

import (
	"math"
	"slices"
	"time"

	"github.com/distinfer/distinfer/runtime/pipeline"
)

// A flight finds how many batches should be under way: as many as keep the busiest
// machine busy, and no more, since those wait better in the queue, where others can
// still join them.
//
// By Little's law that is the rate at which the busiest machine can compute batches,
// times the time that one takes from end to end when it waits for nobody. Both come
// from the timings of the last batches: what each machine computed for them, however
// many stages or replicas it has, and how many runs it can compute at once.
type flight struct {
	last []trip // the latest, in a ring
	at   int
	now  int
}

// A trip is what one batch told.
type trip struct {
	took   time.Duration // from end to end, without waiting
	stages []pipeline.Timing
}

const (
	// trips are how many batches count; many more than there are replicas.
	trips = 64
	// calm is the part of them, one of so many, whose time outside the stages counts.
	calm = 4
	// mostFlight bounds what a mistake in the timings could do.
	mostFlight = 128
)

// newFlight begins with as many as given, until something was measured.
func newFlight(begin int) *flight { return &flight{now: min(max(begin, 1), mostFlight)} }

// learn takes note of a batch that was computed and of where its time went.
func (f *flight) learn(took time.Duration, stages []pipeline.Timing) {
	if len(stages) == 0 {
		return
	}
	for _, s := range stages {
		took -= s.Waited
	}
	t := trip{took, stages}
	if len(f.last) < trips {
		f.last = append(f.last, t)
	} else {
		f.last[f.at] = t
		f.at = (f.at + 1) % trips
	}
	f.now = f.count()
}

func (f *flight) count() int {
	type place struct {
		machine uint64
		rank    int
	}
	var total time.Duration
	outside := make([]time.Duration, len(f.last)) // of the stages
	computed := map[place]time.Duration{}
	atOnce := map[place]int{}
	processors := map[uint64]int{}
	for i, t := range f.last {
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
	// What is on its way waits for a processor as well, of machines that are busy. That
	// comes of too many being under way, and must not ask for more: so the time outside
	// is taken from those trips that were hindered least.
	slices.Sort(outside)
	total += outside[len(outside)/calm] * time.Duration(len(outside))
	// A machine is busy when its processors are, or one of its stages computes as
	// many runs as it may.
	var busiest float64
	work := map[uint64]float64{}
	room := map[uint64]int{}
	for p, took := range computed {
		busiest = max(busiest, took.Seconds()/float64(atOnce[p]))
		work[p.machine] += took.Seconds()
		room[p.machine] += atOnce[p]
	}
	for m, seconds := range work {
		busiest = max(busiest, seconds/float64(min(room[m], processors[m])))
	}
	if busiest <= 0 {
		return f.now
	}
	// One more is there already when another one leaves.
	n := math.Ceil(total.Seconds()/busiest-0.25) + 1
	return int(min(max(n, 1), mostFlight))
}

// enough reports whether those under way, which are so many, are enough for a text that
// comes now to wait until one of them is done: others will come meanwhile, as those that
// were answered ask again, and what a text costs beside them is little of what it costs
// by itself. The stages are busy until then.
func (f *flight) enough(underWay int, c *cost, length int) bool {
	return underWay >= max(2, f.now*2/5) && c.overhead >= 2*float64(length)
}
