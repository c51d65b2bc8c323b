package budget

import (
	"context"
	"testing"

	"github.com/distinfer/distinfer/runtime/pipeline"
	"github.com/distinfer/distinfer/runtime/pipeline/pipelinetest"
	"github.com/distinfer/distinfer/runtime/tensor"
)

// traced is a Tracer without timings.
type traced struct{ pipeline.Runner }

func (r traced) Trace(ctx context.Context, in tensor.Bag) (tensor.Bag, []pipeline.Timing, error) {
	out, err := r.Run(ctx, in)
	return out, nil, err
}

func TestAGuardIsARunner(t *testing.T) {
	t.Parallel()
	_, suite := pipelinetest.Chain(2)
	suite.Runner = &Guard{Tracer: traced{suite.Runner}, Inputs: suite.Inputs, Budgets: func() []int64 { return []int64{1, 1} }}
	pipelinetest.Run(t, suite)
}
