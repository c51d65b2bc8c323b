package tensor

import (
	"errors"
	"fmt"
	"slices"
)

// Limits are what a model's own tables allow, beyond types and shapes: inputs outside of them make
// a run fail.
type Limits struct {
	Values []ValueLimit `json:"values,omitempty"`
	Sizes  []SizeLimit  `json:"sizes,omitempty"`
	// Tokens is the longest text, if all of it is tokens and no padding. 0 is unknown.
	Tokens int64 `json:"tokens,omitempty"`
}

// A ValueLimit bounds the values of an input of integers, such as ids that are looked up.
type ValueLimit struct {
	Input string `json:"input"`
	Min   int64  `json:"min"` // that is allowed
	Max   int64  `json:"max"` // that is allowed
	Table string `json:"table"`
}

// A SizeLimit bounds dimensions: at least one of the named must not be above Max.
type SizeLimit struct {
	Dims []string `json:"dims"`
	Max  int64    `json:"max"`
}

// maxLimits is how many limits of a kind there may be.
const maxLimits = 1024

// Validate fails when the limits are none.
func (l *Limits) Validate() error {
	if l == nil {
		return nil
	}
	if len(l.Values) > maxLimits || len(l.Sizes) > maxLimits || l.Tokens < 0 {
		return fmt.Errorf("there are %d limits of values and %d of sizes, at most %d can be, and texts of %d tokens", len(l.Values), len(l.Sizes), maxLimits, l.Tokens)
	}
	for _, v := range l.Values {
		if v.Min > v.Max {
			return fmt.Errorf("the values of %.200q are to be from %d to %d", v.Input, v.Min, v.Max)
		}
	}
	for _, s := range l.Sizes {
		if len(s.Dims) == 0 || s.Max < 0 {
			return errors.New("a limit of sizes names no dimension, or is negative")
		}
	}
	return nil
}

// Of gives the limit of an input's values; ok is false when none is known.
func (l *Limits) Of(input string) (v ValueLimit, ok bool) {
	if l == nil {
		return v, false
	}
	i := slices.IndexFunc(l.Values, func(v ValueLimit) bool { return v.Input == input })
	if i < 0 {
		return v, false
	}
	return l.Values[i], true
}

// Allows reports whether a value is within the limit.
func (v ValueLimit) Allows(x int64) bool { return v.Min <= x && x <= v.Max }

// Check fails when tensors, which match the model's inputs and have these sizes, are outside of the
// limits. It names the first such value and the limit.
func (l *Limits) Check(in Bag, sizes Sizes) error {
	if l == nil {
		return nil
	}
	for _, s := range l.Sizes {
		if !slices.ContainsFunc(s.Dims, func(d string) bool { return sizes[d] <= s.Max }) {
			return fmt.Errorf("dimension %s is %d, and the model's tables are for %d at most", s.Dims[0], sizes[s.Dims[0]], s.Max)
		}
	}
	for _, v := range l.Values {
		t, ok := in[v.Input]
		if !ok {
			continue
		}
		if at, x := v.outside(t); at >= 0 {
			return fmt.Errorf("%q has the value %d at %v; its table %s takes %d to %d", v.Input, x, place(at, t.Shape), v.Table, v.Min, v.Max)
		}
	}
	return nil
}

// outside finds the first element that is not allowed, or -1.
func (v ValueLimit) outside(t Tensor) (at int, x int64) {
	switch t.DType {
	case Int64:
		return find[int64](t, v)
	case Int32:
		return find[int32](t, v)
	case Int16:
		return find[int16](t, v)
	case Int8:
		return find[int8](t, v)
	case Uint8:
		return find[uint8](t, v)
	case Uint16:
		return find[uint16](t, v)
	case Uint32:
		return find[uint32](t, v)
	}
	return -1, 0
}

func find[T int8 | int16 | int32 | int64 | uint8 | uint16 | uint32](t Tensor, v ValueLimit) (int, int64) {
	values, err := As[T](t)
	if err != nil {
		return -1, 0
	}
	for i, x := range values {
		if !v.Allows(int64(x)) {
			return i, int64(x)
		}
	}
	return -1, 0
}

// place is where an element stands, by dimension.
func place(i int, shape []int64) []int64 {
	at := make([]int64, len(shape))
	for d := len(shape) - 1; d >= 0; d-- {
		at[d] = int64(i) % shape[d]
		i /= int(shape[d])
	}
	return at
}

// Integers gives the least and the greatest number of a type of integers whose tensors can
// be limited; ok is false for other types.
func (d DType) Integers() (lowest, highest int64, ok bool) {
	switch d {
	case Int8, Int16, Int32, Int64:
		bits := d.Bytes(1) * 8
		return -1 << (bits - 1), 1<<(bits-1) - 1, true
	case Uint8, Uint16, Uint32:
		return 0, 1<<(d.Bytes(1)*8) - 1, true
	}
	return 0, 0, false
}
