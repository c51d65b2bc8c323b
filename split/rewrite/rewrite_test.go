package rewrite

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/split/engine"
	"github.com/distinfer/distinfer/split/enginetest"
	"github.com/distinfer/distinfer/split/graph"
	"github.com/distinfer/distinfer/split/onnxfile"
	"github.com/distinfer/distinfer/split/types"
)

// rewritten is what Positions makes of a model, nil for nothing.
func rewritten(t testing.TB, e engine.Engine, model []byte) ([]byte, *Selection) {
	t.Helper()
	m, err := onnxfile.Parse(bytes.Clone(model))
	if err != nil {
		t.Fatal(err)
	}
	infer := func(m *onnxfile.Model) Model {
		g, err := graph.New(m)
		if err != nil {
			t.Fatal(err)
		}
		references, err := types.References(g, nil)
		if err != nil {
			t.Fatal(err)
		}
		v, _, err := types.Infer(g, e, nil, references)
		if err != nil {
			t.Fatal(err)
		}
		return Model{Graph: g, Values: v}
	}
	before := infer(m)
	made, s := Positions(before)
	if made == nil {
		return nil, nil
	}
	after := infer(made)
	for _, name := range after.Graph.Outputs {
		if a, b := before.Values.Specs[name], after.Values.Specs[name]; fmt.Sprint(a) != fmt.Sprint(b) {
			t.Errorf("output %v became %v", a, b)
		}
	}
	var nodes, weights []int
	for i := range made.Graph.Nodes {
		nodes = append(nodes, i)
	}
	for i := range made.Graph.Initializers {
		weights = append(weights, i)
	}
	part, err := made.Part(onnxfile.Subgraph{Nodes: nodes, Initializers: weights, Inputs: made.Graph.Inputs, Outputs: made.Graph.Outputs})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := part.WriteModel(&out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes(), s
}

func load(t testing.TB, e engine.Engine, model []byte) engine.Session {
	t.Helper()
	path := filepath.Join(t.TempDir(), "model.onnx")
	if err := os.WriteFile(path, model, 0o600); err != nil {
		t.Fatal(err)
	}
	ids := tensor.Spec{Name: "ids", DType: tensor.Int64, Dims: []tensor.Dim{tensor.Named("batch"), tensor.Named("sequence")}}
	logits := tensor.Spec{Name: "logits", DType: tensor.Float32, Dims: []tensor.Dim{tensor.Named("batch"), tensor.Fixed(3)}}
	s, err := e.Open(path, []tensor.Spec{ids}, []tensor.Spec{logits})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// texts are ids, padded with 0.
func texts(r *rand.Rand, batch, length int) tensor.Bag {
	ids := make([]int64, batch*length)
	for i := range ids {
		ids[i] = 1 + r.Int64N(49)
	}
	for b := range batch {
		for k := range r.IntN(length) {
			ids[(b+1)*length-1-k] = 0
		}
	}
	return tensor.Bag{"ids": tensor.Of([]int64{int64(batch), int64(length)}, ids)}
}

func logits(t testing.TB, s engine.Session, in tensor.Bag) []float32 {
	t.Helper()
	out, err := s.Run(context.Background(), in)
	if err != nil {
		t.Fatal(err)
	}
	list, err := tensor.As[float32](out["logits"])
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// same fails unless both models answer the same, and the second the same in any batch.
func same(t *testing.T, e engine.Engine, model, other []byte) {
	t.Helper()
	a, b := load(t, e, model), load(t, e, other)
	r := rand.New(rand.NewPCG(1, 2))
	for _, size := range [][2]int{{1, 2}, {1, 7}, {3, 5}, {8, 16}} {
		in := texts(r, size[0], size[1])
		want, got := logits(t, a, in), logits(t, b, in)
		for i := range want {
			if !(math.Abs(float64(want[i]-got[i])) <= 1e-5*max(1, math.Abs(float64(want[i])))) {
				t.Fatalf("%d texts of %d: logit %d is %g, want %g", size[0], size[1], i, got[i], want[i])
			}
		}
		ids, _ := tensor.As[int64](in["ids"])
		for k := range size[0] {
			alone := tensor.Bag{"ids": tensor.Of([]int64{1, int64(size[1])}, ids[k*size[1]:(k+1)*size[1]])}
			if one := logits(t, b, alone); !near(one, got[3*k:3*k+3]) {
				t.Fatalf("%d texts of %d: text %d is %v alone and %v together", size[0], size[1], k, one, got[3*k:3*k+3])
			}
		}
	}
}

func near(a, b []float32) bool {
	return slices.EqualFunc(a, b, func(x, y float32) bool { return math.Abs(float64(x-y)) <= 1e-6*max(1, math.Abs(float64(x))) })
}

// Whichever way it is written which position is read, the last layer computes that one only.
func TestTheLastLayerComputesWhatIsRead(t *testing.T) {
	t.Parallel()
	e := enginetest.New(t)
	for spelling := range spellings {
		t.Run(spelling, func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(3) {
				w := newWriter(seed)
				x := w.norm(w.embedded())
				for range 2 {
					x = w.norm(w.op("Add", []string{w.attention(x), x}))
					x = w.norm(w.op("Add", []string{w.linear(w.op("Relu", []string{w.linear(x)})), x}))
				}
				model := w.model(spelling, x)
				made, s := rewritten(t, e, model)
				if made == nil {
					t.Fatalf("seed %d: nothing was left out", seed)
				}
				if s.Heavy != 6 { // queries, scores, mixed, output, and two of feed-forward
					t.Errorf("seed %d: %d products are of one position, want 6", seed, s.Heavy)
				}
				same(t, e, model, made)
			}
		})
	}
}

func TestRandomGraphsAnswerTheSame(t *testing.T) {
	t.Parallel()
	e := enginetest.New(t)
	names := make([]string, 0, len(spellings))
	for name := range spellings {
		names = append(names, name)
	}
	slices.Sort(names)
	count := 0
	for seed := range uint64(40) {
		w := newWriter(seed)
		pool := []string{w.embedded()}
		for range 2 + w.r.IntN(5) {
			x, y := pool[w.r.IntN(len(pool))], pool[len(pool)-1]
			switch w.r.IntN(5) {
			case 0:
				x = w.layer(y)
			case 1:
				x = w.attention(y)
			case 2:
				x = w.op("Add", []string{x, w.linear(y)})
			case 3:
				x = w.op("Mul", []string{x, w.other(y)})
			default:
				x = w.other(y)
			}
			pool = append(pool, w.norm(x))
		}
		model := w.model(names[w.r.IntN(len(names))], pool[len(pool)-1])
		made, _ := rewritten(t, e, model)
		if made == nil {
			continue
		}
		count++
		same(t, e, model, made)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	if count < 20 {
		t.Errorf("%d of 40 graphs were rewritten", count)
	}
}
