package verify_test

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/split"
	"github.com/distinfer/distinfer/split/engine"
	"github.com/distinfer/distinfer/split/enginetest"
	"github.com/distinfer/distinfer/split/onnxfile/onnxtest"
	"github.com/distinfer/distinfer/split/verify"
)

// amplifier is a model whose second layer amplifies what the first one gives 10,000 times.
func amplifier(by float32) []byte {
	var g onnxtest.Graph
	g.Input("x", int64(tensor.Float32), "batch", 3)
	g.Floats("w", []int64{3, 3}, []float32{1, -1, 1, 2, 1, -1, 1, 1, 1})
	g.Floats("v", []int64{3, 3}, []float32{by, 0, 0, 0, by, 0, 0, 0, by})
	g.Node("MatMul", []string{"x", "w"}, []string{"h"})
	g.Node("MatMul", []string{"h", "v"}, []string{"z"})
	g.Node("Sin", []string{"z"}, []string{"y"})
	g.Output("y", int64(tensor.Float32), "batch", 3)
	return g.Model()
}

// rounding changes what the first stage answers by a share, as another order of additions would;
// with plain also where nothing is fused, where only a wrong stage answers otherwise.
type rounding struct {
	engine.Engine
	by    float32
	plain bool
}

func (e rounding) Open(path string, inputs, outputs []tensor.Spec) (engine.Session, error) {
	return e.rounded(path)(e.Engine.Open(path, inputs, outputs))
}

func (e rounding) OpenPlain(path string, inputs, outputs []tensor.Spec) (engine.Session, error) {
	s, err := e.Engine.OpenPlain(path, inputs, outputs)
	if !e.plain {
		return s, err
	}
	return e.rounded(path)(s, err)
}

func (e rounding) rounded(path string) func(engine.Session, error) (engine.Session, error) {
	return func(s engine.Session, err error) (engine.Session, error) {
		if filepath.Base(path) != "stage-0.onnx" || err != nil {
			return s, err
		}
		return roundedSession{s, e.by}, nil
	}
}

type roundedSession struct {
	engine.Session
	by float32
}

func (s roundedSession) Run(ctx context.Context, in tensor.Bag) (tensor.Bag, error) {
	out, err := s.Session.Run(ctx, in)
	for name, x := range out {
		values, _ := tensor.As[float32](x)
		moved := make([]float32, len(values))
		for i := range values {
			moved[i] = values[i] * (1 + s.by)
		}
		out[name] = tensor.Of(x.Shape, moved)
	}
	return out, err
}

// A difference beyond the tolerance is accepted as rounding only where the model itself amplifies
// that much, and the same nodes give the same.
func TestAmplifiedRoundingIsToldFromAWrongSplit(t *testing.T) {
	t.Parallel()
	real := enginetest.New(t)
	for what, c := range map[string]struct {
		amplifies float32
		e         rounding
		wrong     string // "" : it is rounding
	}{
		"rounding":                            {1e4, rounding{real, 5e-7, false}, ""},
		"more than rounding":                  {1e2, rounding{real, 1e-3, false}, "changes of 1e-06 at the cuts change the whole model's output by"},
		"no amplification":                    {1, rounding{real, 1e-3, false}, "changes of 1e-06 at the cuts change the whole model's output by"},
		"a wrong stage, however little":       {1e4, rounding{real, 5e-7, true}, "it is no rounding, since also without graph optimisations"},
		"a wrong stage":                       {1e4, rounding{real, 1e-2, true}, "it is no rounding"},
		"a wrong stage without amplification": {1, rounding{real, 1e-2, true}, "it is no rounding"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			path := enginetest.Write(t, amplifier(c.amplifies))
			report, err := split.Split(t.Context(), path, c.e, split.Options{Stages: 2, Out: filepath.Join(t.TempDir(), "stages"), Verify: true})
			if c.wrong != "" {
				if err == nil || !strings.Contains(err.Error(), "the split is wrong: output \"y\"") || !strings.Contains(err.Error(), c.wrong) {
					t.Errorf("%v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			a := report.Verification.Amplified
			if a == nil || a.Output != "y" || a.Difference <= verify.Tolerance || a.Difference > 4*a.Own || a.Plain > 1e-6 || a.Change != 1e-6 || a.Runs == 0 {
				t.Errorf("%+v", a)
			}
		})
	}
}
