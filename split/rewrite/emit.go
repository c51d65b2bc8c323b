package rewrite

import (
	"slices"

	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/split/onnxfile"
)

// An emitter writes the nodes of a rewritten graph.
type emitter struct {
	*analysis
	out     []onnxfile.Node
	weights []onnxfile.Initializer
	looked  map[lookedUp]string // rows that were looked up
	lists   map[string]string   // constants
	changed map[string]bool     // values with another shape
}

type lookedUp struct {
	name string
	at   place
}

// rewritten is the model with the rows of the analysis only.
func (a *analysis) rewritten() *onnxfile.Model {
	e := &emitter{analysis: a, looked: map[lookedUp]string{}, lists: map[string]string{}, changed: map[string]bool{}}
	for i := range a.nodes {
		if !a.live[i] {
			continue
		}
		n := a.nodes[i]
		r, isRoot := a.sel.roots[i]
		switch s := a.steps[i]; {
		case isRoot:
			e.root(n, r)
		case s != nil:
			e.step(n, s)
		case a.shapeOf[i] != (source{}):
			e.shapeNode(n, a.shapeOf[i])
		default:
			e.out = append(e.out, n)
		}
	}
	return a.Graph.Model.With(e.out, e.weights, a.Graph.Model.Graph.Outputs, func(name string) bool { return e.changed[name] })
}

// add adds a node with one output of a new name.
func (e *emitter) add(op, like string, inputs []string, attributes ...onnxfile.MadeAttribute) string {
	name := e.fresh(like)
	e.out = append(e.out, onnxfile.MakeNode(op, name, inputs, []string{name}, attributes...))
	return name
}

// list is a constant of integers, a scalar where scalar is set.
func (e *emitter) list(scalar bool, values ...int64) string {
	dims := []int64{int64(len(values))}
	if scalar {
		dims = nil
	}
	t := onnxfile.MakeInts("", dims, values...)
	key := string(t.AppendContent(nil))
	if name, known := e.lists[key]; known {
		return name
	}
	name := e.fresh("distinfer/constant")
	e.lists[key] = name
	e.weights = append(e.weights, onnxfile.MakeInts(name, dims, values...))
	return name
}

func axisAttribute(axis int) onnxfile.MadeAttribute {
	return onnxfile.MadeAttribute{Name: "axis", I: int64(axis)}
}

// root has a node take its position out of the rows, which are copies of it.
func (e *emitter) root(n onnxfile.Node, r root) {
	from := e.rows(r.from, r.at)
	if r.kept {
		inputs := slices.Clone(n.Inputs)
		inputs[0] = from
		e.out = append(e.out, n.WithInputs(inputs))
		return
	}
	e.out = append(e.out, onnxfile.MakeNode("Gather", n.Name, []string{from, e.list(!r.list, 0)}, n.Outputs, axisAttribute(r.at.axis)))
}

// step has a node compute rows.
func (e *emitter) step(n onnxfile.Node, s *step) {
	for _, name := range n.Outputs {
		e.changed[name] = true
	}
	inputs := slices.Clone(n.Inputs)
	for k, u := range s.uses {
		if u.kind == rows && inputs[k] != "" {
			inputs[k] = e.rows(inputs[k], u.at)
		}
	}
	if s.reshape != nil {
		e.out = append(e.out, onnxfile.MakeNode("Reshape", n.Name, []string{inputs[0], e.list(false, s.reshape...)}, n.Outputs))
		return
	}
	if !slices.Equal(inputs, n.Inputs) {
		n = n.WithInputs(inputs)
	}
	e.out = append(e.out, n)
}

// rows is the value that has the selected rows of a value.
func (e *emitter) rows(name string, at place) string {
	if e.rowsOnly(name) {
		return name
	}
	key := lookedUp{name, at}
	if made, known := e.looked[key]; known {
		return made
	}
	made := e.lookUp(name, at)
	e.looked[key] = made
	return made
}

