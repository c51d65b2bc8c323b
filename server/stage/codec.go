package stage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"time"
	"unicode/utf8"

	grpcencoding "google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // the codec for all other messages
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/encoding"
	"github.com/distinfer/distinfer/runtime/pipeline"
	"github.com/distinfer/distinfer/runtime/tensor"
)

// A request is a RunRequest, and a response a RunResponse, of stage.proto.
type request struct {
	protocol uint32
	bundle   bundle.ID
	rank     int
	route    [][]string
	tensors  tensor.Bag
	inFlight int
	encoding encoding.Encoding // as it was sent; empty when it was not

	// narrow has the tensors sent in that encoding. It is a stage's: what the first
	// one is sent goes as it is.
	narrow bool

	// acquire waits for what the run needs to be computed; nil is a slot until it is.
	acquire func(context.Context) error

	// admission admits the message; nil admits all. untaken says that it did not, and weight
	// what the request holds.
	admission *admission
	untaken   bool
	weight    int64

	// malformed says why the message could not be read. The transport would
	// answer that with an error of its own; so the handler can.
	malformed error
}

type response struct {
	tensors tensor.Bag
	timings []pipeline.Timing

	retries uint32 // made by this process before the call succeeded
}

// codec is protobuf on the wire. Generated code would copy every tensor into a
// message and out of it again; this codec hands the transport the tensor's own
// memory, and copies once on the other side, into memory aligned for its type.
// Tensors that travel narrow are converted on the way, on both sides.
type codec struct {
	grpcencoding.CodecV2
	most   int // bytes that the tensors of a message may take once they are widened
	narrow *buffers
}

func newCodec(maxMessage int) codec {
	return codec{grpcencoding.GetCodecV2("proto"), maxMessage, &buffers{}}
}

// Marshal implements grpcencoding.CodecV2.
func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	switch v := v.(type) {
	case *request:
		return v.encode(c.narrow)
	case *response:
		e := &encoder{}
		err := e.bag(1, v.tensors)
		for _, t := range v.timings {
			e.timing(2, t)
		}
		return e.buffers(), err
	}
	return c.CodecV2.Marshal(v)
}

// Unmarshal implements grpcencoding.CodecV2.
func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	if r, ok := v.(*request); ok && !r.take(int64(data.Len())) {
		return nil
	}
	d := newDecoder(data, c.most)
	defer func() { _ = d.r.Close() }() // a message that is refused is not read to its end
	switch v := v.(type) {
	case *request:
		v.malformed = v.decode(d)
		return nil
	case *response:
		return d.fields(func(d *decoder, num protowire.Number, typ protowire.Type) error {
			switch {
			case num == 1 && typ == protowire.BytesType:
				return d.tensor(&v.tensors)
			case num == 2 && typ == protowire.BytesType:
				return d.timing(&v.timings)
			}
			return d.skip(num, typ)
		})
	}
	return c.CodecV2.Unmarshal(data, v)
}

func (r *request) encode(pool *buffers) (mem.BufferSlice, error) {
	e := &encoder{}
	if r.narrow {
		e.encoding, e.pool = r.encoding, pool
	}
	e.number(5, uint64(r.protocol))
	e.text(1, string(r.bundle))
	e.number(2, uint64(r.rank))
	for _, replicas := range r.route {
		size := 0
		for _, a := range replicas {
			size += protowire.SizeTag(1) + protowire.SizeBytes(len(a))
		}
		e.head = protowire.AppendTag(e.head, 3, protowire.BytesType)
		e.head = protowire.AppendVarint(e.head, uint64(size))
		for _, a := range replicas {
			e.text(1, a)
		}
	}
	err := e.bag(4, r.tensors)
	if r.encoding != "" {
		e.text(6, string(r.encoding))
	}
	e.number(7, uint64(r.inFlight))
	return e.buffers(), err
}

// Limits on what a request may hold besides tensors, and on the number of
// tensors; their size is limited by that of the message.
const (
	maxRoute   = 1024 // hops
	maxHop     = 64   // replicas of one
	maxTensors = 4096
	maxName    = 4096
	maxStrings = 1 << 20
	// stringBytes is what a string takes in memory besides its bytes, at least. An empty
	// one takes two bytes of a message.
	stringBytes = 16
)

