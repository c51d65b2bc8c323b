package ort_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/runtime/ort"
	"github.com/distinfer/distinfer/runtime/ort/orttest"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/runtime/testkit"
	"github.com/distinfer/distinfer/split/onnxfile/onnxtest"
)

func open(t *testing.T, g *onnxtest.Graph, inputs, outputs []tensor.Spec) *ort.Session {
	t.Helper()
	path := filepath.Join(t.TempDir(), "model.onnx")
	if err := os.WriteFile(path, g.ModelAt(13, 25), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := orttest.Library(t).Open(path, inputs, outputs, ort.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func values[T tensor.Element](t *testing.T, x tensor.Tensor) []T {
	t.Helper()
	if err := x.Check(); err != nil {
		t.Fatal(err)
	}
	v, err := tensor.As[T](x)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// cast runs a Cast from one type to another on three elements, or a scalar.
func cast(t *testing.T, from, to tensor.DType, dims []tensor.Dim, outDims []tensor.Dim, in tensor.Tensor) tensor.Tensor {
	t.Helper()
	var g onnxtest.Graph
	declared := make([]any, len(dims))
	for i := range dims {
		declared[i] = "n"
	}
	g.Input("x", int64(from), declared...)
	g.Node("Cast", []string{"x"}, []string{"y"}, onnxtest.IntAttr("to", int64(to)))
	g.Output("y", int64(to), declared...)
	s := open(t, &g, []tensor.Spec{orttest.Spec("x", from, dims...)}, []tensor.Spec{orttest.Spec("y", to, outDims...)})
	return orttest.Run(t, s, tensor.Bag{"x": in})["y"]
}

func TestEveryElementTypeGoesThroughUnchanged(t *testing.T) {
	t.Parallel()
	n := []tensor.Dim{tensor.Named("n")}
	for _, d := range []tensor.DType{
		tensor.Float32, tensor.Float64, tensor.Float16, tensor.BFloat16, tensor.Int8, tensor.Int16, tensor.Int32, tensor.Int64,
		tensor.Uint8, tensor.Uint16, tensor.Uint32, tensor.Uint64, tensor.Bool,
		tensor.Float8E4M3FN, tensor.Float8E4M3FNUZ, tensor.Float8E5M2, tensor.Float8E5M2FNUZ, tensor.Int4, tensor.Uint4,
		tensor.Float8E8M0, tensor.Int2, tensor.Uint2,
	} {
		t.Run(d.String(), func(t *testing.T) {
			t.Parallel()
			there := cast(t, tensor.Int64, d, n, n, tensor.Of([]int64{3}, []int64{0, 1, 1}))
			back := values[int64](t, cast(t, d, tensor.Int64, n, n, there))
			if !slices.Equal(back, []int64{0, 1, 1}) {
				t.Errorf("came back as %v", back)
			}
			// A size that is known only after the run.
			unknown := cast(t, tensor.Int64, d, n, []tensor.Dim{{}}, tensor.Of([]int64{3}, []int64{0, 1, 1}))
			if string(unknown.Data) != string(there.Data) || !slices.Equal(unknown.Shape, there.Shape) {
				t.Errorf("allocated by ONNX Runtime: %v, beforehand: %v", unknown, there)
			}
			scalar := cast(t, tensor.Int64, d, nil, nil, tensor.Of(nil, []int64{1}))
			if len(scalar.Shape) != 0 {
				t.Errorf("a scalar has shape %v", scalar.Shape)
			}
			if one := values[int64](t, cast(t, d, tensor.Int64, nil, nil, scalar)); one[0] != 1 {
				t.Errorf("a scalar came back as %v", one)
			}
			empty, err := tensor.New(d, []int64{0})
			if err != nil {
				t.Fatal(err)
			}
			if out := cast(t, d, tensor.Int64, n, n, empty); len(out.Data) != 0 || !slices.Equal(out.Shape, []int64{0}) {
				t.Errorf("no elements came back as %v", out)
			}
		})
	}
}

func TestStringsGoThrough(t *testing.T) {
	t.Parallel()
	var g onnxtest.Graph
	g.Input("x", int64(tensor.String), "n")
	g.Node("Identity", []string{"x"}, []string{"y"})
	g.Output("y", int64(tensor.String), "n")
	n := tensor.Named("n")
	s := open(t, &g, []tensor.Spec{orttest.Spec("x", tensor.String, n)}, []tensor.Spec{orttest.Spec("y", tensor.String, n)})
	in := []string{"", "déjà vu", "日本", "a\x00b"}
	out := orttest.Run(t, s, tensor.Bag{"x": {DType: tensor.String, Shape: []int64{4}, Strs: in}})
	if !slices.Equal(out["y"].Strs, in) {
		t.Errorf("%q", out["y"].Strs)
	}
	out = orttest.Run(t, s, tensor.Bag{"x": {DType: tensor.String, Shape: []int64{0}}})
	if len(out["y"].Strs) != 0 || !slices.Equal(out["y"].Shape, []int64{0}) {
		t.Errorf("no strings: %v", out["y"])
	}
}

func TestAModelWithoutInputsRuns(t *testing.T) {
	t.Parallel()
	var g onnxtest.Graph
	g.Floats("w", []int64{2}, []float32{1, 2})
	g.Node("Neg", []string{"w"}, []string{"y"})
	g.Output("y", 1, 2)
	s := open(t, &g, nil, []tensor.Spec{orttest.Spec("y", tensor.Float32, tensor.Fixed(2))})
	if y := values[float32](t, orttest.Run(t, s, nil)["y"]); !slices.Equal(y, []float32{-1, -2}) {
		t.Errorf("%v", y)
	}
}

func TestAModelThatOnlyPassesOnItsInputsRuns(t *testing.T) {
	t.Parallel()
	var g onnxtest.Graph
	g.Input("x", 1, 1)
	g.Node("Neg", []string{"x"}, []string{"unused"})
	g.Output("x", 1, 1)
	x := orttest.Spec("x", tensor.Float32, tensor.Fixed(1))
	s := open(t, &g, []tensor.Spec{x}, []tensor.Spec{x})
	if y := values[float32](t, orttest.Run(t, s, tensor.Bag{"x": tensor.Of([]int64{1}, []float32{7})})["x"]); y[0] != 7 {
		t.Errorf("%v", y)
	}
}

// ONNX Runtime leaves outputs allocated beforehand untouched in some of these
// cases, or hands out its input's memory.
func TestOutputsThatAreInputsOrWeightsHoldTheirValues(t *testing.T) {
	t.Parallel()
	var g onnxtest.Graph
	g.Input("x", 7, "n")
	g.Floats("w", []int64{2}, []float32{3, 4})
	g.Ints("shape", []int64{2}, 1, -1)
	g.Node("Identity", []string{"x"}, []string{"same"})
	g.Node("Reshape", []string{"x", "shape"}, []string{"reshaped"})
	g.Node("Neg", []string{"x"}, []string{"negative"})
	g.Node("Identity", []string{"w"}, []string{"weight_copy"})
	g.Output("x", 7, "n")
	g.Output("same", 7, "n")
	g.Output("reshaped", 7, 1, "n")
	g.Output("negative", 7, "n")
	g.Output("w", 1, 2)
	g.Output("weight_copy", 1, 2)
	n, two := tensor.Named("n"), tensor.Fixed(2)
	x := orttest.Spec("x", tensor.Int64, n)
	s := open(t, &g, []tensor.Spec{x}, []tensor.Spec{
		x, orttest.Spec("same", tensor.Int64, n), orttest.Spec("reshaped", tensor.Int64, tensor.Fixed(1), n), orttest.Spec("negative", tensor.Int64, n),
		orttest.Spec("w", tensor.Float32, two), orttest.Spec("weight_copy", tensor.Float32, two),
	})
	out := orttest.Run(t, s, tensor.Bag{"x": tensor.Of([]int64{3}, []int64{5, 6, 7})})
	for _, name := range []string{"x", "same", "reshaped"} {
		if got := values[int64](t, out[name]); !slices.Equal(got, []int64{5, 6, 7}) {
			t.Errorf("%s is %v", name, got)
		}
	}
	if got := values[int64](t, out["negative"]); !slices.Equal(got, []int64{-5, -6, -7}) {
		t.Errorf("negative is %v", got)
	}
	for _, name := range []string{"w", "weight_copy"} {
		if got := values[float32](t, out[name]); !slices.Equal(got, []float32{3, 4}) {
			t.Errorf("%s is %v", name, got)
		}
	}
}

func TestAnOutputOfAnotherSizeThanForetoldIsStillRight(t *testing.T) {
	t.Parallel()
	var g onnxtest.Graph
	g.Input("x", 1, "n")
	g.Node("NonZero", []string{"x"}, []string{"y"})
	g.Output("y", 7, 1, nil)
	n := tensor.Named("n")
	// The manifest says, wrongly, that there are as many as in x.
	s := open(t, &g, []tensor.Spec{orttest.Spec("x", tensor.Float32, n)}, []tensor.Spec{orttest.Spec("y", tensor.Int64, tensor.Fixed(1), n)})
	for range 2 {
		out := orttest.Run(t, s, tensor.Bag{"x": tensor.Of([]int64{4}, []float32{1, 0, 0, 2})})
		if got := values[int64](t, out["y"]); !slices.Equal(got, []int64{0, 3}) {
			t.Errorf("%v", got)
		}
	}
}

func TestWhatDoesNotFitTheModelIsInvalid(t *testing.T) {
	t.Parallel()
	var g onnxtest.Graph
	g.Input("x", 1, "n", 2)
	g.Node("Neg", []string{"x"}, []string{"y"})
	g.Output("y", 1, "n", 2)
	dims := []tensor.Dim{tensor.Named("n"), tensor.Fixed(2)}
	s := open(t, &g, []tensor.Spec{orttest.Spec("x", tensor.Float32, dims...)}, []tensor.Spec{orttest.Spec("y", tensor.Float32, dims...)})
	for what, in := range map[string]tensor.Bag{
		"nothing":           {},
		"another name":      {"z": tensor.Of([]int64{1, 2}, []float32{1, 2})},
		"another type":      {"x": tensor.Of([]int64{1, 2}, []float64{1, 2})},
		"another dimension": {"x": tensor.Of([]int64{1, 3}, []float32{1, 2, 3})},
		"too little data":   {"x": {DType: tensor.Float32, Shape: []int64{100, 2}, Data: make([]byte, 8)}},
	} {
		if _, err := s.Run(context.Background(), in); errcode.Of(err) != errcode.Invalid {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestConcurrentRunsKeepTheirAnswersApart(t *testing.T) {
	t.Parallel()
	var g onnxtest.Graph
	g.Input("x", 7, "n")
	g.Node("Neg", []string{"x"}, []string{"y"})
	g.Output("y", 7, "n")
	n := tensor.Named("n")
	s := open(t, &g, []tensor.Spec{orttest.Spec("x", tensor.Int64, n)}, []tensor.Spec{orttest.Spec("y", tensor.Int64, n)})
	var wg sync.WaitGroup
	for i := range int64(32) {
		wg.Go(func() {
			for k := range int64(50) {
				out, err := s.Run(context.Background(), tensor.Bag{"x": tensor.Of([]int64{2}, []int64{i, k})})
				if err != nil {
					t.Error(err)
					return
				}
				if got, _ := tensor.As[int64](out["y"]); got[0] != -i || got[1] != -k {
					t.Errorf("-%d, -%d came back as %v", i, k, got)
				}
			}
		})
	}
	wg.Wait()
}

func TestARunStopsWhenItsContextEnds(t *testing.T) {
	t.Parallel()
	var body, g onnxtest.Graph
	// A loop that would take hours: 2^40 times, each a matrix product.
	body.Input("i", 7)
	body.Input("go_in", 9)
	body.Input("acc_in", 1, 64, 64)
	body.Node("Identity", []string{"go_in"}, []string{"go_out"})
	body.Node("MatMul", []string{"acc_in", "w"}, []string{"acc_out"})
	body.Output("go_out", 9)
	body.Output("acc_out", 1, 64, 64)
	g.Input("x", 1, 64, 64)
	g.Input("go", 9)
	g.Floats("w", []int64{64, 64}, make([]float32, 64*64))
	g.Ints("times", nil, 1<<40)
	g.Node("Loop", []string{"times", "go", "x"}, []string{"y"}, onnxtest.GraphAttr("body", &body))
	g.Output("y", 1, 64, 64)
	d := tensor.Fixed(64)
	s := open(t, &g, []tensor.Spec{orttest.Spec("x", tensor.Float32, d, d), orttest.Spec("go", tensor.Bool)}, []tensor.Spec{orttest.Spec("y", tensor.Float32, d, d)})
	in := tensor.Bag{"x": tensor.Of([]int64{64, 64}, make([]float32, 64*64)), "go": tensor.Of(nil, []bool{true})}

	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	if _, err := s.Run(ctx, in); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	cancel()
	if _, err := s.Run(ctx, in); err == nil {
		t.Error("a run started although its context had ended")
	}
}

func TestTypesAreThoseONNXRuntimeInfers(t *testing.T) {
	t.Parallel()
	library := orttest.Library(t)
	specs, err := library.Types(filepath.Join(testkit.Root(t), "models", "sst2-minilm", "model.onnx"))
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(specs); got != "[logits float32[?,2]]" {
		t.Errorf("got %s", got)
	}
	if _, err := library.Types(filepath.Join(t.TempDir(), "none.onnx")); err == nil {
		t.Error("a missing file was accepted")
	}
}

func TestLoadSaysWhatWasTried(t *testing.T) {
	t.Parallel()
	held := orttest.Library(t)
	again, err := ort.Load(held.Path())
	if err != nil {
		t.Fatal(err)
	}
	if again.Version() != held.Version() || again.Close() != nil {
		t.Error("the library is not shared")
	}
	if again.Close() != nil || held.Version() == "" {
		t.Error("a second Close took the library away")
	}
	if _, err := ort.Load(filepath.Join(t.TempDir(), "libonnxruntime.so")); err == nil || !strings.Contains(err.Error(), "already loaded") {
		t.Errorf("a second library: %v", err)
	}
	candidates := ort.Candidates()
	if len(candidates) != 6 || !strings.HasSuffix(filepath.Dir(candidates[0]), "/lib") || !strings.Contains(candidates[3], ort.SetupDir) || candidates[5] != "libonnxruntime.so.1" {
		t.Errorf("places searched: %v", candidates)
	}
}

// Every value of ONNX Runtime is freed by hand; one that is forgotten a run
// shows as memory that grows with the number of runs.
func TestRunsLeaveNoMemoryBehind(t *testing.T) {
	var g onnxtest.Graph
	g.Input("x", 7, "n")
	g.Node("Neg", []string{"x"}, []string{"y"})
	g.Node("Abs", []string{"x"}, []string{"z"})
	g.Output("y", 7, "n")
	g.Output("z", 7, "n")
	n := tensor.Named("n")
	// y is allocated beforehand, z by ONNX Runtime.
	s := open(t, &g, []tensor.Spec{orttest.Spec("x", tensor.Int64, n)}, []tensor.Spec{orttest.Spec("y", tensor.Int64, n), orttest.Spec("z", tensor.Int64, tensor.Dim{})})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	in := tensor.Bag{"x": tensor.Of([]int64{4}, []int64{1, 2, 3, 4})}
	many := func() {
		for range 8_000 {
			if _, err := s.Run(ctx, in); err != nil {
				t.Fatal(err)
			}
		}
	}
	many() // fills the pools
	before := resident(t)
	for range 4 {
		many()
	}
	const slack = 12 << 20 // bytes; 400 a run would be 13 MB
	if grown := resident(t) - before; grown > slack {
		t.Errorf("32,000 runs took %d MB that they did not give back", grown>>20)
	}
}

// resident is the process's resident memory in bytes, with what Go holds in
// reserve given back.
func resident(t *testing.T) int64 {
	t.Helper()
	debug.FreeOSMemory()
	status, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Skip("no /proc here")
	}
	var total, pages int64
	if _, err := fmt.Sscan(string(status), &total, &pages); err != nil {
		t.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}

func TestOpenBytesNamesWhatIsNoModel(t *testing.T) {
	t.Parallel()
	library := orttest.Library(t)
	for _, model := range [][]byte{nil, []byte("no model")} {
		s, err := library.OpenBytes("the thing", model, nil, nil, ort.Options{Threads: 1})
		if err == nil || !strings.Contains(err.Error(), "load the thing") {
			t.Errorf("%v, %v", s, err)
		}
	}
}
