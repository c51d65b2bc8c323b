package oip

import (
	"context"
	"sync/atomic"

	"github.com/distinfer/distinfer/runtime/fault"
	"github.com/distinfer/distinfer/runtime/pipeline"
	"github.com/distinfer/distinfer/runtime/tensor"
)

// How many runs of tensors are under way at a time, and how many may wait for that.
// Nothing batches them; what the stages cannot compute at once waits there.
const (
	runsAtOnce = 16
	runsQueued = 64
)

// A gate bounds runs in number.
type gate struct {
	slots chan struct{}
	here  atomic.Int64
}

func newGate() *gate { return &gate{slots: make(chan struct{}, runsAtOnce)} }

// A gated Runner runs once the gate lets it.
type gated struct {
	gate *gate
	pipeline.Runner
}

// Run implements Runner.
func (g gated) Run(ctx context.Context, in tensor.Bag) (tensor.Bag, error) {
	defer g.gate.here.Add(-1)
	if g.gate.here.Add(1) > runsAtOnce+runsQueued {
		return nil, fault.Errorf(fault.Overloaded, "%d requests are computed or wait already; try again in a moment", runsAtOnce+runsQueued)
	}
	select {
	case g.gate.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-g.gate.slots }()
	return g.Runner.Run(ctx, in)
}
