package split

import (
	"fmt"
	"slices"

	"github.com/distinfer/distinfer/split/onnxfile"
)

// Where a value comes from, for values that no node computes.
const (
	fromInput       = -1 // a graph input that the caller has to give
	fromInitializer = -2 // a weight, or a graph input that has one as default
)

// How a node takes part in a cut.
type role uint8

const (
	// anchored nodes compute: each is in exactly one stage.
	anchored role = iota
	// constant nodes depend on weights only (such as the dequantisation of a
	// weight): they go along with every stage that needs them.
	constant
	// cheap nodes are chains of shape arithmetic and element-wise operators that
	// start at model inputs or at the shape of a value, such as the expansion of
	// an attention mask. A stage may repeat them when that costs the network
	// less than sending their result.
	cheap
)

// A graph is a model's graph with names resolved.
type graph struct {
	model *onnxfile.Model
	nodes []onnxfile.Node

	producer    map[string]int // index of the node that makes a value, or fromInput, fromInitializer
	initializer map[string]int // index of an initializer
	deps        [][]string     // what a node uses, with captures, without ""; each name once
	roles       []role
	anchors     []int    // the anchored nodes, in the file's order
	inputs      []string // the inputs a caller has to give
	outputs     []string
}

func newGraph(m *onnxfile.Model) (*graph, error) {
	g := &graph{
		model:       m,
		nodes:       m.Graph.Nodes,
		producer:    map[string]int{},
		initializer: map[string]int{},
	}
	if names := m.Graph.SparseNames(); len(names) > 0 {
		return nil, fmt.Errorf("it has sparse initializers (%q and %d more), which cannot be cut yet", names[0], len(names)-1)
	}
	for i, t := range m.Graph.Initializers {
		switch {
		case t.Name == "":
			return nil, fmt.Errorf("initializer %d has no name", i)
		case t.External != nil && t.DType.Bytes(1) < 0:
			return nil, fmt.Errorf("initializer %q has external data of type %s, whose size cannot be told", t.Name, t.DType)
		}
		if _, twice := g.initializer[t.Name]; twice {
			return nil, fmt.Errorf("two initializers are named %q", t.Name)
		}
		g.initializer[t.Name] = i
		g.producer[t.Name] = fromInitializer
	}
	for _, v := range m.Graph.Inputs {
		name := v.Spec.Name
		switch p, taken := g.producer[name]; {
		case name == "":
			return nil, fmt.Errorf("an input of the graph has no name")
		case taken && p == fromInitializer: // a default value for it
			continue
		case taken:
			return nil, fmt.Errorf("two inputs of the graph are named %q", name)
		case !v.Tensor:
			return nil, fmt.Errorf("input %q is not a dense tensor; sequences, maps and optionals cannot be given to a stage", name)
		}
		g.producer[name] = fromInput
		g.inputs = append(g.inputs, name)
	}
	if len(g.inputs) == 0 {
		return nil, fmt.Errorf("it has no inputs")
	}
	if err := g.resolve(); err != nil {
		return nil, err
	}
	for _, v := range m.Graph.Outputs {
		if _, ok := g.producer[v.Spec.Name]; !ok {
			return nil, fmt.Errorf("output %q is made by no node", v.Spec.Name)
		}
		if slices.Contains(g.outputs, v.Spec.Name) {
			return nil, fmt.Errorf("two outputs of the graph are named %q", v.Spec.Name)
		}
		g.outputs = append(g.outputs, v.Spec.Name)
	}
	if len(g.outputs) == 0 {
		return nil, fmt.Errorf("it has no outputs")
	}
	g.classify()
	return g, nil
}

// resolve finds the producer of every value, and checks that the nodes stand in
// an order in which they can be computed, as ONNX demands.
func (g *graph) resolve() error {
	later := map[string]int{} // values that a node further down makes
	for i, n := range g.nodes {
		for _, name := range n.Outputs {
			if name != "" {
				later[name] = i
			}
		}
	}
	g.deps = make([][]string, len(g.nodes))
	for i, n := range g.nodes {
		if n.ExternalTensor {
			return fmt.Errorf("%s holds a tensor whose data is in another file; only the graph's own initializers may be stored so", describe(i, n))
		}
		seen := map[string]bool{"": true}
		for _, names := range [][]string{n.Inputs, n.Captures} {
			for _, name := range names {
				if seen[name] {
					continue
				}
				seen[name] = true
				if _, ok := g.producer[name]; !ok {
					if j, ok := later[name]; ok {
						return fmt.Errorf("%s uses %q, which only %s makes: the nodes are not in an order they can be computed in", describe(i, n), name, describe(j, g.nodes[j]))
					}
					return fmt.Errorf("%s uses %q, which nothing makes", describe(i, n), name)
				}
				g.deps[i] = append(g.deps[i], name)
			}
		}
		for _, name := range n.Outputs {
			if name == "" {
				continue
			}
			if _, twice := g.producer[name]; twice {
				return fmt.Errorf("%s makes %q, which is made already", describe(i, n), name)
			}
			g.producer[name] = i
		}
	}
	return nil
}

