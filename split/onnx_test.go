package split

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/split/enginetest"
	"github.com/distinfer/distinfer/split/onnxfile"
	"github.com/distinfer/distinfer/split/onnxfile/onnxtest"
	"github.com/distinfer/distinfer/split/plan"
)

const (
	f32   = int64(tensor.Float32)
	i64   = int64(tensor.Int64)
	bools = int64(tensor.Bool)
	u8    = int64(tensor.Uint8)
)

// layered is a graph under construction: x goes through layers, and what a case
// adds lies between them.
type layered struct {
	onnxtest.Graph
	layers int
}

// layer multiplies a value of three columns by a weight of its own.
func (g *layered) layer(in string) (out string) {
	g.layers++
	w := fmt.Sprintf("weight%d", g.layers)
	out = fmt.Sprintf("layer%d", g.layers)
	g.Floats(w, []int64{3, 3}, floatOf(float32(g.layers)/5))
	g.Node("MatMul", []string{in, w}, []string{out})
	return out
}

// body makes a graph of nodes with one output.
func body(out string, build func(b *onnxtest.Graph)) *onnxtest.Graph {
	var b onnxtest.Graph
	build(&b)
	b.Output(out, f32, onnxtest.AnyRank)
	return &b
}

func ifElse(then, otherwise *onnxtest.Graph) []onnxtest.Message {
	return []onnxtest.Message{onnxtest.GraphAttr("then_branch", then), onnxtest.GraphAttr("else_branch", otherwise)}
}

