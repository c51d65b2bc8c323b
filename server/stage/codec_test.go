package stage

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/distinfer/distinfer/runtime/pipeline"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/server/stage/stagepb"
)

// bagOfAll holds a tensor of every element type in every kind of shape.
func bagOfAll(t testing.TB) tensor.Bag {
	t.Helper()
	random := rand.New(rand.NewPCG(1, 2))
	bag := tensor.Bag{}
	for d := tensor.Undefined; d < 64; d++ {
		if !d.Known() || d == tensor.String {
			continue
		}
		for _, shape := range [][]int64{{}, {0}, {3}, {2, 0, 5}, {2, 3}, {1, 1, 1, 7}} {
			x, err := tensor.New(d, shape)
			if err != nil {
				t.Fatal(err)
			}
			for i := range x.Data {
				x.Data[i] = byte(random.Uint32())
			}
			bag[fmt.Sprint(d, shape)] = x
		}
	}
	if len(bag) < 20*6 {
		t.Fatalf("only %d tensors", len(bag))
	}
	bag["bool true false"] = tensor.Of([]int64{2}, []bool{true, false})
	bag["string"] = tensor.Tensor{DType: tensor.String, Strs: []string{"scalar"}}
	bag["strings none"] = tensor.Tensor{DType: tensor.String, Shape: []int64{0, 4}}
	bag["strings ünïcode"] = tensor.Tensor{DType: tensor.String, Shape: []int64{2, 2}, Strs: []string{"", "日本", "\xff\xfe", strings.Repeat("long ", 1000)}}
	bag[""] = tensor.Of([]int64{1}, []int64{-1})
	// Around the size at which data is no longer copied beside the fields.
	for _, n := range []int{inline - 1, inline, inline + 1} {
		bag[fmt.Sprint("uint8 ", n)] = noise(n)
	}
	return bag
}

// noise is a tensor of n bytes.
func noise(n int) tensor.Tensor {
	random := rand.New(rand.NewPCG(3, uint64(n)))
	x := make([]uint8, n)
	for i := range x {
		x[i] = byte(random.Uint32())
	}
	return tensor.Of([]int64{int64(n)}, x)
}

func everyRequest(t testing.TB) map[string]*request {
	t.Helper()
	return map[string]*request{
		"everything":  {bundle: thisBundle, rank: 3, inFlight: 1 << 20, outputs: []string{"logits", ""}, encoding: "int8", route: [][]string{{"a:1"}, {"b:2", "c:3"}}, tensors: bagOfAll(t)},
		"a megabyte":  {bundle: thisBundle, tensors: tensor.Bag{"a": noise(1 << 20), "b": noise(3)}},
		"empty":       {},
		"no tensors":  {bundle: "x", rank: maxRoute, route: [][]string{{"a:1"}}},
		"empty hop":   {route: [][]string{{}, {"a:1"}, {}}},
		"one scalar":  {bundle: thisBundle, tensors: tensor.Bag{"x": tensor.Of(nil, []float32{1.5})}},
		"big behind":  {tensors: tensor.Bag{"a": tensor.Of([]int64{2000}, make([]int64, 2000)), "b": tensor.Of(nil, []int8{1})}},
		"only strs":   {tensors: tensor.Bag{"s": {DType: tensor.String, Shape: []int64{1}, Strs: []string{"x"}}}},
		"no elements": {tensors: tensor.Bag{"e": {DType: tensor.Float32, Shape: []int64{1, 0}}}},
	}
}

// toProto is the message that generated code has for a request.
func toProto(r *request) *stagepb.RunRequest {
	m := &stagepb.RunRequest{Protocol: r.protocol, Bundle: string(r.bundle), Rank: uint32(r.rank), InFlight: uint32(r.inFlight), Outputs: r.outputs, Encoding: string(r.encoding), Tensors: tensorsToProto(r.tensors)}
	for _, hop := range r.route {
		m.Route = append(m.Route, &stagepb.Hop{Addresses: hop})
	}
	return m
}

