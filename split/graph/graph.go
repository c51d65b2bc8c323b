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
