package rewrite

import (
	"slices"

	"github.com/distinfer/distinfer/split/graph"
	"github.com/distinfer/distinfer/split/onnxfile"
)

// copies is how many copies of the selected row are computed. With one alone ONNX Runtime takes
// another kernel for its products, which rounds in another way than for a row among others: an
// answer would depend on how many texts are in the batch. One is selected at the end.
const copies = 2

// A place says where the positions are in a value.
type place struct {
	axis int
	// merged: the axis has the positions of all texts, one text after the other.
	merged bool
	// lift, unless it is 0, is of a value without texts of its own, such as a table of positions: the
	// rows of each text are looked up in it, so that it gets an axis of texts and that rank.
	lift int
}

// A use is what a node reads of one of its inputs.
type use struct {
	kind useKind
	at   place // of rows
}

type useKind uint8

const (
	whole useKind = iota
	rows          // the selected ones
	ignored
)

// A step is a node that computes the selected rows only.
type step struct {
	uses []use
	// reshape is the shape that it makes, of an operator that reshapes.
	reshape []int64
}

// wants are what later nodes read of a value.
type wants struct {
	whole  bool
	at     []place
	users  []int // nodes that read rows
	shapes []int // nodes that read its shape only
}

// An analysis finds which nodes need to compute selected rows only.
type analysis struct {
	*facts
	sel   *selection
	steps map[int]*step
	live  map[int]bool
	want  map[string]*wants
	saved float64 // multiplications at the reference
	heavy int
	// shapeOf are nodes that read the shape of rows and need that of the whole, and a value that has
	// as many rows.
	shapeOf map[int]source
}

// A source is a whole value and the axis of its rows.
type source struct {
	name string
	axis int
}

// mostPasses bounds how often an analysis begins again.
const mostPasses = 64

// analyse is nil when a selection saves nothing.
func (f *facts) analyse(s *selection) *analysis {
	forbidden := map[int]bool{}
	for range mostPasses {
		a := &analysis{facts: f, sel: s, steps: map[int]*step{}, live: map[int]bool{}, want: map[string]*wants{}, shapeOf: map[int]source{}}
		bad := a.pass(forbidden)
		if len(bad) == 0 {
			bad = a.settleShapes()
		}
		if len(bad) == 0 {
			if a.heavy == 0 || a.circular() {
				return nil
			}
			return a
		}
		for _, i := range bad {
			forbidden[i] = true
		}
	}
	return nil
}

func (a *analysis) of(name string) *wants {
	w := a.want[name]
	if w == nil {
		w = &wants{}
		a.want[name] = w
	}
	return w
}

// wantRows notes that node i reads rows of a value.
func (a *analysis) wantRows(name string, at place, i int) {
	w := a.of(name)
	w.users = append(w.users, i)
	if !slices.Contains(w.at, at) {
		w.at = append(w.at, at)
	}
}

// pass goes through the nodes from the last to the first. It returns nodes that cannot compute
// rows only, though they seemed to.
func (a *analysis) pass(forbidden map[int]bool) (bad []int) {
	for _, name := range a.Graph.Outputs {
		a.of(name).whole = true
	}
	for i := len(a.nodes) - 1; i >= 0; i-- {
		n := &a.nodes[i]
		if !slices.ContainsFunc(n.Outputs, func(name string) bool { return a.want[name] != nil }) {
			continue
		}
		a.live[i] = true
		if r, ok := a.sel.roots[i]; ok {
			a.wantRows(r.from, r.at, i)
			if a.sel.value != "" {
				a.of(a.sel.value).whole = true
			}
			continue
		}
		if s := a.step(i, n); s != nil && !forbidden[i] {
			a.take(i, n, s)
			continue
		}
		bad = append(bad, a.merged(n.Outputs)...)
		for _, name := range a.Graph.Deps[i] {
			if n.Standard() && graph.ShapeOnly(n.OpType) {
				a.of(name).shapes = append(a.of(name).shapes, i)
			} else {
				a.of(name).whole = true
			}
		}
	}
	for name, p := range a.Graph.Producer {
		if p < 0 {
			bad = append(bad, a.merged([]string{name})...)
		}
	}
	return bad
}

// merged are the nodes that read rows of whole values in which those of all texts are one axis: they
// cannot be looked up there.
func (a *analysis) merged(names []string) (users []int) {
	for _, name := range names {
		if w := a.want[name]; w != nil && slices.ContainsFunc(w.at, func(p place) bool { return p.merged }) {
			users = append(users, w.users...)
		}
	}
	return users
}

// step is how a node computes the rows that are read of its outputs, nil when it is to be computed
// as it is.
func (a *analysis) step(i int, n *onnxfile.Node) *step {
	if a.Graph.Roles[i] == graph.Constant || n.Bodies > 0 {
		return nil
	}
	var at place
	var used []int
	for k, name := range n.Outputs {
		w := a.want[name]
		if w == nil {
			continue
		}
		if w.whole || a.ends[name] || len(w.at) != 1 || w.at[0].lift != 0 || len(used) > 0 && w.at[0] != at {
			return nil
		}
		at, used = w.at[0], append(used, k)
	}
	out, ok := a.shape(n.Outputs[used[0]])
	if !ok {
		return nil
	}
	for _, k := range used[1:] {
		if other, ok := a.shape(n.Outputs[k]); !ok || len(other) != len(out) {
			return nil
		}
	}
	return a.through(n, used, out, at)
}