func tensorsToProto(bag tensor.Bag) []*stagepb.Tensor {
	var list []*stagepb.Tensor
	for _, name := range bag.Names() {
		x := bag[name]
		p := &stagepb.Tensor{Name: name, Dtype: int32(x.DType), Dims: x.Shape, Data: x.Data}
		for _, s := range x.Strs {
			p.Strings = append(p.Strings, []byte(s))
		}
		list = append(list, p)
	}
	return list
}

// timings are those of some response.
var timings = []pipeline.Timing{{Rank: 0, Waited: 1, Computed: 2 * time.Second, Next: 3 * time.Hour, Total: 4 * time.Hour, Retries: 5, Machine: 1<<64 - 6, AtOnce: 7, Processors: 8}, {}, {Rank: 1023}}

func timingsToProto(list []pipeline.Timing) []*stagepb.Timing {
	var all []*stagepb.Timing
	for _, t := range list {
		all = append(all, &stagepb.Timing{
			Rank: uint32(t.Rank), Waited: uint64(t.Waited), Computed: uint64(t.Computed), Next: uint64(t.Next), Total: uint64(t.Total), Retries: uint32(t.Retries),
			Machine: t.Machine, AtOnce: uint32(t.AtOnce), Processors: uint32(t.Processors),
		})
	}
	return all
}

// pieces cuts a message into buffers of the given sizes, the last one for all
// that remains, with empty ones in between.
func pieces(b []byte, size int) mem.BufferSlice {
	var s mem.BufferSlice
	for len(b) > 0 {
		n := len(b)
		if size > 0 {
			n = min(n, size)
		}
		s = append(s, mem.SliceBuffer(nil), mem.SliceBuffer(b[:n:n]))
		b = b[n:]
	}
	return s
}

func decodeRequest(b []byte, size int) (*request, error) {
	r := &request{}
	if err := newCodec(maxMessage).Unmarshal(pieces(b, size), r); err != nil {
		return r, err
	}
	return r, r.malformed
}

func TestEncodingIsWhatGeneratedCodeReads(t *testing.T) {
	t.Parallel()
	for name, r := range everyRequest(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			buffers, err := newCodec(maxMessage).Marshal(r)
			if err != nil {
				t.Fatal(err)
			}
			got := &stagepb.RunRequest{}
			if err := proto.Unmarshal(buffers.Materialize(), got); err != nil {
				t.Fatal(err)
			}
			if want := toProto(r); !proto.Equal(got, want) {
				t.Errorf("generated code reads %v, want %v", summary(got), summary(want))
			}
			if unknown := got.ProtoReflect().GetUnknown(); len(unknown) > 0 {
				t.Errorf("%d bytes are unknown to generated code", len(unknown))
			}

			buffers, err = newCodec(maxMessage).Marshal(&response{tensors: r.tensors, timings: timings})
			if err != nil {
				t.Fatal(err)
			}
			answer := &stagepb.RunResponse{}
			if err := proto.Unmarshal(buffers.Materialize(), answer); err != nil {
				t.Fatal(err)
			}
			if want := (&stagepb.RunResponse{Tensors: tensorsToProto(r.tensors), Timings: timingsToProto(timings)}); !proto.Equal(answer, want) {
				t.Error("generated code reads another response")
			}
		})
	}
}

// summary is a message without its data, which may be long.
func summary(m *stagepb.RunRequest) string {
	s := fmt.Sprint(m.GetBundle(), m.GetRank(), m.GetRoute())
	for _, x := range m.GetTensors() {
		s += fmt.Sprint(" ", x.GetName(), x.GetDtype(), x.GetDims(), len(x.GetData()), len(x.GetStrings()))
	}
	return s
}

