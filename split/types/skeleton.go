package types

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/split/graph"
	"github.com/distinfer/distinfer/split/onnxfile"
)

// The largest numbers of elements of initializers that stay in a skeleton. Shapes
// depend on the values of integers (shapes, axes, indices), and of a few floats (the
// scales of a Resize, the limits of a Range).
const (
	smallInitializer = 512
	smallFloats      = 32
)

// keptWhole reports whether an initializer stays in a skeleton.
func keptWhole(t onnxfile.Initializer) bool {
	switch t.DType {
	case tensor.Float32, tensor.Float64, tensor.Float16, tensor.BFloat16:
		return t.Elements() <= smallFloats
	case tensor.String:
		return true
	}
	return t.Elements() <= smallInitializer || !t.DType.Known()
}

// smallExternal reads the data of the initializers that stay in a skeleton and
// have it in another file.
func smallExternal(g *graph.Graph, from *onnxfile.DataFolder) (map[string][]byte, error) {
	small := map[string][]byte{}
	for _, t := range g.Model.Graph.Initializers {
		if t.External == nil {
			continue
		}
		r, err := from.Data(t)
		if err != nil {
			return nil, err
		}
		if !keptWhole(t) {
			continue // it is there, and large enough
		}
		if small[t.Name], err = io.ReadAll(r); err != nil {
			return nil, fmt.Errorf("read external data of initializer %q: %w", t.Name, err)
		}
	}
	return small, nil
}

// rankSuffix makes the name of the shape of a value.
const rankSuffix = "/rank of it"

// A skeleton is a part of the graph without its weights: every large initializer
// is a typed input instead, and every value is an output without a type. ONNX
// Runtime infers the types and shapes of all values from it in milliseconds,
// however large the model is.
//
// Values of earlier nodes are typed inputs too. But constants, cheap values (shapes may depend on
// their contents) and values that are no tensors are computed again.
func (q *Inference) skeleton(start, end int, specs map[string]tensor.Spec) onnxfile.Subgraph {
	g := q.g
	s := onnxfile.Subgraph{Inline: q.small, Data: "skeleton.data", IRVersion: min(g.Model.IRVersion, skeletonIR)}
	again := map[int]bool{}
	declared := map[string]bool{}
	var weights []int
	// Making values again is bounded: a model can be nothing but cheap nodes.
	budget := sliceNodes
	var need func(name string)
	need = func(name string) {
		p := g.Producer[name]
		if p >= start || p >= 0 && again[p] || declared[name] {
			return
		}
		if p >= 0 && (specs[name].DType == tensor.Undefined || g.Roles[p] != graph.Anchored && budget > 0) {
			again[p] = true
			budget--
			for _, dep := range g.Deps[p] {
				need(dep)
			}
			return
		}
		declared[name] = true
		if p == graph.FromInitializer {
			i := g.Initializer[name]
			if t := g.Model.Graph.Initializers[i]; keptWhole(t) {
				weights = append(weights, i)
			} else {
				s.Inputs = append(s.Inputs, onnxfile.Declare(specOf(t)))
			}
			return
		}
		s.Inputs = append(s.Inputs, onnxfile.Declare(specs[name]))
	}
	for i := start; i < end; i++ {
		for _, dep := range g.Deps[i] {
			need(dep)
		}
	}
	slices.Sort(weights)
	s.Initializers = weights
	s.Nodes = slices.Sorted(maps.Keys(again))
	for i := start; i < end; i++ {
		s.Nodes = append(s.Nodes, i)
		for _, name := range g.Nodes[i].Outputs {
			if name != "" {
				s.Outputs = append(s.Outputs, onnxfile.Declare(tensor.Spec{Name: name}))
			}
		}
	}
	return s
}

// question identifies a skeleton but for the names in it: each stands for the place
// where it first occurs.
func (q *Inference) question(s onnxfile.Subgraph) [sha256.Size]byte {
	places := map[string]int{}
	var text []byte
	name := func(n string) {
		place, known := places[n]
		if !known {
			place = len(places)
			places[n] = place
		}
		text = binary.AppendVarint(text, int64(place))
	}
	list := func(names []string) {
		text = binary.AppendVarint(text, int64(len(names)))
		for _, n := range names {
			name(n)
		}
	}
	value := func(v onnxfile.ValueInfo) {
		spec := v.Spec
		spec.Name = ""
		text = append(append(text, spec.String()...), 0)
	}
	name("") // an input that is left out is always the first
	graph := &q.g.Model.Graph
	for _, v := range s.Inputs {
		name(v.Spec.Name)
		value(v)
	}
	for _, i := range s.Initializers {
		t := &graph.Initializers[i]
		name(t.Name)
		text = t.AppendContent(text)
		text = append(text, s.Inline[t.Name]...)
	}
	add := func(inputs, captures, outputs []string) {
		list(inputs)
		list(captures)
		list(outputs)
	}
	for _, i := range s.Nodes {
		n := &graph.Nodes[i]
		text = n.AppendKind(text)
		add(n.Inputs, n.Captures, n.Outputs)
		for _, out := range n.Outputs {
			for _, v := range graph.ValuesOf(out) {
				value(v)
			}
		}
	}
	for _, n := range s.Added {
		text = append(append(text, n.OpType...), 0)
		add(n.Inputs, nil, n.Outputs)
	}
	for _, v := range s.Outputs {
		name(v.Spec.Name)
	}
	return sha256.Sum256(text)
}

// types asks for the types of a skeleton's outputs.
func (q *Inference) types(skeleton onnxfile.Subgraph) ([]tensor.Spec, error) {
	question := q.question(skeleton)
	q.mutex.Lock()
	answer, known := q.answered[question]
	q.mutex.Unlock()
	if !known {
		byName, err := q.ask(skeleton)
		if err != nil {
			return nil, err
		}
		for _, out := range skeleton.Outputs {
			answer = append(answer, byName[out.Spec.Name])
		}
		q.mutex.Lock()
		q.answered[question] = answer
		q.mutex.Unlock()
	}
	named := slices.Clone(answer)
	for i, out := range skeleton.Outputs {
		named[i].Name = out.Spec.Name
	}
	return named, nil
}

// ask writes a skeleton and has the engine read it.
func (q *Inference) ask(skeleton onnxfile.Subgraph) (map[string]tensor.Spec, error) {
	part, err := q.g.Model.Part(skeleton)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(q.dir, "")
	if err != nil {
		return nil, fmt.Errorf("write to the temporary folder: %w; choose another with TMPDIR", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	path := filepath.Join(dir, "skeleton.onnx")
	if err := part.WriteTemp(path, skeleton.Data, q.data); err != nil {
		return nil, err
	}
	specs, err := q.engine.Types(path)
	if err != nil {
		return nil, err
	}
	byName := make(map[string]tensor.Spec, len(specs))
	for _, s := range specs {
		byName[s.Name] = s
	}
	for _, out := range skeleton.Outputs {
		if _, ok := byName[out.Spec.Name]; !ok {
			return nil, fmt.Errorf("it says nothing of value %q", out.Spec.Name)
		}
	}
	return byName, nil
}