func (r *request) decode(d *decoder) error {
	return d.fields(func(d *decoder, num protowire.Number, typ protowire.Type) error {
		switch {
		case num == 1 && typ == protowire.BytesType:
			return d.string((*string)(&r.bundle))
		case num == 2 && typ == protowire.VarintType:
			n, err := d.varint()
			if n > maxRoute {
				return fmt.Errorf("rank %d is out of range", n)
			}
			r.rank = int(n)
			return err
		case num == 5 && typ == protowire.VarintType:
			n, err := d.varint()
			r.protocol = uint32(n) // as protobuf has it
			return err
		case num == 3 && typ == protowire.BytesType:
			if len(r.route) == maxRoute {
				return fmt.Errorf("more than %d hops", maxRoute)
			}
			var replicas []string
			err := d.message(func(d *decoder, num protowire.Number, typ protowire.Type) error {
				if num != 1 || typ != protowire.BytesType {
					return d.skip(num, typ)
				}
				if len(replicas) == maxHop {
					return fmt.Errorf("more than %d replicas of a hop", maxHop)
				}
				var a string
				err := d.string(&a)
				replicas = append(replicas, a)
				return err
			})
			r.route = append(r.route, replicas)
			return err
		case num == 4 && typ == protowire.BytesType:
			return d.tensor(&r.tensors)
		case num == 6 && typ == protowire.BytesType:
			return d.string((*string)(&r.encoding))
		case num == 7 && typ == protowire.VarintType:
			n, err := d.varint()
			r.inFlight = int(min(n, math.MaxInt32))
			return err
		}
		return d.skip(num, typ)
	})
}

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

// A decoder reads protobuf from the buffers a message arrived in, without
// joining them first.
type decoder struct {
	r    *mem.Reader
	left int  // bytes of the message being read
	room *int // bytes that tensors may take besides those that they have in the message
}

func newDecoder(data mem.BufferSlice, most int) *decoder {
	r := data.Reader()
	room := most - r.Remaining()
	return &decoder{r: r, left: r.Remaining(), room: &room}
}

// within is a decoder of the next n bytes.
func (d *decoder) within(n int) *decoder {
	d.left -= n
	return &decoder{r: d.r, left: n, room: d.room}
}

var errMessage = errors.New("the message is cut off or is not protobuf")

// fields calls f at every field of the message, which has to read its value.
func (d *decoder) fields(f func(*decoder, protowire.Number, protowire.Type) error) error {
	for d.left > 0 {
		tag, err := d.varint()
		if err != nil {
			return err
		}
		num, typ := protowire.DecodeTag(tag)
		if num < protowire.MinValidNumber || num > protowire.MaxValidNumber {
			return errMessage
		}
		if err := f(d, num, typ); err != nil {
			return err
		}
	}
	return nil
}

// message reads an embedded message.
func (d *decoder) message(f func(*decoder, protowire.Number, protowire.Type) error) error {
	n, err := d.length()
	if err != nil {
		return err
	}
	return d.within(n).fields(f)
}

func (d *decoder) varint() (uint64, error) {
	var v uint64
	for shift := 0; shift < 64; shift += 7 {
		if d.left == 0 {
			return 0, errMessage
		}
		b, err := d.r.ReadByte()
		if err != nil {
			return 0, errMessage
		}
		d.left--
		if shift == 63 && b > 1 {
			return 0, errMessage
		}
		v |= uint64(b&0x7f) << shift
		if b < 0x80 {
			return v, nil
		}
	}
	return 0, errMessage
}

// length reads the length of a field, which must lie inside the message.
func (d *decoder) length() (int, error) {
	n, err := d.varint()
	if err != nil || n > uint64(d.left) {
		return 0, errMessage
	}
	return int(n), nil
}

func (d *decoder) bytes(n int, alloc func(int) []byte) ([]byte, error) {
	b := alloc(n)
	if _, err := io.ReadFull(d.r, b); err != nil {
		return nil, errMessage
	}
	d.left -= n
	return b, nil
}

func plainBytes(n int) []byte { return make([]byte, n) }

func (d *decoder) string(s *string) error {
	n, err := d.length()
	if err != nil {
		return err
	}
	if n > maxName {
		return fmt.Errorf("a name of %d bytes is longer than %d", n, maxName)
	}
	b, err := d.bytes(n, plainBytes)
	if !utf8.Valid(b) {
		return errors.New("a name is not UTF-8")
	}
	*s = string(b)
	return err
}