func TestGeneratedEncodingIsRead(t *testing.T) {
	t.Parallel()
	for name, r := range everyRequest(t) {
		encoded, err := proto.Marshal(toProto(r))
		if err != nil {
			t.Fatal(err)
		}
		encodedResponse, err := proto.Marshal(&stagepb.RunResponse{Tensors: tensorsToProto(r.tensors), Timings: timingsToProto(timings)})
		if err != nil {
			t.Fatal(err)
		}
		sizes := []int{0, 1, 2, 3, 7, 1024, 16 << 10}
		if len(encoded) > 1<<20 {
			sizes = []int{0, 1023, 16 << 10} // as a transport would; a million pieces are slow
		}
		for _, size := range sizes {
			t.Run(fmt.Sprintf("%s in pieces of %d", name, size), func(t *testing.T) {
				t.Parallel()
				got, err := decodeRequest(encoded, size)
				if err != nil {
					t.Fatal(err)
				}
				if got.protocol != r.protocol || got.bundle != r.bundle || got.rank != r.rank || !slices.EqualFunc(got.route, r.route, slices.Equal) {
					t.Errorf("got %q, %d, %q", got.bundle, got.rank, got.route)
				}
				if !equalBags(got.tensors, r.tensors) {
					t.Error("the tensors differ")
				}
				out := &response{}
				if err := newCodec(maxMessage).Unmarshal(pieces(encodedResponse, size), out); err != nil {
					t.Fatal(err)
				}
				if !equalBags(out.tensors, r.tensors) || !slices.Equal(out.timings, timings) {
					t.Error("the response differs")
				}
				for name, x := range out.tensors {
					if len(x.Data) > 0 && uintptr(unsafe.Pointer(&x.Data[0]))%8 != 0 {
						t.Errorf("tensor %q is not aligned", name)
					}
				}
			})
		}
	}
}

// What is decoded must not live in the transport's buffers, which are used
// again, and large data must not be copied on its way out.
func TestWhoOwnsMemory(t *testing.T) {
	t.Parallel()
	r := &request{tensors: tensor.Bag{"x": tensor.Of([]int64{4096}, make([]float32, 4096)), "y": tensor.Of(nil, []float32{7})}}
	buffers, err := newCodec(maxMessage).Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	data := r.tensors["x"].Data
	if !slices.ContainsFunc(buffers, func(b mem.Buffer) bool {
		return b.Len() == len(data) && &b.ReadOnlyData()[0] == &data[0]
	}) {
		t.Error("the tensor was copied")
	}

	encoded := bytes.Clone(buffers.Materialize())
	got, err := decodeRequest(encoded, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i := range encoded {
		encoded[i] = 0xff
	}
	if !equalBags(got.tensors, r.tensors) {
		t.Error("the decoded tensors changed with the buffers they came from")
	}
}

// A countingPool counts the buffers that are out.
type countingPool struct{ out int }

func (p *countingPool) Get(n int) *[]byte {
	p.out++
	b := make([]byte, n)
	return &b
}

func (p *countingPool) Put(*[]byte) { p.out-- }

func TestBuffersGoBackToTheirPool(t *testing.T) {
	t.Parallel()
	good, err := proto.Marshal(toProto(&request{tensors: tensor.Bag{"x": tensor.Of([]int64{32 << 10}, make([]float32, 32<<10))}}))
	if err != nil {
		t.Fatal(err)
	}
	bad := bytes.Clone(good)
	bad[1] = 0xff // the first field's length is wrong
	for name, message := range map[string][]byte{"decoded": good, "refused": bad} {
		pool := &countingPool{}
		var buffers mem.BufferSlice
		for b := range slices.Chunk(message, 16<<10) {
			buffers = append(buffers, mem.Copy(b, pool))
		}
		if pool.out < 4 {
			t.Fatalf("%s: only %d buffers", name, pool.out)
		}
		r := &request{}
		if err := newCodec(maxMessage).Unmarshal(buffers, r); err != nil || (r.malformed != nil) != (name == "refused") {
			t.Errorf("%s: %v, %v", name, err, r.malformed)
		}
		buffers.Free() // as the transport does
		if pool.out != 0 {
			t.Errorf("%s: %d buffers do not come back", name, pool.out)
		}
	}
}

func TestEncodingRefusesWrongTensor(t *testing.T) {
	t.Parallel()
	bag := tensor.Bag{"wrong": {DType: tensor.Float32, Shape: []int64{2}, Data: make([]byte, 7)}}
	for _, v := range []any{&request{tensors: bag}, &response{tensors: bag}} {
		if _, err := newCodec(maxMessage).Marshal(v); err == nil || !strings.Contains(err.Error(), `tensor "wrong"`) {
			t.Errorf("%T: %v", v, err)
		}
	}
}

// Parts of messages, written by hand.

func join(parts ...[]byte) []byte { return slices.Concat(parts...) }

func varint(num protowire.Number, n uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(nil, num, protowire.VarintType), n)
}

