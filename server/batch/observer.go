package batch

import (
	"context"
	"slices"
	"time"

	"github.com/distinfer/distinfer/runtime/pipeline"
)

// An Observer is told what a Batcher does. It must return at once, and not call the
// Batcher: for some of what it is told, all callers wait.
type Observer interface {
	// Refused is told of a call that was not taken in.
	Refused(Reason)

	// Dropped is told of texts that were taken in, and whose time was too short once
	// it was their turn.
	Dropped(texts int)

	// Computed is told of a batch, when those who wait for it have their answers.
	Computed(Batch)

	// Answered is told of a call that was answered, by its texts and where its time went.
	Answered(texts int, t Timing)
}

// A Reason is why a call is not taken in.
type Reason string

// The reasons.
const (
	Full Reason = "full" // MaxTexts are here
	Slow Reason = "slow" // the wait would be longer than MaxWait
	Late Reason = "late" // an answer would come after the caller's time
)

// Reasons are all reasons.
func Reasons() []Reason { return []Reason{Full, Slow, Late} }

// A Batch is a batch that was computed, or could not be.
type Batch struct {
	Texts     int
	Positions int // tokens it has, padding included
	Padding   int // of these
	Took      time.Duration
	Stages    []pipeline.Timing
	Failed    int   // texts that could not be computed, while others could
	Err       error // why it was not computed, where that is no fault of its texts
}

func (b *Batcher) describe(r *run, took time.Duration, o *outcome) Batch {
	d := Batch{Texts: len(r.items), Positions: b.positions(r), Took: took, Stages: o.timings, Failed: o.failed(), Err: o.internal()}
	d.Padding = d.Positions
	for _, t := range r.texts {
		d.Padding -= t.Length
	}
	return d
}

// positions are those of a batch.
func (b *Batcher) positions(r *run) int {
	return b.queue.area(len(r.items), r.items[len(r.items)-1].text.Length)
}

// callers are the contexts of those who wait for a batch, in the order of their turns.
func (r *run) callers() []context.Context {
	items := slices.SortedFunc(slices.Values(r.items), func(a, b *item) int {
		if earlier(a, b) {
			return -1
		}
		return 1
	})
	var list []context.Context
	for _, it := range items {
		if !slices.Contains(list, it.call.ctx) {
			list = append(list, it.call.ctx)
		}
	}
	return list
}
