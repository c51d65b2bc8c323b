package onnxfile

import (
	"encoding/binary"
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/distinfer/distinfer/runtime/tensor"
)

// The fields of a TensorProto that hold elements, and what one element of the
// field becomes: that many bytes, little-endian.
const (
	floatData  = 4
	int32Data  = 5
	stringData = 6
	int64Data  = 7
	rawData    = 9
	doubleData = 10
	uint64Data = 11
)

// dataField is the field that holds the elements of a type unless they are in
// raw_data, and the bytes each of its entries becomes.
func dataField(d tensor.DType) (num protowire.Number, bytes int) {
	switch d {
	case tensor.Float32, tensor.Complex64: // the parts of a complex number are two entries
		return floatData, 4
	case tensor.Float64, tensor.Complex128:
		return doubleData, 8
	case tensor.Int64:
		return int64Data, 8
	case tensor.Uint64:
		return uint64Data, 8
	case tensor.Uint32:
		return uint64Data, 4
	case tensor.Int32:
		return int32Data, 4
	case tensor.Int16, tensor.Uint16, tensor.Float16, tensor.BFloat16:
		return int32Data, 2
	}
	return int32Data, 1 // of types shorter than a byte, two elements
}

// ParseTensor reads a TensorProto, such as the file of one, with its elements.
// What it allocates is in proportion to b.
func ParseTensor(b []byte) (name string, t tensor.Tensor, err error) {
	head, err := parseTensor(field{bytes: b})
	if err != nil {
		return "", tensor.Tensor{}, err
	}
	t = tensor.Tensor{DType: head.DType, Shape: head.Dims}
	switch {
	case !t.DType.Known():
		return "", t, fmt.Errorf("unknown element type %d", int32(t.DType))
	case head.External != nil:
		return "", t, errors.New("its data is in another file; save it with the data inside")
	}
	num, size := dataField(t.DType)
	var data []byte
	err = fields(b, func(f field) error {
		switch {
		case f.num == rawData && t.DType != tensor.String:
			data = append(data, f.bytes...)
			return f.wantBytes()
		case f.num == stringData && t.DType == tensor.String:
			t.Strs = append(t.Strs, string(f.bytes))
			return f.wantBytes()
		case f.num == num && t.DType != tensor.String:
			var errEntries error
			data, errEntries = f.entries(data, size)
			return errEntries
		}
		return nil
	})
	if err != nil {
		return "", t, err
	}
	// In memory that is aligned for any type.
	t.Data = tensor.AlignedBytes(int64(len(data)))
	copy(t.Data, data)
	return head.Name, t, t.Check()
}

// entries appends the numbers of a repeated field, packed or not, each cut to
// size bytes.
func (f field) entries(to []byte, size int) ([]byte, error) {
	switch {
	case f.typ == protowire.BytesType && (f.num == floatData || f.num == doubleData):
		if len(f.bytes)%size != 0 {
			return nil, errTruncated
		}
		return append(to, f.bytes...), nil
	case f.typ == protowire.BytesType:
		for b := f.bytes; len(b) > 0; {
			v, n := protowire.ConsumeVarint(b)
			if n < 0 {
				return nil, errTruncated
			}
			to = appendNumber(to, v, size)
			b = b[n:]
		}
		return to, nil
	}
	return appendNumber(to, f.value, size), nil
}

func appendNumber(to []byte, v uint64, size int) []byte {
	var word [8]byte
	binary.LittleEndian.PutUint64(word[:], v)
	return append(to, word[:size]...)
}
