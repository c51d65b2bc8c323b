package split

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/split/onnxfile/onnxtest"
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
	e := engine(t)
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
		report, _ := split(t, e, write(t, model(build)), 1)
		if v := report.Verification; v.Runs == 0 || v.Against != AgainstWhole || len(v.Unverified) > 0 {
			t.Errorf("%s: %+v", what, v)
		}
	}
}

func TestValuesOfEveryTypeAreGenerated(t *testing.T) {
	t.Parallel()
	g := newGenerator(&bundle.Manifest{}, nil)
	for d := tensor.Float32; d <= tensor.Float4E2M1; d++ {
		spec := tensor.Spec{Name: "x", DType: d, Dims: []tensor.Dim{tensor.Named("n"), tensor.Fixed(5)}}
		at := trial{sizes: tensor.Sizes{"n": 3}}
		for _, m := range g.manners(&bundle.Manifest{}) {
			a, err := g.make([]tensor.Spec{spec}, at, m, 1)
			if err != nil {
				t.Fatalf("%s: %v", d, err)
			}
			b, _ := g.make([]tensor.Spec{spec}, at, m, 1)
			if err := a["x"].Check(); err != nil || !slices.Equal(a["x"].Data, b["x"].Data) || !slices.Equal(a["x"].Shape, []int64{3, 5}) {
				t.Errorf("%s: %v, %v", d, a, err)
			}
			values, _ := floats(a["x"])
			for _, x := range values {
				if !(math.Abs(x) <= 1) {
					t.Errorf("%s: %g", d, x)
				}
			}
		}
	}
}

func TestDifferencesAreHeldToTheToleranceOfTheType(t *testing.T) {
	t.Parallel()
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	float := func(v ...float32) tensor.Tensor { return tensor.Of([]int64{int64(len(v))}, v) }
	bits := func(d tensor.DType, b ...uint8) tensor.Tensor {
		return tensor.Tensor{DType: d, Shape: []int64{int64(len(b)) / max(d.Bytes(1), 1)}, Data: b}
	}
	for _, c := range []struct {
		a, b      tensor.Tensor
		tolerance float64
		same      bool
	}{
		{float(1, nan, inf), float(1.00009, nan, inf), 0, true},
		{float(1), float(1.0002), 0, false},
		{float(1), float(1.0002), 1e-3, true},
		{float(1), float(1.00009), math.SmallestNonzeroFloat64, false},
		{float(1000, 1), float(1000, 1.05), 0, true}, // a share of the largest
		{float(nan), float(1), 0, false},
		{float(1), float(nan), 0, false},
		{float(inf), float(-inf), 0, false},
		{float(1, 1), float(1), 0, false},
		{bits(tensor.Complex64, make([]byte, 8)...), bits(tensor.Complex64, 0, 0, 0, 0, 0, 0, 0x80, 0x3f), 0, false},
		{bits(tensor.Float16, 0x00, 0x3c), bits(tensor.Float16, 0x09, 0x3c), 0, true},
		{bits(tensor.Float16, 0x00, 0x3c), bits(tensor.Float16, 0x0f, 0x3c), 0, false},
		{bits(tensor.Float8E4M3FN, 0x38), bits(tensor.Float8E4M3FN, 0x39), 0, true}, // one step
		{bits(tensor.Float8E4M3FN, 0x38), bits(tensor.Float8E4M3FN, 0x3a), 0, false},
		{bits(tensor.Uint8, 7), bits(tensor.Uint8, 8), 1, false}, // integers are exact
		{bits(tensor.Uint8, 7), bits(tensor.Int8, 7), 0, false},
		{tensor.Tensor{DType: tensor.String, Shape: []int64{1}, Strs: []string{"a"}}, tensor.Tensor{DType: tensor.String, Shape: []int64{1}, Strs: []string{"b"}}, 0, false},
	} {
		var d Difference
		if err := d.compare(c.a, c.b, c.tolerance); (err == nil) != c.same {
			t.Errorf("%v and %v: %v", c.a, c.b, err)
		}
	}
}

func TestFloatsOfEightBitsAreWidened(t *testing.T) {
	t.Parallel()
	nan, inf := math.NaN(), math.Inf(1)
	for _, c := range []struct {
		d    tensor.DType
		bits uint8
		want float64
	}{
		{tensor.Float8E4M3FN, 0x38, 1}, {tensor.Float8E4M3FN, 0x7e, 448}, {tensor.Float8E4M3FN, 0x01, 0x1p-9}, {tensor.Float8E4M3FN, 0xff, nan}, {tensor.Float8E4M3FN, 0x80, 0},
		{tensor.Float8E4M3FNUZ, 0x40, 1}, {tensor.Float8E4M3FNUZ, 0x7f, 240}, {tensor.Float8E4M3FNUZ, 0x80, nan}, {tensor.Float8E4M3FNUZ, 0x01, 0x1p-10},
		{tensor.Float8E5M2, 0x3c, 1}, {tensor.Float8E5M2, 0x7b, 57344}, {tensor.Float8E5M2, 0xfc, -inf}, {tensor.Float8E5M2, 0x7d, nan}, {tensor.Float8E5M2, 0x01, 0x1p-16},
		{tensor.Float8E5M2FNUZ, 0xc0, -1}, {tensor.Float8E5M2FNUZ, 0x7f, 57344}, {tensor.Float8E5M2FNUZ, 0x80, nan}, {tensor.Float8E5M2FNUZ, 0x01, 0x1p-17},
	} {
		if got := fromFloat8(c.d, c.bits); got != c.want && !(math.IsNaN(got) && math.IsNaN(c.want)) {
			t.Errorf("%s %#x is %g, want %g", c.d, c.bits, got, c.want)
		}
	}
}

