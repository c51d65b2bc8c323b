package generate_test

import (
	"math"
	"path/filepath"
	"slices"
	"testing"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/split"
	"github.com/distinfer/distinfer/split/enginetest"
	"github.com/distinfer/distinfer/split/generate"
	"github.com/distinfer/distinfer/split/onnxfile/onnxtest"
	"github.com/distinfer/distinfer/split/verify"
)

// model is a model of a few nodes, which make y.
func model(build func(g *onnxtest.Graph)) []byte {
	var g onnxtest.Graph
	build(&g)
	g.Output("y", 1, onnxtest.AnyRank)
	return g.Model()
}

// Each of these models refuses unless its inputs are what
// its operators take them for.
func TestGeneratedInputsAreWhatOperatorsTakeThemFor(t *testing.T) {
	t.Parallel()
	e := enginetest.New(t)
	const float, integer = int64(tensor.Float32), int64(tensor.Int64)
	for what, build := range map[string]func(g *onnxtest.Graph){
		"rows of a table, as float, reshaped": func(g *onnxtest.Graph) {
			g.Input("ids", float, "batch", "sequence")
			g.Floats("table", []int64{5, 2}, make([]float32, 10))
			g.Ints("flat", []int64{1}, -1)
			g.Node("Cast", []string{"ids"}, []string{"whole"}, onnxtest.IntAttr("to", integer))
			g.Node("Reshape", []string{"whole", "flat"}, []string{"row"})
			g.Node("Gather", []string{"table", "row"}, []string{"y"})
		},
		"places in another input": func(g *onnxtest.Graph) {
			g.Input("x", float, 3, 4)
			g.Input("at", integer, 2, 4)
			g.Node("GatherElements", []string{"x", "at"}, []string{"y"}, onnxtest.IntAttr("axis", -2))
		},
		"a shape": func(g *onnxtest.Graph) {
			g.Input("x", float, 2, "n")
			g.Input("shape", integer, 3)
			g.Node("Reshape", []string{"x", "shape"}, []string{"y"})
		},
		"a slice": func(g *onnxtest.Graph) {
			g.Input("x", float, "batch", 9)
			for _, name := range []string{"starts", "ends", "axes", "steps"} {
				g.Input(name, integer, 2)
			}
			g.Node("Slice", []string{"x", "starts", "ends", "axes", "steps"}, []string{"y"})
		},
		"parts": func(g *onnxtest.Graph) {
			g.Input("x", float, 7, 2)
			g.Input("sizes", integer, 3)
			g.Node("Split", []string{"x", "sizes"}, []string{"y", "a", "b"}, onnxtest.IntAttr("axis", 0))
		},
		"axes of one": func(g *onnxtest.Graph) {
			g.Input("x", float, 3, 1, 2, 1)
			g.Input("axes", integer, 2)
			g.Node("Squeeze", []string{"x", "axes"}, []string{"y"})
		},
		"how many": func(g *onnxtest.Graph) {
			g.Input("x", float, 5)
			g.Input("k", integer, 1)
			g.Node("TopK", []string{"x", "k"}, []string{"y", "at"})
		},
		"a divisor": func(g *onnxtest.Graph) {
			g.Input("a", integer, "n")
			g.Input("b", integer, "n")
			g.Node("Mod", []string{"a", "b"}, []string{"c"})
			g.Node("Cast", []string{"c"}, []string{"y"}, onnxtest.IntAttr("to", float))
		},
		"a cube of unknown rank": func(g *onnxtest.Graph) {
			g.Input("x", float, onnxtest.AnyRank)
			g.Ints("shape", []int64{2}, 1, 2*7*7)
			g.Node("Reshape", []string{"x", "shape"}, []string{"y"})
		},
		"a number above 0": func(g *onnxtest.Graph) {
			g.Input("x", float, "n")
			g.Node("Log", []string{"x"}, []string{"l"})
			g.Node("Neg", []string{"l"}, []string{"m"})
			g.Node("Sqrt", []string{"m"}, []string{"y"})
		},
		"a sum of dimensions": func(g *onnxtest.Graph) {
			g.Input("a", float, 1, "past")
			g.Input("b", float, 1, "new")
			g.Input("c", float, 1, "past + new")
			g.Node("Concat", []string{"a", "b"}, []string{"d"}, onnxtest.IntAttr("axis", 1))
			g.Node("Add", []string{"c", "d"}, []string{"y"})
		},
	} {
		report, err := split.Split(t.Context(), enginetest.Write(t, model(build)), e, split.Options{Stages: 1, Out: filepath.Join(t.TempDir(), "stages"), Verify: true})
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if v := report.Verification; v.Runs == 0 || v.Against != verify.AgainstWhole || len(v.Unverified) > 0 {
			t.Errorf("%s: %+v", what, v)
		}
	}
}

func TestValuesOfEveryTypeAreGenerated(t *testing.T) {
	t.Parallel()
	g := generate.New(&bundle.Manifest{}, nil)
	for d := tensor.Float32; d <= tensor.Float4E2M1; d++ {
		spec := tensor.Spec{Name: "x", DType: d, Dims: []tensor.Dim{tensor.Named("n"), tensor.Fixed(5)}}
		at := generate.Trial{Sizes: tensor.Sizes{"n": 3}}
		for _, m := range g.Manners() {
			a, err := g.Make([]tensor.Spec{spec}, at, m, 1)
			if err != nil {
				t.Fatalf("%s: %v", d, err)
			}
			b, _ := g.Make([]tensor.Spec{spec}, at, m, 1)
			if err := a["x"].Check(); err != nil || !slices.Equal(a["x"].Data, b["x"].Data) || !slices.Equal(a["x"].Shape, []int64{3, 5}) {
				t.Errorf("%s: %v, %v", d, a, err)
			}
			if values, err := tensor.Widen(a["x"]); err == nil {
				for _, x := range values {
					if !(math.Abs(float64(x)) <= 1) {
						t.Errorf("%s: %g", d, x)
					}
				}
			}
		}
	}
}
