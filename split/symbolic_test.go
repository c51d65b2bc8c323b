package split

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/split/engine"
	"github.com/distinfer/distinfer/split/graph"
	"github.com/distinfer/distinfer/split/onnxfile"
	"github.com/distinfer/distinfer/split/onnxfile/onnxtest"
	"github.com/distinfer/distinfer/split/types"
)

// symbolicEngine knows no operators: every value is like the first input, and those
// of nodes whose operator begins with "Sequence" are no tensors.
type symbolicEngine struct{}

func (symbolicEngine) Types(path string) ([]tensor.Spec, error) {
	f, err := onnxfile.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	like := tensor.Spec{DType: tensor.Float32}
	if len(f.Graph.Inputs) > 0 && f.Graph.Inputs[0].Tensor {
		like.Dims = f.Graph.Inputs[0].Spec.Dims
	}
	made := map[string]onnxfile.Node{}
	for _, n := range f.Graph.Nodes {
		for _, name := range n.Outputs {
			made[name] = n
		}
	}
	var specs []tensor.Spec
	for _, v := range f.Graph.Outputs {
		n, ok := made[v.Spec.Name]
		if !ok {
			return nil, fmt.Errorf("output %q is made by no node", v.Spec.Name)
		}
		spec := like
		spec.Name = v.Spec.Name
		if strings.HasPrefix(n.OpType, "Sequence") {
			spec.DType, spec.Dims = tensor.Undefined, nil
		}
		specs = append(specs, spec)
	}
	return specs, nil
}

func (symbolicEngine) Open(string, []tensor.Spec, []tensor.Spec) (engine.Session, error) {
	return nil, errors.New("nothing is computed here")
}

func (symbolicEngine) OpenPlain(string, []tensor.Spec, []tensor.Spec) (engine.Session, error) {
	return nil, errors.New("nothing is computed here")
}

// A term stands for the value that a name has: what it is computed from, and how.
type term [sha256.Size]byte

// terms computes a model without knowing its operators: given the terms of the
// inputs, it adds those of all values. Nodes may use only what is there.
func terms(m *onnxfile.Model, values map[string]term) error {
	given := func(list []onnxfile.ValueInfo) error {
		for _, v := range list {
			if _, ok := values[v.Spec.Name]; !ok {
				return fmt.Errorf("input %q is not there", v.Spec.Name)
			}
		}
		return nil
	}
	for _, t := range m.Graph.Initializers {
		values[t.Name] = sha256.Sum256(fmt.Appendf(nil, "weight %q %v %v", t.Name, t.DType, t.Dims))
	}
	if err := given(m.Graph.Inputs); err != nil {
		return err
	}
	for _, n := range m.Graph.Nodes {
		h := sha256.New()
		fmt.Fprintf(h, "%q %q %d\n", n.OpType, n.Domain, n.Bodies)
		for _, a := range n.Attributes {
			fmt.Fprintf(h, "%q %d %x\n", a.Name, a.I, a.Tensor)
		}
		for _, names := range [][]string{n.Inputs, n.Captures} {
			for _, name := range names {
				v, ok := values[name]
				if !ok && name != "" {
					return fmt.Errorf("node %d (%s) uses %q, which is not there", n.Index, n.OpType, name)
				}
				h.Write(v[:])
			}
		}
		for k, name := range n.Outputs {
			fmt.Fprintf(h, "output %d", k)
			if _, twice := values[name]; twice && name != "" {
				return fmt.Errorf("%q is there already", name)
			}
			values[name] = term(h.Sum(nil))
		}
	}
	return given(m.Graph.Outputs)
}

// A symbolicStage is a stage as it was written.
type symbolicStage struct {
	model                    *onnxfile.Model
	inputs, outputs, forward []string
}

