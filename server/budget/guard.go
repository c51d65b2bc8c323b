package budget

import (
	"context"
	"fmt"

	"github.com/distinfer/distinfer/runtime/memory"
	"github.com/distinfer/distinfer/runtime/pipeline"
	"github.com/distinfer/distinfer/runtime/tensor"
)

// A Guard is a pipeline before which runs are refused that a stage would refuse: before
// anything is sent, and before the stages in front of that one have computed their part.
type Guard struct {
	pipeline.Tracer

	Inputs    []tensor.Spec     // of the pipeline
	Estimates []memory.Estimate // of each stage
	Budgets   func() []int64    // of each stage, in bytes; 0 is without a bound
}

// Run implements pipeline.Runner.
func (g *Guard) Run(ctx context.Context, in tensor.Bag) (tensor.Bag, error) {
	if err := g.check(in); err != nil {
		return nil, err
	}
	return g.Tracer.Run(ctx, in)
}

// Trace implements pipeline.Tracer.
func (g *Guard) Trace(ctx context.Context, in tensor.Bag) (tensor.Bag, []pipeline.Timing, error) {
	if err := g.check(in); err != nil {
		return nil, nil, err
	}
	return g.Tracer.Trace(ctx, in)
}

func (g *Guard) check(in tensor.Bag) error {
	sizes, err := tensor.MatchAll(g.Inputs, in)
	if err != nil {
		return nil //nolint:nilerr // what computes refuses it, with the reason
	}
	return g.Check(sizes)
}

// Fits reports whether each stage has the memory for some runs of these sizes at once.
func (g *Guard) Fits(sizes tensor.Sizes, runs int) bool {
	budgets := g.Budgets()
	for rank, e := range g.Estimates {
		if rank >= len(budgets) || budgets[rank] == 0 {
			continue
		}
		if need, known := Estimated(e, sizes); known && need > budgets[rank]/int64(max(runs, 1)) {
			return false
		}
	}
	return true
}

// Check fails when a stage would never compute a run of these sizes: an errcode.TooLarge that
// names the stage, and the size that would fit.
func (g *Guard) Check(sizes tensor.Sizes) error {
	budgets := g.Budgets()
	for rank, e := range g.Estimates {
		if rank >= len(budgets) || budgets[rank] == 0 {
			continue
		}
		if need, known := Estimated(e, sizes); known && need > budgets[rank] {
			return fmt.Errorf("stage %d: %w", rank, Refuse(need, budgets[rank], sizes, e))
		}
	}
	return nil
}
