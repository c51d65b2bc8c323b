package split

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/split/engine"
	"github.com/distinfer/distinfer/split/enginetest"
	"github.com/distinfer/distinfer/split/onnxfile/onnxtest"
)

// firstToken writes a model of layers whose answer reads the first token.
func firstToken(t *testing.T) string {
	t.Helper()
	var g onnxtest.Graph
	g.Input("x", f32, "batch", "sequence", 3)
	g.Floats("w", []int64{3, 3}, floatOf(0.3))
	g.Ints("zero", nil, 0)
	x := "x"
	for _, layer := range []string{"a", "b"} {
		g.Node("Transpose", []string{x}, []string{layer + "t"}, onnxtest.IntsAttr("perm", 0, 2, 1))
		g.Node("MatMul", []string{x, layer + "t"}, []string{layer + "scores"})
		g.Node("Softmax", []string{layer + "scores"}, []string{layer + "weights"}, onnxtest.IntAttr("axis", -1))
		g.Node("MatMul", []string{layer + "weights", x}, []string{layer + "mixed"})
		g.Node("MatMul", []string{layer + "mixed", "w"}, []string{layer + "up"})
		g.Node("Add", []string{layer + "up", x}, []string{layer})
		x = layer
	}
	g.Node("Gather", []string{x, "zero"}, []string{"first"}, onnxtest.IntAttr("axis", 1))
	g.Node("MatMul", []string{"first", "w"}, []string{"y"})
	g.Output("y", f32, "batch", 3)
	return enginetest.Write(t, g.Model())
}

func TestPositionsThatNobodyReadsAreLeftOut(t *testing.T) {
	t.Parallel()
	e, path := enginetest.New(t), firstToken(t)
	for _, stages := range []int{1, 2, 3} {
		for _, optimize := range []bool{true, false} {
			r, err := Split(context.Background(), path, e, Options{Stages: stages, Out: filepath.Join(t.TempDir(), "stages"), Verify: true, Optimize: optimize})
			if err != nil {
				t.Fatal(err)
			}
			switch done := r.Manifest.Rewritten; {
			case !optimize && len(done) > 0, optimize && len(done) != 1:
				t.Errorf("optimize %v: %+v", optimize, done)
			case optimize && (done[0].Position != "0" || done[0].Products != 3):
				t.Errorf("%+v", done)
			}
			if r.Verification.Runs < 3 || r.Verification.MaxAbsolute > 1e-6 || r.NotRewritten != "" {
				t.Errorf("%+v %s", r.Verification, r.NotRewritten)
			}
		}
	}
}

// failing refuses stages that have rows only.
type failing struct{ engine.Engine }

// Open implements engine.Engine.
func (f failing) Open(path string, inputs, outputs []tensor.Spec) (engine.Session, error) {
	if data, err := os.ReadFile(path); err == nil && strings.Contains(string(data), "/rows") {
		return nil, errors.New("a kernel is missing")
	}
	return f.Engine.Open(path, inputs, outputs)
}

func TestAModelWhoseRewritingFailsIsCutAsItIs(t *testing.T) {
	t.Parallel()
	r, err := Split(context.Background(), firstToken(t), failing{enginetest.New(t)}, Options{Stages: 2, Out: filepath.Join(t.TempDir(), "stages"), Verify: true, Optimize: true})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Manifest.Rewritten) > 0 || !strings.Contains(r.NotRewritten, "a kernel is missing") || r.Verification.MaxAbsolute != 0 {
		t.Errorf("%+v, %q", r.Manifest.Rewritten, r.NotRewritten)
	}
}
