package split

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/split/enginetest"
	"github.com/distinfer/distinfer/split/onnxfile/onnxtest"
	"github.com/distinfer/distinfer/split/verify"
)

// endless is a model with a loop, which has no end when more says so: it depends on nothing.
func endless(t *testing.T, more bool) string {
	t.Helper()
	const f32, bools = int64(tensor.Float32), int64(tensor.Bool)
	var body, g onnxtest.Graph
	body.Input("i", int64(tensor.Int64))
	body.Input("go_in", bools)
	body.Input("now", f32, "n")
	body.Node("Add", []string{"now", "one"}, []string{"next"})
	body.Node("Identity", []string{"more"}, []string{"go_out"})
	body.Output("go_out", bools)
	body.Output("next", f32, "n")
	g.Input("x", f32, "n")
	g.Floats("one", []int64{1}, []float32{1})
	g.Ints("zero", []int64{}, 0)
	g.Ints("last", []int64{}, map[bool]int64{true: 1, false: 0}[more])
	g.Node("Less", []string{"zero", "last"}, []string{"more"})
	g.Node("Loop", []string{"", "more", "x"}, []string{"looped"}, onnxtest.GraphAttr("body", &body))
	g.Node("Neg", []string{"looped"}, []string{"minus"})
	g.Node("Abs", []string{"minus"}, []string{"y"})
	g.Output("y", f32, "n")
	path := filepath.Join(t.TempDir(), "model.onnx")
	if err := os.WriteFile(path, g.Model(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// A loop without an end is not waited for, and it is said what is not known then.
func TestAModelThatDoesNotEndIsSplitAndNotVerified(t *testing.T) {
	t.Parallel()
	e := enginetest.New(t)
	for _, o := range []Options{{Stages: 1}, {Stages: 2}} {
		o.Out, o.Verify, o.RunTime = filepath.Join(t.TempDir(), "stages"), true, 300*time.Millisecond
		began := time.Now()
		r, err := Split(t.Context(), endless(t, true), e, o)
		if err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > time.Minute {
			t.Errorf("it took %s", took)
		}
		if v := r.Verification; v.Runs > 0 || v.Against != verify.AgainstNothing || !strings.Contains(strings.Join(v.Unverified, " "), "did not end within 300ms") {
			t.Errorf("what is said of it: %+v", v)
		}
		b, err := bundle.Open(o.Out)
		if err != nil {
			t.Fatal(err)
		}
		v, err := verify.Verify(t.Context(), e, b, verify.Options{RunTime: 300 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(strings.Join(v.Unverified, " "), "did not end within") {
			t.Errorf("what verify says of it: %+v", v)
		}
	}
	// One that ends is verified as ever.
	r, err := Split(t.Context(), endless(t, false), e, Options{Stages: 2, Out: filepath.Join(t.TempDir(), "stages"), Verify: true, RunTime: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if v := r.Verification; v.Against != verify.AgainstWhole || v.Runs == 0 || len(v.Unverified) > 0 {
		t.Errorf("of one that ends: %+v", v)
	}
}

// It is not measured either.
func TestAModelThatDoesNotEndIsNotMeasured(t *testing.T) {
	t.Parallel()
	_, err := Split(t.Context(), endless(t, true), enginetest.New(t), Options{Stages: 2, DryRun: true, Profile: true, RunTime: 100 * time.Millisecond})
	if err == nil || !strings.Contains(err.Error(), "did not end within") {
		t.Errorf("the error is %v", err)
	}
}
