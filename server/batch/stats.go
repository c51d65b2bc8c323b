package batch

import (
	"errors"
	"time"

	"github.com/distinfer/distinfer/runtime/pipeline"
)

// A RefusedError refuses a call because of overload. Its code is errcode.Overloaded.
type RefusedError struct {
	error
	After time.Duration // when a retry may succeed
}

// Unwrap gives the error below.
func (e *RefusedError) Unwrap() error { return e.error }

// RetryAfter is After.
func (e *RefusedError) RetryAfter() time.Duration { return e.After }

// A Timing is where the time of a call went. If its texts were in several batches, it is the
// time of the batch that ended last.
type Timing struct {
	Encoding time.Duration // of all texts
	Waiting  time.Duration // from then until the batch began
	Batch    time.Duration // until it was answered
	Texts    int           // in the batch
	Stages   []pipeline.Timing
}

// Stats are what a Batcher does at a moment.
type Stats struct {
	Waiting  int // texts that wait for their batch
	Busy     int // texts that wait or are computed
	InFlight int // batches that are computed
	Target   int // batches that should be in flight, given enough texts
}

// Stats returns what the Batcher does now.
func (b *Batcher) Stats() Stats {
	b.mu.Lock()
	defer b.mu.Unlock()
	return Stats{b.queue.len(), b.busy, b.inFlight, b.concurrency.now}
}

// IsRefused reports whether err refuses a call because of overload, and when a retry may
// succeed.
func IsRefused(err error) (after time.Duration, ok bool) {
	var refused *RefusedError
	if errors.As(err, &refused) {
		return refused.After, true
	}
	return 0, false
}
