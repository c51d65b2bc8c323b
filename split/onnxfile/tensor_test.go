package onnxfile_test

import (
	"bytes"
	"encoding/binary"
	"math"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/split/onnxfile"
	"github.com/distinfer/distinfer/split/onnxfile/onnxtest"
)

// proto begins a TensorProto named t.
func proto(d tensor.DType, dims ...int64) onnxtest.Message {
	var m onnxtest.Message
	for _, n := range dims {
		m = m.Int(1, n)
	}
	return m.Int(2, int64(d)).Text(8, "t")
}

// varints is a packed field of integers.
func varints(num protowire.Number, m onnxtest.Message, values ...int64) onnxtest.Message {
	var b []byte
	for _, v := range values {
		b = protowire.AppendVarint(b, uint64(v))
	}
	return m.Embed(num, b)
}

func TestATensorIsReadFromTheFieldOfItsType(t *testing.T) {
	t.Parallel()
	one := binary.LittleEndian.AppendUint32(nil, math.Float32bits(1))
	for _, c := range []struct {
		data onnxtest.Message
		want tensor.Tensor
	}{
		{proto(tensor.Float32, 1).Embed(9, one), tensor.Of([]int64{1}, []float32{1})},
		{proto(tensor.Float32, 1).Embed(4, one), tensor.Of([]int64{1}, []float32{1})},
		{protowire.AppendFixed32(protowire.AppendTag(proto(tensor.Float32, 1), 4, protowire.Fixed32Type), math.Float32bits(1)), tensor.Of([]int64{1}, []float32{1})},
		{proto(tensor.Complex64, 1).Embed(4, slices.Concat(one, one)), tensor.Tensor{DType: tensor.Complex64, Shape: []int64{1}, Data: slices.Concat(one, one)}},
		{proto(tensor.Float64, 1).Embed(10, make([]byte, 8)), tensor.Of([]int64{1}, []float64{0})},
		{varints(5, proto(tensor.Int32, 2), -1, 7), tensor.Of([]int64{2}, []int32{-1, 7})},
		{varints(5, proto(tensor.Int16, 1), -2), tensor.Of([]int64{1}, []int16{-2})},
		{varints(5, proto(tensor.Bool, 2), 1, 0), tensor.Of([]int64{2}, []bool{true, false})},
		{varints(5, proto(tensor.Float16, 1), 0x3c00), tensor.Tensor{DType: tensor.Float16, Shape: []int64{1}, Data: []byte{0, 0x3c}}},
		{varints(5, proto(tensor.Float8E5M2, 1), 0x3c), tensor.Tensor{DType: tensor.Float8E5M2, Shape: []int64{1}, Data: []byte{0x3c}}},
		{varints(5, proto(tensor.Int4, 3), 0x21, 0x03), tensor.Tensor{DType: tensor.Int4, Shape: []int64{3}, Data: []byte{0x21, 0x03}}},
		{varints(7, proto(tensor.Int64, 2), -1, 5), tensor.Of([]int64{2}, []int64{-1, 5})},
		{proto(tensor.Int64, 1).Int(7, 5), tensor.Of([]int64{1}, []int64{5})},
		{varints(11, proto(tensor.Uint32, 1), 9), tensor.Of([]int64{1}, []uint32{9})},
		{varints(11, proto(tensor.Uint64), -1), tensor.Of(nil, []uint64{math.MaxUint64})},
		{proto(tensor.String, 2).Text(6, "a").Text(6, ""), tensor.Tensor{DType: tensor.String, Shape: []int64{2}, Strs: []string{"a", ""}}},
		{proto(tensor.Float32, 0), tensor.Tensor{DType: tensor.Float32, Shape: []int64{0}}},
	} {
		name, got, err := onnxfile.ParseTensor(c.data)
		if err != nil || name != "t" || got.DType != c.want.DType || !slices.Equal(got.Shape, c.want.Shape) ||
			!bytes.Equal(got.Data, c.want.Data) || !slices.Equal(got.Strs, c.want.Strs) {
			t.Errorf("%s: %q %+v, want %+v (%v)", c.want.DType, name, got, c.want, err)
		}
	}
}

func TestTensorsThatDoNotHoldTogetherAreRefused(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		data onnxtest.Message
		says string
	}{
		"nothing":           {nil, "unknown element type"},
		"another type":      {proto(99, 1), "unknown element type"},
		"too little":        {proto(tensor.Float32, 2).Embed(9, make([]byte, 4)), "needs 8 bytes"},
		"a promise of much": {proto(tensor.Float32, 1<<40), "bytes, there are 0"},
		"a size that wraps": {proto(tensor.Complex128, 1<<57+1).Embed(9, make([]byte, 16)), "too large"},
		"half a float":      {proto(tensor.Float32, 1).Embed(4, make([]byte, 3)), "ends in the middle"},
		"data elsewhere":    {proto(tensor.Float32, 1).Embed(13, onnxtest.Message{}.Text(1, "location").Text(2, "/etc/passwd")).Int(14, 1), "in another file"},
		"a segment":         {proto(tensor.Float32, 1).Embed(3, nil), "segment"},
	} {
		if _, _, err := onnxfile.ParseTensor(c.data); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func FuzzParseTensor(f *testing.F) {
	f.Add([]byte(varints(7, proto(tensor.Int64, 2), -1, 5)))
	f.Add([]byte(proto(tensor.String, 1).Text(6, "a")))
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, x, err := onnxfile.ParseTensor(data); err == nil && x.Check() != nil {
			t.Errorf("%v", x)
		}
	})
}
