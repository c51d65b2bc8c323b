package encoding

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/distinfer/distinfer/runtime/pipeline"
	"github.com/distinfer/distinfer/runtime/tensor"
)

// A Chain is a pipeline.Chain that narrows the tensors between stages and widens them again, as
// stages with a link between them do.
type Chain struct {
	encoding Encoding
	stages   pipeline.Chain
	crossed  []atomic.Int64 // bytes, by cut
}

// NewChain makes a chain of stages.
func NewChain(stages pipeline.Chain, e Encoding) *Chain {
	return &Chain{encoding: e, stages: stages, crossed: make([]atomic.Int64, max(0, len(stages)-1))}
}

// Run implements pipeline.Runner.
func (c *Chain) Run(ctx context.Context, in tensor.Bag) (tensor.Bag, error) {
	for i, s := range c.stages {
		out, err := s.Run(ctx, in)
		if err != nil {
			return nil, fmt.Errorf("stage %d: %w", i, err)
		}
		if in = out; i == len(c.crossed) {
			break
		}
		if in, err = c.cross(i, out); err != nil {
			return nil, fmt.Errorf("behind stage %d: %w", i, err)
		}
	}
	return in, nil
}

// cross returns tensors as they arrive at the other side of a cut.
func (c *Chain) cross(cut int, sent tensor.Bag) (tensor.Bag, error) {
	arrived := make(tensor.Bag, len(sent))
	for name, t := range sent {
		numbers, narrow := c.encoding.Narrow(t, func(n int) []byte { return tensor.AlignedBytes(int64(n)) })
		if !narrow {
			arrived[name] = t
			c.crossed[cut].Add(t.Bytes())
			continue
		}
		var err error
		if arrived[name], err = numbers.Tensor(t.Shape); err != nil {
			return nil, fmt.Errorf("tensor %q: %w", name, err)
		}
		c.crossed[cut].Add(numbers.Bytes())
	}
	return arrived, nil
}

// Crossed is the number of bytes of tensors that went over each cut.
func (c *Chain) Crossed() []int64 {
	list := make([]int64, len(c.crossed))
	for i := range c.crossed {
		list[i] = c.crossed[i].Load()
	}
	return list
}