func field(num protowire.Number, parts ...[]byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, num, protowire.BytesType), join(parts...))
}

func text(num protowire.Number, s string) []byte { return field(num, []byte(s)) }

func dims(n ...uint64) []byte {
	var b []byte
	for _, d := range n {
		b = protowire.AppendVarint(b, d)
	}
	return field(3, b)
}

// float32s is a Tensor of the given name, dimensions and bytes of data.
func float32s(name string, shape []uint64, data int) []byte {
	return field(4, text(1, name), varint(2, 1), dims(shape...), field(4, make([]byte, data)))
}

func TestUnusualEncodingsAreRead(t *testing.T) {
	t.Parallel()
	one := []byte{0, 0, 0x80, 0x3f, 0, 0, 0, 0x40} // 1, 2
	x := tensor.Of([]int64{1, 2}, []float32{1, 2})
	unknown := join(
		varint(99, 1<<63),
		text(100, "something"),
		protowire.AppendFixed32(protowire.AppendTag(nil, 101, protowire.Fixed32Type), 1),
		protowire.AppendFixed64(protowire.AppendTag(nil, 102, protowire.Fixed64Type), 1),
		field(protowire.MaxValidNumber, nil),
	)
	for name, encoded := range map[string][]byte{
		"fields backwards": join(field(4, field(4, one), dims(1, 2), varint(2, 1), text(1, "x")), varint(2, 1), text(1, "b")),
		"unpacked dims":    join(text(1, "b"), varint(2, 1), field(4, text(1, "x"), varint(2, 1), varint(3, 1), varint(3, 2), field(4, one))),
		"dims in two":      join(text(1, "b"), varint(2, 1), field(4, text(1, "x"), varint(2, 1), dims(1), varint(3, 2), dims(), field(4, one))),
		"unknown fields":   join(unknown, text(1, "b"), unknown, varint(2, 1), field(4, unknown, text(1, "x"), varint(2, 1), unknown, dims(1, 2), field(4, one), unknown), unknown),
		"last one counts":  join(text(1, "a"), text(1, "b"), varint(2, 7), varint(2, 1), field(4, text(1, "y"), text(1, "x"), varint(2, 9), varint(2, 1), dims(1, 2), field(4, []byte("abc")), field(4, one))),
		"long varints":     join(text(1, "b"), []byte{2 << 3, 0x81, 0x80, 0x80, 0x00}, field(4, text(1, "x"), varint(2, 1), dims(1, 2), field(4, one))),
		"other wire types": join(varint(1, 5), text(2, "not a number"), varint(4, 1), text(1, "b"), varint(2, 1), field(4, varint(1, 3), text(2, "-"), varint(4, 1), text(1, "x"), varint(2, 1), dims(1, 2), field(4, one))),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, size := range []int{0, 1, 3} {
				r, err := decodeRequest(encoded, size)
				if err != nil {
					t.Fatal(err)
				}
				if r.bundle != "b" || r.rank != 1 || !equalBags(r.tensors, tensor.Bag{"x": x}) {
					t.Errorf("got %+v", r)
				}
				agree(t, encoded, size)
			}
		})
	}
}