// lookUp adds nodes that look up rows.
func (e *emitter) lookUp(name string, at place) string {
	like := name + "/rows"
	if e.sel.value == "" {
		return e.add("Gather", like, []string{name, e.list(false, slices.Repeat([]int64{e.sel.index}, copies)...)}, axisAttribute(at.axis))
	}
	rank := e.rank(name)
	if at.lift > 0 {
		return e.lifted(name, at, rank)
	}
	// GatherND wants the positions directly behind the texts.
	there := moved(rank, at.axis, 1)
	if at.axis != 1 {
		name = e.add("Transpose", like, []string{name}, onnxfile.MadeAttribute{Name: "perm", Ints: there})
	}
	name = e.add("GatherND", like, []string{name, e.positions(-1, copies, 1)}, onnxfile.MadeAttribute{Name: "batch_dims", I: 1})
	if at.axis != 1 {
		name = e.add("Transpose", like, []string{name}, onnxfile.MadeAttribute{Name: "perm", Ints: moved(rank, 1, at.axis)})
	}
	return name
}

// moved is the permutation that moves one axis to another place and keeps the order of the others.
func moved(rank, from, to int) []int64 {
	var perm []int64
	for k := range rank {
		if k != from {
			perm = append(perm, int64(k))
		}
	}
	return slices.Insert(perm, to, int64(from))
}

// lifted looks up the rows of each text in a value without an axis of texts.
func (e *emitter) lifted(name string, at place, rank int) string {
	like := name + "/rows"
	axis := at.axis
	if rank == at.lift { // its axis of texts has one
		name = e.add("Gather", like, []string{name, e.list(true, 0)}, axisAttribute(0))
		rank, axis = rank-1, axis-1
	}
	name = e.add("Gather", like, []string{name, e.positions(-1, copies)}, axisAttribute(axis))
	rank++ // texts at axis, positions behind them
	if axis != 0 {
		name = e.add("Transpose", like, []string{name}, onnxfile.MadeAttribute{Name: "perm", Ints: moved(rank, axis, 0)})
	}
	var missing []int64
	for k := 1; rank < at.lift; rank++ {
		missing = append(missing, int64(k))
		k++
	}
	switch {
	case missing == nil:
	case e.opset < 13:
		name = e.add("Unsqueeze", like, []string{name}, onnxfile.MadeAttribute{Name: "axes", Ints: missing})
	default:
		name = e.add("Unsqueeze", like, []string{name, e.list(false, missing...)})
	}
	return name
}

// positions is the position of each text, as often as it is computed, in the given shape.
func (e *emitter) positions(dims ...int64) string {
	key := lookedUp{name: e.sel.value, at: place{axis: -len(dims)}}
	if made, known := e.looked[key]; known {
		return made
	}
	like := e.sel.value + "/positions"
	one := slices.Clone(dims)
	one[1] = 1
	name := e.add("Cast", like, []string{e.sel.value}, onnxfile.MadeAttribute{Name: "to", I: int64(tensor.Int64)})
	name = e.add("Reshape", like, []string{name, e.list(false, one...)})
	name = e.add("Concat", like, slices.Repeat([]string{name}, copies), axisAttribute(1))
	e.looked[key] = name
	return name
}

// shapeNode has a node give the shape that a value had before only rows were left of it.
func (e *emitter) shapeNode(n onnxfile.Node, from source) {
	at := e.want[n.Inputs[0]].at[0]
	like := n.Outputs[0] + "/whole"
	cut := func(of string, begin, end int) string {
		return e.add("Slice", like, []string{of, e.list(false, int64(begin)), e.list(false, int64(end))})
	}
	short := e.add("Shape", like, []string{n.Inputs[0]})
	var parts []string
	if at.axis > 0 {
		parts = append(parts, cut(short, 0, at.axis))
	}
	parts = append(parts, cut(e.add("Shape", like, []string{from.name}), from.axis, from.axis+1))
	if rank := e.rank(n.Inputs[0]); at.axis+1 < rank {
		parts = append(parts, cut(short, at.axis+1, rank))
	}
	e.out = append(e.out, onnxfile.MakeNode("Concat", n.Name, parts, n.Outputs, axisAttribute(0)))
}
