package batch

import (
	"time"

	"github.com/distinfer/distinfer/runtime/pipeline"
	"github.com/distinfer/distinfer/runtime/textmodel"
)

// A scheduler decides which waiting texts are computed together, and when. It does no I/O and
// has no clock, goroutine or lock.
type scheduler struct {
	queue       *queue
	cost        *cost
	concurrency *concurrency
	pace        pace
	inFlight    int // batches
}

func newScheduler(l limits, begin int) scheduler {
	c := newCost()
	return scheduler{queue: newQueue(l, c), cost: c, concurrency: newConcurrency(begin)}
}

// hold reports whether texts that have just come wait for a batch in flight to end.
func (s *scheduler) hold() bool {
	return s.queue.len() > 0 && s.concurrency.enough(s.inFlight, s.cost, s.queue.longest())
}

// next begins the next batch, or returns nil when no text waits or enough batches are in flight.
func (s *scheduler) next() []*item {
	if s.queue.len() == 0 || s.inFlight >= s.concurrency.now {
		return nil
	}
	items := s.queue.next(s.concurrency.now - s.inFlight)
	s.inFlight++
	return items
}

// late removes the texts that would be answered too late if they began now.
func (s *scheduler) late(now time.Time) []*item {
	return s.queue.late(func(tokens int) time.Time { return now.Add(s.pace.latency(s.cost.batch(tokens))) })
}

// Texts that wait for a batch in flight to end begin anyway if none ends for stalledFactor
// times the time of a batch, at least stalledLeast: a replica may hang.
const (
	stalledFactor = 4
	stalledLeast  = 20 * time.Millisecond
)

// patience is how long texts wait for a batch in flight to end.
func (s *scheduler) patience() time.Duration { return max(stalledFactor*s.pace.time(), stalledLeast) }

// waits is when n texts of a new call would be answered, and how long they would wait for their
// turn.
func (s *scheduler) waits(n int) (answered, wait time.Duration) {
	answered = s.pace.wait(s.queue.ahead(n))
	return answered, answered - s.pace.wait(n)
}

// longestWait is the longest wait if none is configured.
func (s *scheduler) longestWait() time.Duration {
	return max(usualWait, usualBatches*s.pace.time())
}

// learn records a batch that was computed, of this many tokens. beside is how many were in
// flight when it began, itself included. It returns how long the stages computed.
func (s *scheduler) learn(texts, tokens int, took time.Duration, timings []pipeline.Timing, beside int) (computed time.Duration) {
	// If fewer are in flight than could be, more texts would be answered as fast. This may be
	// optimistic, but a pessimistic guess would refuse texts that could be answered.
	s.pace.learn(texts, s.cost.batch(tokens), took, max(s.inFlight, s.concurrency.now))
	computed = took
	if len(timings) > 0 {
		computed = 0
		for _, t := range timings {
			computed += t.Computed
		}
		s.concurrency.learn(took, timings)
	}
	if beside > 1 {
		s.cost.learn(tokens, computed)
	}
	return computed
}

// A Scheduler is what decides in a Batcher, by itself: for simulations, whose texts have a number
// and a length, and each a caller of its own. It is not safe for concurrent use.
type Scheduler struct{ s scheduler }

// NewScheduler makes the Scheduler of a model that allows any batch. begin is Config.Begin.
func NewScheduler(begin int) *Scheduler {
	return &Scheduler{newScheduler(limits{rows: maxRows, tokens: maxTokens}, begin)}
}

// Add has a text wait, or reports that a Batcher would refuse it because of overload.
func (s *Scheduler) Add(number, tokens int) bool {
	if _, wait := s.s.waits(1); wait > s.s.longestWait() {
		return false
	}
	s.s.queue.add(&call{}, number, textmodel.Text{Length: tokens}, time.Time{})
	return true
}

// Hold reports whether texts that were just added wait until a batch ends, or for the Patience.
func (s *Scheduler) Hold() bool { return s.s.hold() }

// Patience is documented at Hold.
func (s *Scheduler) Patience() time.Duration { return s.s.patience() }

// Waiting is how many texts wait.
func (s *Scheduler) Waiting() int { return s.s.queue.len() }

// Target is how many batches should be in flight, given enough texts.
func (s *Scheduler) Target() int { return s.s.concurrency.now }

// A Group is texts that are computed together.
type Group struct {
	Texts  []int // their numbers
	Tokens int   // with padding
	beside int
}

// Next begins the next batch; ok is false when none should begin.
func (s *Scheduler) Next() (g Group, ok bool) {
	items := s.s.next()
	for _, it := range items {
		g.Texts = append(g.Texts, it.index)
	}
	if len(items) > 0 {
		g.Tokens = s.s.queue.area(len(items), items[len(items)-1].text.Length)
	}
	g.beside = s.s.inFlight
	return g, len(items) > 0
}

// End records that a batch was answered, or failed, after this time.
func (s *Scheduler) End(g Group, took time.Duration, timings []pipeline.Timing, failed bool) {
	if !failed {
		s.s.learn(len(g.Texts), g.Tokens, took, timings, g.beside)
	}
	s.s.inFlight--
}
