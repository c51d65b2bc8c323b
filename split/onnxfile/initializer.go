package onnxfile

import (
	"errors"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/distinfer/distinfer/runtime/tensor"
)

// An Initializer is a TensorProto of a graph, or a SparseTensorProto.
type Initializer struct {
	Name  string
	DType tensor.DType
	Dims  []int64
	// External tells where its data is when that is another file, else it is nil.
	External *External
	// Sparse is set for a SparseTensorProto. Its data, too, may be elsewhere.
	Sparse bool

	payload  []byte // the data, when it stands in the file as it is in memory
	external bool   // External is set, or that of a part of a sparse tensor
	raw      []byte
}

// Bytes is the size of the initializer's elements, or 0 for strings. For a sparse
// one it is what its parts take.
func (t Initializer) Bytes() int64 {
	if t.Sparse {
		return int64(len(t.raw))
	}
	if n := t.DType.Bytes(t.Elements()); n >= 0 {
		return n
	}
	if t.External != nil { // a type of a later version of the format
		return max(t.External.Length, 0)
	}
	return 0
}

// Elements is the number of the initializer's elements.
func (t Initializer) Elements() int64 {
	n, err := tensor.Elements(t.Dims)
	if err != nil {
		return 0 // Parse refuses such dimensions
	}
	return n
}

// RawData is the initializer's data, little-endian; nil when it is in another file, sparse, or
// written as numbers.
func (t Initializer) RawData() []byte {
	if int64(len(t.payload)) != t.Bytes() {
		return nil
	}
	return t.payload
}

// AppendContent appends all that the file says of the initializer but its name.
func (t *Initializer) AppendContent(to []byte) []byte {
	m := tensorMessage
	if t.Sparse {
		m = sparseMessage
	}
	return append(to, edit(t.raw, m, func(Initializer) ([]byte, []protowire.Number) { return []byte{}, []protowire.Number{8} })...)
}

func parseTensor(f field) (Initializer, error) {
	t := Initializer{raw: f.raw}
	var entries []field
	payloads := 0
	var floats, doubles []byte // packed, and so as they are in memory
	err := fields(f.bytes, func(f field) error {
		switch f.num {
		case 1: // dims
			return f.ints(&t.Dims, tensor.MaxRank)
		case 2: // data_type
			t.DType = tensor.DType(f.value)
		case 3: // segment, which nothing writes or reads
			return errors.New("it is a segment of a tensor, which is not supported")
		case 8:
			return f.str(&t.Name)
		case 4, 5, 6, 7, 9, 10, 11: // the data, by type
			payloads++
			switch {
			case f.typ != protowire.BytesType:
			case f.num == 9:
				t.payload = f.bytes
			case f.num == 4:
				floats = f.bytes
			case f.num == 10:
				doubles = f.bytes
			}
		case 13: // external_data
			entries = append(entries, f)
		case 14: // data_location; EXTERNAL = 1
			t.external = f.value == 1
		}
		return nil
	})
	if err == nil {
		_, err = tensor.Elements(t.Dims)
	}
	if err == nil && t.external {
		if t.External, err = parseExternal(entries); err == nil {
			err = t.checkExternal()
		}
	}
	switch t.DType {
	case tensor.Float32, tensor.Complex64:
		if t.payload == nil {
			t.payload = floats
		}
	case tensor.Float64, tensor.Complex128:
		if t.payload == nil {
			t.payload = doubles
		}
	case tensor.String:
		t.payload = nil
	}
	if t.external || payloads != 1 || int64(len(t.payload)) != t.Bytes() {
		t.payload = nil
	}
	return t, err
}

// parseSparse reads a SparseTensorProto: its values, a tensor that has the name,
// where they are, and the dimensions of the whole.
func parseSparse(f field) (Initializer, error) {
	t := Initializer{Sparse: true, raw: f.raw}
	err := fields(f.bytes, func(f field) error {
		switch f.num {
		case 1, 2: // values, indices
			if err := f.wantBytes(); err != nil {
				return err
			}
			part, err := parseTensor(f)
			if f.num == 1 {
				t.Name, t.DType = part.Name, part.DType
			}
			t.external = t.external || part.external
			return err
		case 3:
			return f.ints(&t.Dims, tensor.MaxRank)
		}
		return nil
	})
	if err == nil {
		_, err = tensor.Elements(t.Dims)
	}
	return t, err
}
