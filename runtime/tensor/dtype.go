package tensor

import (
	"fmt"
	"strings"
)

// A DType is the type of a tensor's elements. Its numbers are those of
// TensorProto.DataType in onnx.proto, so that a value read from a model, a
// manifest or the network means the same everywhere.
type DType int32

// The element types of ONNX.
const (
	Undefined      DType = 0
	Float32        DType = 1
	Uint8          DType = 2
	Int8           DType = 3
	Uint16         DType = 4
	Int16          DType = 5
	Int32          DType = 6
	Int64          DType = 7
	String         DType = 8
	Bool           DType = 9
	Float16        DType = 10
	Float64        DType = 11
	Uint32         DType = 12
	Uint64         DType = 13
	Complex64      DType = 14
	Complex128     DType = 15
	BFloat16       DType = 16
	Float8E4M3FN   DType = 17
	Float8E4M3FNUZ DType = 18
	Float8E5M2     DType = 19
	Float8E5M2FNUZ DType = 20
	Uint4          DType = 21
	Int4           DType = 22
	Float4E2M1     DType = 23
	Float8E8M0     DType = 24
	Uint2          DType = 25
	Int2           DType = 26
	Float6E2M3     DType = 27
	Float6E3M2     DType = 28
)

// One row an element type: its name as it stands in a manifest, and the bits
// one element takes (0: no fixed size).
var dtypes = map[DType]struct {
	name string
	bits int64
}{
	Float32:        {"float32", 32},
	Uint8:          {"uint8", 8},
	Int8:           {"int8", 8},
	Uint16:         {"uint16", 16},
	Int16:          {"int16", 16},
	Int32:          {"int32", 32},
	Int64:          {"int64", 64},
	String:         {"string", 0},
	Bool:           {"bool", 8},
	Float16:        {"float16", 16},
	Float64:        {"float64", 64},
	Uint32:         {"uint32", 32},
	Uint64:         {"uint64", 64},
	Complex64:      {"complex64", 64},
	Complex128:     {"complex128", 128},
	BFloat16:       {"bfloat16", 16},
	Float8E4M3FN:   {"float8e4m3fn", 8},
	Float8E4M3FNUZ: {"float8e4m3fnuz", 8},
	Float8E5M2:     {"float8e5m2", 8},
	Float8E5M2FNUZ: {"float8e5m2fnuz", 8},
	Uint4:          {"uint4", 4},
	Int4:           {"int4", 4},
	Float4E2M1:     {"float4e2m1", 4},
	Float8E8M0:     {"float8e8m0", 8},
	Uint2:          {"uint2", 2},
	Int2:           {"int2", 2},
	Float6E2M3:     {"float6e2m3", 6},
	Float6E3M2:     {"float6e3m2", 6},
}

// String is the type's name as it stands in a manifest, such as "float32".
func (d DType) String() string {
	if t, ok := dtypes[d]; ok {
		return t.name
	}
	return fmt.Sprintf("dtype(%d)", int32(d))
}

// Known reports whether d is an element type of ONNX that this package knows.
func (d DType) Known() bool { _, ok := dtypes[d]; return ok }

// Bytes is how many bytes n elements take, packed as ONNX packs types smaller
// than a byte. It is -1 for strings, whose elements have no fixed size, and for
// a type that is not Known.
func (d DType) Bytes(n int64) int64 {
	t, ok := dtypes[d]
	if !ok || t.bits == 0 {
		return -1
	}
	return (n*t.bits + 7) / 8
}

// ParseDType is the inverse of String.
func ParseDType(name string) (DType, error) {
	for d, t := range dtypes {
		if t.name == name {
			return d, nil
		}
	}
	return Undefined, fmt.Errorf("unknown element type %q", name)
}

// MarshalText writes the type's name.
func (d DType) MarshalText() ([]byte, error) {
	if !d.Known() {
		return nil, fmt.Errorf("unknown element type %d", int32(d))
	}
	return []byte(d.String()), nil
}

// UnmarshalText reads the type's name.
func (d *DType) UnmarshalText(b []byte) error {
	p, err := ParseDType(strings.TrimSpace(string(b)))
	if err != nil {
		return err
	}
	*d = p
	return nil
}
