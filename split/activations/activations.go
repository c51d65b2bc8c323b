// Package activations estimates the memory that a run takes for what its nodes compute, by the
// sizes of its inputs.
//
// It knows shapes, and neither stages nor the memory of a machine.
package activations

import (
	"maps"
	"slices"

	"github.com/distinfer/distinfer/runtime/memory"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/split/graph"
	"github.com/distinfer/distinfer/split/onnxfile"
	"github.com/distinfer/distinfer/split/types"
)

// That ONNX Runtime overwrites an input that nobody needs any more is not counted on.
var (
	// views look at the memory of their first input in another way.
	views = map[string]bool{"Reshape": true, "Squeeze": true, "Unsqueeze": true, "Flatten": true, "Identity": true}

	// recurrent operators compute the products of the whole sequence with their weights
	// first: as many times what they give, by gates, each with a copy for its order.
	recurrent = map[string]int64{"LSTM": 10, "GRU": 8, "RNN": 4}
)

// mostMoments bounds the moments of a run that are told apart.
const mostMoments = 8

// A monomial is a product of dimensions: their places among the names, in order.
type monomial string

// A moment is the memory that is live at a time: bytes by monomial.
type moment map[monomial]int64

func (m moment) add(of monomial, n int64) {
	if m[of] += n; m[of] <= 0 {
		delete(m, of)
	}
}

// below reports whether a moment never takes more than another, whatever the sizes.
func (m moment) below(other moment) bool {
	for of, n := range m {
		if n > other[of] {
			return false
		}
	}
	return true
}

// Estimate walks through nodes in the order in which they are computed, and adds up what is live.
// The values in leaving stay live to the end. The estimate is nil when the size of a value is
// not known.
func Estimate(g *graph.Graph, v *types.Values, nodes []int, leaving []string) memory.Estimate {
	w := &walk{g: g, fits: newFits(v), vague: map[string]bool{}, uses: map[string]int{}, leaves: map[string]bool{}, values: map[string]*buffer{}, idle: map[string][]*buffer{}}
	for _, name := range leaving {
		w.leaves[name] = true
	}
	for _, i := range nodes {
		for _, name := range g.Deps[i] {
			w.uses[name]++
		}
	}
	for _, i := range nodes {
		if g.Roles[i] == graph.Constant {
			continue
		}
		w.follow(i)
		if !w.compute(g.Nodes[i]) {
			return nil
		}
		// What nobody needs, such as the keys and values that attention gives for a next token, ONNX
		// Runtime keeps to the end.
		for _, in := range g.Deps[i] {
			if b := w.values[in]; b != nil {
				b.uses--
				w.free(b)
			}
		}
	}
	return w.fits.estimate(w.peaks())
}

// A buffer is what values share: views of one another, and those that ONNX Runtime puts into the
// place of an earlier one of the same shape.
type buffer struct {
	of       monomial
	size     int64
	shape    string // "" is not known
	uses     int    // of its values that are still to come
	from, to int    // the steps at which it is live; to is 0 as long as it is
}

// A walk is a run as far as it was followed.
type walk struct {
	g       *graph.Graph
	fits    *fits
	vague   map[string]bool // values whose shape ONNX Runtime does not know
	uses    map[string]int  // of a value, by nodes
	leaves  map[string]bool // values that stay live
	values  map[string]*buffer
	buffers []*buffer
	idle    map[string][]*buffer // by shape, those that a later value may be put into
	steps   []moment             // what operators take beside their results, by step
}

// compute allocates the outputs of a node. It reports false when their size is not known.
func (w *walk) compute(n onnxfile.Node) bool {
	if n.Bodies > 0 {
		return false // what is computed inside is not known
	}
	workspace := moment{}
	if !w.scores(workspace, n) {
		return false
	}
	for k, out := range n.Outputs {
		if out == "" {
			continue
		}
		if b := w.viewed(n, k); b != nil {
			b.uses += w.needs(out)
			w.values[out] = b
			continue
		}
		of, size, ok := w.fits.of(out)
		if !ok {
			return false
		}
		w.work(workspace, n, k, of, size)
		w.values[out] = w.allocate(out, of, size)
	}
	w.steps = append(w.steps, workspace)
	return true
}

