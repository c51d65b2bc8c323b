package split

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/pipeline"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/split/engine"
	"github.com/distinfer/distinfer/split/enginetest"
	"github.com/distinfer/distinfer/split/onnxfile/onnxtest"
	"github.com/distinfer/distinfer/split/verify"
)

func floatOf(v float32) []float32 {
	return []float32{v, -v, v + 1, v + 2, 0.5, -0.25, v * 2, 1, 1}[:9]
}

// tricky is a graph with what a cutter gets wrong: a mask chain used by every
// layer, a constant chain, an output made early, an input needed late only, an
// input nobody uses, an output that is an input, a shape taken of a hidden
// value, an If that captures values of two layers, and a tied weight.
func tricky() []byte {
	var g, then, otherwise onnxtest.Graph
	g.Input("x", 1, "batch", 3)
	g.Input("mask", 7, "batch", 3)
	g.Input("late", 1, "batch", 3)
	g.Input("unused", 1, 1)
	g.Input("through", 7, 2)
	g.Input("flag", 9)
	g.Floats("w0", []int64{3, 3}, floatOf(0.3))
	g.Floats("w1", []int64{3, 3}, floatOf(-0.7))
	g.Floats("w2", []int64{3, 3}, floatOf(0.2))
	g.Floats("scale", []int64{1}, []float32{2})
	g.Ints("one", []int64{1}, 1)

	// mask → 1 - mask, as floats
	g.Node("Sub", []string{"one", "mask"}, []string{"inverted"})
	g.Node("Cast", []string{"inverted"}, []string{"bias"}, onnxtest.IntAttr("to", 1))
	// a weight that is computed
	g.Node("Mul", []string{"w1", "scale"}, []string{"w1_scaled"})

	g.Node("MatMul", []string{"x", "w0"}, []string{"a0"})
	g.Node("Add", []string{"a0", "bias"}, []string{"h0"})
	g.Node("Relu", []string{"h0"}, []string{"early"})
	g.Node("MatMul", []string{"h0", "w1_scaled"}, []string{"a1"})
	g.Node("Add", []string{"a1", "bias"}, []string{"h1"})
	g.Node("Shape", []string{"h0"}, []string{"shape0"})
	g.Node("MatMul", []string{"h1", "w2"}, []string{"a2"})
	g.Node("Reshape", []string{"a2", "shape0"}, []string{"h2"})
	then.Node("Add", []string{"h0", "h2"}, []string{"branch"})
	then.Output("branch", 1, onnxtest.AnyRank)
	otherwise.Node("Sub", []string{"h1", "w2_row"}, []string{"branch"})
	otherwise.Output("branch", 1, onnxtest.AnyRank)
	g.Floats("w2_row", []int64{3}, []float32{1, 2, 3})
	g.Node("If", []string{"flag"}, []string{"h3"}, onnxtest.GraphAttr("then_branch", &then), onnxtest.GraphAttr("else_branch", &otherwise))
	g.Node("MatMul", []string{"h3", "w0"}, []string{"a4"})
	g.Node("Add", []string{"a4", "late"}, []string{"y"})

	g.Output("y", 1, "batch", 3)
	g.Output("early", 1, "batch", 3)
	g.Output("h1", 1, "batch", 3) // intermediate and output at once
	g.Output("through", 7, 2)
	g.Output("w1_scaled", 1, 3, 3) // depends on no input
	return g.Model()
}

func split(t testing.TB, e engine.Engine, path string, n int) (*Report, *bundle.Bundle) {
	t.Helper()
	out := filepath.Join(t.TempDir(), "stages")
	report, err := Split(context.Background(), path, e, Options{Stages: n, Out: out, Verify: true})
	if err != nil {
		t.Fatalf("%d stages: %v", n, err)
	}
	b, err := bundle.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	return report, b
}

