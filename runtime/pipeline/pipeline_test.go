package pipeline_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/runtime/pipeline"
	"github.com/distinfer/distinfer/runtime/tensor"
)

type runnerFunc func(context.Context, tensor.Bag) (tensor.Bag, error)

func (f runnerFunc) Run(ctx context.Context, in tensor.Bag) (tensor.Bag, error) { return f(ctx, in) }

func scalar(v int64) tensor.Tensor { return tensor.Of(nil, []int64{v}) }

func value(t testing.TB, bag tensor.Bag, name string) int64 {
	t.Helper()
	v, err := tensor.As[int64](bag[name])
	if err != nil || len(v) != 1 {
		t.Fatalf("%q is %v (%v)", name, v, err)
	}
	return v[0]
}

// polynomial computes out = 10·(the first input) + the sum of the others, and
// refuses to be given anything but its inputs.
func polynomial(t testing.TB, out string, inputs ...string) runnerFunc {
	return func(_ context.Context, in tensor.Bag) (tensor.Bag, error) {
		want := slices.Sorted(slices.Values(inputs))
		if got := in.Names(); !slices.Equal(got, want) {
			t.Errorf("the runner of %q is given %q, want %q", out, got, want)
		}
		sum := 10 * value(t, in, inputs[0])
		for _, name := range inputs[1:] {
			sum += value(t, in, name)
		}
		return tensor.Bag{out: scalar(sum)}, nil
	}
}

func stage(t testing.TB, out string, inputs []string, forward ...string) pipeline.Stage {
	return pipeline.Stage{Runner: polynomial(t, out, inputs...), Inputs: inputs, Forward: forward}
}

func TestChainForwardsWhatLaterStagesNeed(t *testing.T) {
	t.Parallel()
	chain := pipeline.Chain{
		stage(t, "a", []string{"x"}, "mask", "x"),    // 10x
		stage(t, "b", []string{"a", "x"}, "mask"),    // 100x + x
		stage(t, "c", []string{"b", "mask"}, "mask"), // 1010x + mask
		stage(t, "y", []string{"c", "mask"}),         // 10100x + 11·mask
	}
	in := tensor.Bag{"x": scalar(1), "mask": scalar(2), "unused": scalar(3)}
	before := maps.Clone(in)
	out, err := chain.Run(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	if got := value(t, out, "y"); got != 10122 || len(out) != 1 {
		t.Errorf("got %v with y = %d, want y = 10122", out.Names(), got)
	}
	if !maps.EqualFunc(in, before, func(a, b tensor.Tensor) bool { return &a.Data[0] == &b.Data[0] }) {
		t.Errorf("the input became %v", in.Names())
	}
}

func TestLastStageCanForwardToTheCaller(t *testing.T) {
	t.Parallel()
	chain := pipeline.Chain{stage(t, "a", []string{"x"}, "x"), stage(t, "y", []string{"a"}, "a", "x")}
	out, err := chain.Run(t.Context(), tensor.Bag{"x": scalar(3)})
	if err != nil {
		t.Fatal(err)
	}
	if names := out.Names(); !slices.Equal(names, []string{"a", "x", "y"}) || value(t, out, "y") != 300 || value(t, out, "a") != 30 || value(t, out, "x") != 3 {
		t.Errorf("got %v", out)
	}
}

// A Runner may return the same bag to several callers.
func TestForwardingLeavesTheRunnersOutputAlone(t *testing.T) {
	t.Parallel()
	shared := tensor.Bag{"y": scalar(1)}
	s := pipeline.Stage{
		Runner:  runnerFunc(func(context.Context, tensor.Bag) (tensor.Bag, error) { return shared, nil }),
		Forward: []string{"x"},
	}
	out, err := s.Run(t.Context(), tensor.Bag{"x": scalar(2)})
	if err != nil || len(out) != 2 {
		t.Fatalf("got %v, %v", out.Names(), err)
	}
	if len(shared) != 1 {
		t.Errorf("the runner's own bag now holds %v", shared.Names())
	}
}

func TestChainOfNothingAnswersItsInput(t *testing.T) {
	t.Parallel()
	out, err := pipeline.Chain{}.Run(t.Context(), tensor.Bag{"x": scalar(1)})
	if err != nil || value(t, out, "x") != 1 {
		t.Errorf("got %v, %v", out, err)
	}
}

func TestMissingTensorIsInvalidAndNamed(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		chain pipeline.Chain
		want  string
	}{
		"input":           {pipeline.Chain{stage(t, "a", []string{"z"})}, `stage 0: tensor "z" is missing`},
		"forward":         {pipeline.Chain{stage(t, "a", []string{"x"}, "z")}, `stage 0: tensor "z" is missing`},
		"not forwarded":   {pipeline.Chain{stage(t, "a", []string{"x"}), stage(t, "b", []string{"a", "x"})}, `stage 1: tensor "x" is missing`},
		"never an output": {pipeline.Chain{stage(t, "a", []string{"x"}), stage(t, "b", []string{"a"}), stage(t, "c", []string{"a"})}, `stage 2: tensor "a" is missing`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := c.chain.Run(t.Context(), tensor.Bag{"x": scalar(1)})
			if err == nil || err.Error() != c.want || errcode.Of(err) != errcode.Invalid {
				t.Errorf("got %v (%s), want %s", err, errcode.Of(err), c.want)
			}
		})
	}
}

