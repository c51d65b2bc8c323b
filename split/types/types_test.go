package types

import (
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/split/engine"
	"github.com/distinfer/distinfer/split/enginetest"
	"github.com/distinfer/distinfer/split/graph"
	"github.com/distinfer/distinfer/split/onnxfile"
	"github.com/distinfer/distinfer/split/onnxfile/onnxtest"
)

// asking counts the questions to an engine.
type asking struct {
	engine.Engine
	questions atomic.Int64
}

func (e *asking) Types(path string) ([]tensor.Spec, error) {
	e.questions.Add(1)
	return e.Engine.Types(path)
}

// A model of many blocks is asked about slice by slice, and about slices that are
// alike only once. What is known of its values is what one question would tell.
func TestDeepModelsAreAskedAboutSliceBySlice(t *testing.T) {
	t.Parallel()
	var g onnxtest.Graph
	g.Input("x", 1, "batch", 8)
	g.Input("mask", 7, "batch", 8)
	g.Node("Cast", []string{"mask"}, []string{"bias"}, onnxtest.IntAttr("to", 1))
	g.Ints("zero", []int64{1}, 0)
	g.Ints("one", []int64{1}, 1)
	g.Ints("eight", []int64{1}, 8)
	last := "x"
	const blocks = 1000
	odd := 0
	for i := range blocks {
		name := func(part string) string { return fmt.Sprintf("block%d/%s", i, part) }
		g.Floats(name("weight"), []int64{8, 8}, make([]float32, 64))
		g.Node("MatMul", []string{last, name("weight")}, []string{name("product")})
		// A shape that is computed from a shape, and needed in the next block.
		g.Node("Shape", []string{name("product")}, []string{name("shape")})
		g.Node("Slice", []string{name("shape"), "zero", "one"}, []string{name("batch")})
		g.Node("Concat", []string{name("batch"), "eight"}, []string{name("full")}, onnxtest.IntAttr("axis", 0))
		full := name("full")
		if i > 0 {
			full = fmt.Sprintf("block%d/full", i-1)
		}
		g.Node("Reshape", []string{name("product"), full}, []string{name("shaped")})
		if i == blocks/2 {
			odd++
			g.Node("Softmax", []string{name("shaped")}, []string{name("odd")})
			g.Node("Add", []string{name("odd"), "bias"}, []string{name("sum")})
		} else {
			g.Node("Add", []string{name("shaped"), "bias"}, []string{name("sum")})
		}
		last = name("sum")
	}
	g.Node("ReduceSum", []string{last}, []string{"scalar"}, onnxtest.IntAttr("keepdims", 0))
	g.Output("scalar", 1)
	path := enginetest.Write(t, g.Model())
	file, err := onnxfile.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	gr, err := graph.New(&file.Model)
	if err != nil {
		t.Fatal(err)
	}
	data, err := onnxfile.OpenDataFolder(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = data.Close() }()
	references, err := References(gr, nil)
	if err != nil {
		t.Fatal(err)
	}
	e := &asking{Engine: enginetest.New(t)}
	v, _, err := Infer(gr, e, data, references)
	if err != nil {
		t.Fatal(err)
	}
	for i := range blocks {
		for part, want := range map[string]string{"product": "float32[batch,8]", "shape": "int64[2]", "shaped": "float32[batch,8]", "sum": "float32[batch,8]"} {
			name := fmt.Sprintf("block%d/%s", i, part)
			if got := v.Specs[name].String(); got != name+" "+want {
				t.Fatalf("%s, want %s", got, want)
			}
		}
	}
	if got := v.Specs["scalar"].String(); got != "scalar float32[]" {
		t.Errorf("%s", got)
	}
	slices := int64(len(gr.Nodes)+sliceNodes-1) / sliceNodes
	if n := e.questions.Load(); n >= 3*slices {
		t.Errorf("%d questions for %d slices at three sizes", n, slices)
	}
}