// One row a hard case: a model, cut into every number of stages that it has layers
// for, gives in ONNX Runtime what the whole gives; and what a case says of the
// stages holds.
func TestTheWholeOfONNX(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		build func(g *layered) // from "x" to "y", both floats of batch × 3
		model func(g *layered) []byte
		holds func(t *testing.T, n int, stages []*onnxfile.File, b *bundle.Bundle)
	}{
		{name: "captures of nested bodies", build: func(g *layered) {
			a := g.layer("x")
			b := g.layer(a)
			inner := body("in_inner", func(i *onnxtest.Graph) { i.Node("Add", []string{a, b}, []string{"in_inner"}) })
			other := body("in_other", func(i *onnxtest.Graph) { i.Node("Sub", []string{b, "x"}, []string{"in_other"}) })
			outer := body("in_outer", func(o *onnxtest.Graph) { o.Node("If", []string{"flag"}, []string{"in_outer"}, ifElse(inner, other)...) })
			g.Input("flag", bools)
			plain := body("in_plain", func(p *onnxtest.Graph) { p.Node("Identity", []string{a}, []string{"in_plain"}) })
			g.Node("If", []string{"flag"}, []string{"chosen"}, ifElse(outer, plain)...)
			g.Node("Identity", []string{g.layer("chosen")}, []string{"y"})
		}},
		{name: "a loop that captures, and whose initializer nothing else uses", build: func(g *layered) {
			a := g.layer("x")
			b := g.layer(a)
			g.Ints("times", nil, 3)
			g.Floats("only_inside", []int64{3}, []float32{1, 2, 3})
			l := &onnxtest.Graph{}
			l.Input("i", i64)
			l.Input("go_in", bools)
			l.Input("sum_in", f32, onnxtest.AnyRank)
			l.Node("Identity", []string{"go_in"}, []string{"go_out"})
			l.Node("Mul", []string{a, "only_inside"}, []string{"scaled"})
			l.Node("Add", []string{"sum_in", "scaled"}, []string{"sum_out"})
			l.Output("go_out", bools)
			l.Output("sum_out", f32, onnxtest.AnyRank)
			g.Node("Loop", []string{"times", "", b}, []string{"looped"}, onnxtest.GraphAttr("body", l))
			g.Node("Identity", []string{g.layer("looped")}, []string{"y"})
		}},
		{name: "a body that returns a value from outside", build: func(g *layered) {
			a := g.layer("x")
			b := g.layer(a)
			g.Input("flag", bools)
			outer := &onnxtest.Graph{}
			outer.Output(a, f32, onnxtest.AnyRank)
			made := body("made", func(m *onnxtest.Graph) { m.Node("Neg", []string{b}, []string{"made"}) })
			g.Node("If", []string{"flag"}, []string{"chosen"}, ifElse(body("kept", func(k *onnxtest.Graph) { k.Node("Identity", []string{a}, []string{"kept"}) }), made)...)
			g.Node("Identity", []string{g.layer("chosen")}, []string{"y"})
		}},
		{name: "functions that call functions, with overloads", build: func(g *layered) {
			g.Call("local", "Outer", []string{g.layer("x")}, []string{"f"})
			// A node of one of the two functions of that name.
			g.Raw(1, onnxtest.Message{}.Text(1, g.layer("f")).Text(2, "h").Text(4, "Unlike").Text(7, "local").Text(8, "negative"))
			g.Node("Identity", []string{g.layer("h")}, []string{"y"})
		}, model: func(g *layered) []byte {
			var outer, inner, unlike, positive, unused onnxtest.Graph
			positive.Node("Abs", []string{"a"}, []string{"b"})
			outer.Call("local", "Inner", []string{"a"}, []string{"b"})
			inner.Node("Add", []string{"a", "a"}, []string{"b"})
			unlike.Node("Neg", []string{"a"}, []string{"b"})
			unused.Node("Abs", []string{"a"}, []string{"b"})
			m := g.ModelAt(10, 21)
			for _, f := range []struct {
				name, overload string
				body           *onnxtest.Graph
			}{{"Outer", "", &outer}, {"Inner", "", &inner}, {"Unlike", "positive", &positive}, {"Unlike", "negative", &unlike}, {"Unused", "", &unused}} {
				m = m.WithOverload("local", f.name, f.overload, []string{"a"}, []string{"b"}, f.body)
			}
			return m
		}, holds: func(t *testing.T, n int, stages []*onnxfile.File, _ *bundle.Bundle) {
			for rank, s := range stages {
				uses := func(name string) bool { return slices.Contains(s.Functions(), name) }
				if uses("Unused") || n == 3 && uses("Outer") != (rank == 0) || uses("Outer") != uses("Inner") {
					t.Errorf("stage %d of %d has the functions %v", rank, n, s.Functions())
				}
			}
		}},
		{name: "tied and unused weights", build: func(g *layered) {
			a := g.layer("x")
			g.Floats("unused", []int64{2}, []float32{1, 2})
			g.Node("MatMul", []string{a, "weight1"}, []string{"b"})
			g.Node("MatMul", []string{"b", "weight1"}, []string{"y"})
		}, holds: func(t *testing.T, _ int, stages []*onnxfile.File, _ *bundle.Bundle) {
			for rank, s := range stages {
				if len(s.Graph.Initializers) != 1 || s.Graph.Initializers[0].Name != "weight1" {
					t.Errorf("stage %d has the weights %v", rank, s.Graph.Initializers)
				}
			}
		}},
		{name: "weights that are inputs as well, as old models have them", build: func(g *layered) {
			a := g.layer("x")
			g.Input("weight1", f32, 3, 3)
			g.Node("Identity", []string{g.layer(a)}, []string{"y"})
		}, holds: func(t *testing.T, _ int, stages []*onnxfile.File, b *bundle.Bundle) {
			if len(b.Inputs) != 1 || len(stages[0].Graph.Inputs) != 2 {
				t.Errorf("inputs: %v; of the first stage's file: %v", b.Inputs, stages[0].Graph.Inputs)
			}
		}},
		{name: "sparse weights", build: func(g *layered) {
			g.Sparse("sparse", []int64{3, 3}, []int64{1, 5, 6}, []float32{1, -2, 3})
			g.Node("MatMul", []string{g.layer("x"), "sparse"}, []string{"s"})
			g.Node("Identity", []string{g.layer("s")}, []string{"y"})
		}},
		{name: "weights that are Constant nodes", build: func(g *layered) {
			var w onnxtest.Graph
			w.Floats("", []int64{3, 3}, floatOf(0.7))
			g.Node("Constant", nil, []string{"k"}, w.Tensor("value"))
			g.Node("MatMul", []string{g.layer("x"), "k"}, []string{"a"})
			g.Node("MatMul", []string{"a", "k"}, []string{"b"})
			g.Node("Identity", []string{g.layer("b")}, []string{"y"})
		}},
		{name: "quantised weights and values", build: func(g *layered) {
			g.Floats("scale", nil, []float32{0.05})
			g.Raw(5, onnxtest.Message{}.Int(2, u8).Text(8, "zero").Text(9, "\x80"))
			g.Raw(5, onnxtest.Message{}.Int(1, 3).Int(1, 3).Int(2, u8).Text(8, "q_weight").Text(9, "\x70\x90\x85\x7a\x88\x81\x79\x86\x84"))
			g.Node("DequantizeLinear", []string{"q_weight", "scale", "zero"}, []string{"weight"})
			dq := func(in, out string) {
				g.Node("QuantizeLinear", []string{in, "scale", "zero"}, []string{in + "_q"})
				g.Node("DequantizeLinear", []string{in + "_q", "scale", "zero"}, []string{out})
			}
			dq("x", "x_dq")
			g.Node("MatMul", []string{"x_dq", "weight"}, []string{"a"})
			dq("a", "a_dq")
			g.Node("MatMul", []string{"a_dq", "weight"}, []string{"b"})
			dq("b", "b_dq")
			g.Node("Add", []string{"a_dq", "b_dq"}, []string{"c"}) // a_dq is used by two layers
			dq("c", "c_dq")
			g.Node("MatMul", []string{"c_dq", "weight"}, []string{"y"})
		}, holds: func(t *testing.T, n int, _ []*onnxfile.File, b *bundle.Bundle) {
			for rank, s := range b.Stages[:n-1] {
				for _, out := range s.Outputs {
					if out.DType != tensor.Uint8 {
						t.Errorf("stage %d of %d sends %s, not the integers", rank, n, out)
					}
				}
			}
		}},
		{name: "an output that is used further, one made early, one that is an input, one that is a weight", build: func(g *layered) {
			a := g.layer("x")
			g.Node("Relu", []string{a}, []string{"early"})
			b := g.layer(a)
			g.Node("Identity", []string{g.layer(b)}, []string{"y"})
			g.Output(a, f32, "batch", 3)
			g.Output("early", f32, "batch", 3)
			g.Output("x", f32, "batch", 3)
			g.Output("weight2", f32, 3, 3)
		}},
		{name: "an input that only the last layer needs", build: func(g *layered) {
			b := g.layer(g.layer("x"))
			g.Input("late", f32, "batch", 3)
			g.Node("Add", []string{g.layer(b), "late"}, []string{"y"})
		}, holds: func(t *testing.T, n int, _ []*onnxfile.File, b *bundle.Bundle) {
			for rank, s := range b.Stages[:n-1] {
				if !slices.Contains(s.Forward, "late") {
					t.Errorf("stage %d of %d does not pass on the input, it forwards %v", rank, n, s.Forward)
				}
			}
		}},
		{name: "nodes without names, with the same name, with inputs left out", build: func(g *layered) {
			a := g.layer("x")
			g.Floats("most", nil, []float32{2})
			g.Node("Clip", []string{a, "", "most"}, []string{"clipped"})
			b := g.layer("clipped")
			g.Node("Clip", []string{b, "", "most"}, []string{"again"})
			g.Node("Dropout", []string{g.layer("again")}, []string{"y", ""})
		}},
		{name: "nodes in another order than they can be computed in", build: func(g *layered) {
			g.Node("Neg", []string{"b"}, []string{"c"})
			g.Floats("w1", []int64{3, 3}, floatOf(1))
			g.Floats("w2", []int64{3, 3}, floatOf(2))
			g.Node("MatMul", []string{"c", "w2"}, []string{"y"})
			g.Node("Relu", []string{"a"}, []string{"b"})
			g.Node("MatMul", []string{"x", "w1"}, []string{"a"})
		}},
		{name: "named dimensions, documentation and metadata", build: func(g *layered) {
			g.Node("Identity", []string{g.layer(g.layer("x"))}, []string{"y"})
			g.Raw(16, onnxtest.Message{}.Text(1, "graph-key").Text(2, "graph-value"))
		}, model: func(g *layered) []byte {
			m := g.ModelAt(10, 21).Text(6, "what it is for")
			return m.Embed(14, onnxtest.Message{}.Text(1, "key").Text(2, "value")).Embed(8, onnxtest.Message{}.Text(1, "com.example").Int(2, 3))
		}, holds: func(t *testing.T, _ int, stages []*onnxfile.File, b *bundle.Bundle) {
			for rank, s := range stages {
				for _, kept := range []string{"graph-value", "what it is for", "value", "com.example"} {
					if !strings.Contains(string(s.Data), kept) {
						t.Errorf("stage %d has lost %q", rank, kept)
					}
				}
				if s.IRVersion != 10 || len(s.Opsets) != 2 || s.Opsets[0].Version != 21 {
					t.Errorf("stage %d: IR version %d, opsets %v", rank, s.IRVersion, s.Opsets)
				}
				for _, list := range [][]onnxfile.ValueInfo{s.Graph.Inputs, s.Graph.Outputs} {
					if d := list[0].Spec.Dims; len(d) != 2 || d[0].Name != "batch" || d[1] != tensor.Fixed(3) {
						t.Errorf("stage %d: %s", rank, list[0].Spec)
					}
				}
			}
			if b.Outputs[0].String() != "y float32[batch,3]" {
				t.Errorf("the output is %s", b.Outputs[0])
			}
		}},
		{name: "a scalar and a tensor without elements at the cut", build: func(g *layered) {
			a := g.layer("x")
			g.Node("ReduceMax", []string{a}, []string{"most"}, onnxtest.IntAttr("keepdims", 0))
			g.Ints("zero", []int64{1}, 0)
			g.Ints("axis", []int64{1}, 0)
			g.Node("Slice", []string{a, "zero", "zero", "axis"}, []string{"nothing"})
			b := g.layer(a)
			g.Node("Add", []string{b, "most"}, []string{"c"})
			g.Node("Concat", []string{"nothing", "c"}, []string{"d"}, onnxtest.IntAttr("axis", 0))
			g.Node("Identity", []string{g.layer("d")}, []string{"y"})
		}},
		{name: "values of random operators are made once", build: func(g *layered) {
			a := g.layer("x")
			g.Node("RandomUniformLike", []string{a}, []string{"random"})
			g.Node("Sub", []string{"random", "random"}, []string{"none"})
			b := g.layer("none")
			g.Node("Sub", []string{"random", "random"}, []string{"none2"})
			g.Node("Add", []string{b, "none2"}, []string{"c"})
			g.Node("Add", []string{g.layer("c"), a}, []string{"y"})
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			e := enginetest.New(t)
			g := &layered{}
			g.Input("x", f32, "batch", 3)
			c.build(g)
			g.Output("y", f32, "batch", 3)
			data := []byte(g.Model())
			if c.model != nil {
				data = c.model(g)
			}
			path := enginetest.Write(t, data)
			for n := 1; n <= 4; n++ {
				var limit *plan.LimitError
				if _, err := Split(t.Context(), path, e, Options{Stages: n, DryRun: true}); n > 2 && errors.As(err, &limit) {
					break // it has no more layers
				}
				report, b := split(t, e, path, n)
				if v := report.Verification; v.Runs < 2 || v.MaxAbsolute > 1e-4 || len(v.Unverified) > 0 {
					t.Errorf("%d stages: %+v", n, v)
				}
				if c.holds == nil {
					continue
				}
				var stages []*onnxfile.File
				for _, s := range b.Stages {
					f, err := onnxfile.Open(filepath.Join(b.Dir, s.Name))
					if err != nil {
						t.Fatal(err)
					}
					defer func() { _ = f.Close() }()
					stages = append(stages, f)
				}
				c.holds(t, n, stages, b)
			}
		})
	}
}

