// Package memory estimates the memory of a stage's run, from the sizes of its inputs' dimensions.
//
// The size of a layer's result is a product of dimensions: a number of bytes for each item of the
// batch and position of the sequence, and a number for each pair of positions. At each moment of
// the run a sum of these is live; a run takes the largest such sum.
package memory

import (
	"fmt"
	"math"
	"math/bits"
	"slices"

	"github.com/distinfer/distinfer/runtime/tensor"
)

// An Estimate is the memory that a run takes for its results, in bytes: the largest of the sums.
// Inputs, weights, and the memory that operators use internally are not part of it.
type Estimate []Sum

// A Sum is what is live at a moment of the run.
type Sum []Term

// A Term is a number of bytes times the sizes of dimensions. A dimension that counts twice is
// listed twice, such as the sequence in attention scores.
type Term struct {
	Bytes int64    `json:"bytes"`
	Dims  []string `json:"dims,omitempty"`
}

// What an estimate may hold.
const (
	maxSums  = 64
	maxTerms = 64
	maxDims  = 8
	maxName  = 4096
)

// At is the estimate for the given sizes. It is false when there is none, or the size of a
// dimension is not given. An overflow gives the largest number.
func (e Estimate) At(sizes tensor.Sizes) (bytes int64, ok bool) {
	if len(e) == 0 {
		return 0, false
	}
	for _, sum := range e {
		var total int64
		for _, t := range sum {
			n := t.Bytes
			for _, d := range t.Dims {
				size, known := sizes[d]
				if !known {
					return 0, false
				}
				n = times(n, size)
			}
			total = plus(total, n)
		}
		bytes = max(bytes, total)
	}
	return bytes, true
}

// Check fails when the estimate is not one that this package makes. Estimates are untrusted input.
func (e Estimate) Check() error {
	if len(e) > maxSums {
		return fmt.Errorf("an estimate of memory has %d sums, more than %d", len(e), maxSums)
	}
	for _, sum := range e {
		if len(sum) > maxTerms {
			return fmt.Errorf("an estimate of memory has a sum of %d terms, more than %d", len(sum), maxTerms)
		}
		for _, t := range sum {
			switch {
			case t.Bytes < 0:
				return fmt.Errorf("an estimate of memory has a term of %d bytes", t.Bytes)
			case len(t.Dims) > maxDims:
				return fmt.Errorf("an estimate of memory has a term of %d dimensions, more than %d", len(t.Dims), maxDims)
			case slices.ContainsFunc(t.Dims, func(d string) bool { return d == "" || len(d) > maxName }):
				return fmt.Errorf("an estimate of memory has a dimension whose name is empty or has more than %d bytes", maxName)
			}
		}
	}
	return nil
}

// Bytes is the memory of tensors of the given specs, as far as their shapes follow from the sizes.
// rest reports whether there are others.
func Bytes(specs []tensor.Spec, sizes tensor.Sizes) (n int64, rest bool) {
	for _, s := range specs {
		shape, ok := s.Resolve(sizes)
		if !ok || s.DType == tensor.String {
			rest = true
			continue
		}
		elements, err := tensor.Elements(shape)
		if err != nil {
			return math.MaxInt64, rest
		}
		size := s.DType.Bytes(elements)
		if size < 0 {
			rest = true
			continue
		}
		n = plus(n, size)
	}
	return n, rest
}

// plus and times saturate; their arguments are not negative.
func plus(a, b int64) int64 {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}

func times(a, b int64) int64 {
	high, low := bits.Mul64(uint64(max(a, 0)), uint64(max(b, 0)))
	if high != 0 || low > math.MaxInt64 {
		return math.MaxInt64
	}
	return int64(low)
}