// sameAsWhole fails unless the stages, chained by name, compute what the model does.
func sameAsWhole(data []byte, stages []symbolicStage) error {
	whole, err := onnxfile.Parse(data)
	if err != nil {
		return err
	}
	g, err := graph.New(whole) // puts the nodes into an order
	if err != nil {
		return err
	}
	there := map[string]term{}
	for _, in := range g.Inputs {
		there[in.Name] = sha256.Sum256(fmt.Appendf(nil, "input %q", in.Name))
	}
	want := maps.Clone(there)
	if err := terms(whole, want); err != nil {
		return fmt.Errorf("the whole: %w", err)
	}
	for rank, s := range stages {
		values := map[string]term{}
		for _, in := range s.inputs {
			v, ok := there[in]
			if !ok {
				return fmt.Errorf("stage %d: input %q does not arrive", rank, in)
			}
			values[in] = v
		}
		if err := terms(s.model, values); err != nil {
			return fmt.Errorf("stage %d: %w", rank, err)
		}
		next := map[string]term{}
		for _, out := range s.outputs {
			next[out] = values[out]
		}
		for _, name := range s.forward {
			next[name] = there[name]
		}
		there = next
	}
	for _, name := range g.Outputs {
		if there[name] != want[name] {
			return fmt.Errorf("output %q is another value in the stages", name)
		}
	}
	return nil
}

// symbolicSplit does what Split does, in memory and with the types of
// symbolicEngine.
func symbolicSplit(data []byte, o Options) ([]symbolicStage, error) {
	model, err := onnxfile.Parse(data)
	if err != nil {
		return nil, err
	}
	g, err := graph.New(model)
	if err != nil {
		return nil, err
	}
	v := types.NewValues(g)
	for name, producer := range g.Producer {
		spec := tensor.Spec{Name: name, DType: tensor.Float32, Dims: []tensor.Dim{tensor.Fixed(2), tensor.Fixed(2)}}
		if producer >= 0 && strings.HasPrefix(g.Nodes[producer].OpType, "Sequence") {
			spec.DType = tensor.Undefined
		}
		v.Specs[name] = spec
		v.Add(spec, []int64{2, 2})
	}
	planner := newPlanner(g, v)
	parts, _, err := planner.choose(planner.cuts(), o)
	if err != nil {
		return nil, err
	}
	var stages []symbolicStage
	for _, part := range parts {
		laid, err := model.Part(part.sub)
		if err != nil {
			return nil, err
		}
		var file bytes.Buffer
		if err := laid.WriteModel(&file); err != nil {
			return nil, err
		}
		stage, err := onnxfile.Parse(file.Bytes())
		if err != nil {
			return nil, fmt.Errorf("what was written cannot be read: %w", err)
		}
		stages = append(stages, symbolicStage{stage, part.inputs, part.outputs, part.forward})
	}
	return stages, nil
}

// randomGraph makes a graph of nodes that a cutter treats in different ways.
func randomGraph(r *rand.Rand) []byte {
	var g onnxtest.Graph
	var values, weights, sequences []string
	for i := range 1 + r.IntN(3) {
		name := fmt.Sprintf("in%d", i)
		g.Input(name, 1, "batch", 8)
		values = append(values, name)
	}
	for i := range 1 + r.IntN(4) {
		name := fmt.Sprintf("w%d", i)
		g.Floats(name, []int64{2, 2}, make([]float32, 4))
		weights = append(weights, name)
	}
	g.Floats("scale", nil, []float32{1})
	g.Node("MatMul", []string{"in0", "w0"}, []string{"first"})
	values = append(values, "first")
	pick := func(list []string) string { return list[r.IntN(len(list))] }
	body := func(uses ...string) onnxtest.Message {
		var b onnxtest.Graph
		b.Node("Sum", uses, []string{uses[0] + "/inner"})
		b.Output(uses[0]+"/inner", 1, onnxtest.AnyRank)
		return onnxtest.GraphAttr("then_branch", &b)
	}
	for i := range 1 + r.IntN(25) {
		out := fmt.Sprintf("v%d", i)
		switch r.IntN(12) {
		case 0, 1, 2:
			g.Node("MatMul", []string{pick(values), pick(weights)}, []string{out})
		case 3:
			g.Node("Add", []string{pick(values), pick(values)}, []string{out})
		case 4:
			g.Node("Relu", []string{pick(values)}, []string{out, "", out + "/second"})
			values = append(values, out+"/second")
		case 5:
			g.Node("Shape", []string{pick(values)}, []string{out})
		case 6:
			g.Node("Neg", []string{pick(weights)}, []string{out})
			weights = append(weights, out)
		case 7:
			g.Node("QuantizeLinear", []string{pick(values), "scale"}, []string{out})
		case 8:
			g.Node("DequantizeLinear", []string{pick(values), "scale"}, []string{out})
		case 9:
			g.Node("If", []string{pick(values)}, []string{out}, body(pick(values), pick(weights)))
		case 10:
			g.Node("SequenceConstruct", []string{pick(values), pick(values)}, []string{out})
			sequences = append(sequences, out)
			continue
		case 11:
			if len(sequences) == 0 {
				continue
			}
			g.Node("ConcatFromSequence", []string{pick(sequences)}, []string{out})
		}
		values = append(values, out)
	}
	outputs := map[string]bool{}
	for range 1 + r.IntN(4) {
		outputs[pick(append(slices.Clone(values), weights...))] = true
	}
	for _, name := range slices.Sorted(func(yield func(string) bool) {
		for name := range outputs {
			if !yield(name) {
				return
			}
		}
	}) {
		g.Output(name, 1, "batch", 8)
	}
	return g.Model()
}

