package tensor

import (
	"fmt"
	"math"
)

// Widen gives the elements of a tensor of float32, float16 or bfloat16 as float32:
// a view of the first, a copy of the others. It fails for other types.
func Widen(t Tensor) ([]float32, error) {
	var widen func(uint16) float32
	switch t.DType {
	case Float32:
		return As[float32](t)
	case Float16:
		widen = FromFloat16
	case BFloat16:
		widen = func(b uint16) float32 { return math.Float32frombits(uint32(b) << 16) }
	default:
		return nil, fmt.Errorf("tensor holds %s, not float32 or a shorter float", t.DType)
	}
	t.DType = Uint16
	short, err := As[uint16](t)
	values := make([]float32, len(short))
	for i, s := range short {
		values[i] = widen(s)
	}
	return values, err
}

// FromFloat16 widens an IEEE 754 binary16 number.
func FromFloat16(h uint16) float32 {
	sign := uint32(h&0x8000) << 16
	exponent := uint32(h>>10) & 0x1f
	fraction := uint32(h) & 0x3ff
	switch exponent {
	case 0: // zero or subnormal: fraction × 2⁻²⁴
		f := float32(fraction) * (1.0 / (1 << 24))
		return math.Float32frombits(math.Float32bits(f) | sign)
	case 0x1f: // infinity or NaN
		return math.Float32frombits(sign | 0x7f800000 | fraction<<13)
	}
	return math.Float32frombits(sign | (exponent+127-15)<<23 | fraction<<13)
}

// ToFloat16 rounds to the nearest IEEE 754 binary16 number, ties to even.
func ToFloat16(f float32) uint16 {
	bits := math.Float32bits(f)
	sign := uint16(bits>>16) & 0x8000
	magnitude := bits & 0x7fffffff
	switch {
	case magnitude > 0x7f800000: // NaN
		return sign | 0x7e00
	case magnitude >= 0x477ff000: // rounds to 65536 or more
		return sign | 0x7c00
	case magnitude < 0x38800000: // below 2⁻¹⁴: subnormal, or zero
		scaled := math.Float32frombits(magnitude) * (1 << 24)
		return sign | uint16(math.RoundToEven(float64(scaled)))
	}
	rounded := magnitude + 0xfff + magnitude>>13&1
	return sign | uint16((rounded-(127-15)<<23)>>13)
}
