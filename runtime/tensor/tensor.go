package tensor

import (
	"fmt"
	"math"
	"slices"
	"unsafe"
)

// MaxRank is the largest number of dimensions a tensor may have.
const MaxRank = 64

// A Tensor is a dense array of one element type. Its elements lie in row-major
// order, little-endian as ONNX stores them. A Tensor is read-only once it is in
// a Bag: several stages of a chain may hold the same memory.
type Tensor struct {
	DType DType
	Shape []int64 // empty for a scalar
	Data  []byte  // DType.Bytes(Elements()) bytes; nil for String
	Strs  []string
}

// A Bag is a set of tensors by the names they have in the model.
type Bag map[string]Tensor

// Names are the bag's names in lexical order.
func (b Bag) Names() []string {
	names := make([]string, 0, len(b))
	for n := range b {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// An Element is a Go type whose memory is that of one ONNX element.
type Element interface {
	~float32 | ~float64 | ~int8 | ~int16 | ~int32 | ~int64 |
		~uint8 | ~uint16 | ~uint32 | ~uint64 | ~bool
}

// Of makes a tensor of the given shape over data, which it keeps and does not
// copy. It panics when shape and data disagree: both come from the same place.
func Of[T Element](shape []int64, data []T) Tensor {
	n, err := Elements(shape)
	if err != nil || n != int64(len(data)) {
		panic(fmt.Sprintf("tensor.Of: %d elements for shape %v", len(data), shape))
	}
	t := Tensor{DType: dtypeOf[T](), Shape: shape}
	if len(data) > 0 {
		t.Data = unsafe.Slice((*byte)(unsafe.Pointer(&data[0])), len(data)*int(unsafe.Sizeof(data[0])))
	}
	return t
}

// As views a tensor's elements as Go values, without a copy. It fails when T is
// not the tensor's element type.
func As[T Element](t Tensor) ([]T, error) {
	if want := dtypeOf[T](); t.DType != want {
		return nil, fmt.Errorf("tensor holds %s, not %s", t.DType, want)
	}
	if len(t.Data) == 0 {
		return nil, nil
	}
	var zero T
	size := int(unsafe.Sizeof(zero))
	p := unsafe.Pointer(&t.Data[0])
	if uintptr(p)%unsafe.Alignof(zero) != 0 {
		aligned := make([]T, len(t.Data)/size)
		copy(unsafe.Slice((*byte)(unsafe.Pointer(&aligned[0])), len(t.Data)), t.Data)
		return aligned, nil
	}
	return unsafe.Slice((*T)(p), len(t.Data)/size), nil
}

func dtypeOf[T Element]() DType {
	var zero T
	switch any(zero).(type) {
	case float32:
		return Float32
	case float64:
		return Float64
	case int8:
		return Int8
	case int16:
		return Int16
	case int32:
		return Int32
	case int64:
		return Int64
	case uint8:
		return Uint8
	case uint16:
		return Uint16
	case uint32:
		return Uint32
	case uint64:
		return Uint64
	case bool:
		return Bool
	}
	return Undefined
}

// Elements is the product of a shape's dimensions. It fails on a negative
// dimension, on more than MaxRank of them, and when the product does not fit an
// int64, so that no size computed from the network can wrap around.
func Elements(shape []int64) (int64, error) {
	if len(shape) > MaxRank {
		return 0, fmt.Errorf("%d dimensions, more than %d", len(shape), MaxRank)
	}
	n := int64(1)
	zero := false
	for _, d := range shape {
		switch {
		case d < 0:
			return 0, fmt.Errorf("negative dimension in shape %v", shape)
		case d == 0:
			zero = true
		case n > math.MaxInt64/256/d: // 256: more than the bits of any element
			return 0, fmt.Errorf("shape %v is too large", shape)
		default:
			n *= d
		}
	}
	if zero {
		return 0, nil
	}
	return n, nil
}

// Check fails unless the tensor's type is known and its data has the size that
// type and shape ask for.
func (t Tensor) Check() error {
	if !t.DType.Known() {
		return fmt.Errorf("unknown element type %d", int32(t.DType))
	}
	n, err := Elements(t.Shape)
	if err != nil {
		return err
	}
	if t.DType == String {
		if int64(len(t.Strs)) != n || len(t.Data) != 0 {
			return fmt.Errorf("shape %v needs %d strings, there are %d", t.Shape, n, len(t.Strs))
		}
		return nil
	}
	if want := t.DType.Bytes(n); int64(len(t.Data)) != want || len(t.Strs) != 0 {
		return fmt.Errorf("%s of shape %v needs %d bytes, there are %d", t.DType, t.Shape, want, len(t.Data))
	}
	return nil
}

// Bytes is the approximate memory of the tensor's elements.
func (t Tensor) Bytes() int64 {
	n := int64(len(t.Data))
	for _, s := range t.Strs {
		n += int64(len(s)) + 16
	}
	return n
}

// New makes a tensor of zeros, aligned for its element type. It fails for
// types without a fixed size and on a shape that Elements refuses.
func New(d DType, shape []int64) (Tensor, error) {
	n, err := Elements(shape)
	if err != nil {
		return Tensor{}, err
	}
	size := d.Bytes(n)
	if size < 0 {
		return Tensor{}, fmt.Errorf("%s has no fixed size", d)
	}
	return Tensor{DType: d, Shape: slices.Clone(shape), Data: AlignedBytes(size)}, nil
}

// AlignedBytes allocates n bytes that may be viewed as any element type.
func AlignedBytes(n int64) []byte {
	if n == 0 {
		return nil
	}
	words := make([]uint64, (n+7)/8)
	return unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), n)
}
