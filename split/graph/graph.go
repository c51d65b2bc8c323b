// Package graph is a model's graph with names resolved: which node makes a value, which use it,
// in which order they run, and whether a node is computed once or may be repeated.
//
// It knows the file, and neither shapes, costs nor stages.
package graph

import (
	"container/heap"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/split/onnxfile"
)

// Where a value comes from, for values that no node computes.
const (
	FromInput       = -1 // a graph input that the caller has to give
	FromInitializer = -2 // a weight, or a graph input that has one as default
)

// A Role is how a node takes part in a cut.
type Role uint8

// The roles.
const (
	// Anchored nodes compute: each is in exactly one stage.
	Anchored Role = iota
	// Constant nodes depend on weights only (such as the dequantisation of a
	// weight): they go along with every stage that needs them.
	Constant
	// Cheap nodes are chains of shape arithmetic and element-wise operators that
	// start at model inputs or at the shape of a value, such as the expansion of
	// an attention mask. A stage may repeat them when that costs the network
	// less than sending their result.
	Cheap
)

// A Graph is a model's graph with names resolved.
type Graph struct {
	Model *onnxfile.Model
	Nodes []onnxfile.Node

	Producer    map[string]int // index of the node that makes a value, or FromInput, FromInitializer
	Initializer map[string]int // index of an initializer
	Deps        [][]string     // what a node uses, with captures, without ""; each name once
	Roles       []Role
	weights     []int64       // bytes of the weights that a constant node reads, at most a little over maxCheapWeight
	Anchors     []int         // the anchored nodes, in the file's order
	Inputs      []tensor.Spec // those a caller has to give
	Outputs     []string
	Declared    map[string]onnxfile.ValueInfo // the inputs and outputs as the model has them
}

// New resolves the names of a model's graph, and fails when it cannot be computed.
func New(m *onnxfile.Model) (*Graph, error) {
	g := &Graph{
		Model:       m,
		Nodes:       m.Graph.Nodes,
		Producer:    map[string]int{},
		Initializer: map[string]int{},
		Inputs:      []tensor.Spec{},
		Declared:    map[string]onnxfile.ValueInfo{},
	}
	for i, t := range m.Graph.Initializers {
		if t.Name == "" {
			return nil, fmt.Errorf("initializer %d has no name", i)
		}
		if _, twice := g.Initializer[t.Name]; twice {
			return nil, fmt.Errorf("two initializers are named %q", t.Name)
		}
		g.Initializer[t.Name] = i
		g.Producer[t.Name] = FromInitializer
	}
	for _, v := range m.Graph.Inputs {
		name := v.Spec.Name
		g.Declared[name] = v
		switch p, taken := g.Producer[name]; {
		case name == "":
			return nil, fmt.Errorf("an input of the graph has no name")
		case taken && p == FromInitializer: // a default value for it
			continue
		case taken:
			return nil, fmt.Errorf("two inputs of the graph are named %q", name)
		case !v.Tensor:
			return nil, fmt.Errorf("input %q is not a dense tensor; sequences, maps and optionals cannot be given to a stage", name)
		}
		g.Producer[name] = FromInput
		g.Inputs = append(g.Inputs, named(v.Spec))
	}
	if err := g.resolve(); err != nil {
		return nil, err
	}
	outputs := map[string]bool{}
	for _, v := range m.Graph.Outputs {
		name := v.Spec.Name
		switch _, made := g.Producer[name]; {
		case !made:
			return nil, fmt.Errorf("output %q is made by no node", name)
		case outputs[name]:
			return nil, fmt.Errorf("two outputs of the graph are named %q", name)
		case v.OtherKind:
			return nil, fmt.Errorf("output %q is not a dense tensor; sequences, maps and optionals cannot leave a stage", name)
		}
		outputs[name] = true
		g.Outputs = append(g.Outputs, name)
		if g.Producer[name] >= 0 { // else what the model says of an input or a weight counts
			g.Declared[name] = v
		}
	}
	if len(g.Outputs) == 0 {
		return nil, fmt.Errorf("it has no outputs")
	}
	g.classify()
	return g, nil
}

// named gives every dimension that the model leaves unknown a name of its own, and
// so every one that has only a placeholder as its name: several may have that, and
// be of different sizes.
func named(s tensor.Spec) tensor.Spec {
	s.Dims = slices.Clone(s.Dims)
	for i, d := range s.Dims {
		if !d.IsFixed() && isPlaceholder(d.Name) {
			s.Dims[i] = tensor.Named(UnnamedDim(s.Name, i))
		}
	}
	return s
}

