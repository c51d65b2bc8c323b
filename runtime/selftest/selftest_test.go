package selftest

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"testing"

	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/runtime/ort"
	"github.com/distinfer/distinfer/runtime/ort/orttest"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/split/onnxfile/onnxtest"
)

var update = flag.Bool("update", false, "write selftest.onnx again")

// build is the model.
func build() []byte {
	var g onnxtest.Graph
	g.Input(numbers, 1, "n")
	g.Input(sum, 1)
	g.Input(count, 7, 1)
	g.Ints("start", []int64{1}, 0)
	g.Ints("end", []int64{1}, math.MaxInt64)
	g.Node("Slice", []string{numbers, "start", count}, []string{"share"})
	g.Node("Slice", []string{numbers, count, "end"}, []string{rest})
	g.Node("ReduceSum", []string{"share"}, []string{"part"}, onnxtest.IntAttr("keepdims", 0))
	g.Node("Add", []string{sum, "part"}, []string{total})
	g.Output(total, 1)
	g.Output(rest, 1, nil)
	return g.Model()
}

func TestTheModelIsTheOneBuiltHere(t *testing.T) {
	t.Parallel()
	if *update {
		if err := os.WriteFile("selftest.onnx", build(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if !bytes.Equal(Model, build()) {
		t.Error("selftest.onnx is another; write it with `go test ./runtime/selftest -update`")
	}
}

func share(t *testing.T) func(context.Context, int, tensor.Bag) (tensor.Bag, error) {
	t.Helper()
	s, err := orttest.Library(t).OpenBytes("the self-test", Model, Inputs(), Outputs(), ort.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return Share(s)
}

func TestStagesAddUpTheNumbersTogether(t *testing.T) {
	t.Parallel()
	compute := share(t)
	for _, n := range []int{0, 1, 2, 3, 7, 100} {
		for _, stages := range []int{1, 2, 3, 5} {
			values := make([]float32, n)
			for i := range values {
				values[i] = float32(i + 1)
			}
			bag := Request(values, 16)
			held := n
			for left := stages; left > 0; left-- {
				var err error
				if bag, err = compute(t.Context(), left, bag); err != nil {
					t.Fatalf("%d numbers, %d stages left: %v", n, left, err)
				}
				if left == 1 {
					break
				}
				held -= (held + left - 1) / left
				if got := bag[numbers].Shape[0]; got != int64(held) || bag[ballast].Bytes() != 16 || len(bag) != 3 {
					t.Errorf("%d numbers, %d stages left: %d numbers go on, want %d; of %v", n, left, got, held, bag.Names())
				}
			}
			got, err := Sum(bag)
			if want := float64(n * (n + 1) / 2); err != nil || got != want || len(bag) != 1 {
				t.Errorf("%d numbers over %d stages: %v of %v (%v), want %v", n, stages, got, bag.Names(), err, want)
			}
		}
	}
}

func TestWhatIsNotTheSelfTestsInputIsRefused(t *testing.T) {
	t.Parallel()
	compute := share(t)
	good := func() tensor.Bag { return Request([]float32{1, 2}, 0) }
	for what, c := range map[string]struct {
		left   int
		change func(tensor.Bag)
	}{
		"no numbers":        {1, func(b tensor.Bag) { delete(b, numbers) }},
		"no sum":            {1, func(b tensor.Bag) { delete(b, sum) }},
		"numbers of a type": {1, func(b tensor.Bag) { b[numbers] = tensor.Of([]int64{2}, []int64{1, 2}) }},
		"numbers of a rank": {1, func(b tensor.Bag) { b[numbers] = tensor.Of([]int64{2, 1}, []float32{1, 2}) }},
		"numbers cut short": {1, func(b tensor.Bag) {
			b[numbers] = tensor.Tensor{DType: tensor.Float32, Shape: []int64{3}, Data: b[numbers].Data}
		}},
		"a list of sums":   {1, func(b tensor.Bag) { b[sum] = tensor.Of([]int64{1}, []float32{1}) }},
		"too many numbers": {1, func(b tensor.Bag) { b[numbers] = tensor.Of([]int64{MaxNumbers + 1}, make([]float32, MaxNumbers+1)) }},
		"no stages left":   {0, func(tensor.Bag) {}},
	} {
		bag := good()
		c.change(bag)
		if out, err := compute(t.Context(), c.left, bag); errcode.Of(err) != errcode.Invalid || err == nil {
			t.Errorf("%s: %v, %v", what, out, err)
		}
	}
}

type failing struct{}

func (failing) Run(context.Context, tensor.Bag) (tensor.Bag, error) {
	return nil, errors.New("out of order")
}

func TestAModelThatFailsIsNamed(t *testing.T) {
	t.Parallel()
	if _, err := Share(failing{})(t.Context(), 1, Request([]float32{1}, 0)); err == nil || fmt.Sprint(err) != "self-test: out of order" {
		t.Error(err)
	}
}

func TestSumRefusesWhatIsNoSum(t *testing.T) {
	t.Parallel()
	for _, bag := range []tensor.Bag{{}, {sum: tensor.Of([]int64{2}, []float32{1, 2})}, {sum: tensor.Of(nil, []int64{1})}} {
		if v, err := Sum(bag); err == nil {
			t.Errorf("%v of %v", v, bag)
		}
	}
}
