package limits_test

import (
	"context"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"testing"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/split"
	"github.com/distinfer/distinfer/split/enginetest"
	"github.com/distinfer/distinfer/split/onnxfile/onnxtest"
)

// zeros adds a table of floats.
func zeros(g *onnxtest.Graph, name string, dims ...int64) {
	n := int64(1)
	for _, d := range dims {
		n *= d
	}
	g.Floats(name, dims, make([]float32, n))
}

const ms = "com.microsoft"

// relative looks up the distance of every two tokens in a table of as many rows.
func relative(rows int64) func(g *onnxtest.Graph) {
	return func(g *onnxtest.Graph) {
		zeros(g, "E", 20, 2)
		zeros(g, "D", rows, 2)
		g.Ints("zero", nil, 0)
		g.Ints("one", nil, 1)
		g.Ints("first", []int64{1}, 0)
		g.Ints("second", []int64{1}, 1)
		g.Node("Gather", []string{"E", "ids"}, []string{"a"})
		g.Node("Shape", []string{"ids"}, []string{"size"})
		g.Node("Gather", []string{"size", "one"}, []string{"length"})
		g.Node("Range", []string{"zero", "length", "one"}, []string{"range"})
		g.Node("Unsqueeze", []string{"range", "first"}, []string{"row"})
		g.Node("Unsqueeze", []string{"range", "second"}, []string{"column"})
		g.Node("Sub", []string{"row", "column"}, []string{"distance"})
		g.Node("Gather", []string{"D", "distance"}, []string{"biases"})
		g.Node("ReduceSum", []string{"biases", "first"}, []string{"bias"}, onnxtest.IntAttr("keepdims", 0))
		g.Node("Add", []string{"a", "bias"}, []string{"h"})
	}
}

