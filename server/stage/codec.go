package stage

import (
	"context"
	"fmt"
	"math"

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
	outputs  []string          // that the caller wants; none is all
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
	for _, name := range r.outputs {
		e.text(8, name)
	}
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
		case num == 8 && typ == protowire.BytesType:
			if len(r.outputs) == maxTensors {
				return fmt.Errorf("more than %d outputs", maxTensors)
			}
			var name string
			err := d.string(&name)
			r.outputs = append(r.outputs, name)
			return err
		}
		return d.skip(num, typ)
	})
}
