package activations_test

import (
	"path/filepath"
	"reflect"
	"testing"

	"github.com/distinfer/distinfer/runtime/memory"
	"github.com/distinfer/distinfer/split"
	"github.com/distinfer/distinfer/split/enginetest"
	"github.com/distinfer/distinfer/split/onnxfile/decodertest"
	"github.com/distinfer/distinfer/split/onnxfile/onnxtest"
)

func activationsOf(t *testing.T, g *onnxtest.Graph) memory.Estimate {
	t.Helper()
	path := enginetest.Write(t, g.Model())
	report, err := split.Split(t.Context(), path, enginetest.New(t), split.Options{Stages: 1, DryRun: true})
	if err != nil {
		t.Fatal(err)
	}
	return report.Manifest.Stages[0].Activations
}

// attention adds what attention does with x, to make y.
func attention(g *onnxtest.Graph) {
	g.Input("x", 1, "batch", "sequence", 8)
	g.Node("Relu", []string{"x"}, []string{"k"})
	g.Node("Einsum", []string{"x", "k"}, []string{"scores"}, onnxtest.Message{}.Text(1, "equation").Text(4, "bsh,bth->bst").Int(20, 3))
	g.Node("Softmax", []string{"scores"}, []string{"shares"}, onnxtest.IntAttr("axis", -1))
	g.Node("MatMul", []string{"shares", "x"}, []string{"y"})
	g.Output("y", 1, "batch", "sequence", 8)
}

func TestWhatARunTakesIsReckonedByItsSizes(t *testing.T) {
	t.Parallel()
	var g onnxtest.Graph
	attention(&g)
	bs, bss := []string{"batch", "sequence"}, []string{"batch", "sequence", "sequence"}
	want := memory.Estimate{
		{{Bytes: 32, Dims: bs}, {Bytes: 4, Dims: bss}},
		{{Bytes: 8, Dims: bss}},
	}
	if got := activationsOf(t, &g); !reflect.DeepEqual(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// through computes y of a value in steps of 8, 16, 16, 8 and 8 numbers for each token.
func through(g *onnxtest.Graph, x string) {
	g.Floats("up", []int64{8, 16}, make([]float32, 128))
	g.Floats("down", []int64{16, 8}, make([]float32, 128))
	g.Node("Relu", []string{x}, []string{"a"})
	g.Node("MatMul", []string{"a", "up"}, []string{"t"})
	g.Node("Relu", []string{"t"}, []string{"u"})
	g.Node("MatMul", []string{"u", "down"}, []string{"b"})
	g.Node("Relu", []string{"b"}, []string{"y"})
	g.Output("y", 1, "batch", nil, 8)
}

// ONNX Runtime keeps the place of a result for a later one of the same shape, where it knows that
// the shapes are the same: here that of a for b, beside t and u.
func TestPlacesAreKeptForLaterResults(t *testing.T) {
	t.Parallel()
	bs := []string{"batch", "sequence"}
	var known onnxtest.Graph
	known.Input("x", 1, "batch", "sequence", 8)
	through(&known, "x")
	if got, want := activationsOf(t, &known), (memory.Estimate{{{Bytes: 32 + 64 + 64, Dims: bs}}}); !reflect.DeepEqual(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	var vague onnxtest.Graph
	vague.Input("x", 1, "batch", "sequence", 8)
	vague.Ints("zero", []int64{1}, 0)
	vague.Ints("one", []int64{1}, 1)
	vague.Ints("minus", []int64{1}, -1)
	vague.Node("Shape", []string{"x"}, []string{"shape"})
	vague.Node("Slice", []string{"shape", "one", "minus"}, []string{"length"})
	vague.Node("Slice", []string{"x", "zero", "length", "one"}, []string{"some"})
	through(&vague, "some")
	if got, known := activationsOf(t, &vague).At(map[string]int64{"batch": 10, "sequence": 100}); !known || got != 10*100*(64+64) {
		t.Errorf("%d, %t; want %d", got, known, 10*100*(64+64))
	}
}

func TestWhatIsNotKnownIsNotReckoned(t *testing.T) {
	t.Parallel()
	var g onnxtest.Graph
	g.Input("x", 1, "n")
	g.Node("NonZero", []string{"x"}, []string{"y"})
	g.Output("y", 7, 1, nil)
	if got := activationsOf(t, &g); got != nil {
		t.Errorf("%v", got)
	}
}

func TestSizesThatAreNoProductAreRoundedUp(t *testing.T) {
	t.Parallel()
	var g onnxtest.Graph
	g.Input("x", 1, "n", 4)
	g.Floats("one", []int64{1, 4}, []float32{1, 2, 3, 4})
	g.Node("Concat", []string{"one", "x"}, []string{"more"}, onnxtest.IntAttr("axis", 0))
	g.Node("Relu", []string{"more"}, []string{"y"})
	g.Output("y", 1, nil, 4)
	e := activationsOf(t, &g)
	for _, n := range []int64{1, 5, 1000} {
		if got, ok := e.At(map[string]int64{"n": n}); !ok || got < 2*(n+1)*16 && n > 1 || got > 2*(n+1)*32 {
			t.Errorf("%d: %d, %v of %v", n, got, ok, e)
		}
	}
}

// A run of a decoder of the given options takes so many bytes at a length.
func decoderTakes(t *testing.T, o decodertest.Options, length int64) int64 {
	t.Helper()
	dir := t.TempDir()
	if err := decodertest.Write(dir, decodertest.Tiny, o); err != nil {
		t.Fatal(err)
	}
	report, err := split.Split(t.Context(), filepath.Join(dir, "model.onnx"), enginetest.New(t), split.Options{Stages: 1, DryRun: true})
	if err != nil {
		t.Fatal(err)
	}
	n, ok := report.Manifest.Stages[0].Activations.At(map[string]int64{"batch_size": 1, "sequence_length": length})
	if !ok {
		t.Fatalf("%+v: it is not known", o)
	}
	return n
}

// ONNX Runtime keeps the scores of attention where it cannot compute them in pieces, and computes
// half precision as float32.
func TestScoresOfAttentionAreCounted(t *testing.T) {
	t.Parallel()
	const length = 1000
	const scores = 4 * length * length * 4 // of the small decoder's four heads
	for _, c := range []struct {
		o           decodertest.Options
		least, most int64
	}{
		{decodertest.Options{Precision: decodertest.Float32}, 2 * scores, 3 * scores},
		{decodertest.Options{Precision: decodertest.Float16}, 2 * scores, 3 * scores},
		{decodertest.Options{Precision: decodertest.Float32, Fused: true}, 0, scores / 4},
		{decodertest.Options{Precision: decodertest.Int4, Fused: true}, 0, scores / 4},
		{decodertest.Options{Precision: decodertest.Float16, Fused: true}, scores, scores * 5 / 4},
	} {
		if got := decoderTakes(t, c.o, length); got < c.least || got > c.most {
			t.Errorf("%+v: %d bytes, not %d to %d", c.o, got, c.least, c.most)
		}
	}
}