func TestHostileMessagesAreRefused(t *testing.T) {
	t.Parallel()
	big := uint64(1) << 40
	many := func(n int, b []byte) []byte { return bytes.Repeat(b, n) }
	var manyTensors []byte
	for i := range maxTensors + 1 {
		manyTensors = append(manyTensors, float32s(fmt.Sprint(i), []uint64{0}, 0)...)
	}
	for name, c := range map[string]struct {
		encoded []byte
		want    string
	}{
		"twice the same tensor":   {join(float32s("x", []uint64{1}, 4), float32s("x", []uint64{1}, 4)), `"x" is there twice`},
		"too little data":         {float32s("x", []uint64{2, 3}, 23), "needs 24 bytes, there are 23"},
		"too much data":           {float32s("x", []uint64{2, 3}, 25), "needs 24 bytes, there are 25"},
		"no data":                 {float32s("x", []uint64{1 << 50}, 0), "there are 0"},
		"data for no elements":    {float32s("x", []uint64{0, 5}, 1), "needs 0 bytes"},
		"negative dimension":      {float32s("x", []uint64{1<<64 - 1, 4}, 4), "negative dimension"},
		"all dimensions negative": {float32s("x", []uint64{1<<64 - 2, 1<<64 - 2}, 16), "negative dimension"},
		"overflowing dimensions":  {float32s("x", []uint64{1 << 32, 1 << 32}, 0), "too large"},
		"overflowing bytes":       {float32s("x", []uint64{1 << 62}, 0), "too large"},
		"zero hides overflow":     {float32s("x", []uint64{1 << 32, 1 << 32, 1}, 4), "too large"},
		"many packed dimensions":  {field(4, text(1, "x"), varint(2, 1), field(3, many(1<<16, []byte{1}))), "more than 64 dimensions"},
		"many unpacked ones":      {field(4, text(1, "x"), varint(2, 1), many(65, varint(3, 1)), field(4, make([]byte, 4))), "64"},
		"many short packed ones":  {field(4, text(1, "x"), varint(2, 1), many(65, dims(1)), field(4, make([]byte, 4))), "64"},
		"unknown element type":    {field(4, text(1, "x"), varint(2, 77)), "unknown element type 77"},
		"no element type":         {field(4, text(1, "x")), "unknown element type 0"},
		"too few strings":         {field(4, text(1, "x"), varint(2, 8), dims(2), text(5, "a")), "needs 2 strings, there are 1"},
		"strings and data":        {field(4, text(1, "x"), varint(2, 8), dims(1), text(5, "a"), text(4, "a")), "strings"},
		"strings in a number":     {field(4, text(1, "x"), varint(2, 1), field(4, make([]byte, 4)), text(5, "a")), "needs 4 bytes"},
		"too many tensors":        {manyTensors, "more than 4096 tensors"},
		"too many hops":           {many(maxRoute+1, field(3, text(1, "a:1"))), "more than 1024 hops"},
		"too many replicas":       {field(3, many(maxHop+1, text(1, "a:1"))), "more than 64 replicas"},
		"rank out of range":       {varint(2, maxRoute+1), "out of range"},
		"rank that wraps":         {varint(2, 1<<32), "out of range"},
		"long bundle":             {text(1, strings.Repeat("b", maxName+1)), "longer than 4096"},
		"long tensor name":        {field(4, text(1, strings.Repeat("b", maxName+1))), "longer than 4096"},
		"long address":            {field(3, text(1, strings.Repeat("b", maxName+1))), "longer than 4096"},
		"bundle is not UTF-8":     {text(1, "\xff"), "UTF-8"},
		"address is not UTF-8":    {field(3, text(1, "\xff")), "UTF-8"},
		"name is not UTF-8":       {field(4, text(1, "\xff"), varint(2, 1), dims(0)), "UTF-8"},
		"length past the end":     {protowire.AppendVarint(protowire.AppendTag(nil, 4, protowire.BytesType), big), "cut off"},
		"length of 2^64-1":        {protowire.AppendVarint(protowire.AppendTag(nil, 4, protowire.BytesType), 1<<64-1), "cut off"},
		"data past the tensor":    {append(field(4, text(1, "x"), protowire.AppendVarint(protowire.AppendTag(nil, 4, protowire.BytesType), 10), []byte("123")), "behind it there is more"...), "cut off"},
		"dims past the tensor":    {append(field(4, []byte{3<<3 | 2, 5, 1}), "behind it there is more"...), "cut off"},
		"dim past the dims":       {append(field(4, []byte{3<<3 | 2, 1, 0x80}, varint(2, 1)), "more"...), "cut off"},
		"varint without end":      {many(11, []byte{0x80}), "cut off"},
		"varint over 64 bits":     {join([]byte{2 << 3}, many(9, []byte{0xff}), []byte{2}), "cut off"},
		"fixed32 cut off":         {[]byte{9<<3 | 5, 1, 2, 3}, "cut off"},
		"fixed64 cut off":         {[]byte{9<<3 | 1, 1, 2, 3, 4, 5, 6, 7}, "cut off"},
		"field number 0":          {[]byte{0, 0}, "cut off"},
		"field number too large":  {append(protowire.AppendVarint(nil, (1<<29)<<3), 0), "not protobuf"},
		"group":                   {[]byte{9<<3 | 3, 9<<3 | 4}, "wire type 3"},
		"end of no group":         {[]byte{9<<3 | 4}, "wire type 4"},
		"wire type 6":             {[]byte{9<<3 | 6, 0}, "wire type 6"},
		"wire type 7 in a tensor": {field(4, []byte{9<<3 | 7, 0}), "wire type 7"},
		"half a float16":          {halfs("x", []uint64{2, 3}, 11), "11 bytes are no numbers of float16"},
		"too few float16":         {halfs("x", []uint64{2, 3}, 10), "needs 24 bytes, there are 20"},
		"too many float16":        {halfs("x", []uint64{2, 3}, 14), "needs 24 bytes, there are 28"},
		"float16 of float64":      {field(4, text(1, "x"), varint(2, 11), dims(1), field(6, make([]byte, 4))), "this is float64"},
		"float16 and data":        {field(4, text(1, "x"), varint(2, 1), dims(1), field(4, make([]byte, 4)), field(6, make([]byte, 2))), "4 bytes"},
		"float16 and int8":        {field(4, text(1, "x"), varint(2, 1), dims(1), field(6, make([]byte, 2)), field(7, make([]byte, 4)), field(8, make([]byte, 1))), "float16, or int8"},
		"float16 and scales":      {field(4, text(1, "x"), varint(2, 1), dims(1), field(6, make([]byte, 2)), field(7, make([]byte, 4))), "float16, or int8"},
		"float16 and strings":     {field(4, text(1, "x"), varint(2, 1), dims(1), text(5, "a"), field(6, make([]byte, 2))), "needs 4 bytes"},
		"scales only":             {field(4, text(1, "x"), varint(2, 1), dims(1), field(7, make([]byte, 4))), "float16, or int8"},
		"int8 without scales":     {field(4, text(1, "x"), varint(2, 1), dims(1), field(8, make([]byte, 1))), "float16, or int8"},
		"too few int8":            {ints("x", []uint64{2, 3}, 5, 1, 1), "needs 24 bytes, there are 20"},
		"too few scales":          {ints("x", []uint64{2, 3}, 6, 1), "needs 8 bytes of scales, there are 4"},
		"too many scales":         {ints("x", []uint64{2, 3}, 6, 1, 1, 1), "needs 8 bytes of scales"},
		"int8 of negative shape":  {ints("x", []uint64{1<<64 - 1, 1<<64 - 6}, 6, 1), "negative dimension"},
		"a scale that is NaN":     {ints("x", []uint64{2, 3}, 6, 1, float32(math.NaN())), "scale of row 1 is NaN"},
		"an infinite scale":       {ints("x", []uint64{2, 3}, 6, float32(math.Inf(1)), 1), "scale of row 0 is +Inf"},
		"a negative scale":        {ints("x", []uint64{2, 3}, 6, -1, 1), "scale of row 0 is -1"},
		"float16 cut off":         {append(field(4, text(1, "x"), varint(2, 1), dims(4), protowire.AppendVarint(protowire.AppendTag(nil, 6, protowire.BytesType), 8), []byte("123")), "more behind"...), "cut off"},
		"wide once it is widened": {ints("x", []uint64{maxMessage / 4, 2}, maxMessage/2, make([]float32, maxMessage/4)...), "larger than a message may be"},
		"text":                    {[]byte("GET / HTTP/1.1\r\n\r\n"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, size := range []int{0, 1} {
				if _, err := decodeRequest(c.encoded, size); err == nil {
					t.Error("it is accepted")
				} else if !strings.Contains(err.Error(), c.want) {
					t.Errorf("error %q does not say %q", err, c.want)
				}
			}
		})
	}
}

