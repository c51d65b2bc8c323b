// Package pipeline is what everything that computes has in common: the Runner, the Chain that makes
// several Runners one, and the Timing that says where the time of a run went.
//
// A session of ONNX Runtime is a Runner, the client of a remote stage is a Runner, a chain of
// Runners is a Runner. The package knows only tensors: not what computes, nor where.
package pipeline

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/runtime/tensor"
)

// A Runner turns named input tensors into named output tensors. It is safe for concurrent use.
// It must not change its input, and what it returns may share memory with that, but not with
// what other runs return.
//
// An input that is missing or does not fit is an errcode.Invalid that names it; tensors that are
// not its inputs are ignored. A run whose ctx ends fails, with the code Canceled or Deadline.
// Package pipelinetest has the tests of all this.
type Runner interface {
	Run(ctx context.Context, in tensor.Bag) (tensor.Bag, error)
}

// A Tracer is a Runner that also says where the time of a run went: the Timing of every stage, in
// rank order.
type Tracer interface {
	Runner
	Trace(ctx context.Context, in tensor.Bag) (tensor.Bag, []Timing, error)
}

// A Timing is where the time of a run went on one stage.
type Timing struct {
	Rank     int
	Waited   time.Duration // for its turn
	Computed time.Duration
	Next     time.Duration // from sending to the next stage until its answer was there
	Total    time.Duration // from the request having arrived until the answer was ready
	Retries  int           // calls of the next stage that failed and were retried

	// Machine is the same for stages that share processors; Processors is their number. AtOnce
	// is how many runs the stage computes at a time.
	Machine            uint64
	Processors, AtOnce int
}

type suspectKey struct{}

// WithSuspect marks runs of an input that was in a run which ended a process. A Runner computes
// each such run by itself, and does not retry it when a process ends with it: it fails with an
// errcode.Fatal.
func WithSuspect(ctx context.Context) context.Context {
	return context.WithValue(ctx, suspectKey{}, true)
}

// Suspect reports whether the context comes from WithSuspect.
func Suspect(ctx context.Context) bool {
	is, _ := ctx.Value(suspectKey{}).(bool)
	return is
}

type outputsKey struct{}

// WithOutputs says which outputs the caller of a run wants. A Runner may leave out others.
func WithOutputs(ctx context.Context, names ...string) context.Context {
	return context.WithValue(ctx, outputsKey{}, names)
}

// Outputs are the names given to WithOutputs; none is all outputs.
func Outputs(ctx context.Context) []string {
	names, _ := ctx.Value(outputsKey{}).([]string)
	return names
}

// A Stage is one link of a chain.
type Stage struct {
	Runner Runner
	// Inputs are the names the Runner needs, Forward the names that only a later stage needs.
	Inputs, Forward []string
	// Spare are those of its outputs and of Forward that no later stage needs, so that they can
	// be left out when the caller does not want them.
	Spare []string
}

// Run runs the stage's Runner on the inputs it needs, and returns its outputs
// together with the forwarded values. What only the caller could need, and does not want by
// WithOutputs, is left out.
func (s Stage) Run(ctx context.Context, in tensor.Bag) (tensor.Bag, error) {
	own := make(tensor.Bag, len(s.Inputs))
	if err := pick(own, in, s.Inputs); err != nil {
		return nil, err
	}
	out, err := s.Runner.Run(ctx, own)
	if err != nil {
		return nil, err
	}
	forward := s.Forward
	wanted := Outputs(ctx)
	unwanted := func(name string) bool { return slices.Contains(s.Spare, name) && !slices.Contains(wanted, name) }
	if len(wanted) == 0 || len(s.Spare) == 0 {
		if len(forward) == 0 {
			return out, nil
		}
		unwanted = func(string) bool { return false }
	}
	next := make(tensor.Bag, len(out)+len(forward))
	for n, t := range out {
		if !unwanted(n) {
			next[n] = t
		}
	}
	if err := pick(next, in, slices.DeleteFunc(slices.Clone(forward), unwanted)); err != nil {
		return nil, err
	}
	return next, nil
}

func pick(to, from tensor.Bag, names []string) error {
	for _, n := range names {
		t, ok := from[n]
		if !ok {
			return errcode.Errorf(errcode.Invalid, "tensor %q is missing", n)
		}
		to[n] = t
	}
	return nil
}

// A Chain runs its stages one after the other, each on the output of the one before it.
type Chain []Stage

// Run implements Runner.
func (c Chain) Run(ctx context.Context, in tensor.Bag) (tensor.Bag, error) {
	for i, s := range c {
		out, err := s.Run(ctx, in)
		if err != nil {
			return nil, fmt.Errorf("stage %d: %w", i, err)
		}
		in = out
	}
	return in, nil
}
