package oip

import (
	"context"

	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/runtime/pipeline"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/server/limiter"
)

// Limits of runs of tensors: in flight, and waiting for that. Nothing batches them; stages queue what
// they cannot compute at once.
const (
	runsAtOnce = 16
	runsQueued = 64
)

// A limited Runner runs once the limiter admits it.
type limited struct {
	limiter *limiter.Limiter
	pipeline.Runner
}

// Run implements Runner.
func (l limited) Run(ctx context.Context, in tensor.Bag) (tensor.Bag, error) {
	if err := l.limiter.Acquire(ctx, 1); err != nil {
		if errcode.Of(err) == errcode.Overloaded {
			return nil, errcode.Errorf(errcode.Overloaded, "%d requests are computed or wait already; try again in a moment", runsAtOnce+runsQueued)
		}
		return nil, err
	}
	defer l.limiter.Release(1)
	return l.Runner.Run(ctx, in)
}
