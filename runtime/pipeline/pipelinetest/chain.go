package pipelinetest

import (
	"context"
	"fmt"

	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/runtime/pipeline"
	"github.com/distinfer/distinfer/runtime/tensor"
)

// link is a stage of Chain.
type link struct {
	in, out string
	last    bool
	began   chan<- struct{}
}

// endless is the k of a run that ends with its context.
const endless = -1

func (l link) inputs() []tensor.Spec {
	specs := []tensor.Spec{{Name: l.in, DType: tensor.Float32, Dims: []tensor.Dim{tensor.Named("n")}}}
	if l.last {
		specs = append(specs, tensor.Spec{Name: "k", DType: tensor.Int64})
	}
	return specs
}

// Run implements pipeline.Runner.
func (l link) Run(ctx context.Context, in tensor.Bag) (tensor.Bag, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if _, err := tensor.MatchAll(l.inputs(), in); err != nil {
		return nil, errcode.Wrap(errcode.Invalid, err)
	}
	x, err := tensor.As[float32](in[l.in])
	if err != nil {
		return nil, err
	}
	add := int64(1)
	if l.last {
		k, err := tensor.As[int64](in["k"])
		if err != nil {
			return nil, err
		}
		if add = k[0]; add == endless {
			l.began <- struct{}{}
			<-ctx.Done()
			return nil, ctx.Err()
		}
	}
	y := make([]float32, len(x))
	for i := range x {
		y[i] = 2*x[i] + float32(add)
	}
	return tensor.Bag{l.out: tensor.Of(in[l.in].Shape, y)}, nil
}

// Chain is a chain of as many stages, and the Suite for whatever computes them. Each makes 2·x + 1
// of x, and the last y, which is 2·x + k.
func Chain(stages int) (pipeline.Chain, Suite) {
	began := make(chan struct{}, 1)
	var chain pipeline.Chain
	for rank := range stages {
		l := link{in: fmt.Sprint("x", rank), out: fmt.Sprint("x", rank+1), began: began}
		if rank == 0 {
			l.in = "x"
		}
		s := pipeline.Stage{Forward: []string{"k"}}
		if rank == stages-1 {
			l.out, l.last, s.Forward = "y", true, nil
		}
		s.Runner, s.Inputs = l, tensor.Names(l.inputs())
		chain = append(chain, s)
	}
	n := tensor.Named("n")
	bag := func(run, k int) tensor.Bag {
		x := make([]float32, 1+run%3)
		for i := range x {
			x[i] = float32(run + i)
		}
		return tensor.Bag{"x": tensor.Of([]int64{int64(len(x))}, x), "k": tensor.Of(nil, []int64{int64(k)})}
	}
	return chain, Suite{
		Runner:  chain,
		Inputs:  []tensor.Spec{{Name: "x", DType: tensor.Float32, Dims: []tensor.Dim{n}}, {Name: "k", DType: tensor.Int64}},
		Outputs: []tensor.Spec{{Name: "y", DType: tensor.Float32, Dims: []tensor.Dim{n}}},
		In:      func(run int) tensor.Bag { return bag(run, run) },
		Typed:   true,
		Endless: func() (tensor.Bag, <-chan struct{}) { return bag(0, endless), began },
	}
}