func TestErrorNamesTheStageAndEndsTheRun(t *testing.T) {
	t.Parallel()
	boom := errcode.Wrap(errcode.TooLarge, errors.New("boom"))
	chain := pipeline.Chain{
		stage(t, "a", []string{"x"}),
		{Inputs: []string{"a"}, Runner: runnerFunc(func(context.Context, tensor.Bag) (tensor.Bag, error) { return nil, boom })},
		{Runner: runnerFunc(func(context.Context, tensor.Bag) (tensor.Bag, error) {
			t.Error("a stage behind the one that failed ran")
			return nil, nil
		})},
	}
	_, err := chain.Run(t.Context(), tensor.Bag{"x": scalar(1)})
	if !errors.Is(err, boom) || err.Error() != "stage 1: boom" || errcode.Of(err) != errcode.TooLarge {
		t.Errorf("got %v (%s)", err, errcode.Of(err))
	}
}

func TestEveryStageGetsTheCallersContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	var ran []string
	note := func(name string) runnerFunc {
		return func(ctx context.Context, _ tensor.Bag) (tensor.Bag, error) {
			ran = append(ran, name)
			if name == "second" {
				cancel()
			}
			return nil, ctx.Err()
		}
	}
	chain := pipeline.Chain{{Runner: note("first")}, {Runner: note("second")}, {Runner: note("third")}}
	_, err := chain.Run(ctx, nil)
	if got := strings.Join(ran, " "); got != "first second" || !errors.Is(err, context.Canceled) || errcode.Of(err) != errcode.Canceled {
		t.Errorf("%q ran, and the error is %v", got, err)
	}
}

// A chain is a Runner, and so can be a stage of another.
func TestChainsCanBeNested(t *testing.T) {
	t.Parallel()
	inner := pipeline.Chain{stage(t, "a", []string{"x"}), stage(t, "b", []string{"a"})}
	outer := pipeline.Chain{{Runner: inner, Inputs: []string{"x"}, Forward: []string{"x"}}, stage(t, "y", []string{"b", "x"})}
	out, err := outer.Run(t.Context(), tensor.Bag{"x": scalar(2)})
	if err != nil || value(t, out, "y") != 2002 {
		t.Errorf("got %v, %v", out, err)
	}
}

// What only the caller could need goes no further when the caller does not want it: neither from
// the stage that makes it, nor from later ones, which are to pass it on.
func TestOutputsThatAreNotWantedAreLeftOut(t *testing.T) {
	t.Parallel()
	two := func(_ context.Context, in tensor.Bag) (tensor.Bag, error) {
		return tensor.Bag{"a": scalar(value(t, in, "x")), "present": scalar(7)}, nil
	}
	chain := pipeline.Chain{
		{Runner: runnerFunc(two), Inputs: []string{"x"}, Spare: []string{"present"}},
		{Runner: polynomial(t, "y", "a"), Inputs: []string{"a"}, Forward: []string{"present", "a"}, Spare: []string{"y", "present"}},
	}
	for want, names := range map[string][]string{
		"a y": {"y"}, "a present": {"present"}, "a present y": nil, "a": {"none"},
	} {
		out, err := chain.Run(pipeline.WithOutputs(t.Context(), names...), tensor.Bag{"x": scalar(1)})
		if err != nil || strings.Join(out.Names(), " ") != want {
			t.Errorf("of those who want %q: %q, %v; want %s", names, out.Names(), err, want)
		}
	}
}
