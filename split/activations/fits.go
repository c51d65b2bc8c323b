package activations

import (
	"cmp"
	"math"
	"slices"
	"strings"

	"github.com/distinfer/distinfer/runtime/memory"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/split/types"
)

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

// class tells values of the same shape and type from others; it is "" when the shape is not known.
func class(spec tensor.Spec) string {
	if spec.AnyRank || spec.DType == tensor.Undefined || slices.ContainsFunc(spec.Dims, func(d tensor.Dim) bool { return !d.IsFixed() && d.Name == "" }) {
		return ""
	}
	spec.Name = ""
	return spec.String()
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