func TestOutputsThatChangeFromRunToRunAreNamed(t *testing.T) {
	t.Parallel()
	var g onnxtest.Graph
	g.Input("x", 1, "batch", 3)
	g.Floats("w", []int64{3, 3}, floatOf(0.5))
	g.Node("MatMul", []string{"x", "w"}, []string{"h"})
	g.Node("RandomNormalLike", []string{"h"}, []string{"noise"})
	g.Node("MatMul", []string{"h", "w"}, []string{"y"})
	g.Output("noise", 1, "batch", 3)
	g.Output("y", 1, "batch", 3)
	report, _ := split(t, engine(t), write(t, g.Model()), 2)
	v := report.Verification
	if v.Runs == 0 || v.Outputs[0].Compared || !v.Outputs[1].Compared {
		t.Errorf("%+v", v)
	}
	if len(v.Unverified) != 1 || !strings.Contains(v.Unverified[0], `output "noise"`) {
		t.Errorf("%q", v.Unverified)
	}
}

// A model that takes none of the generated inputs is split all the same, and the
// report says so.
func TestAModelThatRunsOnNothingGeneratedIsKept(t *testing.T) {
	t.Parallel()
	e := engine(t)
	var g onnxtest.Graph
	g.Input("ids", int64(tensor.Int64), "n")
	g.Floats("table", []int64{5, 300}, make([]float32, 5*300))
	g.Ints("base", []int64{1}, 1000)
	g.Floats("w", []int64{300, 3}, make([]float32, 300*3))
	g.Node("Sub", []string{"ids", "base"}, []string{"at"})
	g.Node("Gather", []string{"table", "at"}, []string{"h"})
	g.Node("MatMul", []string{"h", "w"}, []string{"y"})
	g.Output("y", 1, "n", 3)
	path := write(t, g.Model())
	report, b := split(t, e, path, 2)
	v := report.Verification
	if v.Runs != 0 || v.StagesRun != 0 || len(v.Unverified) != 1 || !strings.Contains(v.Unverified[0], "Nothing was verified by running") || !strings.Contains(v.Unverified[0], "distinfer verify --model") {
		t.Errorf("%+v", v)
	}
	// Real inputs do it.
	data := append([]byte{8, 2, 16, 7, 0x42, 3, 'i', 'd', 's', 0x3a, 4}, 0xe8, 0x07, 0xec, 0x07) // 1000, 1004
	file := filepath.Join(t.TempDir(), "ids.pb")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	v, err := Verify(context.Background(), e, b, VerifyOptions{Model: path, Inputs: []string{file}})
	if err != nil || v.Runs != 1 || v.Against != AgainstWhole || !slices.Equal(v.Given, []string{file}) || len(v.Unverified) != 0 {
		t.Errorf("%+v, %v", v, err)
	}
	out := filepath.Join(t.TempDir(), "again")
	report, err = Split(context.Background(), path, e, Options{Stages: 2, Out: out, Verify: true, Inputs: []string{file}})
	if err != nil || report.Verification.Runs != 1 {
		t.Errorf("%+v, %v", report, err)
	}
	// A stage that does not load is no bundle, even then.
	if _, err := Split(context.Background(), path, refusing{e, "stage-1.onnx"}, Options{Stages: 2, Out: out, Force: true, Verify: true}); err == nil || !strings.Contains(err.Error(), "stage 1 does not load") {
		t.Errorf("%v", err)
	}
}

// refusing does not load the file of a name.
type refusing struct {
	Engine
	name string
}

func (e refusing) Open(path string, inputs, outputs []tensor.Spec) (Session, error) {
	if filepath.Base(path) == e.name {
		return nil, errors.New("bad allocation")
	}
	return e.Engine.Open(path, inputs, outputs)
}

// counting notes how many models are loaded at a time.
type counting struct {
	Engine
	now, most, opened atomic.Int32
}

func (e *counting) Open(path string, inputs, outputs []tensor.Spec) (Session, error) {
	s, err := e.Engine.Open(path, inputs, outputs)
	e.opened.Add(1)
	e.most.Store(max(e.most.Load(), e.now.Add(1)))
	return &counted{s, e}, err
}

type counted struct {
	Session
	e *counting
}

func (s *counted) Close() error {
	s.e.now.Add(-1)
	return s.Session.Close()
}