func TestSplitEqualsWhole(t *testing.T) {
	t.Parallel()
	e := enginetest.New(t)
	tricky := enginetest.Write(t, tricky())
	for _, c := range []struct {
		name, path string
		stages     []int
	}{
		{"sst2-minilm", enginetest.Model(t, "sst2-minilm"), []int{1, 6}},
		{"sst2-minilm-int8", enginetest.Model(t, "sst2-minilm-int8"), []int{3}},
		{"seed-rnn", enginetest.Model(t, "seed-rnn"), []int{1, 2, 3}},
		{"tricky", tricky, []int{1, 2, 3, 4}},
	} {
		for _, n := range c.stages {
			report, b := split(t, e, c.path, n)
			v := report.Verification
			if v.Runs == 0 || v.MaxAbsolute > 1e-5 {
				t.Errorf("%s in %d: %d runs, largest difference %g", c.name, n, v.Runs, v.MaxAbsolute)
			}
			if len(b.Stages) != n || b.Stages[0].BytesOut == 0 {
				t.Errorf("%s in %d: %d stages, %d bytes cross", c.name, n, len(b.Stages), b.Stages[0].BytesOut)
			}
			var share float64
			for _, s := range b.Stages {
				share += s.Cost
			}
			if math.Abs(share-1) > 0.01 {
				t.Errorf("%s in %d: the shares of the cost add up to %g", c.name, n, share)
			}
		}
	}
}

// Loops and scans that use values of other layers, and functions of the model's
// own, go where they are needed.
func TestBodiesAndFunctionsAreSplitRight(t *testing.T) {
	t.Parallel()
	var twice, body, scan, g onnxtest.Graph
	twice.Node("Add", []string{"a", "a"}, []string{"b"})
	g.Input("x", 1, "batch", 3)
	g.Floats("w0", []int64{3, 3}, floatOf(0.3))
	g.Floats("w1", []int64{3, 3}, floatOf(-0.2))
	g.Floats("step", []int64{3}, []float32{1, 0.5, 0.25})
	g.Ints("times", nil, 3)

	g.Node("MatMul", []string{"x", "w0"}, []string{"h0"})
	g.Call("local", "Twice", []string{"h0"}, []string{"h1"})
	g.Node("MatMul", []string{"h1", "w1"}, []string{"h2"})
	// The body uses a value of the first layer, one of the second, and a weight
	// that nothing else uses.
	body.Input("i", 7)
	body.Input("go_in", 9)
	body.Input("sum_in", 1, onnxtest.AnyRank)
	body.Node("Identity", []string{"go_in"}, []string{"go_out"})
	body.Node("Add", []string{"sum_in", "h0"}, []string{"s1"})
	body.Node("Mul", []string{"s1", "step"}, []string{"s2"})
	body.Node("Sub", []string{"s2", "h2"}, []string{"sum_out"})
	body.Output("go_out", 9)
	body.Output("sum_out", 1, onnxtest.AnyRank)
	g.Node("Loop", []string{"times", "", "h2"}, []string{"h3"}, onnxtest.GraphAttr("body", &body))
	g.Node("MatMul", []string{"h3", "w0"}, []string{"h4"})
	scan.Input("acc_in", 1, 3)
	scan.Input("row", 1, 3)
	scan.Node("Add", []string{"acc_in", "row"}, []string{"acc_out"})
	scan.Node("Mul", []string{"acc_out", "step"}, []string{"out"})
	scan.Output("acc_out", 1, 3)
	scan.Output("out", 1, 3)
	g.Node("Scan", []string{"step", "h4"}, []string{"last", "all"}, onnxtest.GraphAttr("body", &scan), onnxtest.IntAttr("num_scan_inputs", 1))
	g.Node("MatMul", []string{"all", "w1"}, []string{"h5"})
	g.Call("local", "Twice", []string{"h5"}, []string{"y"})
	g.Output("y", 1, onnxtest.AnyRank)
	g.Output("last", 1, onnxtest.AnyRank)

	e := enginetest.New(t)
	path := enginetest.Write(t, g.Model().WithFunction("local", "Twice", []string{"a"}, []string{"b"}, &twice))
	for n := 1; n <= 4; n++ {
		report, _ := split(t, e, path, n)
		if v := report.Verification; v.Runs == 0 || v.MaxAbsolute > 1e-4 {
			t.Errorf("%d stages: %+v", n, v)
		}
	}
}

// A verification that cannot fail is worth nothing.
func TestVerificationNoticesAWrongStage(t *testing.T) {
	t.Parallel()
	real := enginetest.New(t)
	out := filepath.Join(t.TempDir(), "stages")
	for _, change := range []float32{1e-2, float32(math.NaN())} {
		_, err := Split(context.Background(), enginetest.Model(t, "seed-rnn"), tampering{real, "stage-1.onnx", change}, Options{Stages: 2, Out: out, Verify: true})
		if err == nil || !strings.Contains(err.Error(), "the split is wrong") {
			t.Fatalf("changed by %g: %v", change, err)
		}
		if left, _ := os.ReadDir(filepath.Dir(out)); len(left) != 0 {
			t.Errorf("left behind: %v", left)
		}
	}
}

