package ort_test

import (
	"strings"
	"testing"

	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/runtime/ort/orttest"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/split/onnxfile/onnxtest"
)

// What a model cannot compute is an error of the inputs, said without places in the source of
// ONNX Runtime, and other inputs are computed as before.
func TestAModelThatCannotComputeItsInputsSaysSo(t *testing.T) {
	t.Parallel()
	n, m := tensor.Named("n"), tensor.Named("m")
	ints := func(values ...int64) tensor.Tensor { return tensor.Of([]int64{int64(len(values))}, values) }
	floats := func(shape ...int64) tensor.Tensor {
		size := int64(1)
		for _, d := range shape {
			size *= d
		}
		return tensor.Of(shape, make([]float32, size))
	}
	for name, c := range map[string]struct {
		inputs    []tensor.Spec
		build     func(g *onnxtest.Graph)
		good, bad tensor.Bag
		code      errcode.Code
		says      string
	}{
		"an index": {
			[]tensor.Spec{orttest.Spec("x", tensor.Int64, n)},
			func(g *onnxtest.Graph) {
				g.Input("x", 7, "n")
				g.Floats("table", []int64{3}, []float32{1, 2, 3})
				g.Node("Gather", []string{"table", "x"}, []string{"y"})
			},
			tensor.Bag{"x": ints(0, 2)}, tensor.Bag{"x": ints(0, 3)},
			errcode.Invalid, "inputs: Gather: indices element out of data bounds, idx=3 must be within the inclusive range [-3,2]",
		},
		"a sum of different lengths": {
			[]tensor.Spec{orttest.Spec("x", tensor.Float32, n), orttest.Spec("z", tensor.Float32, m)},
			func(g *onnxtest.Graph) {
				g.Input("x", 1, "n")
				g.Input("z", 1, "m")
				g.Node("Add", []string{"x", "z"}, []string{"y"})
			},
			tensor.Bag{"x": floats(2), "z": floats(2)}, tensor.Bag{"x": floats(2), "z": floats(3)},
			errcode.Invalid, "inputs: Add: Attempting to broadcast an axis by a dimension other than 1. 2 by 3",
		},
		"a shape": {
			[]tensor.Spec{orttest.Spec("x", tensor.Float32, n, m)},
			func(g *onnxtest.Graph) {
				g.Input("x", 1, "n", "m")
				g.Ints("shape", []int64{2}, 2, -1)
				g.Node("Reshape", []string{"x", "shape"}, []string{"y"})
			},
			tensor.Bag{"x": floats(4, 1)}, tensor.Bag{"x": floats(1, 3)},
			errcode.Invalid, "inputs: Reshape: The input tensor cannot be reshaped to the requested shape. Input shape:{1,3}, requested shape:{2,-1}",
		},
		"more memory than there is": {
			[]tensor.Spec{orttest.Spec("x", tensor.Int64, n)},
			func(g *onnxtest.Graph) {
				g.Input("x", 7, "n")
				g.Node("ConstantOfShape", []string{"x"}, []string{"y"})
			},
			tensor.Bag{"x": ints(1, 2)}, tensor.Bag{"x": ints(1<<31, 1<<20)},
			errcode.TooLarge, "not enough memory",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var g onnxtest.Graph
			c.build(&g)
			g.Output("y", 1, onnxtest.AnyRank)
			s := open(t, &g, c.inputs, []tensor.Spec{{Name: "y", DType: tensor.Float32, AnyRank: true}})
			for range 2 {
				orttest.Run(t, s, c.good)
				_, err := s.Run(t.Context(), c.bad)
				if errcode.Of(err) != c.code || !strings.Contains(err.Error(), c.says) {
					t.Errorf("%s: %v; want %s, %q", errcode.Of(err), err, c.code, c.says)
				}
				for _, part := range []string{".h:", ".cc:", "onnxruntime", "Status", "Stacktrace", "\n"} {
					if err != nil && strings.Contains(err.Error(), part) {
						t.Errorf("%q in %q", part, err)
					}
				}
			}
		})
	}
}
