package verify

import (
	"math"
	"testing"

	"github.com/distinfer/distinfer/runtime/tensor"
)

func TestDifferencesAreHeldToTheToleranceOfTheType(t *testing.T) {
	t.Parallel()
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	float := func(v ...float32) tensor.Tensor { return tensor.Of([]int64{int64(len(v))}, v) }
	bits := func(d tensor.DType, b ...uint8) tensor.Tensor {
		return tensor.Tensor{DType: d, Shape: []int64{int64(len(b)) / max(d.Bytes(1), 1)}, Data: b}
	}
	for _, c := range []struct {
		a, b      tensor.Tensor
		tolerance float64
		same      bool
	}{
		{float(1, nan, inf), float(1.00009, nan, inf), 0, true},
		{float(1), float(1.0002), 0, false},
		{float(1), float(1.0002), 1e-3, true},
		{float(1), float(1.00009), math.SmallestNonzeroFloat64, false},
		{float(1000, 1), float(1000, 1.05), 0, true}, // a share of the largest
		{float(nan), float(1), 0, false},
		{float(1), float(nan), 0, false},
		{float(inf), float(-inf), 0, false},
		{float(1, 1), float(1), 0, false},
		{bits(tensor.Complex64, make([]byte, 8)...), bits(tensor.Complex64, 0, 0, 0, 0, 0, 0, 0x80, 0x3f), 0, false},
		{bits(tensor.Float16, 0x00, 0x3c), bits(tensor.Float16, 0x09, 0x3c), 0, true},
		{bits(tensor.Float16, 0x00, 0x3c), bits(tensor.Float16, 0x0f, 0x3c), 0, false},
		{bits(tensor.Float8E4M3FN, 0x38), bits(tensor.Float8E4M3FN, 0x39), 0, true}, // one step
		{bits(tensor.Float8E4M3FN, 0x38), bits(tensor.Float8E4M3FN, 0x3a), 0, false},
		{bits(tensor.Uint8, 7), bits(tensor.Uint8, 8), 1, false}, // integers are exact
		{bits(tensor.Uint8, 7), bits(tensor.Int8, 7), 0, false},
		{tensor.Tensor{DType: tensor.String, Shape: []int64{1}, Strs: []string{"a"}}, tensor.Tensor{DType: tensor.String, Shape: []int64{1}, Strs: []string{"b"}}, 0, false},
	} {
		var d Difference
		if err := d.compare(c.a, c.b, c.tolerance); (err == nil) != c.same {
			t.Errorf("%v and %v: %v", c.a, c.b, err)
		}
	}
}
