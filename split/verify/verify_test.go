package verify_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/split"
	"github.com/distinfer/distinfer/split/engine"
	"github.com/distinfer/distinfer/split/enginetest"
	"github.com/distinfer/distinfer/split/onnxfile/onnxtest"
	"github.com/distinfer/distinfer/split/verify"
)

func TestOutputsThatChangeFromRunToRunAreNamed(t *testing.T) {
	t.Parallel()
	var g onnxtest.Graph
	g.Input("x", 1, "batch", 3)
	g.Floats("w", []int64{3, 3}, []float32{1, -1, 1, 2, 1, -1, 1, 1, 1})
	g.Node("MatMul", []string{"x", "w"}, []string{"h"})
	g.Node("RandomNormalLike", []string{"h"}, []string{"noise"})
	g.Node("MatMul", []string{"h", "w"}, []string{"y"})
	g.Output("noise", 1, "batch", 3)
	g.Output("y", 1, "batch", 3)
	report, _ := splitIn(t, enginetest.New(t), enginetest.Write(t, g.Model()), 2)
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
	e := enginetest.New(t)
	var g onnxtest.Graph
	g.Input("ids", int64(tensor.Int64), "n")
	g.Floats("table", []int64{5, 300}, make([]float32, 5*300))
	g.Ints("base", []int64{1}, 1000)
	g.Floats("w", []int64{300, 3}, make([]float32, 300*3))
	g.Node("Sub", []string{"ids", "base"}, []string{"at"})
	g.Node("Gather", []string{"table", "at"}, []string{"h"})
	g.Node("MatMul", []string{"h", "w"}, []string{"y"})
	g.Output("y", 1, "n", 3)
	path := enginetest.Write(t, g.Model())
	report, b := splitIn(t, e, path, 2)
	v := report.Verification
	if v.Runs != 0 || v.StagesRun != 0 || len(v.Unverified) != 1 || !strings.Contains(v.Unverified[0], "Nothing was verified by running") {
		t.Errorf("%+v", v)
	}
	// Real inputs do it.
	data := append([]byte{8, 2, 16, 7, 0x42, 3, 'i', 'd', 's', 0x3a, 4}, 0xe8, 0x07, 0xec, 0x07) // 1000, 1004
	file := filepath.Join(t.TempDir(), "ids.pb")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	v, err := verify.Verify(context.Background(), e, b, verify.Options{Model: path, Inputs: []string{file}})
	if err != nil || v.Runs != 1 || v.Against != verify.AgainstWhole || !slices.Equal(v.Given, []string{file}) || len(v.Unverified) != 0 {
		t.Errorf("%+v, %v", v, err)
	}
	out := filepath.Join(t.TempDir(), "again")
	report, err = split.Split(context.Background(), path, e, split.Options{Stages: 2, Out: out, Verify: true, Inputs: []string{file}})
	if err != nil || report.Verification.Runs != 1 {
		t.Errorf("%+v, %v", report, err)
	}
	// A stage that does not load is no bundle, even then.
	if _, err := split.Split(context.Background(), path, refusing{e, "stage-1.onnx"}, split.Options{Stages: 2, Out: out, Force: true, Verify: true}); err == nil || !strings.Contains(err.Error(), "stage 1 does not load") {
		t.Errorf("%v", err)
	}
}

// refusing does not load the file of a name.
type refusing struct {
	engine.Engine
	name string
}

func (e refusing) Open(path string, inputs, outputs []tensor.Spec) (engine.Session, error) {
	if filepath.Base(path) == e.name {
		return nil, errors.New("bad allocation")
	}
	return e.Engine.Open(path, inputs, outputs)
}

// counting notes how many models are loaded at a time.
type counting struct {
	engine.Engine
	now, most, opened atomic.Int32
}

func (e *counting) Open(path string, inputs, outputs []tensor.Spec) (engine.Session, error) {
	s, err := e.Engine.Open(path, inputs, outputs)
	e.opened.Add(1)
	e.most.Store(max(e.most.Load(), e.now.Add(1)))
	return &counted{s, e}, err
}

type counted struct {
	engine.Session
	e *counting
}

func (s *counted) Close() error {
	s.e.now.Add(-1)
	return s.Session.Close()
}

func TestAModelThatIsTooLargeIsVerifiedAsFarAsItFits(t *testing.T) {
	t.Parallel()
	e := enginetest.New(t)
	path := enginetest.Model(t, "sst2-minilm")
	_, b := splitIn(t, e, path, 2)
	need := func(rank int) int64 {
		s := b.Stages[rank]
		return s.Bytes + s.Loaded() + 64<<20
	}
	for _, c := range []struct {
		what               string
		e                  engine.Engine
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
		v, err := verify.Verify(context.Background(), counting, b, verify.Options{Model: path, Memory: c.memory})
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
		if (v.Against == verify.AgainstWhole) != (c.says == nil) {
			t.Errorf("%s: compared with %s", c.what, v.Against)
		}
	}
	// A stage that answers in another shape than the manifest says is noticed even
	// where nothing can be compared.
	if _, err := verify.Verify(context.Background(), reshaping{e}, b, verify.Options{}); err == nil || !strings.Contains(err.Error(), "stage 1 does not give what the manifest says") {
		t.Errorf("%v", err)
	}
}

// reshaping answers one dimension more than it should, in the last stage.
type reshaping struct{ engine.Engine }

func (e reshaping) Open(path string, inputs, outputs []tensor.Spec) (engine.Session, error) {
	s, err := e.Engine.Open(path, inputs, outputs)
	if filepath.Base(path) != "stage-1.onnx" || err != nil {
		return s, err
	}
	return reshaped{s}, nil
}

type reshaped struct{ engine.Session }

func (r reshaped) Run(ctx context.Context, in tensor.Bag) (tensor.Bag, error) {
	out, err := r.Session.Run(ctx, in)
	for name, x := range out {
		x.Shape = append([]int64{1}, x.Shape...)
		out[name] = x
	}
	return out, err
}

func splitIn(t testing.TB, e engine.Engine, path string, n int) (*split.Report, *bundle.Bundle) {
	t.Helper()
	out := filepath.Join(t.TempDir(), "stages")
	report, err := split.Split(t.Context(), path, e, split.Options{Stages: n, Out: out, Verify: true})
	if err != nil {
		t.Fatal(err)
	}
	b, err := bundle.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	return report, b
}
