package split

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
	weights     []int64       // bytes of the weights that a constant node reads, at most a little over maxCheapWeight
	anchors     []int         // the anchored nodes, in the file's order
	inputs      []tensor.Spec // those a caller has to give
	outputs     []string
	declared    map[string]onnxfile.ValueInfo // the inputs and outputs as the model has them
}

func newGraph(m *onnxfile.Model) (*graph, error) {
	g := &graph{
		model:       m,
		nodes:       m.Graph.Nodes,
		producer:    map[string]int{},
		initializer: map[string]int{},
		inputs:      []tensor.Spec{},
		declared:    map[string]onnxfile.ValueInfo{},
	}
	for i, t := range m.Graph.Initializers {
		if t.Name == "" {
			return nil, fmt.Errorf("initializer %d has no name", i)
		}
		if _, twice := g.initializer[t.Name]; twice {
			return nil, fmt.Errorf("two initializers are named %q", t.Name)
		}
		g.initializer[t.Name] = i
		g.producer[t.Name] = fromInitializer
	}
	for _, v := range m.Graph.Inputs {
		name := v.Spec.Name
		g.declared[name] = v
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
		g.inputs = append(g.inputs, named(v.Spec))
	}
	if err := g.resolve(); err != nil {
		return nil, err
	}
	outputs := map[string]bool{}
	for _, v := range m.Graph.Outputs {
		name := v.Spec.Name
		switch _, made := g.producer[name]; {
		case !made:
			return nil, fmt.Errorf("output %q is made by no node", name)
		case outputs[name]:
			return nil, fmt.Errorf("two outputs of the graph are named %q", name)
		case v.OtherKind:
			return nil, fmt.Errorf("output %q is not a dense tensor; sequences, maps and optionals cannot leave a stage", name)
		}
		outputs[name] = true
		g.outputs = append(g.outputs, name)
		if g.producer[name] >= 0 { // else what the model says of an input or a weight counts
			g.declared[name] = v
		}
	}
	if len(g.outputs) == 0 {
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
			s.Dims[i] = tensor.Named(unnamed(s.Name, i))
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
func (g *graph) resolve() error {
	for i, n := range g.nodes {
		for _, name := range n.Outputs {
			if name == "" {
				continue
			}
			if _, twice := g.producer[name]; twice {
				return fmt.Errorf("%s makes %q, which is made already", describe(n), name)
			}
			g.producer[name] = i
		}
	}
	g.deps = make([][]string, len(g.nodes))
	lastUser := map[string]int{} // of a value, plus one
	for i, n := range g.nodes {
		for _, names := range [][]string{n.Inputs, n.Captures} {
			for _, name := range names {
				if name == "" || lastUser[name] == i+1 {
					continue
				}
				lastUser[name] = i + 1
				if _, ok := g.producer[name]; !ok {
					return fmt.Errorf("%s uses %q, which nothing makes", describe(n), name)
				}
				g.deps[i] = append(g.deps[i], name)
			}
		}
	}
	order, err := g.order()
	if err != nil {
		return err
	}
	nodes, deps := make([]onnxfile.Node, len(order)), make([][]string, len(order))
	for at, i := range order {
		nodes[at], deps[at] = g.nodes[i], g.deps[i]
		for _, name := range g.nodes[i].Outputs {
			if name != "" {
				g.producer[name] = at
			}
		}
	}
	g.nodes, g.deps = nodes, deps
	g.model.Graph.Nodes = nodes
	return nil
}

// order sorts the nodes topologically, by Kahn's algorithm. The file's own order is
// kept where it is one, but for nodes that quantise: they directly follow the
// node whose result they take, with which ONNX Runtime fuses them.
func (g *graph) order() ([]int, error) {
	users := make([][]int, len(g.nodes))
	missing := make([]int, len(g.nodes))
	for i, deps := range g.deps {
		for _, name := range deps {
			if p := g.producer[name]; p >= 0 {
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
	order := make([]int, 0, len(g.nodes))
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
			if g.quantizes(user) && g.producer[g.nodes[user].Inputs[0]] == i {
				quantizing = append(quantizing, user)
			} else {
				heap.Push(ready, user)
			}
		}
	}
	if len(order) < len(g.nodes) {
		return nil, g.cycle(missing)
	}
	return order, nil
}

// cycle names nodes that need each other, given how many values each node misses.
func (g *graph) cycle(missing []int) error {
	i := slices.IndexFunc(missing, func(n int) bool { return n > 0 })
	seen := map[int]bool{}
	var last string
	for !seen[i] { // every node that misses values misses one of such a node
		seen[i] = true
		for _, name := range g.deps[i] {
			if p := g.producer[name]; p >= 0 && missing[p] > 0 {
				last = name
				i = p
				break
			}
		}
	}
	return fmt.Errorf("its nodes form a cycle: %s makes %q and needs it, directly or through others", describe(g.nodes[i]), last)
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

// standard reports whether a node's operator is one of ONNX's own.
func standard(n onnxfile.Node) bool { return n.Domain == "" || n.Domain == "ai.onnx" }

// quantization reports whether a node's operator is the given one of quantisation,
// which ONNX Runtime has in a domain of its own, too.
func quantization(n onnxfile.Node, op string) bool {
	return n.OpType == op && (standard(n) || n.Domain == "com.microsoft") && len(n.Inputs) > 0
}

// quantizes reports whether node i turns a computed value into integers.
func (g *graph) quantizes(i int) bool {
	n := g.nodes[i]
	return quantization(n, "QuantizeLinear") && g.producer[n.Inputs[0]] >= 0
}

// describe names a node for a person.
func describe(n onnxfile.Node) string {
	if n.Name != "" {
		return fmt.Sprintf("node %q (%s)", n.Name, n.OpType)
	}
	return fmt.Sprintf("node %d (%s)", n.Index, n.OpType)
}

// classify gives every node its role.
func (g *graph) classify() {
	g.roles = make([]role, len(g.nodes))
	g.weights = make([]int64, len(g.nodes))
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
	// A value is dequantised again where it is needed: what crosses a cut is the
	// integers, a quarter of the bytes.
	dequantizes := quantization(n, "DequantizeLinear")
	if !dequantizes && (!standard(n) || randomOps[n.OpType] || n.Bodies > 0) {
		return anchored // not known to give the same result when it runs twice
	}
	free, repeatable := true, cheapOps[n.OpType] || dequantizes
	var weight int64
	for k, name := range g.deps[i] {
		if g.isConstant(name) {
			weight = min(weight+g.constantBytes(name), maxCheapWeight+1)
			continue
		}
		free = false
		p := g.producer[name]
		fromAnywhere := shapeOps[n.OpType] || dequantizes && k == 0
		if p != fromInput && !fromAnywhere && (g.roles[p] != cheap || quantization(g.nodes[p], "DequantizeLinear")) {
			repeatable = false
		}
	}
	switch {
	case free:
		g.weights[i] = weight
		for _, a := range n.Attributes {
			g.weights[i] += int64(len(a.Tensor))
		}
		return constant
	case repeatable && weight <= maxCheapWeight:
		return cheap
	}
	return anchored
}

// maxCheapWeight bounds the weights a cheap node may read, in bytes, so that
// tables are not copied into every stage.
const maxCheapWeight = 4 << 10

// constantBytes is the size of the weights that a constant is made of.
func (g *graph) constantBytes(name string) int64 {
	if p := g.producer[name]; p >= 0 {
		return g.weights[p]
	}
	return g.model.Graph.Initializers[g.initializer[name]].Bytes()
}

// isConstant reports whether a value depends on weights only.
func (g *graph) isConstant(name string) bool {
	p := g.producer[name]
	return p == fromInitializer || p >= 0 && g.roles[p] == constant
}

// constantNode is the value that node i makes of nothing but its attributes, or "".
func (g *graph) constantNode(i int) string {
	if g.roles[i] == constant && len(g.deps[i]) == 0 && len(g.nodes[i].Outputs) > 0 {
		return g.nodes[i].Outputs[0]
	}
	return ""
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