func isPlaceholder(name string) bool {
	switch strings.ToLower(name) {
	case "none", "unk", "unknown", "undefined", "dynamic", "null", "any":
		return true
	}
	return !strings.ContainsFunc(name, unicode.IsLetter)
}

// resolve finds the producer of every value, and puts the nodes into an order in
// which they can be computed.
func (g *Graph) resolve() error {
	for i, n := range g.Nodes {
		for _, name := range n.Outputs {
			if name == "" {
				continue
			}
			if _, twice := g.Producer[name]; twice {
				return fmt.Errorf("%s makes %q, which is made already", n, name)
			}
			g.Producer[name] = i
		}
	}
	g.Deps = make([][]string, len(g.Nodes))
	lastUser := map[string]int{} // of a value, plus one
	for i, n := range g.Nodes {
		for _, names := range [][]string{n.Inputs, n.Captures} {
			for _, name := range names {
				if name == "" || lastUser[name] == i+1 {
					continue
				}
				lastUser[name] = i + 1
				if _, ok := g.Producer[name]; !ok {
					return fmt.Errorf("%s uses %q, which nothing makes", n, name)
				}
				g.Deps[i] = append(g.Deps[i], name)
			}
		}
	}
	order, err := g.order()
	if err != nil {
		return err
	}
	nodes, deps := make([]onnxfile.Node, len(order)), make([][]string, len(order))
	for at, i := range order {
		nodes[at], deps[at] = g.Nodes[i], g.Deps[i]
		for _, name := range g.Nodes[i].Outputs {
			if name != "" {
				g.Producer[name] = at
			}
		}
	}
	g.Nodes, g.Deps = nodes, deps
	g.Model.Graph.Nodes = nodes
	return nil
}

// order sorts the nodes topologically, by Kahn's algorithm. The file's own order is
// kept where it is one, but for nodes that quantise: they directly follow the
// node whose result they take, with which ONNX Runtime fuses them.
func (g *Graph) order() ([]int, error) {
	users := make([][]int, len(g.Nodes))
	missing := make([]int, len(g.Nodes))
	for i, deps := range g.Deps {
		for _, name := range deps {
			if p := g.Producer[name]; p >= 0 {
				users[p] = append(users[p], i)
				missing[i]++
			}
		}
	}
	ready := &intHeap{}
	for i, n := range missing {
		if n == 0 {
			heap.Push(ready, i)
		}
	}
	order := make([]int, 0, len(g.Nodes))
	var quantizing []int // ready, and to be taken first
	for len(quantizing) > 0 || ready.Len() > 0 {
		var i int
		if last := len(quantizing) - 1; last >= 0 {
			i, quantizing = quantizing[last], quantizing[:last]
		} else {
			i = heap.Pop(ready).(int)
		}
		order = append(order, i)
		for _, user := range users[i] {
			if missing[user]--; missing[user] > 0 {
				continue
			}
			if g.Quantizes(user) && g.Producer[g.Nodes[user].Inputs[0]] == i {
				quantizing = append(quantizing, user)
			} else {
				heap.Push(ready, user)
			}
		}
	}
	if len(order) < len(g.Nodes) {
		return nil, g.cycle(missing)
	}
	return order, nil
}

// cycle names nodes that need each other, given how many values each node misses.
func (g *Graph) cycle(missing []int) error {
	i := slices.IndexFunc(missing, func(n int) bool { return n > 0 })
	seen := map[int]bool{}
	var last string
	for !seen[i] { // every node that misses values misses one of such a node
		seen[i] = true
		for _, name := range g.Deps[i] {
			if p := g.Producer[name]; p >= 0 && missing[p] > 0 {
				last = name
				i = p
				break
			}
		}
	}
	return fmt.Errorf("its nodes form a cycle: %s makes %q and needs it, directly or through others", g.Nodes[i], last)
}

// An intHeap is a heap.Interface, the smallest first.
type intHeap []int

