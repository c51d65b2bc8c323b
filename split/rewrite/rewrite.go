// Package rewrite leaves out of a model's graph what its answer does not need.
//
// A classifier reads one token of its last layer. What that layer computes for the others is
// needed for their keys and values only: its queries, both products of its feed-forward part and
// its normalisations are needed for one row. Positions moves the selection of that row up through
// all operators that it commutes with.
//
// The package knows graphs only: neither texts nor tasks, neither costs nor stages. What it does not
// know of an operator ends the analysis there, and that operator is computed as before.
package rewrite

import (
	"fmt"
	"slices"

	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/split/graph"
	"github.com/distinfer/distinfer/split/onnxfile"
	"github.com/distinfer/distinfer/split/types"
)

// A Model is a graph to rewrite, with what is known of its values.
type Model struct {
	Graph  *graph.Graph
	Values *types.Values
	// Data is where external data is.
	Data *onnxfile.DataFolder
}

// A Selection says which positions of a model's values are computed no longer.
type Selection struct {
	// Index is the position that is read: a number, from the end where it is negative, or the name
	// of the value that has one for each text.
	Index string
	Nodes int // that compute this position only
	Heavy int // those of them that multiply matrices
}

// Positions rewrites a model so that positions which nobody reads are not computed, for the
// selection that saves the most. It returns nil when there is none.
func Positions(m Model) (*onnxfile.Model, *Selection) {
	f := newFacts(m)
	if f == nil {
		return nil, nil
	}
	var best *analysis
	for _, s := range f.selections() {
		if a := f.analyse(s); a != nil && (best == nil || a.saved > best.saved) {
			best = a
		}
	}
	if best == nil {
		return nil, nil
	}
	made := best.rewritten()
	return made, &Selection{Index: best.sel.String(), Nodes: len(best.steps), Heavy: best.heavy}
}

// facts are what is known of a graph's values.
type facts struct {
	Model
	nodes  []onnxfile.Node
	opset  int64
	points []types.Point
	shapes map[string]shape
	ends   map[string]bool // outputs of the graph, and what bodies of nodes use
	taken  map[string]bool // names
}

// newFacts returns nil when the sizes of values are not known well enough.
func newFacts(m Model) *facts {
	if len(m.Values.Points) < 3 && len(m.Values.Dims) > 0 || len(m.Values.Points) == 0 {
		return nil
	}
	f := &facts{
		Model: m, nodes: m.Graph.Nodes, opset: m.Graph.Model.Opset(), points: m.Values.Points,
		shapes: map[string]shape{}, ends: map[string]bool{}, taken: map[string]bool{},
	}
	for _, name := range m.Graph.Outputs {
		f.ends[name] = true
	}
	for _, n := range f.nodes {
		for _, name := range n.Captures {
			f.ends[name] = true
		}
	}
	for name := range m.Graph.Producer {
		f.taken[name] = true
	}
	return f
}

// A dim is the size of a dimension at several sizes of the inputs.
type dim []int64

func (d dim) is(other dim) bool { return slices.Equal(d, other) }

// constant is the size when it is always the same.
func (d dim) constant() (int64, bool) {
	for _, n := range d {
		if n != d[0] {
			return 0, false
		}
	}
	return d[0], true
}

func (d dim) one() bool {
	n, ok := d.constant()
	return ok && n == 1
}

type shape []dim

// product is the number of elements of some dimensions.
func (f *facts) product(dims shape) dim {
	p := make(dim, len(f.points))
	for k := range p {
		p[k] = 1
		for _, d := range dims {
			p[k] *= d[k]
		}
	}
	return p
}

// shape is that of a value, when all of it is known.
func (f *facts) shape(name string) (shape, bool) {
	if s, known := f.shapes[name]; known {
		return s, s != nil
	}
	s := f.findShape(name)
	f.shapes[name] = s
	return s, s != nil
}

func (f *facts) findShape(name string) shape {
	if name == "" {
		return nil
	}
	if i, weight := f.Graph.Initializer[name]; weight {
		s := shape{}
		for _, n := range f.Graph.Model.Graph.Initializers[i].Dims {
			s = append(s, f.always(n))
		}
		return s
	}
	var s shape
	for k, p := range f.points {
		spec, known := p.Specs[name]
		if !known || spec.AnyRank || spec.DType == tensor.Undefined {
			return nil
		}
		if k == 0 {
			s = make(shape, len(spec.Dims))
		}
		if len(spec.Dims) != len(s) {
			return nil
		}
		for i, d := range spec.Dims {
			if !d.IsFixed() {
				return nil
			}
			s[i] = append(s[i], d.Size)
		}
	}
	return s
}

// always is a dimension that has one size.
func (f *facts) always(n int64) dim {
	d := make(dim, len(f.points))
	for k := range d {
		d[k] = n
	}
	return d
}

// rank is the number of dimensions of a value, or -1.
func (f *facts) rank(name string) int {
	s, ok := f.shape(name)
	if !ok {
		return -1
	}
	return len(s)
}

// single reports whether a value has one element.
func (f *facts) single(name string) bool {
	s, ok := f.shape(name)
	return ok && f.product(s).one()
}

// fresh is a name that no value has yet.
func (f *facts) fresh(like string) string {
	name := like
	for k := 1; f.taken[name]; k++ {
		name = fmt.Sprintf("%s_%d", like, k)
	}
	f.taken[name] = true
	return name
}

// producer is the node that makes a value, or nil.
func (f *facts) producer(name string) *onnxfile.Node {
	p, ok := f.Graph.Producer[name]
	if !ok || p < 0 {
		return nil
	}
	return &f.nodes[p]
}
