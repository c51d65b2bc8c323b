package rewrite

import (
	"math"
	"slices"

	"github.com/distinfer/distinfer/split/onnxfile"
)

func transposeRule(a *analysis, n *onnxfile.Node, _ []int, out shape, at place) *step {
	perm := n.Ints("perm")
	if perm == nil {
		for k := range out {
			perm = append(perm, int64(len(out)-1-k))
		}
	}
	if len(perm) != len(out) || perm[at.axis] < 0 || perm[at.axis] >= int64(len(out)) {
		return nil
	}
	own := place{axis: int(perm[at.axis]), merged: at.merged}
	if (at.merged || a.sel.value != "") && perm[0] != 0 {
		return nil
	}
	return first(n, own)
}

// reshapeRule finds the axis of the positions in what is reshaped: the one of that size with as
// many elements behind it and before it.
func reshapeRule(a *analysis, n *onnxfile.Node, _ []int, out shape, at place) *step {
	in, ok := a.shape(n.Inputs[0])
	if !ok {
		return nil
	}
	own, ok := a.before(in, out, at)
	if !ok {
		return nil
	}
	shape, ok := a.target(in, out, own, at)
	if !ok {
		return nil
	}
	s := first(n, own)
	for k := 1; k < len(s.uses); k++ {
		s.uses[k].kind = ignored
	}
	s.reshape = shape
	return s
}

// before is where the positions are in a value that is reshaped.
func (a *analysis) before(in, out shape, at place) (place, bool) {
	perText := a.sel.value != ""
	behind := a.product(out[at.axis+1:])
	if at.merged {
		if len(in) > 0 && in[0].is(out[0]) && a.product(in[1:]).is(behind) {
			return place{merged: true}, true
		}
		for b := 1; b < len(in); b++ {
			own := place{axis: b}
			if a.alike(in, own) && a.product(in[:b+1]).is(out[0]) && a.product(in[b+1:]).is(behind) && (!perText || b == 1) {
				return own, true
			}
		}
		return place{}, false
	}
	before := a.product(out[:at.axis])
	for b := range in {
		own := place{axis: b}
		if a.alike(in, own) && a.product(in[:b]).is(before) && a.product(in[b+1:]).is(behind) {
			return own, true
		}
	}
	merged := len(in) > 0 && at.axis > 0 && in[0].is(a.product(out[:at.axis+1])) && a.product(in[1:]).is(behind)
	return place{merged: true}, merged && (!perText || at.axis == 1)
}

// target is the shape to give to rows. Sizes that are not constant have to be those of the same axis
// of what is reshaped, but for one.
func (a *analysis) target(in, out shape, own, at place) (target []int64, ok bool) {
	open := 0
	for k, d := range out {
		size, constant := d.constant()
		switch {
		case k == at.axis && !at.merged:
			size = copies
		case k == at.axis:
			size = -1
		case constant:
		case k < len(in) && k != own.axis && in[k].is(d):
			size = 0 // as it is there
		default:
			size = -1
		}
		if size == -1 {
			open++
		}
		if constant && size == 0 && d[0] == 0 {
			return nil, false
		}
		target = append(target, size)
	}
	return target, open <= 1
}

// squeezeRule is that of operators that add or remove axes of size 1.
func squeezeRule(a *analysis, n *onnxfile.Node, _ []int, out shape, at place) *step {
	in, ok := a.shape(n.Inputs[0])
	axes, okAxes := a.list(n, "axes", 1)
	if !ok || !okAxes || at.merged {
		return nil
	}
	long := max(len(in), len(out)) // the rank that the axes are counted in
	var ones []int
	for _, axis := range axes {
		ones = append(ones, int(wrap(axis, long)))
	}
	var kept []int
	for k := range long {
		if !slices.Contains(ones, k) {
			kept = append(kept, k)
		}
	}
	own := place{}
	if len(in) < len(out) { // Unsqueeze
		own.axis = slices.Index(kept, at.axis)
	} else {
		if at.axis >= len(kept) {
			return nil
		}
		own.axis = kept[at.axis]
	}
	if own.axis < 0 || !a.alike(in, own) {
		return nil
	}
	return first(n, own)
}