// Whatever the graph and the number of stages, the stages compute what the whole
// does, or the split is refused.
func TestStagesOfRandomGraphsAreTheWhole(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(2018, 2222))
	made := 0
	for i := range 300 {
		data := randomGraph(r)
		for n := range 5 {
			o := Options{Stages: n}
			if n == 0 {
				o = Options{Layers: true}
			}
			stages, err := symbolicSplit(data, o)
			if err != nil {
				if n < 2 || !strings.Contains(err.Error(), "layers") {
					t.Fatalf("graph %d in %d: %v", i, n, err)
				}
				continue
			}
			if err := sameAsWhole(data, stages); err != nil {
				t.Fatalf("graph %d in %d: %v", i, n, err)
			}
			made++
		}
	}
	if made < 600 {
		t.Errorf("only %d splits were made", made)
	}
}

// A hostile model is refused or split right; it does not crash, hang, or take
// memory out of proportion.
func FuzzSplit(f *testing.F) {
	f.Add(tricky(), 2)
	r := rand.New(rand.NewPCG(7, 7))
	for range 20 {
		f.Add(randomGraph(r), 1+r.IntN(4))
	}
	f.Fuzz(func(t *testing.T, data []byte, n int) {
		dir := t.TempDir()
		path, out := filepath.Join(dir, "model.onnx"), filepath.Join(dir, "stages")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		start := time.Now()
		_, err := Split(context.Background(), path, symbolicEngine{}, Options{Stages: n%8 + 1, Out: out})
		runtime.ReadMemStats(&after)
		if taken := after.TotalAlloc - before.TotalAlloc; taken > 64<<20+1000*uint64(len(data)) {
			t.Fatalf("%d bytes were allocated for a file of %d", taken, len(data))
		}
		if time.Since(start) > 20*time.Second {
			t.Fatalf("it took %v", time.Since(start))
		}
		if err != nil {
			if strings.Contains(err.Error(), "bug in distinfer") {
				t.Fatal(err)
			}
			if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) != 1 {
				t.Fatalf("left behind: %v", left)
			}
			return
		}
		b, err := bundle.Open(out)
		if err != nil {
			t.Fatal(err)
		}
		var stages []symbolicStage
		for _, s := range b.Stages {
			f, err := onnxfile.Open(filepath.Join(out, s.Name))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = f.Close() }()
			stages = append(stages, symbolicStage{&f.Model, tensor.Names(s.Inputs), tensor.Names(s.Outputs), s.Forward})
		}
		if err := sameAsWhole(data, stages); err != nil {
			t.Fatal(err)
		}
	})
}

// Long chains of cheap and of constant nodes that everything uses do not make
// planning take the square of their length.
func TestPricingIsBounded(t *testing.T) {
	t.Parallel()
	var g onnxtest.Graph
	const n = 12_000
	g.Input("x", 1, "batch", 8)
	g.Floats("weight", []int64{2, 2}, make([]float32, 4))
	cheap, fixed, last := "x", "weight", "x"
	for i := range n {
		name := func(part string) string { return fmt.Sprintf("%s%d", part, i) }
		g.Node("Neg", []string{cheap}, []string{name("cheap")})
		g.Node("Neg", []string{fixed}, []string{name("fixed")})
		cheap, fixed = name("cheap"), name("fixed")
	}
	for i := range n {
		out := fmt.Sprintf("anchored%d", i)
		g.Node("Gemm", []string{last, fixed, cheap}, []string{out})
		last = out
	}
	g.Output(last, 1, "batch", 8)
	data := []byte(g.Model())
	stages, err := symbolicSplit(data, Options{Stages: 2})
	if err != nil {
		t.Fatal(err)
	}
	if err := sameAsWhole(data, stages); err != nil {
		t.Fatal(err)
	}
}
