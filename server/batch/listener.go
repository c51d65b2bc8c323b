package batch

import (
	"context"
	"iter"
	"slices"
	"time"

	"github.com/distinfer/distinfer/runtime/pipeline"
)

// A Listener is called when something happens in a Batcher. Each function may be nil, must
// return at once and must not call the Batcher: some are called while all callers wait.
type Listener struct {
	// Rejected is called for a call that was not admitted.
	Rejected func(Reason)

	// Dropped is called for admitted texts whose deadline came too close while they waited.
	Dropped func(texts int)

	// BatchBegun is called when a batch begins, with the contexts of the callers that wait for
	// it, in the order of their turns. The batch runs with the context that it returns;
	// ended is called when the batch has run.
	BatchBegun func(ctx context.Context, callers iter.Seq[context.Context], texts int) (_ context.Context, ended func(error))

	// BatchEnded is called after the callers of a batch have their answers.
	BatchEnded func(Batch)

	// Answered is called for a call that was answered: how many texts it had, and where its
	// time went.
	Answered func(texts int, t Timing)
}

// Tee returns a Listener without nil functions that calls each of the listeners in turn.
func Tee(listeners ...Listener) Listener {
	return Listener{
		Rejected: func(why Reason) {
			for _, l := range listeners {
				if l.Rejected != nil {
					l.Rejected(why)
				}
			}
		},
		Dropped: func(texts int) {
			for _, l := range listeners {
				if l.Dropped != nil {
					l.Dropped(texts)
				}
			}
		},
		BatchBegun: func(ctx context.Context, callers iter.Seq[context.Context], texts int) (context.Context, func(error)) {
			var all []func(error)
			for _, l := range listeners {
				if l.BatchBegun == nil {
					continue
				}
				var ended func(error)
				ctx, ended = l.BatchBegun(ctx, callers, texts) //nolint:fatcontext // each listener adds to it
				all = append(all, ended)
			}
			return ctx, func(err error) {
				for _, ended := range all {
					ended(err)
				}
			}
		},
		BatchEnded: func(b Batch) {
			for _, l := range listeners {
				if l.BatchEnded != nil {
					l.BatchEnded(b)
				}
			}
		},
		Answered: func(texts int, t Timing) {
			for _, l := range listeners {
				if l.Answered != nil {
					l.Answered(texts, t)
				}
			}
		},
	}
}

// A Reason is why a call is not admitted.
type Reason string

// The reasons.
const (
	QueueFull   Reason = "queue_full" // MaxTexts wait or are computed
	WaitTooLong Reason = "wait"       // the wait would be longer than MaxWait
	TooLate     Reason = "deadline"   // the answer would come after the caller's deadline
)

// Reasons lists all reasons.
func Reasons() []Reason { return []Reason{QueueFull, WaitTooLong, TooLate} }

// A Batch is a batch that was computed, or could not be.
type Batch struct {
	Texts   int
	Tokens  int // padding included
	Padding int // of the tokens
	Took    time.Duration
	Stages  []pipeline.Timing
	Failed  int   // texts that could not be computed, while others could
	Err     error // why it was not computed, unless its texts explain it
}

func (b *Batcher) describe(r *run, took time.Duration, o *outcome) Batch {
	d := Batch{Texts: len(r.items), Tokens: b.tokens(r), Took: took, Stages: o.timings, Failed: o.failed(), Err: o.internal()}
	d.Padding = d.Tokens
	for _, t := range r.texts {
		d.Padding -= t.Length
	}
	return d
}

// tokens is the size of a batch in tokens, padding included.
func (b *Batcher) tokens(r *run) int {
	return b.queue.area(len(r.items), r.items[len(r.items)-1].text.Length)
}

// callers yields the contexts of the callers that wait for a batch, in the order of their turns.
func (r *run) callers() iter.Seq[context.Context] {
	return func(yield func(context.Context) bool) {
		items := slices.SortedFunc(slices.Values(r.items), func(a, b *item) int {
			if earlier(a, b) {
				return -1
			}
			return 1
		})
		seen := map[context.Context]bool{}
		for _, it := range items {
			if ctx := it.call.ctx; !seen[ctx] {
				seen[ctx] = true
				if !yield(ctx) {
					return
				}
			}
		}
	}
}
