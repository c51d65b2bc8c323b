// Package selftest is what stages compute to show that they can: the mean of some numbers. Each
// stage adds up its share with a small model. That needs no bundle, and exercises all that a real
// model does: ONNX Runtime, the stages' connections, and their order.
//
// The package knows tensors and Runners. It must not know what computes the model, nor how a stage
// is reached.
package selftest

import (
	"context"
	_ "embed"
	"fmt"

	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/runtime/pipeline"
	"github.com/distinfer/distinfer/runtime/tensor"
)

// Model is an ONNX model. It takes numbers, sum and count, and gives total, which
// is sum and the first count numbers, and rest, which are the other numbers.
// selftest_test.go builds it.
//
//go:embed selftest.onnx
var Model []byte

// The names of the tensors that go from stage to stage, and of the model's own.
const (
	numbers = "numbers"
	sum     = "sum"
	count   = "count"
	total   = "total"
	rest    = "rest"
	ballast = "ballast"
)

// Inputs are what Model takes.
func Inputs() []tensor.Spec {
	return []tensor.Spec{
		{Name: numbers, DType: tensor.Float32, Dims: []tensor.Dim{tensor.Named("n")}},
		{Name: sum, DType: tensor.Float32},
		{Name: count, DType: tensor.Int64, Dims: []tensor.Dim{tensor.Fixed(1)}},
	}
}

// Outputs are what Model gives.
func Outputs() []tensor.Spec {
	return []tensor.Spec{
		{Name: total, DType: tensor.Float32},
		{Name: rest, DType: tensor.Float32, Dims: []tensor.Dim{{}}},
	}
}

// MaxNumbers bounds how many numbers a stage takes.
const MaxNumbers = 1 << 20

// Request is the input of the first stage: the numbers, and ballast of the given size, which the
// stages only pass on.
func Request(values []float32, ballastBytes int) tensor.Bag {
	bag := tensor.Bag{
		numbers: tensor.Of([]int64{int64(len(values))}, values),
		sum:     tensor.Of(nil, []float32{0}),
	}
	if ballastBytes > 0 {
		bag[ballast] = tensor.Of([]int64{int64(ballastBytes)}, make([]uint8, ballastBytes))
	}
	return bag
}

// Sum is the sum in the last stage's answer.
func Sum(answer tensor.Bag) (float64, error) {
	t, ok := answer[sum]
	if !ok {
		return 0, fmt.Errorf("the answer has no tensor %q", sum)
	}
	v, err := tensor.As[float32](t)
	if err != nil || len(v) != 1 {
		return 0, fmt.Errorf("the answer's tensor %q is %s of shape %v, not one float32", sum, t.DType, t.Shape)
	}
	return float64(v[0]), nil
}

// Share returns the function that computes a stage's share with a Runner of Model. left is the
// number of stages that have yet to compute theirs, this one included. It passes on other tensors
// unchanged, unless it is the last: then it answers only the sum.
func Share(model pipeline.Runner) func(ctx context.Context, left int, in tensor.Bag) (tensor.Bag, error) {
	return func(ctx context.Context, left int, in tensor.Bag) (tensor.Bag, error) {
		if left < 1 {
			return nil, errcode.Errorf(errcode.Invalid, "self-test: %d stages are left; there is at least this one", left)
		}
		if _, err := tensor.MatchAll(Inputs()[:2], in); err != nil {
			return nil, errcode.Errorf(errcode.Invalid, "self-test: %w", err)
		}
		n := in[numbers].Shape[0]
		if n > MaxNumbers {
			return nil, errcode.Errorf(errcode.Invalid, "self-test: %d numbers are more than %d", n, MaxNumbers)
		}
		share := (n + int64(left) - 1) / int64(left)
		out, err := model.Run(ctx, tensor.Bag{numbers: in[numbers], sum: in[sum], count: tensor.Of([]int64{1}, []int64{share})})
		if err != nil {
			return nil, fmt.Errorf("self-test: %w", err)
		}
		if left == 1 {
			return tensor.Bag{sum: out[total]}, nil
		}
		next := make(tensor.Bag, len(in))
		for name, t := range in {
			next[name] = t
		}
		next[sum], next[numbers] = out[total], out[rest]
		return next, nil
	}
}