func TestAModelThatIsTooLargeIsVerifiedAsFarAsItFits(t *testing.T) {
	t.Parallel()
	e := engine(t)
	path := modelPath(t, "sst2-minilm")
	_, b := split(t, e, path, 2)
	need := func(rank int) int64 {
		s := b.Stages[rank]
		return s.Bytes + 4*s.Parameters + loadOverhead
	}
	for _, c := range []struct {
		what               string
		e                  Engine
		memory             int64
		opened, runs, some int // models loaded, runs of all stages, stages run
		says               []string
	}{
		{"all fits", e, 0, 3, 7, 2, nil},
		{"the whole does not", e, need(0), 2, 7, 2, []string{"not compared with the whole model: loading it takes about"}},
		{"the whole does not load", refusing{e, "model.onnx"}, 0, 3, 7, 2, []string{"does not load: bad allocation"}},
		{"the first stage does not", e, need(1), 1, 0, 1, []string{"not compared", "Stage 0 was not loaded"}},
		{"nothing does", e, 1, 0, 0, 0, []string{"not compared", "Stage 0 was not loaded", "Stage 1 was not loaded"}},
	} {
		counting := &counting{Engine: c.e}
		v, err := Verify(context.Background(), counting, b, VerifyOptions{Model: path, Memory: c.memory})
		if err != nil {
			t.Errorf("%s: %v", c.what, err)
			continue
		}
		if int(counting.opened.Load()) != c.opened || c.opened > 0 && c.e == e && counting.most.Load() != 1 || v.Runs != c.runs || v.StagesRun != c.some {
			t.Errorf("%s: %d loaded, %d at a time; %+v", c.what, counting.opened.Load(), counting.most.Load(), v)
		}
		all := strings.Join(v.Unverified, "\n")
		for _, s := range c.says {
			if !strings.Contains(all, s) {
				t.Errorf("%s: does not say %q: %s", c.what, s, all)
			}
		}
		if (v.Against == AgainstWhole) != (c.says == nil) {
			t.Errorf("%s: compared with %s", c.what, v.Against)
		}
	}
	// A stage that answers in another shape than the manifest says is noticed even
	// where nothing can be compared.
	if _, err := Verify(context.Background(), reshaping{e}, b, VerifyOptions{}); err == nil || !strings.Contains(err.Error(), "stage 1 does not give what the manifest says") {
		t.Errorf("%v", err)
	}
}

// reshaping answers one dimension more than it should, in the last stage.
type reshaping struct{ Engine }

func (e reshaping) Open(path string, inputs, outputs []tensor.Spec) (Session, error) {
	s, err := e.Engine.Open(path, inputs, outputs)
	if filepath.Base(path) != "stage-1.onnx" || err != nil {
		return s, err
	}
	return reshaped{s}, nil
}

type reshaped struct{ Session }

func (r reshaped) Run(ctx context.Context, in tensor.Bag) (tensor.Bag, error) {
	out, err := r.Session.Run(ctx, in)
	for name, x := range out {
		x.Shape = append([]int64{1}, x.Shape...)
		out[name] = x
	}
	return out, err
}

func TestABundleIsCheckedLater(t *testing.T) {
	t.Parallel()
	e := engine(t)
	path := write(t, tricky())
	_, b := split(t, e, path, 3)
	v, err := Verify(context.Background(), e, b, VerifyOptions{Model: path})
	if err != nil || v.Runs < 2 || v.Against != AgainstWhole || len(v.Unverified)+len(v.Extra) != 0 {
		t.Fatalf("%+v, %v", v, err)
	}
	// Values that are passed on by the stages in between are there even when the
	// first stage is not.
	v, err = Verify(context.Background(), e, b, VerifyOptions{})
	if err != nil || v.StagesRun != 3 || v.Against != AgainstNothing {
		t.Errorf("%+v, %v", v, err)
	}
	if _, err := Verify(context.Background(), e, b, VerifyOptions{Model: modelPath(t, "seed-rnn")}); err == nil || !strings.Contains(err.Error(), "was not made from") || !strings.Contains(err.Error(), b.Model.SHA256) {
		t.Errorf("another model: %v", err)
	}
	for _, name := range []string{"stage-0.onnx", "stage-1.onnx", "stage-2.onnx"} {
		if _, err := Verify(context.Background(), tampering{e, name, 1}, b, VerifyOptions{Model: path}); err == nil || !strings.Contains(err.Error(), "the split is wrong") {
			t.Errorf("%s answers wrongly: %v", name, err)
		}
	}
	extra := filepath.Join(b.Dir, "notes.txt")
	if err := os.WriteFile(extra, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if v, err = Verify(context.Background(), e, b, VerifyOptions{}); err != nil || !slices.Equal(v.Extra, []string{"notes.txt"}) {
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
	if _, err := Verify(context.Background(), e, b, VerifyOptions{}); err == nil || !strings.Contains(err.Error(), "mixed files") {
		t.Errorf("a changed file: %v", err)
	}
	if err := os.Remove(stage); err != nil {
		t.Fatal(err)
	}
	if _, err := Verify(context.Background(), e, b, VerifyOptions{}); err == nil || !strings.Contains(err.Error(), "stage-1.onnx is missing") {
		t.Errorf("a missing file: %v", err)
	}
}