// Values of every element type cross a cut unchanged, scalars and such without
// elements as well.
func TestEveryElementTypeCrossesACut(t *testing.T) {
	t.Parallel()
	e := enginetest.New(t)
	for d := tensor.Float32; d <= tensor.Int2; d++ {
		if d == tensor.Complex64 || d == tensor.Complex128 || d == tensor.Float4E2M1 {
			continue // ONNX Runtime casts to and from none of these
		}
		t.Run(d.String(), func(t *testing.T) {
			t.Parallel()
			g := &layered{}
			g.Input("x", f32, "batch", 3)
			a := g.layer("x")
			g.Node("Cast", []string{a}, []string{"there"}, onnxtest.IntAttr("to", int64(d)))
			g.Floats("one", nil, []float32{1})
			g.Node("ReduceMin", []string{a}, []string{"least"}, onnxtest.IntAttr("keepdims", 0))
			g.Node("Cast", []string{"least"}, []string{"scalar"}, onnxtest.IntAttr("to", int64(d)))
			g.Ints("zero", []int64{1}, 0)
			g.Node("Slice", []string{a, "zero", "zero", "zero"}, []string{"no_rows"})
			g.Node("Cast", []string{"no_rows"}, []string{"empty"}, onnxtest.IntAttr("to", int64(d)))
			for _, name := range []string{"there", "scalar", "empty"} {
				g.Node("Cast", []string{name}, []string{name + "_back"}, onnxtest.IntAttr("to", f32))
			}
			g.Node("Add", []string{"there_back", "scalar_back"}, []string{"sum"})
			g.Node("Concat", []string{"sum", "empty_back"}, []string{"rows"}, onnxtest.IntAttr("axis", 0))
			g.Node("Identity", []string{g.layer("rows")}, []string{"y"})
			g.Output("y", f32, onnxtest.AnyRank)
			path := enginetest.Write(t, g.ModelAt(13, 25))
			out := filepath.Join(t.TempDir(), "stages")
			report, err := Split(t.Context(), path, e, Options{At: []string{"empty"}, Out: out, Verify: true})
			if err != nil {
				t.Fatal(err)
			}
			if v := report.Verification; v.Runs < 2 || v.MaxAbsolute > 1e-4 || len(v.Unverified) > 0 {
				t.Errorf("%+v", v)
			}
			crossing := map[string]tensor.DType{}
			for _, s := range report.Manifest.Stages[0].Outputs {
				crossing[s.Name] = s.DType
			}
			for _, name := range []string{"there", "scalar", "empty"} {
				if crossing[name] != d {
					t.Errorf("what crosses is %v, without %q as %s", crossing, name, d)
				}
			}
		})
	}
}

