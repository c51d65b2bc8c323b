package verify

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/distinfer/distinfer/runtime/tensor"
)

// Tolerance is how much a value may differ, as a share of the largest magnitude
// in its tensor or of 1, whichever is more. Fusions that a cut prevents change
// the order of float operations, nothing else.
const Tolerance = 1e-4

// The same for shorter floats. Of the shortest, one step between neighbours is
// that large.
const (
	halfTolerance = 1e-2
	e4m3Tolerance = 1.0 / 8
	e5m2Tolerance = 1.0 / 4
)

// A Difference says how far an output is from what it should be.
type Difference struct {
	Name        string  `json:"name"`
	Compared    bool    `json:"compared"` // false when its type and shape alone could be checked
	MaxAbsolute float64 `json:"max_absolute_difference"`
	MaxRelative float64 `json:"max_relative_difference"` // of values larger than 1e-3
}

// A farError is of floats that differ by more than the tolerance.
type farError struct {
	element   int
	want, got float64
	share     float64 // the largest difference, as a share of the largest magnitude or of 1
}

func (e *farError) Error() string {
	return fmt.Sprintf("element %d is %g in the stages and should be %g", e.element, e.got, e.want)
}

// compare records how far got is from want, and fails if that is more than the tolerance; 0 is the
// default tolerance of the type. NaN equals NaN. Floats that differ are a farError.
func (d *Difference) compare(want, got tensor.Tensor, tolerance float64) error {
	if err := sameForm(want, got); err != nil {
		return err
	}
	d.Compared = true
	a, isFloat := floats(want)
	if !isFloat {
		if string(want.Data) != string(got.Data) || !slices.Equal(want.Strs, got.Strs) {
			return errors.New("the values differ")
		}
		return nil
	}
	if tolerance == 0 {
		tolerance = usualTolerance(want.DType)
	}
	b, _ := floats(got)
	scale := scale(a)
	var far *farError
	for i := range a {
		if a[i] == b[i] || math.IsNaN(a[i]) && math.IsNaN(b[i]) {
			continue
		}
		difference := math.Abs(a[i] - b[i])
		if math.IsNaN(difference) {
			difference = math.Inf(1) // a NaN on one side
		}
		if difference > tolerance*scale {
			if far == nil {
				far = &farError{element: i, want: a[i], got: b[i]}
			}
			far.share = max(far.share, difference/scale)
		}
		if math.IsInf(difference, 1) {
			continue
		}
		d.MaxAbsolute = max(d.MaxAbsolute, difference)
		if m := math.Abs(a[i]); m > 1e-3 {
			d.MaxRelative = max(d.MaxRelative, difference/m)
		}
	}
	if far != nil {
		return far
	}
	return nil
}

// scale is the largest magnitude, or 1 if that is more.
func scale(values []float64) float64 {
	scale := 1.0
	for _, x := range values {
		if !math.IsInf(x, 0) && !math.IsNaN(x) {
			scale = max(scale, math.Abs(x))
		}
	}
	return scale
}

func sameForm(want, got tensor.Tensor) error {
	if want.DType != got.DType || !slices.Equal(want.Shape, got.Shape) {
		return fmt.Errorf("it is %s%v in the stages and should be %s%v", got.DType, got.Shape, want.DType, want.Shape)
	}
	return nil
}

// usualTolerance is the tolerance for values that were rounded to an element type.
func usualTolerance(d tensor.DType) float64 {
	switch d {
	case tensor.Float16, tensor.BFloat16:
		return halfTolerance
	case tensor.Float8E4M3FN, tensor.Float8E4M3FNUZ:
		return e4m3Tolerance
	case tensor.Float8E5M2, tensor.Float8E5M2FNUZ:
		return e5m2Tolerance
	}
	return Tolerance
}

// floats widens a tensor of floats; ok is false for other types. A complex number
// is two floats.
func floats(t tensor.Tensor) (values []float64, ok bool) {
	switch t.DType {
	case tensor.Complex64:
		t.DType = tensor.Float32
	case tensor.Complex128:
		t.DType = tensor.Float64
	}
	switch t.DType {
	case tensor.Float64:
		data, err := tensor.As[float64](t)
		return data, err == nil
	case tensor.Float32, tensor.Float16, tensor.BFloat16:
		data, err := tensor.Widen(t)
		for _, x := range data {
			values = append(values, float64(x))
		}
		return values, err == nil
	case tensor.Float8E4M3FN, tensor.Float8E4M3FNUZ, tensor.Float8E5M2, tensor.Float8E5M2FNUZ:
		for _, bits := range t.Data {
			values = append(values, tensor.FromFloat8(t.DType, bits))
		}
		return values, true
	}
	return nil, false
}
