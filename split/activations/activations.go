// Package activations estimates the memory that a run takes for what its nodes compute, by the
// sizes of its inputs.
//
// It knows shapes, and neither stages nor the memory of a machine.
package activations

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/distinfer/distinfer/runtime/memory"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/split/graph"
	"github.com/distinfer/distinfer/split/onnxfile"
	"github.com/distinfer/distinfer/split/types"
)

// That ONNX Runtime overwrites an input that nobody needs any more is not counted on: it does
// so only where it knows that the shapes are the same.
var (
	// views look at the memory of their first input in another way.
	views = map[string]bool{"Reshape": true, "Squeeze": true, "Unsqueeze": true, "Flatten": true, "Identity": true}

	// recurrent operators compute the products of the whole sequence with their weights
	// first: as many times what they give, by gates, each with a copy for its order.
	recurrent = map[string]int64{"LSTM": 10, "GRU": 8, "RNN": 4}

	// attention operators keep the scores of all heads, in float32: a number for each pair of
	// tokens. Their values name the attribute that has the number of heads.
	attention = map[string]string{
		"GroupQueryAttention": "num_heads", "MultiHeadAttention": "num_heads", "Attention": "num_heads",
		"QAttention": "num_heads", "DecoderMaskedMultiHeadAttention": "num_heads",
	}
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
	w := &walk{fits: newFits(v), uses: map[string]int{}, leaves: map[string]bool{}, buffers: map[string]*buffer{}, now: moment{}}
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
		if !w.compute(g.Nodes[i]) {
			return nil
		}
		// What nobody needs, such as the keys and values that attention gives for a next token, ONNX
		// Runtime keeps to the end.
		for _, in := range g.Deps[i] {
			if b := w.buffers[in]; b != nil {
				b.uses--
				w.free(b)
			}
		}
	}
	return w.fits.estimate(w.peaks)
}

// A buffer is what values that are views of one another share.
type buffer struct {
	of   monomial
	size int64
	uses int // of its values that are still to come
	ours bool
}

// A walk is a run as far as it was followed.
type walk struct {
	fits    *fits
	uses    map[string]int  // of a value, by nodes
	leaves  map[string]bool // values that stay live
	buffers map[string]*buffer
	now     moment   // what is live
	peaks   []moment // what was
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
			w.buffers[out] = b
			continue
		}
		of, size, ok := w.fits.of(out)
		if !ok {
			return false
		}
		w.work(workspace, n, k, of, size)
		w.buffers[out] = &buffer{of: of, size: size, uses: w.needs(out), ours: true}
		w.now.add(of, size)
	}
	w.note(workspace)
	return true
}