// tampering changes what the model in one file answers.
type tampering struct {
	engine.Engine
	name string
	by   float32
}

func (e tampering) Open(path string, inputs, outputs []tensor.Spec) (engine.Session, error) {
	s, err := e.Engine.Open(path, inputs, outputs)
	if filepath.Base(path) != e.name || err != nil {
		return s, err
	}
	return changed{s, e.by}, nil
}

type changed struct {
	engine.Session
	by float32
}

func (c changed) Run(ctx context.Context, in tensor.Bag) (tensor.Bag, error) {
	out, err := c.Session.Run(ctx, in)
	for _, x := range out {
		values, _ := tensor.As[float32](x)
		values[len(values)-1] += c.by
	}
	return out, err
}

func TestEverySplitOfTheTrickyGraphIsItsOwnBytes(t *testing.T) {
	t.Parallel()
	e := enginetest.New(t)
	path := enginetest.Write(t, tricky())
	for n := 1; n <= 4; n++ {
		_, a := split(t, e, path, n)
		_, b := split(t, e, path, n)
		if a.ID != b.ID {
			t.Errorf("%d stages: the same model gave two different bundles", n)
		}
		for rank := range a.Stages {
			x, errX := os.ReadFile(filepath.Join(a.Dir, a.Stages[rank].Name))
			y, errY := os.ReadFile(filepath.Join(b.Dir, b.Stages[rank].Name))
			if errX != nil || errY != nil || !bytes.Equal(x, y) {
				t.Errorf("stage %d of %d differs: %v %v", rank, n, errX, errY)
			}
		}
	}
}

func TestATransformersCutCarriesTheHiddenStateAndTheRawMask(t *testing.T) {
	t.Parallel()
	_, b := split(t, enginetest.New(t), enginetest.Model(t, "sst2-minilm"), 6)
	for rank, s := range b.Stages[1:] {
		var got []string
		for _, in := range s.Inputs {
			got = append(got, in.String())
		}
		if len(got) != 2 || !strings.HasSuffix(got[0], "float32[batch,sequence,384]") || got[1] != "attention_mask int64[batch,sequence]" {
			t.Errorf("stage %d takes %v", rank+1, got)
		}
	}
	last := b.Stages[5]
	if got := last.Outputs[0].String(); got != "logits float32[batch,2]" {
		t.Errorf("the last stage gives %s", got)
	}
}

// Any tool can chain the stage files by name, in rank order.
func TestStagesChainByName(t *testing.T) {
	t.Parallel()
	e := enginetest.New(t)
	_, b := split(t, e, enginetest.Write(t, tricky()), 3)
	var chain pipeline.Chain
	for rank, s := range b.Stages {
		path, err := b.StagePath(rank)
		if err != nil {
			t.Fatal(err)
		}
		session, err := e.Open(path, s.Inputs, s.Outputs)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = session.Close() }()
		chain = append(chain, pipeline.Stage{Runner: session, Inputs: tensor.Names(s.Inputs), Forward: s.Forward})
	}
	in := tensor.Bag{
		"x": tensor.Of([]int64{1, 3}, []float32{1, 2, 3}), "mask": tensor.Of([]int64{1, 3}, []int64{1, 1, 0}),
		"late": tensor.Of([]int64{1, 3}, []float32{0, 0, 100}), "unused": tensor.Of([]int64{1}, []float32{9}),
		"through": tensor.Of([]int64{2}, []int64{4, 5}), "flag": tensor.Of(nil, []bool{false}),
	}
	out, err := chain.Run(context.Background(), in)
	if err != nil {
		t.Fatal(err)
	}
	if got := out.Names(); !slices.Equal(got, []string{"early", "h1", "through", "w1_scaled", "y"}) {
		t.Errorf("the chain gives %v", got)
	}
	if through, _ := tensor.As[int64](out["through"]); !slices.Equal(through, []int64{4, 5}) {
		t.Errorf("through: %v", through)
	}
	early, _ := tensor.As[float32](out["early"])
	// x·w0 + (1-mask), by hand, behind the Relu
	want := []float32{1*0.3 + 2*2.3 + 3*0.6, -1*0.3 + 2*0.5 + 3, 1*1.3 - 2*0.25 + 3*1 + 1}
	for i := range want {
		if math.Abs(float64(early[i]-want[i])) > 1e-5 {
			t.Errorf("early: %v, want %v", early, want)
		}
	}
}