// take notes a step.
func (a *analysis) take(i int, n *onnxfile.Node, s *step) {
	a.steps[i] = s
	for k, u := range s.uses {
		switch name := n.Inputs[k]; {
		case name == "" || u.kind == ignored:
		case u.kind == whole:
			a.of(name).whole = true
		default:
			a.wantRows(name, u.at, i)
		}
	}
	if heavyOps[n.OpType] {
		a.heavy++
		in, _ := a.shape(n.Inputs[0])
		out, _ := a.shape(n.Outputs[0])
		a.saved += float64(a.product(out)[0]) * float64(max(in[len(in)-1][0], 1))
	}
}

// heavyOps multiply matrices.
var heavyOps = map[string]bool{
	"MatMul": true, "Gemm": true, "Einsum": true, "MatMulInteger": true, "QLinearMatMul": true, "FusedMatMul": true,
	"MatMulNBits": true, "MatMulIntegerToFloat": true, "MultiHeadAttention": true, "Attention": true, "FusedGemm": true,
}

// rowsOnly reports whether a value has selected rows only.
func (a *analysis) rowsOnly(name string) bool {
	p, ok := a.Graph.Producer[name]
	return ok && p >= 0 && a.steps[p] != nil
}

// reads reports whether node i, as it is rewritten, reads a value.
func (a *analysis) reads(i int, name string) bool {
	if !a.live[i] {
		return false
	}
	if r, ok := a.sel.roots[i]; ok {
		return r.from == name || a.sel.value == name
	}
	s := a.steps[i]
	if s == nil {
		return true
	}
	for k, u := range s.uses {
		if a.nodes[i].Inputs[k] == name && u.kind != ignored {
			return true
		}
	}
	return false
}

// settleShapes finds what to do with nodes that read the shape of a value of which only rows are
// left. It returns the nodes that make values whose shape cannot be had.
func (a *analysis) settleShapes() (bad []int) {
	for name, w := range a.want {
		if len(w.shapes) == 0 || !a.rowsOnly(name) {
			continue
		}
		at := w.at[0]
		for _, i := range w.shapes {
			n := &a.nodes[i]
			plain := n.OpType == "Shape" && !n.Has("start") && !n.Has("end")
			if plain && a.picksOthers(n.Outputs[0], at.axis, a.rank(name)) {
				continue
			}
			from, ok := a.source(i)
			if !plain || at.merged || !ok || a.opset < 11 {
				bad = append(bad, a.Graph.Producer[name])
				break
			}
			a.shapeOf[i] = from
		}
	}
	return bad
}

// picksOthers reports whether of a shape only other dimensions than the given one are read.
func (a *analysis) picksOthers(shape string, axis, rank int) bool {
	for i := range a.nodes {
		n := &a.nodes[i]
		if !slices.Contains(a.Graph.Deps[i], shape) || !a.reads(i, shape) {
			continue
		}
		picked, ok := a.picked(n, rank)
		if !ok || n.Inputs[0] != shape || slices.Contains(picked, int64(axis)) {
			return false
		}
	}
	return !a.ends[shape]
}

// picked are the elements that a node takes of a list.
func (a *analysis) picked(n *onnxfile.Node, length int) (picked []int64, ok bool) {
	switch {
	case !n.Standard():
		return nil, false
	case n.OpType == "Gather":
		indices, ok := a.ints(n.Inputs[1])
		for _, v := range indices {
			picked = append(picked, wrap(v, length))
		}
		return picked, ok
	case n.OpType == "Slice" && len(n.Inputs) >= 3:
		start, ok := a.integer(n.Inputs[1])
		end, okEnd := a.integer(n.Inputs[2])
		if len(n.Inputs) > 4 && n.Inputs[4] != "" {
			if by, known := a.integer(n.Inputs[4]); !known || by != 1 {
				return nil, false
			}
		}
		if !ok || !okEnd {
			return nil, false
		}
		for k := clamp(start, length); k < clamp(end, length); k++ {
			picked = append(picked, k)
		}
		return picked, true
	}
	return nil, false
}

// wrap counts an index below 0 from the end.
func wrap(i int64, length int) int64 {
	if i < 0 {
		return i + int64(length)
	}
	return i
}

// clamp is where a slice that begins or ends there does so.
func clamp(i int64, length int) int64 { return min(max(wrap(i, length), 0), int64(length)) }

// source finds a whole value with as many rows as the selected ones were among, which does not
// need node i.
func (a *analysis) source(i int) (source, bool) {
	for _, k := range a.order() {
		for _, name := range a.nodes[k].Inputs {
			w := a.want[name]
			if w == nil || a.rowsOnly(name) {
				continue
			}
			for _, at := range w.at {
				s, _ := a.shape(name)
				if at.merged || at.lift != 0 || !s[at.axis].is(a.sel.size) || a.ancestors(name)[i] {
					continue
				}
				return source{name, at.axis}, true
			}
		}
	}
	return source{}, false
}

// order are the steps and roots in the order of the graph.
func (a *analysis) order() (list []int) {
	for i := range a.nodes {
		if _, root := a.sel.roots[i]; a.live[i] && (root || a.steps[i] != nil) {
			list = append(list, i)
		}
	}
	return list
}

// ancestors are the nodes that a value is made by and from.
func (f *facts) ancestors(name string) map[int]bool {
	seen := map[int]bool{}
	todo := []string{name}
	for len(todo) > 0 {
		last := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if p, ok := f.Graph.Producer[last]; ok && p >= 0 && !seen[p] {
			seen[p] = true
			todo = append(todo, f.Graph.Deps[p]...)
		}
	}
	return seen
}

// circular reports whether the position that is read of each text depends on what is computed of it.
func (a *analysis) circular() bool {
	if a.sel.value == "" {
		return false
	}
	for i := range a.ancestors(a.sel.value) {
		if a.steps[i] != nil || a.shapeOf[i] != (source{}) {
			return true
		}
	}
	return false
}
