// Package activations estimates the memory that a run takes for what its nodes compute, by the
// sizes of its inputs.
//
// It knows shapes, and neither stages nor the memory of a machine.
package activations

import (
	"cmp"
	"math"
	"slices"
	"strings"

	"github.com/distinfer/distinfer/runtime/memory"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/split/graph"
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
)

// most bounds the moments of a run that are told apart.
const mostMoments = 8

// A monomial is a product of dimensions: their places among the names, in order.
type monomial string

// live memory: bytes by monomial.
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

// Estimate walks through nodes as they are computed, of which some values leave at the end, and
// adds up what is live. There is no estimate when
// the size of some value is not known.
func Estimate(g *graph.Graph, v *types.Values, nodes []int, leaving []string) memory.Estimate {
	fits := newFits(v)
	leaves := map[string]bool{}
	for _, name := range leaving {
		leaves[name] = true
	}
	// A buffer is what values that are views of one another share.
	type buffer struct {
		of   monomial
		size int64
		uses int // of its values that are still to come
		ours bool
	}
	buffers := map[string]*buffer{}
	uses := map[string]int{}
	for _, i := range nodes {
		for _, name := range g.Deps[i] {
			uses[name]++
		}
	}
	now, peaks := moment{}, []moment{}
	note := func(extra moment) {
		m := moment{}
		for of, n := range now {
			m.add(of, n)
		}
		for of, n := range extra {
			m.add(of, n)
		}
		peaks = pareto(peaks, m)
	}
	for _, i := range nodes {
		n := g.Nodes[i]
		if g.Roles[i] == graph.Constant {
			continue
		}
		if n.Bodies > 0 {
			return nil // what is computed inside is not known
		}
		extra := moment{}
		for k, out := range n.Outputs {
			if out == "" {
				continue
			}
			var first *buffer
			if k == 0 && len(n.Inputs) > 0 {
				first = buffers[n.Inputs[0]]
			}
			if n.Standard() && views[n.OpType] && first != nil {
				first.uses += uses[out]
				if leaves[out] {
					first.uses++
				}
				buffers[out] = first
				continue
			}
			of, size, ok := fits.of(out)
			if !ok {
				return nil
			}
			if workspace := recurrent[n.OpType] * size; n.Standard() && workspace > extra[of] {
				// The last state alone has one step of what the sequence takes.
				if k > 0 && len(n.Inputs) > 0 && n.Outputs[0] == "" {
					if in, inSize, ok := fits.of(n.Inputs[0]); ok && in != of {
						of, workspace = in, workspace*max(1, inSize)
					}
				}
				extra.add(of, workspace)
			}
			b := &buffer{of: of, size: size, uses: uses[out], ours: true}
			if leaves[out] {
				b.uses++
			}
			buffers[out] = b
			now.add(of, size)
		}
		note(extra)
		free := func(name string) {
			b := buffers[name]
			if b == nil {
				return
			}
			if b.uses--; b.uses == 0 && b.ours {
				b.ours = false
				now.add(b.of, -b.size)
			}
		}
		for _, in := range g.Deps[i] {
			free(in)
		}
		for _, out := range n.Outputs { // that nobody needs
			if b := buffers[out]; out != "" && b != nil && b.uses == 0 && b.ours {
				b.ours = false
				now.add(b.of, -b.size)
			}
		}
	}
	return fits.estimate(peaks)
}

// pareto adds a moment to those that some sizes make the largest. Where there are too many,
// the last is the largest of all that it stands for.
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

// of is the size of a value: a monomial, and so many bytes of it, rounded up where it is
// nearly one.
func (f *fits) of(name string) (monomial, int64, bool) {
	if len(f.v.Dims) > 0 && len(f.v.Points) < 2 {
		return "", 0, false
	}
	sizes := make([]float64, len(f.v.Points))
	for k, point := range f.v.Points {
		spec, known := point.Specs[name]
		if !known {
			spec = f.v.Specs[name]
		}
		shape, ok := spec.Resolve(point.Sizes)
		if !ok || spec.DType == tensor.Undefined {
			return "", 0, false
		}
		n, err := tensor.Elements(shape)
		if err != nil {
			return "", 0, false
		}
		bytes := spec.DType.Bytes(n)
		if spec.DType == tensor.String {
			bytes = n * stringBytes
		}
		if bytes < 0 {
			return "", 0, false
		}
		sizes[k] = float64(bytes)
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