func concatRule(a *analysis, n *onnxfile.Node, _ []int, out shape, at place) *step {
	axis := int(wrap(n.Int("axis", 0), len(out)))
	if axis == at.axis || a.sel.value != "" && axis == 0 {
		return nil
	}
	s := all(n, nil)
	for k := range n.Inputs {
		s.uses[k] = use{rows, at}
	}
	return s
}

func splitRule(a *analysis, n *onnxfile.Node, _ []int, out shape, at place) *step {
	return a.along(n, int(wrap(n.Int("axis", 0), len(out))), at)
}

// sliceRule is that of a Slice of other axes.
func sliceRule(a *analysis, n *onnxfile.Node, _ []int, out shape, at place) *step {
	in, ok := a.shape(n.Inputs[0])
	axes, known := a.axesOf(n, len(in), -1)
	if !ok || len(in) != len(out) || !known {
		return nil
	}
	if !n.Has("axes") && (len(n.Inputs) < 4 || n.Inputs[3] == "") {
		return nil // how many there are is not known
	}
	for _, axis := range axes {
		if a.sel.value != "" && axis == 0 && !at.merged {
			return nil
		}
		if axis == at.axis && !a.keepsAll(n, len(in), axis) {
			return nil
		}
	}
	return first(n, at)
}

// keepsAll reports whether a Slice leaves an axis as it is.
func (a *analysis) keepsAll(n *onnxfile.Node, rank, axis int) bool {
	starts, ends, axes, ok := a.bounds(n, rank)
	k := slices.Index(axes, axis)
	return ok && k >= 0 && starts[k] == 0 && ends[k] >= math.MaxInt32
}

// gatherRule is that of a Gather along another axis, and of one by indices that have the positions.
func gatherRule(a *analysis, n *onnxfile.Node, _ []int, _ shape, at place) *step {
	in, ok := a.shape(n.Inputs[0])
	indices, okIndices := a.shape(n.Inputs[1])
	if !ok || !okIndices || at.merged {
		return nil
	}
	axis := int(wrap(n.Int("axis", 0), len(in)))
	own := place{axis: at.axis}
	switch {
	case at.axis < axis:
	case at.axis >= axis+len(indices):
		own.axis = at.axis - len(indices) + 1
		if a.sel.value != "" && axis == 0 {
			return nil
		}
	default:
		own.axis = at.axis - axis
		if !a.alike(indices, own) || a.sel.value != "" && axis != 0 {
			return nil
		}
		return all(n, map[int]use{1: {rows, own}})
	}
	if !a.alike(in, own) {
		return nil
	}
	return first(n, own)
}

// gatherElementsRule is that of one along another axis.
func gatherElementsRule(a *analysis, n *onnxfile.Node, _ []int, out shape, at place) *step {
	in, ok := a.shape(n.Inputs[0])
	axis := int(wrap(n.Int("axis", 0), len(out)))
	if !ok || axis == at.axis || len(in) != len(out) || at.merged || a.sel.value != "" && axis == 0 || !a.alike(in, at) {
		return nil
	}
	return all(n, map[int]use{0: {rows, at}, 1: {rows, at}})
}

func reduceRule(a *analysis, n *onnxfile.Node, _ []int, out shape, at place) *step {
	in, ok := a.shape(n.Inputs[0])
	axes, known := a.list(n, "axes", 1)
	if !ok || !known || len(axes) == 0 || at.merged {
		return nil
	}
	var reduced, kept []int
	for _, axis := range axes {
		reduced = append(reduced, int(wrap(axis, len(in))))
	}
	for k := range in {
		if n.Int("keepdims", 1) != 0 || !slices.Contains(reduced, k) {
			kept = append(kept, k)
		}
	}
	if at.axis >= len(kept) || len(kept) != len(out) {
		return nil
	}
	own := place{axis: kept[at.axis]}
	if slices.Contains(reduced, own.axis) || a.sel.value != "" && slices.Contains(reduced, 0) || !a.alike(in, own) {
		return nil
	}
	return first(n, own)
}
