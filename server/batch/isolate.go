package batch

import (
	"context"
	"math"
	"math/bits"

	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/runtime/pipeline"
	"github.com/distinfer/distinfer/runtime/textmodel"
)

// An outcome is what became of the texts of a batch. A text that is done has an answer, or an
// error of its own in it; the others have err.
type outcome struct {
	answers []textmodel.Answer
	done    []bool
	timings []pipeline.Timing
	whole   bool // computed at the first go, all together
	err     error
}

// failed counts the texts that are done and have no answer.
func (o *outcome) failed() (n int) {
	for i, a := range o.answers {
		if o.done[i] && a.Err != nil {
			n++
		}
	}
	return n
}

// internal is why the batch or one of its texts was not computed, unless its inputs explain it.
func (o *outcome) internal() error {
	if o.err != nil {
		return o.err
	}
	for _, a := range o.answers {
		if a.Err != nil && errcode.Of(a.Err) == errcode.Internal {
			return a.Err
		}
	}
	return nil
}

// ofTexts reports whether the inputs of a run may explain its failure. If the system explains
// it, other texts would fail as well.
func ofTexts(err error) bool {
	switch errcode.Of(err) {
	case errcode.Unavailable, errcode.Overloaded, errcode.Deadline, errcode.Canceled, errcode.Mismatch:
		return false
	}
	return true
}

// A run that computes texts together.
type compute func(ctx context.Context, texts []textmodel.Text) ([]textmodel.Answer, []pipeline.Timing, error)

// computeEach computes texts together. If that fails, it halves them until the bad ones are
// alone, so that no caller fails because of the texts of others.
//
// k bad texts among n make k·log₂ n runs fail. After 2·log₂ n failures the rest is computed one
// by one: never more than n + 4·log₂ n + 1 runs in all. If the first failure ended a stage, it
// goes on one by one at once, so that a bad text ends only one more stage.
func computeEach(ctx context.Context, texts []textmodel.Text, run compute) outcome {
	o := outcome{answers: make([]textmodel.Answer, len(texts)), done: make([]bool, len(texts))}
	i := isolation{outcome: &o, ctx: ctx, texts: texts, run: run, halvings: 2 * bits.Len(uint(len(texts)-1))}
	o.timings, o.whole = i.compute(0, len(texts))
	if !o.whole {
		o.timings = nil
	}
	return o
}

// An isolation looks for the bad texts.
type isolation struct {
	*outcome
	ctx      context.Context //nolint:containedctx // its lifetime is the isolation's
	texts    []textmodel.Text
	run      compute
	halvings int // that may yet be made
}

// compute computes texts[from:to], and reports whether it did so in one run.
func (i *isolation) compute(from, to int) ([]pipeline.Timing, bool) {
	answers, timings, err := i.run(i.ctx, i.texts[from:to])
	switch {
	case err == nil:
		copy(i.answers[from:to], answers)
	case !ofTexts(err):
		i.err = err
		return nil, false
	case to-from > 1:
		if errcode.Deadly(err) {
			i.ctx, i.halvings = pipeline.WithSuspect(i.ctx), 0
		}
		i.part(from, to)
		return nil, false
	default:
		i.answers[from].Err = err
	}
	for k := from; k < to; k++ {
		i.done[k] = true
	}
	return timings, true
}

// part computes texts[from:to] in parts, after they failed together.
func (i *isolation) part(from, to int) {
	size := 1
	if i.halvings > 0 {
		i.halvings--
		size = (to - from + 1) / 2
	}
	for ; from < to && i.err == nil; from += size {
		i.compute(from, min(from+size, to))
	}
}

// suspicion is the share of bad texts among the latest. The higher it is, the smaller batches
// are: finding many bad texts would take more runs than batches save.
type suspicion float64

// remembered is how many texts count as the latest.
const remembered = 256

// learn records texts, and how many of them failed.
func (s *suspicion) learn(texts, failed int) {
	old := suspicion(math.Pow(1-1./remembered, float64(texts)))
	*s = *s*old + (1-old)*suspicion(failed)/suspicion(texts)
}

// most is the largest batch of which every second one has no bad text.
func (s suspicion) most(rows int) int {
	if float64(rows)*2*float64(s) <= 1 {
		return rows
	}
	return max(1, int(1/(2*s)))
}
