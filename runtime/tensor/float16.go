package tensor

import (
	"fmt"
	"math"
)

// Widen gives the elements of a tensor of float32, float16 or bfloat16 as float32:
// a view of the first, a copy of the others. It fails for other types.
func Widen(t Tensor) ([]float32, error) {
	if t.DType == Float32 {
		return As[float32](t)
	}
	if t.DType != Float16 && t.DType != BFloat16 {
		return nil, fmt.Errorf("tensor holds %s, not float32 or a shorter float", t.DType)
	}
	short, err := As[uint16](Tensor{DType: Uint16, Data: t.Data})
	values := make([]float32, len(short))
	if t.DType == Float16 {
		WidenFloat16(values, short)
		return values, err
	}
	for i, b := range short {
		values[i] = math.Float32frombits(uint32(b) << 16)
	}
	return values, err
}

// FromFloat16 widens an IEEE 754 binary16 number. It has no branches, and is small
// enough to be inlined into the loops that widen tensors.
func FromFloat16(h uint16) float32 {
	magnitude := uint32(h&0x7fff) << 13
	bits := magnitude + (127-15)<<23
	// A subnormal is fraction × 2⁻²⁴: the fraction is put behind a leading one, that
	// of 2⁻¹⁴, which is taken off again.
	subnormal := math.Float32bits(math.Float32frombits(magnitude+(127-14)<<23) - 0x1p-14)
	if magnitude < 1<<23 {
		bits = subnormal
	}
	if magnitude >= 0x1f<<23 { // infinity or NaN
		bits += (128 - 16) << 23
	}
	return math.Float32frombits(bits | uint32(h&0x8000)<<16)
}

// overflow16 are the bits of the least float32 that rounds to infinity.
const overflow16 = 0x477ff000 // 65520

// ToFloat16 rounds to the nearest IEEE 754 binary16 number, ties to even.
func ToFloat16(f float32) uint16 {
	bits := math.Float32bits(f)
	sign := uint16(bits>>16) & 0x8000
	switch magnitude := bits & 0x7fffffff; {
	case magnitude > 0x7f800000: // NaN
		return sign | 0x7e00
	case magnitude >= overflow16:
		return sign | 0x7c00
	default:
		return sign | round16(magnitude)
	}
}

// round16 rounds a number below overflow16. It is made as FromFloat16 is.
func round16(magnitude uint32) uint16 {
	half := (magnitude + 0xfff + magnitude>>13&1 - (127-15)<<23) >> 13
	// Below 2⁻¹⁴ it is subnormal: added to ½, whose last place is 2⁻²⁴, the number is
	// rounded to that place.
	subnormal := math.Float32bits(math.Float32frombits(magnitude)+0.5) - 0x3f000000
	if magnitude < (127-14)<<23 {
		half = subnormal
	}
	return uint16(half)
}

// NarrowFloat16 rounds numbers to float16. It reports whether all of them could be:
// none is infinite, NaN, or rounds to infinity.
func NarrowFloat16(to []uint16, from []float32) bool {
	to = to[:len(from)]
	most := uint32(0)
	for i, f := range from {
		bits := math.Float32bits(f)
		magnitude := bits & 0x7fffffff
		most = max(most, magnitude)
		to[i] = uint16(bits>>16)&0x8000 | round16(magnitude)
	}
	return most < overflow16
}

// WidenFloat16 is the inverse of NarrowFloat16, for infinities and NaN as well.
func WidenFloat16(to []float32, from []uint16) {
	from = from[:len(to)]
	for i, h := range from {
		to[i] = FromFloat16(h)
	}
}
