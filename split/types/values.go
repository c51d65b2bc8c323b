package types

import (
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/split/graph"
	"github.com/distinfer/distinfer/split/onnxfile"
)

// Values are what is known of every value of a graph.
type Values struct {
	Specs  map[string]tensor.Spec
	Sizes  map[string]int64 // bytes at the reference shape; 0 when unknown
	Shapes map[string][]int64

	Dims   []string // the names of the inputs' dimensions
	Points []Point  // what was answered at several sizes, the reference first

	g *graph.Graph
}

// NewValues makes Values of a graph without any known size.
func NewValues(g *graph.Graph) *Values {
	names, _ := graph.DimNames(g.Inputs)
	return &Values{Specs: map[string]tensor.Spec{}, Sizes: map[string]int64{}, Shapes: map[string][]int64{}, Dims: names, g: g}
}

// Add notes the shape of a value at the reference.
func (v *Values) Add(spec tensor.Spec, shape []int64) {
	v.Shapes[spec.Name] = shape
	if n, err := tensor.Elements(shape); err == nil {
		v.Sizes[spec.Name] = max(spec.DType.Bytes(n), 0)
	}
}

// List is the specs of some values.
func (v *Values) List(names []string) []tensor.Spec {
	specs := make([]tensor.Spec, len(names))
	for i, name := range names {
		specs[i] = v.Specs[name]
	}
	return specs
}

// Bytes is the size of some values at the reference shape.
func (v *Values) Bytes(names []string) int64 {
	var sum int64
	for _, name := range names {
		sum += v.Sizes[name]
	}
	return sum
}

// Subgraph is a part of the graph, by the indices of its nodes and initializers and the names of
// its inputs and outputs.
func (v *Values) Subgraph(nodes, weights []int, inputs, outputs []string) onnxfile.Subgraph {
	s := onnxfile.Subgraph{Nodes: nodes, Initializers: weights}
	for _, name := range inputs {
		s.Inputs = append(s.Inputs, v.Info(name))
	}
	// Initializers that callers of the whole model may override stay so.
	for _, i := range weights {
		if info, ok := v.g.Declared[v.g.Model.Graph.Initializers[i].Name]; ok {
			s.Inputs = append(s.Inputs, info)
		}
	}
	for _, name := range outputs {
		s.Outputs = append(s.Outputs, v.Info(name))
	}
	return s
}

// Info is what the model declares of an input or output, or else what was inferred.
func (v *Values) Info(name string) onnxfile.ValueInfo {
	if info, ok := v.g.Declared[name]; ok {
		return info
	}
	return onnxfile.Declare(v.Specs[name])
}
