package stage

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/distinfer/distinfer/runtime/encoding"
	"github.com/distinfer/distinfer/runtime/tensor"
)

// The fields of a tensor that travels narrow.
const (
	float16Field = 6
	scalesField  = 7
	int8Field    = 8
)

// narrow narrows a tensor; the buffer has the data of its numbers, and is nil when
// the tensor goes as it is.
func (e *encoder) narrow(t tensor.Tensor) (encoding.Numbers, mem.Buffer) {
	if e.pool == nil {
		return encoding.Numbers{}, nil
	}
	var memory *[]byte
	numbers, ok := e.encoding.Narrow(t, func(n int) []byte {
		memory = e.pool.Get(n)
		return *memory
	})
	if !ok {
		if memory != nil {
			e.pool.Put(memory)
		}
		return encoding.Numbers{}, nil
	}
	return numbers, mem.NewBuffer(memory, e.pool)
}

// buffers are memory for narrow tensors, which the transport gives back once it has
// sent it. It is a mem.BufferPool that does not clear its memory, which is written
// over, and whose memory is aligned.
type buffers struct{ pool sync.Pool }

// Get implements mem.BufferPool.
func (b *buffers) Get(n int) *[]byte {
	if old, _ := b.pool.Get().(*[]byte); old != nil && cap(*old) >= n {
		*old = (*old)[:n]
		return old
	}
	memory := tensor.AlignedBytes(int64(n))
	return &memory
}

// Put implements mem.BufferPool.
func (b *buffers) Put(memory *[]byte) { b.pool.Put(memory) }

// chunk is how many bytes of narrow numbers are read at a time.
const chunk = 16 << 10

// A narrowed is what a message says of a tensor that travels narrow.
type narrowed struct {
	float16, int8 []byte // as float32; those of int8 yet without their scales
	scales        []byte
}

// read reads a field. Numbers are widened while they are read.
func (n *narrowed) read(d *decoder, num protowire.Number) error {
	length, err := d.length()
	if err != nil {
		return err
	}
	switch num {
	case float16Field:
		n.float16, err = d.widen(encoding.Float16, length)
	case scalesField:
		n.scales, err = d.bytes(length, plainBytes)
	case int8Field:
		n.int8, err = d.widen(encoding.Int8, length)
	}
	return err
}

// widen reads the numbers in n bytes, and gives them as float32.
func (d *decoder) widen(e encoding.Encoding, n int) ([]byte, error) {
	if n%e.Size() != 0 {
		return nil, fmt.Errorf("%d bytes are no numbers of %s", n, e)
	}
	size := n / e.Size() * encoding.Float32.Size()
	if *d.room -= size - n; *d.room < 0 {
		return nil, errors.New("widened to float32, the tensors are larger than a message may be; raise the largest message")
	}
	t := tensor.Tensor{DType: tensor.Float32, Data: tensor.AlignedBytes(int64(size))}
	to, err := tensor.As[float32](t)
	if err != nil {
		return nil, err
	}
	read := tensor.AlignedBytes(int64(min(n, chunk)))
	for len(to) > 0 {
		part := read[:min(len(read), e.Size()*len(to))]
		if _, err := io.ReadFull(d.r, part); err != nil {
			return nil, errMessage
		}
		d.left -= len(part)
		numbers := len(part) / e.Size()
		e.Widen(to[:numbers], part)
		to = to[numbers:]
	}
	return t.Data, nil
}

// widen gives a tensor its numbers, if they travelled narrow.
func (n *narrowed) widen(t *tensor.Tensor) error {
	half, short, scaled := len(n.float16) > 0, len(n.int8) > 0, len(n.scales) > 0
	switch {
	case !half && !short && !scaled:
		return nil
	case half == short || half == scaled:
		return errors.New("its numbers are to be float16, or int8 with scales")
	case len(t.Data) > 0 || t.DType != tensor.Float32:
		return fmt.Errorf("narrow numbers belong to a tensor of float32 without data; this is %s with %d bytes", t.DType, len(t.Data))
	case half:
		t.Data = n.float16
		return nil
	}
	t.Data = n.int8
	if err := t.Check(); err != nil {
		return err
	}
	values, err := tensor.As[float32](*t)
	if err != nil {
		return err
	}
	return encoding.Scale(values, t.Shape, n.scales)
}