// skip reads past a field that this version does not know.
func (d *decoder) skip(num protowire.Number, typ protowire.Type) error {
	var n int
	switch typ {
	case protowire.VarintType:
		_, err := d.varint()
		return err
	case protowire.Fixed32Type:
		n = 4
	case protowire.Fixed64Type:
		n = 8
	case protowire.BytesType:
		var err error
		if n, err = d.length(); err != nil {
			return err
		}
	default:
		return fmt.Errorf("field %d has wire type %d, which is not used", num, typ)
	}
	if n > d.left {
		return errMessage
	}
	if _, err := d.r.Discard(n); err != nil {
		return errMessage
	}
	d.left -= n
	return nil
}

// tensor reads a Tensor into the bag.
func (d *decoder) tensor(bag *tensor.Bag) error {
	if len(*bag) == maxTensors {
		return fmt.Errorf("more than %d tensors", maxTensors)
	}
	var name string
	var t tensor.Tensor
	var narrow narrowed
	err := d.message(func(d *decoder, num protowire.Number, typ protowire.Type) error {
		switch {
		case num == 1 && typ == protowire.BytesType:
			return d.string(&name)
		case num == 2 && typ == protowire.VarintType:
			n, err := d.varint()
			t.DType = tensor.DType(n)
			return err
		case num == 3 && typ == protowire.VarintType:
			return d.dim(&t)
		case num == 3 && typ == protowire.BytesType:
			n, err := d.length()
			if err != nil {
				return err
			}
			packed := d.within(n)
			for packed.left > 0 {
				if err := packed.dim(&t); err != nil {
					return err
				}
			}
			return nil
		case num == 4 && typ == protowire.BytesType:
			n, err := d.length()
			if err != nil {
				return err
			}
			t.Data, err = d.bytes(n, func(n int) []byte { return tensor.AlignedBytes(int64(n)) })
			return err
		case num == 5 && typ == protowire.BytesType:
			n, err := d.length()
			if err != nil {
				return err
			}
			if len(t.Strs) == maxStrings {
				return fmt.Errorf("more than %d strings", maxStrings)
			}
			if *d.room -= stringBytes; *d.room < 0 {
				return errors.New("its strings take more memory than a message may be large; raise the largest message, or send fewer")
			}
			b, err := d.bytes(n, plainBytes)
			t.Strs = append(t.Strs, string(b))
			return err
		case num >= float16Field && num <= int8Field && typ == protowire.BytesType:
			return narrow.read(d, num)
		}
		return d.skip(num, typ)
	})
	if err == nil {
		err = narrow.widen(&t)
	}
	if err != nil {
		return fmt.Errorf("tensor %q: %w", name, err)
	}
	if err := t.Check(); err != nil {
		return fmt.Errorf("tensor %q: %w", name, err)
	}
	if *bag == nil {
		*bag = tensor.Bag{}
	}
	if _, twice := (*bag)[name]; twice {
		return fmt.Errorf("tensor %q is there twice", name)
	}
	(*bag)[name] = t
	return nil
}

// timing reads one more Timing.
func (d *decoder) timing(list *[]pipeline.Timing) error {
	if len(*list) == maxRoute {
		return fmt.Errorf("more than %d timings", maxRoute)
	}
	var t pipeline.Timing
	err := d.message(func(d *decoder, num protowire.Number, typ protowire.Type) error {
		if typ != protowire.VarintType {
			return d.skip(num, typ)
		}
		v, err := d.varint()
		if num != 7 {
			v = min(v, math.MaxInt32<<31) // more is nonsense, and should not be negative
		}
		switch num {
		case 1:
			t.Rank = int(v)
		case 2:
			t.Waited = time.Duration(v)
		case 3:
			t.Computed = time.Duration(v)
		case 4:
			t.Next = time.Duration(v)
		case 5:
			t.Total = time.Duration(v)
		case 6:
			t.Retries = int(v)
		case 7:
			t.Machine = v
		case 8:
			t.AtOnce = int(v)
		case 9:
			t.Processors = int(v)
		}
		return err
	})
	*list = append(*list, t)
	return err
}

// dim reads one more dimension of a tensor.
func (d *decoder) dim(t *tensor.Tensor) error {
	if len(t.Shape) == tensor.MaxRank {
		return fmt.Errorf("more than %d dimensions", tensor.MaxRank)
	}
	n, err := d.varint()
	t.Shape = append(t.Shape, int64(n))
	return err
}