func TestWhatCannotBeSplitIsRefusedAndLeavesNothing(t *testing.T) {
	t.Parallel()
	e := enginetest.New(t)
	whole, err := os.ReadFile(enginetest.Model(t, "seed-rnn"))
	if err != nil {
		t.Fatal(err)
	}
	graph := func(f func(*onnxtest.Graph)) []byte {
		var g onnxtest.Graph
		g.Input("x", 1, "batch", 3)
		f(&g)
		return g.Model()
	}
	for _, c := range []struct {
		what   string
		data   []byte
		stages int
		says   string
	}{
		{"more stages than layers", whole, 99, "more than the model has layers"},
		{"no stages", whole, 0, "0 stages"},
		{"truncated", whole[:len(whole)*2/3], 2, "not a valid ONNX model"},
		{"no model", []byte("label\ttext\n"), 2, "not a valid ONNX model"},
		{"a dangling name", graph(func(g *onnxtest.Graph) {
			g.Node("Add", []string{"x", "nowhere"}, []string{"y"})
			g.Output("y", 1)
		}), 1, `uses "nowhere", which nothing makes`},
		{"a cycle", graph(func(g *onnxtest.Graph) {
			g.Node("Add", []string{"x", "b"}, []string{"a"})
			g.Node("Relu", []string{"a"}, []string{"b"})
			g.Output("b", 1)
		}), 1, "form a cycle"},
		{"a value made twice", graph(func(g *onnxtest.Graph) {
			g.Node("Relu", []string{"x"}, []string{"a"})
			g.Node("Neg", []string{"x"}, []string{"a"})
			g.Output("a", 1)
		}), 1, "made already"},
		{"an output that nothing makes", graph(func(g *onnxtest.Graph) {
			g.Node("Relu", []string{"x"}, []string{"a"})
			g.Output("z", 1)
		}), 1, `output "z" is made by no node`},
		{"an operator that does not exist", graph(func(g *onnxtest.Graph) {
			g.Node("Frobnicate", []string{"x"}, []string{"y"})
			g.Output("y", 1)
		}), 1, "Frobnicate"},
		{"a sequence that would cross", graph(func(g *onnxtest.Graph) {
			g.Floats("w", []int64{3, 3}, floatOf(1))
			g.Node("MatMul", []string{"x", "w"}, []string{"a"})
			g.Node("SequenceConstruct", []string{"a", "a"}, []string{"s"})
			g.Node("ConcatFromSequence", []string{"s"}, []string{"b"}, onnxtest.IntAttr("axis", 0))
			g.Node("MatMul", []string{"b", "w"}, []string{"y"})
			g.Output("y", 1)
		}), 3, "more than the model has layers"},
	} {
		out := filepath.Join(t.TempDir(), "stages")
		_, err := Split(context.Background(), enginetest.Write(t, c.data), e, Options{Stages: c.stages, Out: out, Verify: true})
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", c.what, err)
			continue
		}
		if strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: more than one line: %v", c.what, err)
		}
		if left, _ := os.ReadDir(filepath.Dir(out)); len(left) != 0 {
			t.Errorf("%s: left behind: %v", c.what, left)
		}
	}
	if _, err := Split(context.Background(), filepath.Join(t.TempDir(), "none.onnx"), e, Options{Stages: 2}); err == nil || !strings.Contains(err.Error(), "there is no file") {
		t.Errorf("a missing file: %v", err)
	}
	if _, err := Split(context.Background(), t.TempDir(), e, Options{Stages: 2}); err == nil || !strings.Contains(err.Error(), "holds no .onnx file") {
		t.Errorf("a folder: %v", err)
	}
}

func TestASequenceNeverCrossesACut(t *testing.T) {
	t.Parallel()
	var g onnxtest.Graph
	g.Input("x", 1, "batch", 3)
	g.Floats("w", []int64{3, 3}, floatOf(1))
	g.Node("MatMul", []string{"x", "w"}, []string{"a"})
	g.Node("SequenceConstruct", []string{"a", "a"}, []string{"s"})
	g.Node("MatMul", []string{"x", "w"}, []string{"a2"})
	g.Node("ConcatFromSequence", []string{"s"}, []string{"b"}, onnxtest.IntAttr("axis", 0))
	g.Node("MatMul", []string{"b", "w"}, []string{"c"})
	g.Node("Sum", []string{"c", "a"}, []string{"d"})
	g.Output("c", 1, onnxtest.AnyRank)
	g.Output("a2", 1, onnxtest.AnyRank)
	e := enginetest.New(t)
	path := enginetest.Write(t, g.Model())
	_, b := split(t, e, path, 2)
	for _, s := range b.Stages {
		for _, out := range s.Outputs {
			if out.DType == tensor.Undefined {
				t.Errorf("%q crosses", out.Name)
			}
		}
	}
}