// describe names a node for a person.
func describe(i int, n onnxfile.Node) string {
	if n.Name != "" {
		return fmt.Sprintf("node %q (%s)", n.Name, n.OpType)
	}
	return fmt.Sprintf("node %d (%s)", i, n.OpType)
}

// classify gives every node its role.
func (g *graph) classify() {
	g.roles = make([]role, len(g.nodes))
	for i, n := range g.nodes {
		g.roles[i] = g.roleOf(i, n)
	}
	if !slices.Contains(g.roles, anchored) {
		// Nothing else is there to be divided.
		for i, r := range g.roles {
			if r == cheap {
				g.roles[i] = anchored
			}
		}
	}
	for i, r := range g.roles {
		if r == anchored {
			g.anchors = append(g.anchors, i)
		}
	}
}

func (g *graph) roleOf(i int, n onnxfile.Node) role {
	if n.Domain != "" && n.Domain != "ai.onnx" || randomOps[n.OpType] || n.Bodies > 0 {
		return anchored // not known to give the same result when it runs twice
	}
	free, repeatable := true, cheapOps[n.OpType]
	for _, name := range g.deps[i] {
		if g.isConstant(name) {
			continue
		}
		free = false
		if p := g.producer[name]; p != fromInput && g.roles[p] != cheap && !shapeOps[n.OpType] {
			repeatable = false
		}
	}
	switch {
	case free:
		return constant
	case repeatable && g.weightBytes(i) <= maxCheapWeight:
		return cheap
	}
	return anchored
}

// maxCheapWeight bounds the weights a cheap node may read, in bytes, so that
// tables are not copied into every stage.
const maxCheapWeight = 4 << 10

// weightBytes is the size of the weights that node i reads, directly or through
// constant nodes.
func (g *graph) weightBytes(i int) int64 {
	var sum int64
	for _, name := range g.deps[i] {
		switch p := g.producer[name]; {
		case p == fromInitializer:
			sum += g.model.Graph.Initializers[g.initializer[name]].Bytes()
		case p >= 0 && g.roles[p] == constant:
			sum += g.weightBytes(p)
			for _, a := range g.nodes[p].Attributes {
				sum += int64(len(a.Tensor))
			}
		}
	}
	return sum
}

// isConstant reports whether a value depends on weights only.
func (g *graph) isConstant(name string) bool {
	p := g.producer[name]
	return p == fromInitializer || p >= 0 && g.roles[p] == constant
}

// isCheap reports whether a stage may compute the value again.
func (g *graph) isCheap(name string) bool {
	p := g.producer[name]
	return p >= 0 && g.roles[p] == cheap
}

// Operators whose result depends on the shape of their input only.
var shapeOps = map[string]bool{"Shape": true, "Size": true}

// Operators that may be repeated: they cost next to nothing beside the layers
// of a model, and give the same result every time.
var cheapOps = map[string]bool{
	"Shape": true, "Size": true, "Gather": true, "Slice": true, "Squeeze": true, "Unsqueeze": true,
	"Concat": true, "Reshape": true, "Expand": true, "Tile": true, "Range": true, "ConstantOfShape": true,
	"Cast": true, "Identity": true, "Transpose": true, "Flatten": true, "Split": true, "Trilu": true,
	"Add": true, "Sub": true, "Mul": true, "Div": true, "Mod": true, "Neg": true, "Abs": true, "Sign": true,
	"Min": true, "Max": true, "Floor": true, "Ceil": true, "Pow": true, "Sqrt": true, "Reciprocal": true,
	"Equal": true, "Greater": true, "GreaterOrEqual": true, "Less": true, "LessOrEqual": true,
	"And": true, "Or": true, "Not": true, "Xor": true, "Where": true,
	"ReduceSum": true, "ReduceMax": true, "ReduceMin": true, "ReduceProd": true, "CumSum": true,
}

// Operators that may give another result every time.
var randomOps = map[string]bool{
	"RandomNormal": true, "RandomNormalLike": true, "RandomUniform": true, "RandomUniformLike": true,
	"Multinomial": true, "Bernoulli": true, "Dropout": true,
}