// viewed is the buffer that the k-th output of a node looks at, or nil when it has one of its own.
func (w *walk) viewed(n onnxfile.Node, k int) *buffer {
	if k > 0 || len(n.Inputs) == 0 || !n.Standard() || !views[n.OpType] {
		return nil
	}
	return w.buffers[n.Inputs[0]]
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

// scores adds the scores that an operator of attention computes. It reports false when their size
// is not known.
func (w *walk) scores(workspace moment, n onnxfile.Node) bool {
	attribute := attention[n.OpType]
	if attribute == "" || len(n.Inputs) < 2 || n.OpType == "GroupQueryAttention" && w.inPieces(n) {
		return true
	}
	own := n.Standard() // ONNX's operator has heads as a dimension, or as an attribute
	if own {
		attribute = "q_num_heads"
	}
	projects := n.OpType == "QAttention" || n.OpType == "Attention" && !own
	heads := n.Int(attribute, 0)
	of, size, ok := w.fits.fit(func(p types.Point) (float64, bool) {
		q, ok := w.fits.shape(p, n.Inputs[0])
		if !ok || len(q) < 3 {
			return 0, false
		}
		queries := q[len(q)-2]
		keys := queries
		if !projects && n.Inputs[1] != "" {
			k, ok := w.fits.shape(p, n.Inputs[1])
			if !ok || len(k) < 2 {
				return 0, false
			}
			if len(k) == len(q) {
				keys = max(keys, k[len(k)-2])
			}
		}
		numbers := max(heads, 1) * q[0] * queries * keys
		if own && len(q) == 4 {
			numbers = q[0] * q[1] * queries * keys
		}
		if projects { // queries, keys and values, which are no values of the graph
			numbers += 3 * q[0] * queries * q[len(q)-1]
		}
		return 4 * float64(numbers), true
	})
	if ok {
		workspace.add(of, size)
	}
	return ok
}

// inPieces reports whether scores are computed a piece at a time. (ONNX Runtime 1.32 does so in
// float32, unless something is added to the scores.)
func (w *walk) inPieces(n onnxfile.Node) bool {
	const firstAdded = 10 // attention_bias, and what was added to the operator later
	for k, name := range n.Inputs {
		if k >= firstAdded && name != "" {
			return false
		}
	}
	return w.fits.v.Specs[n.Inputs[0]].DType == tensor.Float32
}

// note keeps what is live now, with a node's workspace, when some sizes make it the largest.
func (w *walk) note(workspace moment) {
	m := maps.Clone(w.now)
	for of, n := range workspace {
		m.add(of, n)
	}
	w.peaks = pareto(w.peaks, m)
}

// free frees a buffer that is not used any more.
func (w *walk) free(b *buffer) {
	if b.uses == 0 && b.ours {
		b.ours = false
		w.now.add(b.of, -b.size)
	}
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

// fits tell the size of values as monomials.
type fits struct {
	v         *types.Values
	monomials []monomial
	at        [][]float64 // each monomial at each point
}

// maxNames is how many dimensions of inputs are looked at by all products of three; with
// more there are those of two.
const maxNames = 8

func newFits(v *types.Values) *fits {
	f := &fits{v: v}
	degree := 3
	if len(v.Dims) > maxNames {
		degree = 2
	}
	var grow func(m monomial, from int)
	grow = func(m monomial, from int) {
		f.monomials = append(f.monomials, m)
		if len(m) == degree || len(f.monomials) > 1<<12 {
			return
		}
		for i := from; i < len(v.Dims) && i < 256; i++ {
			grow(m+monomial([]byte{byte(i)}), i)
		}
	}
	grow("", 0)
	// The simplest that fits is meant.
	slices.SortStableFunc(f.monomials, func(a, b monomial) int { return cmp.Compare(len(a), len(b)) })
	for _, m := range f.monomials {
		row := make([]float64, len(v.Points))
		for k, point := range v.Points {
			row[k] = 1
			for i := range len(m) {
				row[k] *= float64(point.Sizes[v.Dims[m[i]]])
			}
		}
		f.at = append(f.at, row)
	}
	return f
}

// stringBytes is taken for a string, which has no fixed size: what the library keeps of
// one that is short.
const stringBytes = 32

// of is the size of a value: a monomial, and the bytes of one unit, rounded up if it is nearly a
// monomial.
func (f *fits) of(name string) (monomial, int64, bool) {
	return f.fit(func(p types.Point) (float64, bool) {
		shape, ok := f.shape(p, name)
		if !ok {
			return 0, false
		}
		n, err := tensor.Elements(shape)
		if err != nil {
			return 0, false
		}
		var bytes int64
		switch t := f.spec(p, name).DType; t {
		case tensor.String:
			bytes = n * stringBytes
		case tensor.Float16, tensor.BFloat16:
			bytes = n * halfBytes
		default:
			bytes = t.Bytes(n)
		}
		return float64(bytes), bytes >= 0
	})
}

// halfBytes is taken for a number of half precision: processors compute float32, and ONNX Runtime
// keeps that from one operator to the next.
const halfBytes = 4

// spec is what a value is at some sizes.
func (f *fits) spec(p types.Point, name string) tensor.Spec {
	if spec, known := p.Specs[name]; known {
		return spec
	}
	return f.v.Specs[name]
}

// shape is that of a value at some sizes, if it is known.
func (f *fits) shape(p types.Point, name string) ([]int64, bool) {
	spec := f.spec(p, name)
	shape, ok := spec.Resolve(p.Sizes)
	return shape, ok && spec.DType != tensor.Undefined
}

// fit finds the monomial that is nearest to sizes in bytes.
func (f *fits) fit(size func(types.Point) (bytes float64, known bool)) (monomial, int64, bool) {
	if len(f.v.Dims) > 0 && len(f.v.Points) < 2 {
		return "", 0, false
	}
	sizes := make([]float64, len(f.v.Points))
	for k, point := range f.v.Points {
		var ok bool
		if sizes[k], ok = size(point); !ok {
			return "", 0, false
		}
	}
	best, spread, most := 0, math.Inf(1), 0.0
	for i, row := range f.at {
		low, high := math.Inf(1), 0.0
		for k, n := range sizes {
			if row[k] == 0 {
				return "", 0, false
			}
			low, high = min(low, n/row[k]), max(high, n/row[k])
		}
		if high == 0 {
			return "", 0, true
		}
		if s := high / low; s < spread*(1-1e-9) {
			best, spread, most = i, s, high
		}
	}
	return f.monomials[best], int64(math.Ceil(most - 1e-6)), true
}

// estimate writes peaks with the dimensions' names.
func (f *fits) estimate(peaks []moment) memory.Estimate {
	var e memory.Estimate
	for _, m := range peaks {
		var sum memory.Sum
		for of, n := range m {
			t := memory.Term{Bytes: n}
			for i := range len(of) {
				t.Dims = append(t.Dims, f.v.Dims[of[i]])
			}
			sum = append(sum, t)
		}
		slices.SortFunc(sum, func(a, b memory.Term) int {
			return cmp.Or(cmp.Compare(len(a.Dims), len(b.Dims)), strings.Compare(strings.Join(a.Dims, "\x00"), strings.Join(b.Dims, "\x00")))
		})
		if sum != nil {
			e = append(e, sum)
		}
	}
	return e
}