// limited are graphs of the input ids [batch, sequence], which make h [batch, sequence, 2].
var limited = map[string]struct {
	build func(g *onnxtest.Graph)
	want  *tensor.Limits
}{
	"a table": {func(g *onnxtest.Graph) {
		zeros(g, "E", 20, 2)
		g.Node("Gather", []string{"E", "ids"}, []string{"h"})
	}, &tensor.Limits{Values: []tensor.ValueLimit{{Min: -20, Max: 19}}}},
	"a table behind casts and shapes": {func(g *onnxtest.Graph) {
		zeros(g, "E", 20, 2)
		g.Ints("one", []int64{1}, 1)
		g.Node("Cast", []string{"ids"}, []string{"narrow"}, onnxtest.IntAttr("to", 6))
		g.Node("Unsqueeze", []string{"narrow", "one"}, []string{"wide"})
		g.Node("Identity", []string{"wide"}, []string{"same"})
		g.Node("Squeeze", []string{"same", "one"}, []string{"again"})
		g.Node("Gather", []string{"E", "again"}, []string{"h"})
	}, &tensor.Limits{Values: []tensor.ValueLimit{{Min: -20, Max: 19}}}},
	"places behind an offset": {func(g *onnxtest.Graph) {
		zeros(g, "E", 20, 2)
		g.Ints("two", nil, 2)
		g.Node("Add", []string{"ids", "two"}, []string{"shifted"})
		g.Node("Gather", []string{"E", "shifted"}, []string{"h"})
	}, &tensor.Limits{Values: []tensor.ValueLimit{{Min: -22, Max: 17}}}},
	"two tables": {func(g *onnxtest.Graph) {
		zeros(g, "E", 20, 2)
		zeros(g, "F", 15, 2)
		g.Node("Gather", []string{"E", "ids"}, []string{"a"})
		g.Node("Gather", []string{"F", "ids"}, []string{"b"})
		g.Node("Add", []string{"a", "b"}, []string{"h"})
	}, &tensor.Limits{Values: []tensor.ValueLimit{{Min: -15, Max: 14}}}},
	"another axis": {func(g *onnxtest.Graph) {
		zeros(g, "E", 2, 20)
		g.Node("Gather", []string{"E", "ids"}, []string{"across"}, onnxtest.IntAttr("axis", -1))
		g.Ints("end", []int64{3}, 0, 0, 2)
		g.Ints("flat", []int64{2}, -1, 2)
		g.Node("Reshape", []string{"across", "flat"}, []string{"pairs"})
		g.Node("Shape", []string{"ids"}, []string{"size"})
		g.Ints("two", []int64{1}, 2)
		g.Node("Concat", []string{"size", "two"}, []string{"full"}, onnxtest.IntAttr("axis", 0))
		g.Node("Reshape", []string{"pairs", "full"}, []string{"h"})
	}, &tensor.Limits{Values: []tensor.ValueLimit{{Min: -20, Max: 19}}}},
	"clipped": {func(g *onnxtest.Graph) {
		zeros(g, "E", 20, 2)
		g.Ints("zero", nil, 0)
		g.Ints("last", nil, 19)
		g.Node("Clip", []string{"ids", "zero", "last"}, []string{"within"})
		g.Node("Gather", []string{"E", "within"}, []string{"h"})
	}, nil},
	"replaced above": {func(g *onnxtest.Graph) { // what is negative counts from the end all the same
		zeros(g, "E", 20, 2)
		g.Ints("rows", nil, 20)
		g.Ints("unknown", nil, 3)
		g.Node("Less", []string{"ids", "rows"}, []string{"known"})
		g.Node("Where", []string{"known", "ids", "unknown"}, []string{"within"})
		g.Node("Gather", []string{"E", "within"}, []string{"h"})
	}, nil},
	"only the first is looked up": {func(g *onnxtest.Graph) {
		zeros(g, "E", 20, 2)
		g.Ints("zero", []int64{1}, 0)
		g.Ints("one", []int64{1}, 1)
		g.Node("Slice", []string{"ids", "zero", "one", "one"}, []string{"first"})
		g.Node("Gather", []string{"E", "first"}, []string{"h"})
	}, nil},
	"a buffer of positions": {func(g *onnxtest.Graph) {
		zeros(g, "E", 20, 2)
		zeros(g, "P", 9, 2)
		g.Ints("positions", []int64{1, 9}, 0, 1, 2, 3, 4, 5, 6, 7, 8)
		g.Ints("zero", []int64{1}, 0)
		g.Ints("one", []int64{1}, 1)
		g.Node("Gather", []string{"E", "ids"}, []string{"a"})
		g.Node("Shape", []string{"ids"}, []string{"size"})
		g.Node("Gather", []string{"size", "one"}, []string{"length"})
		g.Node("Slice", []string{"positions", "zero", "length", "one"}, []string{"at"})
		g.Node("Gather", []string{"P", "at"}, []string{"b"})
		g.Node("Add", []string{"a", "b"}, []string{"h"})
	}, &tensor.Limits{Values: []tensor.ValueLimit{{Min: -20, Max: 19}}, Sizes: []tensor.SizeLimit{{Max: 9}}, Tokens: 9}},
	"a range of positions, by the shape of what was looked up": {func(g *onnxtest.Graph) {
		zeros(g, "E", 20, 2)
		zeros(g, "P", 11, 2)
		g.Ints("zero", nil, 0)
		g.Ints("one", nil, 1)
		g.Node("Gather", []string{"E", "ids"}, []string{"a"})
		g.Node("Shape", []string{"a"}, []string{"size"})
		g.Node("Gather", []string{"size", "one"}, []string{"length"})
		g.Node("Range", []string{"zero", "length", "one"}, []string{"at"})
		g.Node("Gather", []string{"P", "at"}, []string{"b"})
		g.Node("Add", []string{"a", "b"}, []string{"h"})
	}, &tensor.Limits{Values: []tensor.ValueLimit{{Min: -20, Max: 19}}, Sizes: []tensor.SizeLimit{{Max: 11}}, Tokens: 11}},
	"positions of what is no padding": {func(g *onnxtest.Graph) { // as RoBERTa has them
		zeros(g, "E", 20, 2)
		zeros(g, "P", 14, 2)
		g.Ints("padding", nil, 1)
		g.Ints("axis", nil, 1)
		g.Node("Equal", []string{"ids", "padding"}, []string{"pads"})
		g.Node("Not", []string{"pads"}, []string{"kept"})
		g.Node("Cast", []string{"kept"}, []string{"mask"}, onnxtest.IntAttr("to", 7))
		g.Node("CumSum", []string{"mask", "axis"}, []string{"count"})
		g.Node("Mul", []string{"count", "mask"}, []string{"masked"})
		g.Node("Add", []string{"masked", "padding"}, []string{"at"})
		g.Node("Gather", []string{"E", "ids"}, []string{"a"})
		g.Node("Gather", []string{"P", "at"}, []string{"b"})
		g.Node("Add", []string{"a", "b"}, []string{"h"})
	}, &tensor.Limits{Values: []tensor.ValueLimit{{Min: -20, Max: 19}}, Tokens: 12}},
	"distances": {relative(15), &tensor.Limits{Values: []tensor.ValueLimit{{Min: -20, Max: 19}}, Sizes: []tensor.SizeLimit{{Max: 15}}, Tokens: 15}},
	// Of the square of a length no more than some memory is taken to find that out.
	"many distances": {relative(5000), &tensor.Limits{Values: []tensor.ValueLimit{{Min: -20, Max: 19}}}},
	"fused": {func(g *onnxtest.Graph) {
		zeros(g, "E", 20, 2)
		zeros(g, "P", 10, 2)
		zeros(g, "gamma", 2)
		zeros(g, "beta", 2)
		g.Node("Cast", []string{"ids"}, []string{"narrow"}, onnxtest.IntAttr("to", 6))
		g.Call(ms, "EmbedLayerNormalization", []string{"narrow", "", "E", "P", "", "gamma", "beta"}, []string{"h", "unused"})
	}, &tensor.Limits{Values: []tensor.ValueLimit{{Min: 0, Max: 19}}, Sizes: []tensor.SizeLimit{{Max: 10}}, Tokens: 10}},
}

