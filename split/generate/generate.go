// Package generate makes inputs that a model is likely to take, from what its operators take them
// for. A table says it for each input of an operator: places along an axis, lengths, shapes, …
//
// It knows the graph's operators, and nothing of cutting or comparing.
package generate

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/split/graph"
	"github.com/distinfer/distinfer/split/onnxfile"
)

// A Generator makes inputs that a model is likely to take, from what its operators
// take them for. The same sizes and manner give the same inputs.
type Generator struct {
	Specs  []tensor.Spec // all values that inputs can be made for
	Random bool          // some operator may give another result every time

	inputs    []tensor.Spec // the model's
	reference tensor.Sizes
	weights   map[string][]int64 // dimensions
	uses      map[string][]usage // of a value, directly or through nodes that keep values
}

// A usage is a use by a node.
type usage struct {
	use
	data string // the name of the data
}

// New makes a Generator of what the graphs, which share the names of their values, do
// with the values.
func New(m *bundle.Manifest, graphs []*onnxfile.Graph) *Generator {
	g := &Generator{Specs: slices.Clone(m.Inputs), inputs: m.Inputs, reference: m.Reference, weights: map[string][]int64{}, uses: map[string][]usage{}}
	for _, s := range m.Stages {
		for _, spec := range slices.Concat(s.Inputs, s.Outputs) {
			if _, known := tensor.Find(g.Specs, spec.Name); !known {
				g.Specs = append(g.Specs, spec)
			}
		}
	}
	origins := map[string][]string{} // of a value: the values it holds the elements of
	for _, s := range g.Specs {
		origins[s.Name] = []string{s.Name}
	}
	for _, part := range graphs {
		for _, t := range part.Initializers {
			g.weights[t.Name] = t.Dims
		}
		for _, n := range part.Nodes {
			g.Random = g.Random || graph.Random(n.OpType) || n.Bodies > 0 || n.Domain != "" && n.Domain != "ai.onnx"
			g.note(n, origins)
		}
	}
	return g
}

func (g *Generator) note(n onnxfile.Node, origins map[string][]string) {
	var kept []string
	for k, name := range n.Inputs {
		if keepAll[n.OpType] || keepFirst[n.OpType] && k == 0 {
			kept = append(kept, origins[name]...)
		}
		u, ok := useOf(n, k)
		if !ok {
			continue
		}
		if u.axis != anyAxis {
			u.axis = n.Int("axis", u.axis)
		}
		used := usage{use: u}
		if u.data < len(n.Inputs) {
			used.data = n.Inputs[u.data]
		}
		for _, origin := range origins[name] {
			if !slices.Contains(g.uses[origin], used) {
				g.uses[origin] = append(g.uses[origin], used)
			}
		}
	}
	for _, out := range n.Outputs {
		for _, origin := range kept {
			if !slices.Contains(origins[out], origin) {
				origins[out] = append(origins[out], origin)
			}
		}
	}
}

// A Manner is how to make values that nothing is known of.
type Manner struct {
	integers func(r *rand.Rand, width int64) func(i int64) int64
	low      float64 // floats are between low and 1
	rank     int     // of inputs whose rank is not known
}

// Manners are to be tried in turn until the model accepts one.
func (g *Generator) Manners() []Manner {
	constant := func(n int64) func(*rand.Rand, int64) func(int64) int64 {
		return func(*rand.Rand, int64) func(int64) int64 { return func(int64) int64 { return n } }
	}
	small := func(r *rand.Rand, _ int64) func(int64) int64 {
		return func(int64) int64 { return 1 + r.Int64N(3) }
	}
	rising := func(*rand.Rand, int64) func(int64) int64 { return func(i int64) int64 { return i } }
	ranks := []int{2}
	if anyRank(g.inputs) {
		ranks = []int{2, 1, 3, 0, 4}
	}
	var list []Manner
	for _, rank := range ranks {
		list = append(list,
			Manner{mask, -1, rank}, Manner{mask, 0.05, rank}, Manner{small, -1, rank}, Manner{constant(0), 0.05, rank},
			Manner{constant(1), 0.05, rank}, Manner{rising, 0.05, rank}, Manner{small, 0.999, rank})
	}
	return list
}

// mask makes ones followed by zeros in every row, as in the mask of a padded batch.
func mask(r *rand.Rand, width int64) func(int64) int64 {
	ones := int64(0)
	return func(i int64) int64 {
		if i%width == 0 {
			ones = 1 + r.Int64N(width)
		}
		if i%width < ones {
			return 1
		}
		return 0
	}
}

// maxGenerated bounds the elements of a generated input, whose size the model
// file decides.
const maxGenerated = 1 << 26

// Make makes tensors for the given specs.
func (g *Generator) Make(specs []tensor.Spec, t Trial, m Manner, seed uint64) (tensor.Bag, error) {
	bag := tensor.Bag{}
	for i, spec := range specs {
		x, err := g.tensor(spec, t, m, rand.New(rand.NewPCG(seed, uint64(i))))
		if err != nil {
			return nil, fmt.Errorf("input %s: %w", spec, err)
		}
		bag[spec.Name] = x
	}
	return bag, nil
}