func (h intHeap) Len() int           { return len(h) }
func (h intHeap) Less(i, j int) bool { return h[i] < h[j] }
func (h intHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

// Push implements heap.Interface.
func (h *intHeap) Push(x any) { *h = append(*h, x.(int)) }

// Pop implements heap.Interface.
func (h *intHeap) Pop() any {
	last := len(*h) - 1
	x := (*h)[last]
	*h = (*h)[:last]
	return x
}

// quantization reports whether a node's operator is the given one of quantisation,
// which ONNX Runtime has in a domain of its own, too.
func quantization(n onnxfile.Node, op string) bool {
	return n.OpType == op && (n.Standard() || n.Domain == "com.microsoft") && len(n.Inputs) > 0
}

// Quantizes reports whether node i turns a computed value into integers.
func (g *Graph) Quantizes(i int) bool {
	n := g.Nodes[i]
	return quantization(n, "QuantizeLinear") && g.Producer[n.Inputs[0]] >= 0
}

// classify gives every node its role.
func (g *Graph) classify() {
	g.Roles = make([]Role, len(g.Nodes))
	g.weights = make([]int64, len(g.Nodes))
	for i, n := range g.Nodes {
		g.Roles[i] = g.roleOf(i, n)
	}
	if !slices.Contains(g.Roles, Anchored) {
		// Nothing else is there to be divided.
		for i, r := range g.Roles {
			if r == Cheap {
				g.Roles[i] = Anchored
			}
		}
	}
	for i, r := range g.Roles {
		if r == Anchored {
			g.Anchors = append(g.Anchors, i)
		}
	}
}

func (g *Graph) roleOf(i int, n onnxfile.Node) Role {
	// A value is dequantised again where it is needed: what crosses a cut is the
	// integers, a quarter of the bytes.
	dequantizes := quantization(n, "DequantizeLinear")
	if !dequantizes && (!n.Standard() || randomOps[n.OpType] || n.Bodies > 0) {
		return Anchored // not known to give the same result when it runs twice
	}
	free, repeatable := true, cheapOps[n.OpType] || dequantizes
	var weight int64
	for k, name := range g.Deps[i] {
		if g.IsConstant(name) {
			weight = min(weight+g.constantBytes(name), maxCheapWeight+1)
			continue
		}
		free = false
		p := g.Producer[name]
		fromAnywhere := shapeOps[n.OpType] || dequantizes && k == 0
		if p != FromInput && !fromAnywhere && (g.Roles[p] != Cheap || quantization(g.Nodes[p], "DequantizeLinear")) {
			repeatable = false
		}
	}
	switch {
	case free:
		g.weights[i] = weight
		for _, a := range n.Attributes {
			g.weights[i] += int64(len(a.Tensor))
		}
		return Constant
	case repeatable && weight <= maxCheapWeight:
		return Cheap
	}
	return Anchored
}

// maxCheapWeight bounds the weights a cheap node may read, in bytes, so that
// tables are not copied into every stage.
const maxCheapWeight = 4 << 10

// constantBytes is the size of the weights that a constant is made of.
func (g *Graph) constantBytes(name string) int64 {
	if p := g.Producer[name]; p >= 0 {
		return g.weights[p]
	}
	return g.Model.Graph.Initializers[g.Initializer[name]].Bytes()
}

// IsConstant reports whether a value depends on weights only.
func (g *Graph) IsConstant(name string) bool {
	p := g.Producer[name]
	return p == FromInitializer || p >= 0 && g.Roles[p] == Constant
}

// ConstantNode is the value that node i makes of nothing but its attributes, or "".
func (g *Graph) ConstantNode(i int) string {
	if g.Roles[i] == Constant && len(g.Deps[i]) == 0 && len(g.Nodes[i].Outputs) > 0 {
		return g.Nodes[i].Outputs[0]
	}
	return ""
}

// IsCheap reports whether a stage may compute the value again.
func (g *Graph) IsCheap(name string) bool {
	p := g.Producer[name]
	return p >= 0 && g.Roles[p] == Cheap
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

// Random reports whether an operator may give another result every time.
func Random(op string) bool { return randomOps[op] }

// ShapeOnly reports whether an operator depends on the shape of its input only.
func ShapeOnly(op string) bool { return shapeOps[op] }

// CheapOp reports whether an operator may be repeated.
func CheapOp(op string) bool { return cheapOps[op] }

// UnnamedDim is the name of an input's i-th dimension that the model gives none.
func UnnamedDim(input string, i int) string { return fmt.Sprintf("%s.%d", input, i) }

// DimNames are the names of the inputs' dimensions, in order of appearance;
// leading[name] is set where the name is the first dimension of an input.
func DimNames(specs []tensor.Spec) (names []string, leading map[string]bool) {
	leading = map[string]bool{}
	for _, s := range specs {
		for i, d := range s.Dims {
			if d.Name == "" {
				continue
			}
			if !slices.Contains(names, d.Name) {
				names = append(names, d.Name)
			}
			leading[d.Name] = leading[d.Name] || i == 0
		}
	}
	return names, leading
}