func TestTruncatedMessagesAreRefused(t *testing.T) {
	t.Parallel()
	r := &request{bundle: "b", rank: 2, route: [][]string{{"a:1", "b:2"}}, tensors: tensor.Bag{
		"x": tensor.Of([]int64{2, 3}, []float32{1, 2, 3, 4, 5, 6}),
		"s": {DType: tensor.String, Shape: []int64{2}, Strs: []string{"one", "two"}},
	}}
	encoded, err := proto.Marshal(toProto(r))
	if err != nil {
		t.Fatal(err)
	}
	// A message that ends behind a whole field is a message.
	whole := map[int]bool{0: true}
	for at := 0; at < len(encoded); {
		_, _, n := protowire.ConsumeField(encoded[at:])
		at += n
		whole[at] = true
	}
	for n := range len(encoded) + 1 {
		for _, size := range []int{0, 1} {
			if accepted := agree(t, encoded[:n], size); accepted != whole[n] {
				t.Errorf("the first %d bytes of %d: accepted is %v", n, len(encoded), accepted)
			}
		}
	}
}

// agree checks that what is accepted, generated code accepts too, and that both
// read the same.
func agree(t testing.TB, encoded []byte, size int) (accepted bool) {
	t.Helper()
	r, err := decodeRequest(encoded, size)
	if err != nil {
		return false
	}
	want := &stagepb.RunRequest{}
	if err := (proto.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(encoded, want); err != nil {
		t.Errorf("%x is accepted, but not by generated code: %v", encoded, err)
		return true
	}
	for _, x := range want.GetTensors() {
		widenProto(t, x)
	}
	slices.SortFunc(want.Tensors, func(a, b *stagepb.Tensor) int { return strings.Compare(a.GetName(), b.GetName()) })
	if got := toProto(r); !proto.Equal(got, want) {
		t.Errorf("%x is read as %v, and by generated code as %v", encoded, got, want)
	}
	for name, x := range r.tensors {
		if err := x.Check(); err != nil {
			t.Errorf("tensor %q was let in: %v", name, err)
		}
	}
	return true
}

// Memory is only taken for bytes that have arrived. The test is not parallel,
// so that nothing else allocates meanwhile.
func TestHostileMessagesTakeNoMemory(t *testing.T) {
	length := func(num protowire.Number, n uint64) []byte {
		return protowire.AppendVarint(protowire.AppendTag(nil, num, protowire.BytesType), n)
	}
	for name, encoded := range map[string][]byte{
		"long bundle":      length(1, 1<<30),
		"long tensor":      length(4, 1<<30),
		"long data":        field(4, text(1, "x"), varint(2, 1), dims(1<<28), length(4, 1<<30)),
		"long string":      field(4, text(1, "x"), varint(2, 8), dims(1), length(5, 1<<30)),
		"data not sent":    field(4, text(1, "x"), varint(2, 1), dims(1<<28)),
		"strings not sent": field(4, text(1, "x"), varint(2, 8), dims(1<<28)),
		"packed dims":      field(4, text(1, "x"), field(3, bytes.Repeat([]byte{1}, 1<<20))),
		"unpacked dims":    field(4, text(1, "x"), bytes.Repeat(varint(3, 1), 1<<19)),
		"long float16":     field(4, text(1, "x"), varint(2, 1), dims(1<<28), length(6, 1<<30)),
		"long int8":        field(4, text(1, "x"), varint(2, 1), dims(1<<28), length(8, 1<<30)),
		"long scales":      field(4, text(1, "x"), varint(2, 1), dims(1<<28), length(7, 1<<30)),
		"too much widened": field(4, text(1, "x"), varint(2, 1), dims(2<<20), field(8, make([]byte, 2<<20))),
		"empty hops":       bytes.Repeat(field(3), 1<<19),
		"empty replicas":   field(3, bytes.Repeat(text(1, ""), 1<<19)),
		"empty tensors":    bytes.Repeat(field(4), 1<<19),
	} {
		buffers, r := pieces(encoded, 0), &request{}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := newCodec(maxMessage).Unmarshal(buffers, r)
		runtime.ReadMemStats(&after)
		if err == nil && r.malformed == nil {
			t.Errorf("%s: it is accepted", name)
		}
		if took := after.TotalAlloc - before.TotalAlloc; took > 512<<10 {
			t.Errorf("%s: refusing %d bytes took %d bytes of memory", name, len(encoded), took)
		}
	}
}

func FuzzDecodeRequest(f *testing.F) {
	for _, r := range everyRequest(f) {
		if b, err := proto.Marshal(toProto(r)); err != nil {
			f.Fatal(err)
		} else if len(b) < 64<<10 {
			f.Add(b, uint8(0))
			f.Add(b, uint8(1))
		}
	}
	for _, b := range [][]byte{
		float32s("x", []uint64{1, 2}, 8),
		join(float32s("x", []uint64{1}, 4), float32s("y", []uint64{}, 4), float32s("x", []uint64{1}, 4)),
		field(4, text(1, "x"), varint(2, 1), varint(3, 1), varint(3, 2), dims(1), field(4, make([]byte, 8))),
		field(4, text(1, "x"), varint(2, 8), dims(2), text(5, "\xff"), text(5, "")),
		join(text(1, "\xff"), varint(2, 1), field(3, text(1, "a:1"), text(1, "\xff"))),
		float32s("x", []uint64{1 << 63, 2}, 0),
		append(protowire.AppendVarint(nil, (1<<29)<<3), 0),
		{9<<3 | 3, 9<<3 | 4},
		join(text(6, "float16"), halfs("x", []uint64{2, 3}, 12)),
		ints("x", []uint64{2, 3}, 6, 1, 0.5),
		ints("x", []uint64{2, 3}, 6, 1, float32(math.NaN())),
	} {
		f.Add(b, uint8(3))
	}
	f.Fuzz(func(t *testing.T, encoded []byte, size uint8) {
		if !agree(t, encoded, int(size)) {
			return
		}
		// What is accepted can be sent on, and arrives as it was.
		r, err := decodeRequest(encoded, 0)
		if err != nil {
			t.Fatalf("refused in one piece: %v", err)
		}
		buffers, err := newCodec(maxMessage).Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		again := &request{}
		if err := newCodec(maxMessage).Unmarshal(buffers, again); err != nil || again.malformed != nil {
			t.Fatal(err, again.malformed)
		}
		if !proto.Equal(toProto(again), toProto(r)) {
			t.Errorf("%v became %v", r, again)
		}
	})
}

// A stage need not be what it says it is.
func FuzzDecodeResponse(f *testing.F) {
	for _, list := range [][]pipeline.Timing{nil, timings} {
		b, err := proto.Marshal(&stagepb.RunResponse{Tensors: tensorsToProto(input(1, 2)), Timings: timingsToProto(list)})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, uint8(0))
	}
	f.Add(field(2, varint(1, 1<<63), varint(2, 1<<63), varint(6, 1<<63)), uint8(1))
	f.Add(field(2, text(1, "x")), uint8(2))
	f.Fuzz(func(t *testing.T, encoded []byte, size uint8) {
		out := &response{}
		if err := newCodec(maxMessage).Unmarshal(pieces(encoded, int(size)), out); err != nil {
			return
		}
		for _, x := range out.timings {
			if x.Waited < 0 || x.Computed < 0 || x.Next < 0 || x.Total < 0 || x.Rank < 0 || x.Retries < 0 {
				t.Errorf("%+v", x)
			}
		}
		if err := check(out.tensors); err != nil {
			t.Error(err)
		}
	})
}