// A model of a later version of the format than the runtime reads is cut all the
// same; only running it waits for a newer runtime.
func TestAModelThatIsNewerThanTheRuntimeIsCut(t *testing.T) {
	t.Parallel()
	g := &layered{}
	g.Input("x", f32, "batch", 3)
	g.Node("Identity", []string{g.layer(g.layer("x"))}, []string{"y"})
	g.Output("y", f32, "batch", 3)
	path := enginetest.Write(t, g.ModelAt(99, 17))
	out := filepath.Join(t.TempDir(), "stages")
	report, err := Split(t.Context(), path, enginetest.New(t), Options{Stages: 2, Out: out})
	if err != nil {
		t.Fatal(err)
	}
	if report.Manifest.Model.IRVersion != 99 || len(report.Manifest.Stages) != 2 {
		t.Errorf("%+v", report.Manifest)
	}
	if _, err := Split(t.Context(), path, enginetest.New(t), Options{Stages: 2, Out: out, Force: true, Verify: true}); err == nil || !strings.Contains(err.Error(), "IR version") {
		t.Errorf("verified: %v", err)
	}
	if _, err := os.Stat(filepath.Join(out, bundle.ManifestName)); err != nil {
		t.Errorf("the bundle that stood there is gone: %v", err)
	}
}
