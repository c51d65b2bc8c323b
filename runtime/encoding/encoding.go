// Package encoding makes tensors smaller for slow links: it narrows float32 to float16 or
// int8 on one side, and widens them on the other.
//
// It decides what is narrowed and how numbers are rounded. It knows tensors and
// stages, and nothing of how tensors travel.
package encoding

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/distinfer/distinfer/runtime/tensor"
)

// An Encoding is how the numbers of float32 tensors travel.
type Encoding string

// The encodings.
const (
	Float32 Encoding = "float32" // as they are
	Float16 Encoding = "float16" // IEEE 754 binary16
	Int8    Encoding = "int8"    // with a scale for each row of the last dimension
)

// Encodings are all encodings, Float32 first.
func Encodings() []Encoding { return []Encoding{Float32, Float16, Int8} }

// Names lists encodings for a message.
func Names(list []Encoding) string {
	names := make([]string, len(list))
	for i, e := range list {
		names[i] = string(e)
	}
	return strings.Join(names, ", ")
}

// Parse finds an encoding by its name; "" is Float32.
func Parse(name string) (Encoding, error) {
	if name == "" {
		return Float32, nil
	}
	if e := Encoding(name); slices.Contains(Encodings(), e) {
		return e, nil
	}
	return "", fmt.Errorf("no encoding is called %q; known are %s", name, Names(Encodings()))
}

// Size is how many bytes a number takes.
func (e Encoding) Size() int {
	switch e {
	case Float16:
		return 2
	case Int8:
		return 1
	}
	return 4
}

// least is the size in bytes from which on a tensor is narrowed. Smaller ones fit into three
// packets of a network, where there is little to gain, and may be a mask or a vector whose numbers
// matter more than those of hidden states.
const least = 4096

// Numbers are those of a float32 tensor, narrowed.
type Numbers struct {
	Encoding Encoding
	Data     []byte
	Scales   []byte // of Int8: a float32 for each row
}

// Narrow narrows the numbers of a tensor, into memory of alloc that is aligned for two bytes. ok is
// false when the tensor has to travel as it is: when it is not of float32, is small, or has a
// number that the encoding does not hold.
func (e Encoding) Narrow(t tensor.Tensor, alloc func(n int) []byte) (_ Numbers, ok bool) {
	if e != Float16 && e != Int8 {
		return Numbers{}, false
	}
	row := rowOf(t.Shape)
	if t.DType != tensor.Float32 || len(t.Data) < least || e == Int8 && row < 2 {
		return Numbers{}, false
	}
	values, err := tensor.As[float32](t)
	if err != nil {
		return Numbers{}, false
	}
	n := Numbers{Encoding: e, Data: alloc(e.Size() * len(values))}
	if e == Float16 {
		return n, tensor.NarrowFloat16(halves(n.Data), values)
	}
	n.Scales = make([]byte, 0, 4*(len(values)/row))
	for i := 0; i < len(values); i += row {
		scale, ok := narrowRow(n.Data[i:i+row], values[i:i+row])
		if !ok {
			return n, false
		}
		n.Scales = binary.LittleEndian.AppendUint32(n.Scales, math.Float32bits(scale))
	}
	return n, true
}

// rowOf is the length of a row of the last dimension.
func rowOf(shape []int64) int {
	if len(shape) == 0 {
		return 1
	}
	return int(shape[len(shape)-1])
}

// halves views memory as numbers of 16 bits.
func halves(data []byte) []uint16 {
	view, _ := tensor.As[uint16](tensor.Tensor{DType: tensor.Uint16, Data: data}) // it fails for other types only
	return view
}

const (
	// beyond8 are the bits of the least magnitude that a row must not have, 2¹²⁷:
	// multiplied again, the largest numbers could become infinite.
	beyond8 = 0x7f000000
	// leastScale is the least float32 whose inverse is one.
	leastScale = 0x1p-126
	// rounder is a number whose last place is one, so that adding it rounds to whole
	// numbers, ties to even. They are then in the lowest bits of the sum.
	rounder = 3 << 22
)

// narrowRow rounds the numbers of a row to whole multiples of a scale, -127 to 127. It
// reports whether it could: none of them is NaN or 2¹²⁷ and more.
func narrowRow(to []byte, row []float32) (scale float32, ok bool) {
	most := uint32(0)
	for _, f := range row {
		most = max(most, math.Float32bits(f)&0x7fffffff)
	}
	if most >= beyond8 {
		return 0, false
	}
	scale = max(math.Float32frombits(most)/127, leastScale)
	inverse := 1 / scale
	to = to[:len(row)]
	for i, f := range row {
		// The conversion keeps processors that could from adding before they round,
		// so that all give the same.
		to[i] = byte(math.Float32bits(float32(f*inverse) + rounder))
	}
	return scale, true
}

// Widen gives narrow numbers as float32, those of Int8 without their scale.
func (e Encoding) Widen(to []float32, from []byte) {
	if e == Float16 {
		tensor.WidenFloat16(to, halves(from))
		return
	}
	from = from[:len(to)]
	for i, b := range from {
		to[i] = float32(int8(b))
	}
}

// Scale multiplies each row of a tensor by its scale. It fails when the number of scales is not
// that of the rows, or a scale is not valid.
func Scale(values []float32, shape []int64, scales []byte) error {
	row := rowOf(shape)
	if row == 0 || len(values) == 0 {
		return nil
	}
	if rows := len(values) / row; len(values)%row != 0 || len(scales) != 4*rows {
		return fmt.Errorf("shape %v needs %d bytes of scales, there are %d", shape, 4*rows, len(scales))
	}
	for i := 0; len(values) > 0; i++ {
		scale := math.Float32frombits(binary.LittleEndian.Uint32(scales[4*i:]))
		if !(scale >= 0 && scale <= math.MaxFloat32) {
			return fmt.Errorf("the scale of row %d is %v; it can be 0 or a positive number", i, scale)
		}
		for k := range row {
			values[k] *= scale
		}
		values = values[row:]
	}
	return nil
}

// Tensor widens the numbers to a tensor of the given shape.
func (n Numbers) Tensor(shape []int64) (tensor.Tensor, error) {
	values := make([]float32, len(n.Data)/n.Encoding.Size())
	n.Encoding.Widen(values, n.Data)
	if n.Encoding == Int8 {
		if err := Scale(values, shape, n.Scales); err != nil {
			return tensor.Tensor{}, err
		}
	}
	return tensor.Of(shape, values), nil
}

// Bytes is what the numbers take on the link.
func (n Numbers) Bytes() int64 { return int64(len(n.Data) + len(n.Scales)) }
