// Package onnxfile reads and writes ONNX model files at the level of the
// protobuf wire format.
//
// A model is memory-mapped and never decoded as a whole: nodes, initializers
// and value infos are remembered as ranges of the file's own bytes and copied
// as they are, so that nothing this package does not know is lost and weights
// are never held in memory. The format is that of onnx.proto
// (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto), whose field numbers
// stand beside the code that reads them.
//
// The package knows the format only: not what operators mean, nor how to cut.
// Every byte it reads is untrusted.
package onnxfile

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// A field is one field of a protobuf message.
type field struct {
	num   protowire.Number
	typ   protowire.Type
	bytes []byte // the payload, for protowire.BytesType
	value uint64 // the payload, for the other types
	raw   []byte // tag and payload, as they stand in the file
}

var errTruncated = errors.New("the file ends in the middle of it, or is not protobuf")

// fields calls f for every field of message b, in order.
func fields(b []byte, f func(field) error) error {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return errTruncated
		}
		fd := field{num: num, typ: typ}
		var m int
		switch typ {
		case protowire.VarintType:
			fd.value, m = protowire.ConsumeVarint(b[n:])
		case protowire.Fixed32Type:
			var v uint32
			v, m = protowire.ConsumeFixed32(b[n:])
			fd.value = uint64(v)
		case protowire.Fixed64Type:
			fd.value, m = protowire.ConsumeFixed64(b[n:])
		case protowire.BytesType:
			fd.bytes, m = protowire.ConsumeBytes(b[n:])
		default:
			m = protowire.ConsumeFieldValue(num, typ, b[n:])
		}
		if m < 0 {
			return errTruncated
		}
		fd.raw = b[:n+m]
		if err := f(fd); err != nil {
			return err
		}
		b = b[n+m:]
	}
	return nil
}

// wantBytes fails when a field that onnx.proto makes a string or a message is
// something else.
func (f field) wantBytes() error {
	if f.typ != protowire.BytesType {
		return fmt.Errorf("field %d has wire type %d, not %d", f.num, f.typ, protowire.BytesType)
	}
	return nil
}

// str reads a string field into dst.
func (f field) str(dst *string) error {
	if err := f.wantBytes(); err != nil {
		return err
	}
	*dst = string(f.bytes)
	return nil
}

// ints appends a repeated integer field, packed or not, to dst, which may hold
// `most` of them.
func (f field) ints(dst *[]int64, most int) error {
	add := func(v uint64) error {
		if len(*dst) == most {
			return fmt.Errorf("more than %d dimensions", most)
		}
		*dst = append(*dst, int64(v))
		return nil
	}
	if f.typ == protowire.VarintType {
		return add(f.value)
	}
	if err := f.wantBytes(); err != nil {
		return err
	}
	for b := f.bytes; len(b) > 0; {
		v, n := protowire.ConsumeVarint(b)
		if n < 0 {
			return errTruncated
		}
		if err := add(v); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// stringIn is the string in a field of a message, "" when the message does not have it.
func stringIn(message []byte, num protowire.Number) (s string, err error) {
	err = fields(message, func(f field) error {
		if f.num == num {
			return f.str(&s)
		}
		return nil
	})
	return s, err
}