func TestACancelledSplitLeavesNothing(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	out := filepath.Join(t.TempDir(), "stages")
	_, err := Split(ctx, enginetest.Model(t, "seed-rnn"), enginetest.New(t), Options{Stages: 2, Out: out, Verify: true})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(out); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

func TestCostsFollowTheSizesAskedFor(t *testing.T) {
	t.Parallel()
	e := enginetest.New(t)
	path := enginetest.Model(t, "sst2-minilm")
	plan := func(dims map[string]int64) *bundle.Manifest {
		r, err := Split(context.Background(), path, e, Options{Stages: 2, DryRun: true, Dims: dims})
		if err != nil {
			t.Fatal(err)
		}
		return r.Manifest
	}
	one, eight := plan(nil), plan(map[string]int64{"batch": 8, "sequence": 64})
	if got, want := eight.Stages[0].BytesOut, int64(8*64*(384*4+8)); got != want {
		t.Errorf("%d bytes leave stage 0, want %d", got, want)
	}
	if got, want := one.Stages[0].BytesOut, int64(128*(384*4+8)); got != want {
		t.Errorf("%d bytes leave stage 0, want %d", got, want)
	}
	if _, err := Split(context.Background(), path, e, Options{Stages: 2, DryRun: true, Dims: map[string]int64{"width": 1}}); err == nil || !strings.Contains(err.Error(), `no dimension "width"`) {
		t.Errorf("an unknown dimension: %v", err)
	}
}

func TestAModelOfCheapNodesOnlyIsDividedAllTheSame(t *testing.T) {
	t.Parallel()
	var g, constant onnxtest.Graph
	g.Input("x", 1, "batch", 3)
	g.Node("Neg", []string{"x"}, []string{"a"})
	g.Node("Abs", []string{"a"}, []string{"y"})
	g.Output("y", 1, "batch", 3)
	constant.Input("x", 1, 1)
	constant.Floats("w", []int64{1}, []float32{2})
	constant.Node("Neg", []string{"w"}, []string{"y"})
	constant.Output("y", 1, 1)
	e := enginetest.New(t)
	for n := 1; n <= 2; n++ {
		split(t, e, enginetest.Write(t, g.Model()), n)
	}
	split(t, e, enginetest.Write(t, constant.Model()), 1)
}

// An export with few positions, and shapes that are computed from shapes.
func TestAModelWithFewPositionsAndComputedShapesIsSplit(t *testing.T) {
	t.Parallel()
	var g onnxtest.Graph
	g.Input("x", 1, "batch", "sequence", 3)
	g.Floats("positions", []int64{1, 8, 3}, make([]float32, 24))
	g.Floats("w", []int64{3, 3}, floatOf(0.5))
	g.Ints("zero", []int64{1}, 0)
	g.Ints("one", []int64{1}, 1)
	g.Ints("two", []int64{1}, 2)
	g.Ints("three", []int64{1}, 3)
	g.Node("Shape", []string{"x"}, []string{"shape"})
	g.Node("Slice", []string{"shape", "zero", "one"}, []string{"batch"})
	g.Node("Slice", []string{"shape", "one", "two"}, []string{"length"})
	g.Node("Slice", []string{"positions", "zero", "length", "one"}, []string{"p"})
	g.Node("Add", []string{"x", "p"}, []string{"h0"}) // fails for more than 8 positions
	g.Node("MatMul", []string{"h0", "w"}, []string{"h1"})
	g.Node("Concat", []string{"batch", "length", "three"}, []string{"full"}, onnxtest.IntAttr("axis", 0))
	g.Node("Reshape", []string{"h1", "full"}, []string{"h2"})
	g.Node("MatMul", []string{"h2", "w"}, []string{"h3"})
	g.Node("Cast", []string{"h3"}, []string{"half"}, onnxtest.IntAttr("to", int64(tensor.Float16)))
	g.Node("Reshape", []string{"half", "full"}, []string{"y"})
	g.Output("y", int64(tensor.Float16), "batch", "sequence", 3)
	e := enginetest.New(t)
	path := enginetest.Write(t, g.Model())
	for n := 1; n <= 2; n++ {
		report, b := split(t, e, path, n)
		if report.Verification.Runs == 0 || b.Reference["sequence"] != 8 {
			t.Errorf("%d stages: %+v, estimated at %v", n, report.Verification, b.Reference)
		}
		if got := b.Outputs[0].String(); got != "y float16[batch,sequence,3]" {
			t.Errorf("the output is %s", got)
		}
	}
}

func TestALimitOnTheWeightsOfAStageDecidesHowManyThereAre(t *testing.T) {
	t.Parallel()
	g := &layered{}
	g.Input("x", f32, "batch", 3)
	last := "x"
	for range 5 {
		last = g.layer(last)
	}
	g.Node("Identity", []string{last}, []string{"y"})
	g.Output("y", f32, "batch", 3)
	path, e := enginetest.Write(t, g.Model()), enginetest.New(t)
	for limit, want := range map[int64]int{36: 5, 72: 3, 108: 2, 1000: 2} {
		report, err := Split(context.Background(), path, e, Options{Stages: 2, More: true, MaxStageBytes: limit, DryRun: true})
		if err != nil {
			t.Fatal(err)
		}
		if got := len(report.Manifest.Stages); got != want {
			t.Errorf("at most %d bytes: %d stages, want %d", limit, got, want)
		}
		for rank, s := range report.Manifest.Stages {
			if s.ParameterBytes > limit {
				t.Errorf("stage %d has %d bytes, at most %d were asked for", rank, s.ParameterBytes, limit)
			}
		}
	}
	for what, o := range map[string]Options{
		"two stages were asked for": {Stages: 2, MaxStageBytes: 72},
		"no number would do":        {Stages: 2, More: true, MaxStageBytes: 35},
	} {
		o.DryRun = true
		if _, err := Split(context.Background(), path, e, o); err == nil || !strings.Contains(err.Error(), "the limit is") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestABundleIsCheckedLater(t *testing.T) {
	t.Parallel()
	e := enginetest.New(t)
	path := enginetest.Write(t, tricky())
	_, b := split(t, e, path, 3)
	v, err := verify.Verify(context.Background(), e, b, verify.Options{Model: path})
	if err != nil || v.Runs < 2 || v.Against != verify.AgainstWhole || len(v.Unverified)+len(v.Extra) != 0 {
		t.Fatalf("%+v, %v", v, err)
	}
	// Values that are passed on by the stages in between are there even when the
	// first stage is not.
	v, err = verify.Verify(context.Background(), e, b, verify.Options{})
	if err != nil || v.StagesRun != 3 || v.Against != verify.AgainstNothing {
		t.Errorf("%+v, %v", v, err)
	}
	if _, err := verify.Verify(context.Background(), e, b, verify.Options{Model: enginetest.Model(t, "seed-rnn")}); err == nil || !strings.Contains(err.Error(), "was not made from") || !strings.Contains(err.Error(), b.Model.SHA256) {
		t.Errorf("another model: %v", err)
	}
	for _, name := range []string{"stage-0.onnx", "stage-1.onnx", "stage-2.onnx"} {
		if _, err := verify.Verify(context.Background(), tampering{e, name, 1}, b, verify.Options{Model: path}); err == nil || !strings.Contains(err.Error(), "the split is wrong") {
			t.Errorf("%s answers wrongly: %v", name, err)
		}
	}
	extra := filepath.Join(b.Dir, "notes.txt")
	if err := os.WriteFile(extra, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if v, err = verify.Verify(context.Background(), e, b, verify.Options{}); err != nil || !slices.Equal(v.Extra, []string{"notes.txt"}) {
		t.Errorf("%+v, %v", v, err)
	}
	stage := filepath.Join(b.Dir, "stage-1.onnx")
	data, err := os.ReadFile(stage)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	if err := os.WriteFile(stage, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := verify.Verify(context.Background(), e, b, verify.Options{}); err == nil || !strings.Contains(err.Error(), "mixed files") {
		t.Errorf("a changed file: %v", err)
	}
	if err := os.Remove(stage); err != nil {
		t.Fatal(err)
	}
	if _, err := verify.Verify(context.Background(), e, b, verify.Options{}); err == nil || !strings.Contains(err.Error(), "stage-1.onnx is missing") {
		t.Errorf("a missing file: %v", err)
	}
}
