package rewrite

import (
	"math"
	"slices"
	"strconv"

	"github.com/distinfer/distinfer/split/graph"
	"github.com/distinfer/distinfer/split/onnxfile"
)

// A selection is a position that nodes read of values.
type selection struct {
	index int64
	value string // has the position of each text; "" when it is index of all
	size  dim    // how many positions there are
	batch dim    // how many texts, where each has its position
	roots map[int]root
}

func (s *selection) String() string {
	if s.value != "" {
		return s.value
	}
	return strconv.FormatInt(s.index, 10)
}

func (s *selection) same(other *selection) bool {
	return s.index == other.index && s.value == other.value && s.size.is(other.size) && s.batch.is(other.batch)
}

// A root is a node that reads one position.
type root struct {
	from string // the value it reads it of
	at   place
	// kept: of rows that are all alike, the node as it is takes one. Otherwise a Gather does, by an
	// index that is a list of one or none.
	kept, list bool
}

// least is how many positions there are at least, at some sizes, where one is worth selecting.
const least = 2*copies + 1

// selections are the positions that nodes of the graph read.
func (f *facts) selections() (list []*selection) {
	for i := range f.nodes {
		n := &f.nodes[i]
		if !n.Standard() || len(n.Inputs) == 0 || f.Graph.Roles[i] == graph.Constant {
			continue
		}
		s := f.selects(n)
		if s == nil || slices.Max(s.size) < least {
			continue
		}
		r := s.roots[0]
		if k := slices.IndexFunc(list, s.same); k >= 0 {
			list[k].roots[i] = r
			continue
		}
		s.roots = map[int]root{i: r}
		list = append(list, s)
	}
	return list
}

// selects is the selection that a node makes, with its root at 0, or nil.
func (f *facts) selects(n *onnxfile.Node) *selection {
	in, ok := f.shape(n.Inputs[0])
	if !ok || len(in) < 2 {
		return nil
	}
	switch n.OpType {
	case "Gather":
		axis := int(wrap(n.Int("axis", 0), len(in)))
		index, constant := f.integer(n.Inputs[1])
		switch {
		case constant && f.rank(n.Inputs[1]) <= 1 && (index >= 0 || f.opset >= 11):
			return single(root{from: n.Inputs[0], at: place{axis: axis}, list: f.rank(n.Inputs[1]) == 1}, index, in[axis])
		case axis == 0:
			return f.flattened(n)
		}
	case "Slice":
		return f.slices(n, in)
	case "GatherND":
		return f.indexed(n, in)
	}
	return nil
}

func single(r root, index int64, size dim) *selection {
	return &selection{index: index, size: size, roots: map[int]root{0: r}}
}

// slices is the selection of a Slice that takes the first or the last position.
func (f *facts) slices(n *onnxfile.Node, in shape) *selection {
	starts, ends, axes, ok := f.bounds(n, len(in))
	if !ok {
		return nil
	}
	for k, axis := range axes {
		switch {
		case starts[k] == 0 && ends[k] == 1:
			return single(root{from: n.Inputs[0], at: place{axis: axis}, kept: true}, 0, in[axis])
		case starts[k] == -1 && ends[k] >= math.MaxInt32 && f.opset >= 11:
			return single(root{from: n.Inputs[0], at: place{axis: axis}, kept: true}, -1, in[axis])
		}
	}
	return nil
}

// bounds are those of a Slice with steps of 1.
func (f *facts) bounds(n *onnxfile.Node, rank int) (starts, ends []int64, axes []int, ok bool) {
	starts, ok = f.list(n, "starts", 1)
	ends, okEnds := f.list(n, "ends", 2)
	if !ok || !okEnds || len(starts) != len(ends) {
		return nil, nil, nil, false
	}
	if axes, ok = f.axesOf(n, rank, len(starts)); !ok {
		return nil, nil, nil, false
	}
	if len(n.Inputs) > 4 && n.Inputs[4] != "" {
		steps, ok := f.ints(n.Inputs[4])
		if !ok || slices.ContainsFunc(steps, func(s int64) bool { return s != 1 }) {
			return nil, nil, nil, false
		}
	}
	return starts, ends, axes, true
}

// axesOf are the axes of a Slice, which are known though not by how much it cuts them.
func (f *facts) axesOf(n *onnxfile.Node, rank, count int) (axes []int, ok bool) {
	var given []int64
	switch {
	case n.Has("axes") || len(n.Inputs) > 3 && n.Inputs[3] != "":
		if given, ok = f.list(n, "axes", 3); !ok {
			return nil, false
		}
	default:
		for k := range count {
			given = append(given, int64(k))
		}
	}
	for _, axis := range given {
		k := wrap(axis, rank)
		if k < 0 || k >= int64(rank) {
			return nil, false
		}
		axes = append(axes, int(k))
	}
	return axes, count < 0 || len(axes) == count
}

