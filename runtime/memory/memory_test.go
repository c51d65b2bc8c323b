package memory

import (
	"math"
	"testing"

	"github.com/distinfer/distinfer/runtime/tensor"
)

func TestAnEstimateIsTheLargestSum(t *testing.T) {
	t.Parallel()
	e := Estimate{
		{{10, []string{"b", "s"}}, {1, []string{"b", "s", "s"}}},
		{{100, []string{"b", "s"}}, {7, nil}},
	}
	for _, c := range []struct {
		b, s, want int64
	}{{1, 1, 107}, {2, 10, 2007}, {1, 1000, 10_000 + 1_000_000}, {0, 5, 7}, {1 << 40, 1 << 40, math.MaxInt64}, {1, 1 << 62, math.MaxInt64}} {
		if got, ok := e.At(tensor.Sizes{"b": c.b, "s": c.s}); got != c.want || !ok {
			t.Errorf("%d × %d: %d, %v; it should be %d", c.b, c.s, got, ok, c.want)
		}
	}
	if _, ok := e.At(tensor.Sizes{"b": 1}); ok {
		t.Error("a dimension is not known")
	}
	if _, ok := Estimate(nil).At(tensor.Sizes{}); ok {
		t.Error("there is no estimate")
	}
}

func TestEstimatesOfAnybodyAreChecked(t *testing.T) {
	t.Parallel()
	for what, e := range map[string]Estimate{
		"negative":    {{{-1, nil}}},
		"sums":        make(Estimate, 65),
		"terms":       {make(Sum, 65)},
		"dimensions":  {{{1, make([]string, 9)}}},
		"no name":     {{{1, []string{""}}}},
		"a long name": {{{1, []string{string(make([]byte, 5000))}}}},
	} {
		if e.Check() == nil {
			t.Errorf("%s: it is taken", what)
		}
	}
	if err := (Estimate{{{math.MaxInt64, []string{"a", "a"}}}}).Check(); err != nil {
		t.Error(err)
	}
}

func TestBytesOfTensors(t *testing.T) {
	t.Parallel()
	specs := []tensor.Spec{
		{Name: "x", DType: tensor.Float32, Dims: []tensor.Dim{tensor.Named("b"), tensor.Fixed(3)}},
		{Name: "y", DType: tensor.Int64, Dims: []tensor.Dim{tensor.Named("b")}},
	}
	if n, rest := Bytes(specs, tensor.Sizes{"b": 5}); n != 5*3*4+5*8 || rest {
		t.Error(n, rest)
	}
	if n, rest := Bytes(specs[1:], tensor.Sizes{}); n != 0 || !rest {
		t.Error(n, rest)
	}
	if n, _ := Bytes(specs, tensor.Sizes{"b": math.MaxInt64 / 4}); n != math.MaxInt64 {
		t.Error(n)
	}
}