// shapeAt is the shape of a value at the sizes of a trial. What has no name takes
// the trial's sizes by its place.
func shapeAt(s tensor.Spec, t Trial, m Manner) []int64 {
	dims := s.Dims
	if s.AnyRank {
		dims = make([]tensor.Dim, m.rank)
	}
	shape := make([]int64, len(dims))
	for i, d := range dims {
		n, named := t.Sizes[d.Name]
		switch {
		case d.IsFixed():
			shape[i] = d.Size
		case named:
			shape[i] = n
		case i == 0:
			shape[i] = t.Lead
		default:
			shape[i] = t.Other
		}
	}
	return shape
}

func (g *Generator) tensor(spec tensor.Spec, t Trial, m Manner, r *rand.Rand) (tensor.Tensor, error) {
	shape := shapeAt(spec, t, m)
	n, err := tensor.Elements(shape)
	if err == nil && n > maxGenerated {
		err = fmt.Errorf("%d elements are more than are generated", n)
	}
	if err != nil {
		return tensor.Tensor{}, err
	}
	if spec.DType == tensor.String {
		x := tensor.Tensor{DType: spec.DType, Shape: shape}
		for range n {
			x.Strs = append(x.Strs, fmt.Sprintf("text %d", r.IntN(10)))
		}
		return x, nil
	}
	x, err := tensor.New(spec.DType, shape)
	if err != nil {
		return tensor.Tensor{}, err
	}
	width := int64(1)
	if len(shape) > 0 {
		width = max(shape[len(shape)-1], 1)
	}
	integer := m.integers(r, width)
	float := func(int64) float64 { return m.low + (1-m.low)*r.Float64() }
	if f := g.meant(spec.Name, n, t, m, r); f != nil {
		integer = f
		float = func(i int64) float64 { return float64(f(i)) }
	} else if g.has(spec.Name, aboveZero) {
		integer = func(int64) int64 { return 1 + r.Int64N(3) }
		float = func(int64) float64 { return 0.05 + 0.9*r.Float64() }
	}
	return x, Fill(x, integer, float)
}

func (g *Generator) has(name string, s sense) bool {
	return slices.ContainsFunc(g.uses[name], func(u usage) bool { return u.sense == s })
}

// dims are the dimensions of a value, if they are known.
func (g *Generator) dims(name string, t Trial, m Manner) []int64 {
	if dims, ok := g.weights[name]; ok {
		return dims
	}
	if spec, ok := tensor.Find(g.Specs, name); ok {
		return shapeAt(spec, t, m)
	}
	return nil
}

// meant makes the i-th of n values of an input that is used in a sense, or is nil.
// Of several uses the first counts, but of indices the one with the least bound.
func (g *Generator) meant(name string, n int64, t Trial, m Manner, r *rand.Rand) func(i int64) int64 {
	var first usage
	var dims []int64
	bound := int64(math.MaxInt64)
	for _, u := range g.uses[name] {
		if u.sense == aboveZero || first.sense == placeOnAxis && u.sense != placeOnAxis {
			continue
		}
		d := g.dims(u.data, t, m)
		switch {
		case u.sense == placeOnAxis:
			first, dims = u, d
			bound = min(bound, extent(d, u.axis, slices.Min(append([]int64{math.MaxInt64}, d...))))
		case first.sense == 0:
			first, dims = u, d
			bound = extent(d, u.axis, 1)
		}
	}
	at := func(list []int64) func(int64) int64 {
		return func(i int64) int64 {
			if i < int64(len(list)) {
				return list[i]
			}
			return 1
		}
	}
	switch first.sense {
	case placeOnAxis:
		if bound == math.MaxInt64 {
			return func(int64) int64 { return 0 } // the size of the table is not known
		}
		return func(int64) int64 { return r.Int64N(max(bound, 1)) }
	case lengthOnAxis:
		return func(int64) int64 { return 1 + r.Int64N(max(bound, 1)) }
	case smallCount:
		return func(int64) int64 { return 1 + r.Int64N(3) }
	case zero:
		return func(int64) int64 { return 0 }
	case one:
		return func(int64) int64 { return 1 }
	case beyondAxes:
		return func(int64) int64 { return 127 } // fits every type
	case axisNumbers:
		return func(i int64) int64 { return i }
	case unitAxes:
		var axes []int64
		for i, d := range dims {
			if d == 1 {
				axes = append(axes, int64(i))
			}
		}
		return at(axes)
	case anyShape:
		return at([]int64{-1})
	case sameDims:
		return at(dims)
	case lastDim:
		return at(dims[max(len(dims)-1, 0):])
	case partsOfAxis:
		return func(i int64) int64 { return bound/n + (i+1)/n*(bound%n) } // the last has the rest
	}
	return nil
}

// extent is the dimension of an axis, which counts from the end when it is
// negative.
func extent(dims []int64, axis, missing int64) int64 {
	if axis < 0 && axis != anyAxis {
		axis += int64(len(dims))
	}
	if axis < 0 || axis >= int64(len(dims)) {
		return missing
	}
	return dims[axis]
}