// allocate finds a buffer for a value. One of the same shape that is not in use any more is taken
// before a new one is made: so ONNX Runtime plans, and does not give it back in between.
func (w *walk) allocate(name string, of monomial, size int64) *buffer {
	shape := ""
	if !w.vague[name] {
		shape = class(w.fits.v.Specs[name])
	}
	if same := w.idle[shape]; shape != "" && len(same) > 0 && !w.leaves[name] {
		b := same[len(same)-1]
		w.idle[shape] = same[:len(same)-1]
		b.uses, b.to = w.needs(name), 0
		return b
	}
	b := &buffer{of: of, size: size, shape: shape, uses: w.needs(name), from: len(w.steps)}
	w.buffers = append(w.buffers, b)
	return b
}

// computed are operators whose results have dimensions that are computed from values. ONNX Runtime
// does not follow these, nor what comes of them.
var computed = map[string]bool{
	"Slice": true, "Range": true, "Expand": true, "ConstantOfShape": true, "Tile": true, "Resize": true, "Pad": true,
	"Concat": true, "Split": true, "Compress": true, "NonZero": true, "TopK": true, "OneHot": true,
}

// follow notes which results of a node are of a shape that ONNX Runtime does not know.
func (w *walk) follow(i int) {
	n := w.g.Nodes[i]
	vague := computed[n.OpType] || n.OpType == "Reshape" && len(n.Inputs) > 1 && !w.g.IsConstant(n.Inputs[1])
	for _, in := range w.g.Deps[i] {
		vague = vague || w.vague[in]
	}
	for _, out := range n.Outputs {
		isOpen := func(d tensor.Dim) bool { return !d.IsFixed() }
		if spec := w.fits.v.Specs[out]; vague && (spec.AnyRank || slices.ContainsFunc(spec.Dims, isOpen)) {
			w.vague[out] = true
		}
	}
}

// viewed is the buffer that the k-th output of a node looks at, or nil when it has one of its own.
func (w *walk) viewed(n onnxfile.Node, k int) *buffer {
	if k > 0 || len(n.Inputs) == 0 || !n.Standard() || !views[n.OpType] {
		return nil
	}
	return w.values[n.Inputs[0]]
}

// needs is how often a value is used after it was computed.
func (w *walk) needs(name string) int {
	if w.leaves[name] {
		return w.uses[name] + 1
	}
	return w.uses[name]
}

// work adds what a recurrent operator takes while it computes its k-th output.
func (w *walk) work(workspace moment, n onnxfile.Node, k int, of monomial, size int64) {
	bytes := recurrent[n.OpType] * size
	if !n.Standard() || bytes <= workspace[of] {
		return
	}
	// The last state alone has one step of what the sequence takes.
	if k > 0 && len(n.Inputs) > 0 && n.Outputs[0] == "" {
		if in, inSize, ok := w.fits.of(n.Inputs[0]); ok && in != of {
			of, bytes = in, bytes*max(1, inSize)
		}
	}
	workspace.add(of, bytes)
}

// free notes that a buffer is not used any more, if so.
func (w *walk) free(b *buffer) {
	if b.uses == 0 && b.to == 0 {
		b.to = len(w.steps)
		if b.shape != "" {
			w.idle[b.shape] = append(w.idle[b.shape], b)
		}
	}
}

// peaks are the moments of the run that are the largest for some sizes.
func (w *walk) peaks() (peaks []moment) {
	begins, ends := make([][]*buffer, len(w.steps)+1), make([][]*buffer, len(w.steps)+1)
	for _, b := range w.buffers {
		begins[b.from] = append(begins[b.from], b)
		if b.to > 0 {
			ends[b.to] = append(ends[b.to], b)
		}
	}
	now := moment{}
	for step, workspace := range w.steps {
		for _, b := range ends[step] {
			now.add(b.of, -b.size)
		}
		for _, b := range begins[step] {
			now.add(b.of, b.size)
		}
		m := maps.Clone(now)
		for of, n := range workspace {
			m.add(of, n)
		}
		peaks = pareto(peaks, m)
	}
	return peaks
}

// pareto adds a moment to the moments that are the largest for some sizes. If there are too many,
// the last one is the maximum of all that it stands for.
func pareto(peaks []moment, m moment) []moment {
	if slices.ContainsFunc(peaks, m.below) {
		return peaks
	}
	peaks = slices.DeleteFunc(peaks, func(other moment) bool { return other.below(m) })
	if len(peaks) < mostMoments {
		return append(peaks, m)
	}
	last := peaks[len(peaks)-1]
	for of, n := range m {
		last[of] = max(last[of], n)
	}
	return peaks
}