// What the manifest says of a model's limits is so when it runs: within them it computes, and
// beyond them it fails.
func TestTheLimitsOfAModelAreFound(t *testing.T) {
	t.Parallel()
	for name, c := range limited {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var g onnxtest.Graph
			g.Input("ids", 7, "batch", "sequence")
			c.build(&g)
			zeros(&g, "W", 2, 2)
			g.Node("MatMul", []string{"h", "W"}, []string{"y"})
			g.Output("y", 1, "batch", "sequence", 2)
			model := g.Model()
			if name == "fused" {
				model = model.Embed(8, onnxtest.Message{}.Text(1, ms).Int(2, 1))
			}
			path := enginetest.Write(t, model)
			out := filepath.Join(t.TempDir(), "stages")
			if _, err := split.Split(t.Context(), path, enginetest.New(t), split.Options{Stages: 1, Out: out}); err != nil {
				t.Fatal(err)
			}
			b, err := bundle.Open(out)
			if err != nil {
				t.Fatal(err)
			}
			got := b.Limits
			if c.want == nil && got == nil {
				return
			}
			if c.want == nil || got == nil || len(got.Values) != 1 || got.Values[0].Min != c.want.Values[0].Min || got.Values[0].Max != c.want.Values[0].Max ||
				got.Tokens != c.want.Tokens || len(got.Sizes) != len(c.want.Sizes) || len(got.Sizes) == 1 && (got.Sizes[0].Max != c.want.Sizes[0].Max || !slices.Equal(got.Sizes[0].Dims, []string{"sequence"})) {
				t.Fatalf("%+v, want %+v", got, c.want)
			}
			session, err := enginetest.New(t).Open(path, b.Inputs, b.Outputs)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = session.Close() }()
			run := func(length, value int64) error {
				bag := tensor.Bag{"ids": tensor.Of([]int64{1, length}, slices.Repeat([]int64{value}, int(length)))}
				said := got.Check(bag, tensor.Sizes{"batch": 1, "sequence": length})
				_, err := session.Run(context.Background(), bag)
				if (err == nil) != (said == nil) {
					t.Errorf("length %d, value %d: said is %v, the run says %v", length, value, said, err)
				}
				return err
			}
			v := got.Values[0]
			_ = run(2, v.Min)
			_ = run(2, v.Max)
			if run(2, v.Min-1) == nil || run(2, v.Max+1) == nil || run(2, math.MaxInt32) == nil || run(2, math.MinInt32) == nil {
				t.Errorf("values beyond %+v are computed", v)
			}
			for _, s := range got.Sizes {
				_ = run(s.Max, 0)
				if run(s.Max+1, 0) == nil {
					t.Errorf("a length beyond %+v is computed", s)
				}
			}
		})
	}
}

// The limits of the models of this repository, and those that have none.
func TestTheLimitsOfRealModels(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"sst2-minilm": "{[{input_ids -30522 30521 bert.embeddings.word_embeddings.weight (30522 rows)}] [{[sequence] 512}] 512}",
		"seed-rnn":    "{[{input_ids -3366 3365 embedding (3366 rows)}] [] 0}",
	} {
		report, err := split.Split(t.Context(), enginetest.Model(t, name), enginetest.New(t), split.Options{Stages: 1, DryRun: true})
		if err != nil {
			t.Fatal(err)
		}
		if report.Manifest.Limits == nil || fmt.Sprint(*report.Manifest.Limits) != want {
			t.Errorf("%s: %v, want %s", name, report.Manifest.Limits, want)
		}
	}
}
