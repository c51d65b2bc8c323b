package split

import (
	"testing"

	"github.com/distinfer/distinfer/split/enginetest"
	"github.com/distinfer/distinfer/split/onnxfile/onnxtest"
)

// quantized multiplies a value by an integer weight, which is quantised to that end
// of weights alone.
func quantized(g *onnxtest.Graph, in, w, out string) {
	v := func(name string) string { return out + "/" + name }
	g.Node("DynamicQuantizeLinear", []string{w}, []string{v("w"), v("w_scale"), v("w_zero")})
	g.Node("DynamicQuantizeLinear", []string{in}, []string{v("x"), v("x_scale"), v("x_zero")})
	g.Node("MatMulInteger", []string{v("x"), v("w"), v("x_zero"), v("w_zero")}, []string{v("integers")})
	g.Node("Cast", []string{v("integers")}, []string{v("floats")}, onnxtest.IntAttr("to", f32))
	g.Node("Mul", []string{v("x_scale"), v("w_scale")}, []string{v("scale")})
	g.Node("Mul", []string{v("floats"), v("scale")}, []string{out})
}

// Where a scale is taken of the whole batch is found wherever it stands, and said
// in the manifest of the bundle.
func TestWhatDependsOnTheBatchIsFound(t *testing.T) {
	t.Parallel()
	e := enginetest.New(t)
	const dynamic = "DynamicQuantizeLinear"
	for _, c := range []struct {
		name  string
		build func(g *layered) onnxtest.Message
		want  string
	}{
		{"floats", func(g *layered) onnxtest.Message {
			g.Node("Identity", []string{g.layer("x")}, []string{"y"})
			return g.Model()
		}, ""},
		{"weights that are quantised", func(g *layered) onnxtest.Message {
			g.Floats("w", []int64{3, 3}, floatOf(0.4))
			g.Node(dynamic, []string{"w"}, []string{"integers", "scale", "zero"})
			g.Node("DequantizeLinear", []string{"integers", "scale", "zero"}, []string{"back"})
			g.Node("MatMul", []string{g.layer("x"), "back"}, []string{"y"})
			return g.Model()
		}, ""},
		{"static scales", func(g *layered) onnxtest.Message {
			g.Floats("scale", nil, []float32{0.1})
			g.Node("QuantizeLinear", []string{g.layer("x"), "scale"}, []string{"integers"})
			g.Node("DequantizeLinear", []string{"integers", "scale"}, []string{"back"})
			g.Node("Identity", []string{g.layer("back")}, []string{"y"})
			return g.Model()
		}, ""},
		{"two layers", func(g *layered) onnxtest.Message {
			g.Floats("w", []int64{3, 3}, floatOf(0.4))
			quantized(&g.Graph, g.layer("x"), "w", "h")
			quantized(&g.Graph, g.layer("h"), "w", "y")
			return g.Model()
		}, "2 × " + dynamic},
		{"the body of an If", func(g *layered) onnxtest.Message {
			g.Input("flag", bools)
			g.Floats("w", []int64{3, 3}, floatOf(0.4))
			h := g.layer("x")
			// In a body, nothing tells that the weights are only weights.
			then := body("then", func(b *onnxtest.Graph) { quantized(b, h, "w", "then") })
			otherwise := body("otherwise", func(b *onnxtest.Graph) { b.Node("Neg", []string{h}, []string{"otherwise"}) })
			g.Node("If", []string{"flag"}, []string{"chosen"}, ifElse(then, otherwise)...)
			g.Node("Identity", []string{g.layer("chosen")}, []string{"y"})
			return g.Model()
		}, "2 × " + dynamic},
		{"a body within a body", func(g *layered) onnxtest.Message {
			g.Input("flag", bools)
			g.Ints("times", nil, 2)
			h := g.layer("x")
			inner := body("inner", func(b *onnxtest.Graph) {
				b.Node(dynamic, []string{"now"}, []string{"integers", "scale", "zero"})
				b.Node("DequantizeLinear", []string{"integers", "scale", "zero"}, []string{"inner"})
			})
			other := body("other", func(b *onnxtest.Graph) { b.Node("Neg", []string{"now"}, []string{"other"}) })
			var loop onnxtest.Graph
			loop.Input("i", i64)
			loop.Input("go_in", bools)
			loop.Input("now", f32, onnxtest.AnyRank)
			loop.Node("Identity", []string{"go_in"}, []string{"go_out"})
			loop.Node("If", []string{"flag"}, []string{"next"}, ifElse(inner, other)...)
			loop.Output("go_out", bools)
			loop.Output("next", f32, onnxtest.AnyRank)
			g.Node("Loop", []string{"times", "", h}, []string{"looped"}, onnxtest.GraphAttr("body", &loop))
			g.Node("Identity", []string{g.layer("looped")}, []string{"y"})
			return g.Model()
		}, "1 × " + dynamic},
		{"a function of a function, called twice", func(g *layered) onnxtest.Message {
			var outer, inner onnxtest.Graph
			outer.Call("local", "Inner", []string{"a"}, []string{"b"})
			inner.Node(dynamic, []string{"a"}, []string{"integers", "scale", "zero"})
			inner.Node("DequantizeLinear", []string{"integers", "scale", "zero"}, []string{"b"})
			g.Call("local", "Outer", []string{g.layer("x")}, []string{"h"})
			g.Call("local", "Outer", []string{g.layer("h")}, []string{"y"})
			a, b := []string{"a"}, []string{"b"}
			return g.Model().WithFunction("local", "Outer", a, b, &outer).WithFunction("local", "Inner", a, b, &inner)
		}, "1 × " + dynamic},
		{"a function that nothing calls", func(g *layered) onnxtest.Message {
			var unused onnxtest.Graph
			unused.Node(dynamic, []string{"a"}, []string{"b", "scale", "zero"})
			g.Node("Identity", []string{g.layer("x")}, []string{"y"})
			return g.Model().WithFunction("local", "Unused", []string{"a"}, []string{"b"}, &unused)
		}, ""},
		{"ONNX Runtime's own", func(g *layered) onnxtest.Message {
			g.Floats("w", []int64{3, 3}, floatOf(0.4))
			g.Node(dynamic, []string{"w"}, []string{"integers", "scale", "zero"})
			g.Call("com.microsoft", "DynamicQuantizeMatMul", []string{g.layer("x"), "integers", "scale", "zero"}, []string{"h"})
			quantized(&g.Graph, g.layer("h"), "w", "y")
			return g.Model().Embed(8, onnxtest.Message{}.Text(1, "com.microsoft").Int(2, 1))
		}, "1 × com.microsoft.DynamicQuantizeMatMul, 1 × " + dynamic},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var g layered
			g.Input("x", f32, "batch", 3)
			g.Output("y", f32, "batch", 3)
			model := c.build(&g)
			report, b := split(t, e, enginetest.Write(t, model), 1)
			if report.Verification.Runs == 0 {
				t.Error("it was not run")
			}
			if c.want == "" {
				if b.Rows != nil {
					t.Errorf("the rows are %+v", b.Rows)
				}
				return
			}
			if b.Rows == nil || b.Rows.Independent || b.Rows.Reason != "scales are computed over all of the batch ("+c.want+"); quantise with static scales instead" {
				t.Errorf("the rows are %+v, want %q", b.Rows, c.want)
			}
		})
	}
}
