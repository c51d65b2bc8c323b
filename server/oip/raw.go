package oip

import (
	"encoding/binary"
	"math"

	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/runtime/tensor"
)

// lengthBytes is how long the length before each element of BYTES is.
const lengthBytes = 4

// fromRaw makes a tensor of its binary form, which it copies: row-major and
// little-endian, and each element of BYTES behind its length. n is the number of
// elements that the shape asks for.
func fromRaw(d tensor.DType, shape []int64, n int64, data []byte) (tensor.Tensor, error) {
	if d == tensor.String {
		strs, err := fromRawStrings(n, data)
		return tensor.Tensor{DType: d, Shape: shape, Strs: strs}, err
	}
	if want := d.Bytes(n); int64(len(data)) != want {
		return tensor.Tensor{}, errcode.Errorf(errcode.Invalid, "%s of shape %v takes %d bytes, there are %d", datatypes[d], shape, want, len(data))
	}
	if d == tensor.Bool {
		for i, b := range data {
			if b > 1 {
				return tensor.Tensor{}, errcode.Errorf(errcode.Invalid, "element %d of BOOL is the byte %d; it can be 0 or 1", i, b)
			}
		}
	}
	t := tensor.Tensor{DType: d, Shape: shape, Data: tensor.AlignedBytes(int64(len(data)))}
	copy(t.Data, data)
	return t, nil
}

func fromRawStrings(n int64, data []byte) ([]string, error) {
	if n > int64(len(data)/lengthBytes) {
		return nil, errcode.Errorf(errcode.Invalid, "%d elements of BYTES do not fit into %d bytes: each has its length before it, in %d", n, len(data), lengthBytes)
	}
	all := string(data)
	strs := make([]string, n)
	at := 0
	for i := range strs {
		if len(data)-at < lengthBytes {
			return nil, errcode.Errorf(errcode.Invalid, "the data of BYTES ends before element %d of %d", i, n)
		}
		size := int64(binary.LittleEndian.Uint32(data[at:]))
		at += lengthBytes
		if size > int64(len(data)-at) {
			return nil, errcode.Errorf(errcode.Invalid, "element %d of BYTES has a length of %d, and %d bytes are left", i, size, len(data)-at)
		}
		strs[i] = all[at : at+int(size)]
		at += int(size)
	}
	if at != len(data) {
		return nil, errcode.Errorf(errcode.Invalid, "%d bytes follow the %d elements of BYTES", len(data)-at, n)
	}
	return strs, nil
}

// toRaw is the inverse of fromRaw. What it returns may be the tensor's own memory.
func toRaw(t tensor.Tensor) ([]byte, error) {
	if t.DType != tensor.String {
		return t.Data, nil
	}
	size := 0
	for _, s := range t.Strs {
		if len(s) > math.MaxUint32 {
			return nil, errcode.Errorf(errcode.TooLarge, "an element of BYTES has %d bytes, more than the protocol can say", len(s))
		}
		size += lengthBytes + len(s)
	}
	data := make([]byte, 0, size)
	for _, s := range t.Strs {
		data = binary.LittleEndian.AppendUint32(data, uint32(len(s)))
		data = append(data, s...)
	}
	return data, nil
}
