package stage

import (
	"errors"
	"fmt"
	"io"
	"math"
	"time"
	"unicode/utf8"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/distinfer/distinfer/runtime/pipeline"
	"github.com/distinfer/distinfer/runtime/tensor"
)

// A decoder reads protobuf from the buffers a message arrived in, without
// joining them first.
type decoder struct {
	r    *mem.Reader
	left int  // bytes of the message being read
	room *int // bytes that tensors may take in addition to their bytes in the message
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
