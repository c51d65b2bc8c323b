package generate

import (
	"fmt"
	"math"

	"github.com/distinfer/distinfer/runtime/tensor"
)

// Fill gives every element of a tensor a value.
func Fill(t tensor.Tensor, integer func(i int64) int64, float func(i int64) float64) error {
	switch t.DType {
	case tensor.Float32, tensor.Complex64:
		t.DType = tensor.Float32
		return fillWith(t, func(i int64) float32 { return float32(float(i)) })
	case tensor.Float64, tensor.Complex128:
		t.DType = tensor.Float64
		return fillWith(t, float)
	case tensor.Float16:
		t.DType = tensor.Uint16
		return fillWith(t, func(i int64) uint16 { return tensor.ToFloat16(float32(float(i))) })
	case tensor.BFloat16:
		t.DType = tensor.Uint16
		return fillWith(t, func(i int64) uint16 { return uint16(math.Float32bits(float32(float(i))) >> 16) })
	case tensor.Float8E4M3FN, tensor.Float8E4M3FNUZ, tensor.Float8E5M2, tensor.Float8E5M2FNUZ:
		return fillFloat8(t, float)
	case tensor.Int4, tensor.Uint4, tensor.Float4E2M1:
		t.DType = tensor.Uint8
		return fillWith(t, func(i int64) uint8 { return uint8(integer(2*i)&7 | integer(2*i+1)&7<<4) })
	case tensor.Int8:
		return fillWith(t, func(i int64) int8 { return int8(integer(i)) })
	case tensor.Int16:
		return fillWith(t, func(i int64) int16 { return int16(integer(i)) })
	case tensor.Int32:
		return fillWith(t, func(i int64) int32 { return int32(integer(i)) })
	case tensor.Int64:
		return fillWith(t, integer)
	case tensor.Uint8:
		return fillWith(t, func(i int64) uint8 { return uint8(integer(i)) })
	case tensor.Uint16:
		return fillWith(t, func(i int64) uint16 { return uint16(integer(i)) })
	case tensor.Uint32:
		return fillWith(t, func(i int64) uint32 { return uint32(integer(i)) })
	case tensor.Uint64:
		return fillWith(t, func(i int64) uint64 { return uint64(integer(i)) })
	case tensor.Bool:
		return fillWith(t, func(i int64) bool { return integer(i)&1 == 1 })
	}
	return fmt.Errorf("values of type %s cannot be generated", t.DType)
}

func fillWith[T tensor.Element](t tensor.Tensor, value func(i int64) T) error {
	data, err := tensor.As[T](t)
	for i := range data {
		data[i] = value(int64(i))
	}
	return err
}

// fillFloat8 gives every element the number of its type that is nearest.
func fillFloat8(t tensor.Tensor, float func(i int64) float64) error {
	var numbers []float64
	for bits := range 256 {
		numbers = append(numbers, tensor.FromFloat8(t.DType, uint8(bits)))
	}
	t.DType = tensor.Uint8
	return fillWith(t, func(i int64) uint8 {
		x, nearest := float(i), 0
		for bits, n := range numbers {
			if math.Abs(n-x) < math.Abs(numbers[nearest]-x) { // never for a NaN
				nearest = bits
			}
		}
		return uint8(nearest)
	})
}