// flattened is the selection of a Gather out of the positions of all texts, one text after the
// other: by the text's number times the positions of a text, plus its position. Exporters write
// x[arange(batch), positions] so.
func (f *facts) flattened(n *onnxfile.Node) *selection {
	flat := f.producer(n.Inputs[0])
	if flat == nil || flat.OpType != "Flatten" && flat.OpType != "Reshape" || !flat.Standard() || f.rank(n.Inputs[1]) != 1 {
		return nil
	}
	from := flat.Inputs[0]
	in, ok := f.shape(from)
	out, okOut := f.shape(n.Inputs[0])
	if !ok || !okOut || len(in) < 3 || !out[0].is(f.product(in[:2])) || !f.product(out[1:]).is(f.product(in[2:])) || len(out) != len(in)-1 {
		return nil
	}
	sum := f.producer(n.Inputs[1])
	if sum == nil || sum.OpType != "Add" || !sum.Standard() {
		return nil
	}
	for k := range 2 {
		position := f.plain(sum.Inputs[k])
		if f.startOfText(sum.Inputs[1-k], in[0], in[1]) && f.withinText(position, in[0], in[1]) {
			return &selection{value: position, size: in[1], batch: in[0], roots: map[int]root{0: {from: from, at: place{axis: 1}}}}
		}
	}
	return nil
}

// indexed is the selection of a GatherND of a text's number and its position.
func (f *facts) indexed(n *onnxfile.Node, in shape) *selection {
	pairs := f.producer(n.Inputs[1])
	if n.Int("batch_dims", 0) != 0 || len(in) < 3 || pairs == nil || pairs.OpType != "Concat" || len(pairs.Inputs) != 2 {
		return nil
	}
	if s, ok := f.shape(n.Inputs[1]); !ok || len(s) != 2 || !s[0].is(in[0]) || wrap(pairs.Int("axis", 0), 2) != 1 {
		return nil
	}
	position := f.plain(pairs.Inputs[1])
	s, ok := f.shape(position)
	if !f.counts(f.plain(pairs.Inputs[0]), in[0]) || !ok || len(s) == 0 || !f.product(s).is(in[0]) {
		return nil
	}
	return &selection{value: position, size: in[1], batch: in[0], roots: map[int]root{0: {from: n.Inputs[0], at: place{axis: 1}}}}
}

// plain looks through what changes the type or the shape of a list only.
func (f *facts) plain(name string) string {
	for range mostDeep {
		n := f.producer(name)
		if n == nil || !n.Standard() {
			return name
		}
		switch n.OpType {
		case "Cast", "Identity", "Unsqueeze", "Squeeze", "Reshape":
		case "Expand": // to the same number of elements
			from, ok := f.shape(n.Inputs[0])
			to, okTo := f.shape(name)
			if !ok || !okTo || !f.product(from).is(f.product(to)) {
				return name
			}
		default:
			return name
		}
		name = n.Inputs[0]
	}
	return name
}

// counts reports whether a list is 0, 1, 2, … up to a size.
func (f *facts) counts(name string, size dim) bool {
	n := f.producer(name)
	if n == nil || n.OpType != "Range" || !n.Standard() {
		return false
	}
	from, ok := f.integer(n.Inputs[0])
	by, okBy := f.integer(n.Inputs[2])
	return ok && okBy && from == 0 && by == 1 && f.sized(n.Inputs[1], size)
}

// sized reports whether a number is the size of a dimension.
func (f *facts) sized(name string, size dim) bool {
	n := f.producer(f.plain(name))
	if n == nil || !n.Standard() || n.OpType != "Gather" && n.OpType != "Slice" {
		return false
	}
	of := f.producer(n.Inputs[0])
	if of == nil || of.OpType != "Shape" || !of.Standard() || of.Has("start") || of.Has("end") {
		return false
	}
	s, ok := f.shape(of.Inputs[0])
	if !ok {
		return false
	}
	analysis := analysis{facts: f}
	picked, ok := analysis.picked(n, len(s))
	return ok && len(picked) == 1 && picked[0] >= 0 && picked[0] < int64(len(s)) && s[picked[0]].is(size)
}

// startOfText reports whether a list has the number of each text times the positions of one.
func (f *facts) startOfText(name string, batch, size dim) bool {
	n := f.producer(f.plain(name))
	if n == nil || n.OpType != "Mul" || !n.Standard() {
		return false
	}
	for k := range 2 {
		if f.counts(f.plain(n.Inputs[k]), batch) && f.sized(n.Inputs[1-k], size) {
			return true
		}
	}
	return false
}

// withinText reports whether a list has a position of each text that is surely one of its own, and
// not one below 0, which would be another text's.
func (f *facts) withinText(name string, batch, size dim) bool {
	s, ok := f.shape(name)
	n := f.producer(name)
	if !ok || n == nil || !n.Standard() || !f.product(s).is(batch) {
		return false
	}
	switch n.OpType {
	case "ArgMax", "ArgMin":
		in, ok := f.shape(n.Inputs[0])
		return ok && in[wrap(n.Int("axis", 0), len(in))].is(size)
	case "Mod":
		return n.Int("fmod", 0) == 0 && f.sized(n.Inputs[1], size)
	}
	return false
}
