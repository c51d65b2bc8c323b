package stage

import (
	"fmt"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/distinfer/distinfer/runtime/encoding"
	"github.com/distinfer/distinfer/runtime/pipeline"
	"github.com/distinfer/distinfer/runtime/tensor"
)

// An encoder gathers small fields in head, and puts large ones behind it as
// buffers of their own.
type encoder struct {
	head []byte
	done mem.BufferSlice

	encoding encoding.Encoding // of float32 tensors; empty has them stay as they are
	pool     *buffers          // for what is narrowed
}

func (e *encoder) buffers() mem.BufferSlice {
	if len(e.head) > 0 {
		e.done = append(e.done, mem.SliceBuffer(e.head))
		e.head = nil
	}
	return e.done
}

func (e *encoder) text(num protowire.Number, s string) {
	e.head = protowire.AppendTag(e.head, num, protowire.BytesType)
	e.head = protowire.AppendString(e.head, s)
}

func (e *encoder) number(num protowire.Number, n uint64) {
	e.head = protowire.AppendTag(e.head, num, protowire.VarintType)
	e.head = protowire.AppendVarint(e.head, n)
}

// values are the fields of a Timing in the order of their numbers.
func values(t pipeline.Timing) [9]uint64 {
	return [...]uint64{
		uint64(t.Rank), uint64(t.Waited), uint64(t.Computed), uint64(t.Next), uint64(t.Total), uint64(t.Retries),
		t.Machine, uint64(t.AtOnce), uint64(t.Processors),
	}
}

func (e *encoder) timing(num protowire.Number, t pipeline.Timing) {
	size := 0
	for i, v := range values(t) {
		size += protowire.SizeTag(protowire.Number(i+1)) + protowire.SizeVarint(v)
	}
	e.head = protowire.AppendTag(e.head, num, protowire.BytesType)
	e.head = protowire.AppendVarint(e.head, uint64(size))
	for i, v := range values(t) {
		e.number(protowire.Number(i+1), v)
	}
}

// inline is the size in bytes up to which a tensor's data is copied beside the
// other fields: a buffer of its own would cost more.
const inline = 1024

func (e *encoder) bag(num protowire.Number, bag tensor.Bag) error {
	for _, name := range bag.Names() {
		t := bag[name]
		if err := t.Check(); err != nil {
			return fmt.Errorf("tensor %q: %w", name, err)
		}
		if numbers, buffer := e.narrow(t); buffer != nil {
			switch numbers.Encoding {
			case encoding.Float16:
				e.tensor(num, name, t, piece{float16Field, buffer})
			case encoding.Int8:
				e.tensor(num, name, t, piece{scalesField, mem.SliceBuffer(numbers.Scales)}, piece{int8Field, buffer})
			}
			continue
		}
		e.tensor(num, name, t, piece{4, mem.SliceBuffer(t.Data)})
	}
	return nil
}

// A piece is the data of a tensor or a part of it, in one of its fields.
type piece struct {
	num  protowire.Number
	data mem.Buffer
}

func (e *encoder) tensor(num protowire.Number, name string, t tensor.Tensor, pieces ...piece) {
	dims := 0
	for _, n := range t.Shape {
		dims += protowire.SizeVarint(uint64(n))
	}
	size := protowire.SizeTag(1) + protowire.SizeBytes(len(name)) +
		protowire.SizeTag(2) + protowire.SizeVarint(uint64(t.DType))
	if len(t.Shape) > 0 {
		size += protowire.SizeTag(3) + protowire.SizeBytes(dims)
	}
	for _, p := range pieces {
		if n := p.data.Len(); n > 0 {
			size += protowire.SizeTag(p.num) + protowire.SizeBytes(n)
		}
	}
	for _, s := range t.Strs {
		size += protowire.SizeTag(5) + protowire.SizeBytes(len(s))
	}

	e.head = protowire.AppendTag(e.head, num, protowire.BytesType)
	e.head = protowire.AppendVarint(e.head, uint64(size))
	e.text(1, name)
	e.number(2, uint64(t.DType))
	if len(t.Shape) > 0 {
		e.head = protowire.AppendTag(e.head, 3, protowire.BytesType)
		e.head = protowire.AppendVarint(e.head, uint64(dims))
		for _, n := range t.Shape {
			e.head = protowire.AppendVarint(e.head, uint64(n))
		}
	}
	for _, p := range pieces {
		e.data(p)
	}
	for _, s := range t.Strs {
		e.text(5, s)
	}
}

// data adds a piece, and takes over its buffer.
func (e *encoder) data(p piece) {
	n := p.data.Len()
	if n == 0 {
		return
	}
	e.head = protowire.AppendTag(e.head, p.num, protowire.BytesType)
	e.head = protowire.AppendVarint(e.head, uint64(n))
	if n > inline {
		e.done = append(e.done, mem.SliceBuffer(e.head), p.data)
		e.head = nil
		return
	}
	e.head = append(e.head, p.data.ReadOnlyData()...)
	p.data.Free()
}
