package stage

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"github.com/distinfer/distinfer/runtime/encoding"
	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/runtime/pipeline"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/runtime/testkit"
	"github.com/distinfer/distinfer/server/stage/stagepb"
)

// halfs is a Tensor of zeros that travels as float16, of a number of bytes.
func halfs(name string, shape []uint64, data int) []byte {
	return field(4, text(1, name), varint(2, 1), dims(shape...), field(6, make([]byte, data)))
}

// ints is a Tensor of ones that travels as int8.
func ints(name string, shape []uint64, numbers int, scales ...float32) []byte {
	return field(4, text(1, name), varint(2, 1), dims(shape...), field(7, littleEndian(scales)), field(8, bytes.Repeat([]byte{1}, numbers)))
}

func littleEndian(values []float32) []byte {
	var b []byte
	for _, v := range values {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
	}
	return b
}

// widenProto does to a generated message what stage.proto says that a reader does.
func widenProto(t testing.TB, x *stagepb.Tensor) {
	t.Helper()
	var values []float32
	for h := range slices.Chunk(x.GetFloat16(), 2) {
		values = append(values, tensor.FromFloat16(binary.LittleEndian.Uint16(h)))
	}
	row := 1
	if n := len(x.GetDims()); n > 0 {
		row = int(x.GetDims()[n-1])
	}
	for i, b := range x.GetInt8() {
		scale := math.Float32frombits(binary.LittleEndian.Uint32(x.GetScales()[i/row*4:]))
		values = append(values, float32(int8(b))*scale)
	}
	if values != nil {
		x.Data, x.Float16, x.Int8, x.Scales = littleEndian(values), nil, nil, nil
	}
}

// hidden is a tensor as between the layers of a model.
func hidden(seed uint64, shape ...int64) tensor.Tensor {
	random := rand.New(rand.NewPCG(seed, 1))
	n, err := tensor.Elements(shape)
	if err != nil {
		panic(err)
	}
	values := make([]float32, n)
	for i := range values {
		values[i] = float32(random.NormFloat64())
	}
	return tensor.Of(shape, values)
}

func between() tensor.Bag {
	huge := hidden(4, 4, 512)
	binary.LittleEndian.PutUint32(huge.Data[4*100:], math.Float32bits(-math.MaxFloat32))
	return tensor.Bag{
		"hidden": hidden(1, 5, 26, 384), "more": hidden(2, 3000), "small": hidden(3, 2, 2), "mask": huge,
		"ids": tensor.Of([]int64{5, 26}, make([]int64, 130)), "words": {DType: tensor.String, Shape: []int64{1}, Strs: []string{"x"}},
	}
}

func TestNarrowTensorsAreWhatGeneratedCodeReads(t *testing.T) {
	t.Parallel()
	for _, e := range encoding.Encodings() {
		r := &request{protocol: Protocol, bundle: thisBundle, encoding: e, narrow: true, tensors: between()}
		buffers, err := newCodec(maxMessage).Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		encoded := buffers.Materialize()
		got := &stagepb.RunRequest{}
		if err := proto.Unmarshal(encoded, got); err != nil {
			t.Fatal(err)
		}
		if got.GetEncoding() != string(e) || len(got.ProtoReflect().GetUnknown()) > 0 {
			t.Errorf("%s: the request says %q", e, got.GetEncoding())
		}
		want := toProto(r).GetTensors()
		for i, x := range got.GetTensors() {
			narrow := e != encoding.Float32 && (x.GetName() == "hidden" || x.GetName() == "more")
			if narrow != (len(x.GetData()) == 0 && x.GetName() != "words") || narrow != (len(x.GetFloat16())+len(x.GetInt8()) > 0) {
				t.Errorf("%s: tensor %q has %d bytes of data, %d of float16, %d of int8", e, x.GetName(), len(x.GetData()), len(x.GetFloat16()), len(x.GetInt8()))
			}
			if !narrow && !proto.Equal(x, want[i]) {
				t.Errorf("%s: tensor %q is not as it was", e, x.GetName())
			}
		}
		// What this package reads is what the numbers stand for.
		for _, size := range []int{0, 1023, 16 << 10} {
			if !agree(t, encoded, size) {
				t.Errorf("%s: refused in pieces of %d", e, size)
			}
		}
		again, err := decodeRequest(encoded, 0)
		if err != nil {
			t.Fatal(err)
		}
		for name, x := range r.tensors {
			y := again.tensors[name]
			if name != "hidden" && name != "more" {
				if !equalTensors(x, y) {
					t.Errorf("%s: tensor %q arrives as another", e, name)
				}
				continue
			}
			near(t, string(e)+" "+name, y, x, e)
		}
	}
}

// near checks that a tensor is another one that went over a link.
func near(t testing.TB, what string, got, want tensor.Tensor, e encoding.Encoding) {
	t.Helper()
	tolerance := map[encoding.Encoding]float64{encoding.Float16: 1e-3, encoding.Int8: 2e-2}[e] // of numbers of about 1, at most about 4
	a, errA := tensor.As[float32](got)
	b, errB := tensor.As[float32](want)
	if err := errors.Join(errA, errB); err != nil || !slices.Equal(got.Shape, want.Shape) {
		t.Fatalf("%s: %v of shape %v, want %v", what, err, got.Shape, want.Shape)
	}
	differ := false
	for i := range b {
		differ = differ || a[i] != b[i]
		if d := math.Abs(float64(a[i] - b[i])); !(d <= tolerance*max(1, math.Abs(float64(b[i])))) {
			t.Fatalf("%s: number %d is %v, want %v", what, i, a[i], b[i])
		}
	}
	if differ != (e != encoding.Float32 && e != "") {
		t.Errorf("%s: numbers changed is %v with %q", what, differ, e)
	}
}

func TestFieldsOfANarrowTensorMayComeInAnyOrder(t *testing.T) {
	t.Parallel()
	scales := field(7, littleEndian([]float32{0.5, 2}))
	for name, x := range map[string][]byte{
		"backwards":      field(4, field(8, []byte{1, 0xff, 2}, []byte{3, 4, 0x80}), scales, dims(2, 3), varint(2, 1), text(1, "x")),
		"last one wins":  field(4, text(1, "x"), varint(2, 1), dims(2, 3), field(8, []byte{9}), field(7, []byte{9}), scales, field(8, []byte{1, 0xff, 2, 3, 4, 0x80})),
		"empty ones too": field(4, text(1, "x"), varint(2, 1), dims(2, 3), field(4), field(6), field(8, []byte{1, 0xff, 2, 3, 4, 0x80}), scales),
	} {
		for _, size := range []int{0, 1, 5} {
			r, err := decodeRequest(x, size)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if want := tensor.Of([]int64{2, 3}, []float32{0.5, -0.5, 1, 6, 8, -256}); !equalTensors(r.tensors["x"], want) {
				t.Errorf("%s: %v", name, r.tensors["x"])
			}
			agree(t, x, size)
		}
	}
}

// The transport may still send a call's tensors when the call is over; their memory is
// used again only after that.
func TestNarrowTensorsKeepTheirMemoryUntilTheyAreSent(t *testing.T) {
	t.Parallel()
	c := newCodec(maxMessage)
	in := &request{encoding: encoding.Float16, narrow: true, tensors: tensor.Bag{"x": hidden(1, 8, 512)}}
	out := make([]mem.BufferSlice, 2)
	var before []byte
	for i := range out {
		var err error
		if out[i], err = c.Marshal(in); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			before = out[0].Materialize()
		}
		in.tensors = tensor.Bag{"x": hidden(2, 8, 512)}
	}
	if !bytes.Equal(out[0].Materialize(), before) {
		t.Error("the second request is in the first one's memory")
	}
	for _, buffers := range out {
		buffers.Free()
	}
	if _, err := c.Marshal(in); err != nil {
		t.Fatal(err)
	}
	// A tensor that turns out not to fit gives its memory back as well.
	in.tensors = tensor.Bag{"x": between()["mask"]}
	buffers, err := c.Marshal(in)
	if err != nil || buffers.Len() < 4*4*512 {
		t.Errorf("%d bytes, %v", buffers.Len(), err)
	}
}

// passOn is a stage that answers what it is given, under the name that the next one
// wants.
func passOn(rank, stages int) Config {
	c := config(rank, stages)
	in, out := fmt.Sprint("h", rank), fmt.Sprint("h", rank+1)
	c.Stage = pipeline.Stage{Inputs: []string{in}, Runner: runnerFunc(func(_ context.Context, bag tensor.Bag) (tensor.Bag, error) {
		return tensor.Bag{out: bag[in]}, nil
	})}
	return c
}

func TestFrontsMayAskTheSameStagesForDifferentEncodings(t *testing.T) {
	t.Parallel()
	const stages = 3
	var addresses [][]string
	for rank := range stages {
		addresses = append(addresses, []string{start(t, passOn(rank, stages)).address})
	}
	x := hidden(1, 4, 7, 384)
	for _, e := range append(encoding.Encodings(), "") {
		t.Run(string(e), func(t *testing.T) {
			t.Parallel()
			o := options()
			o.Encoding = e
			out, err := pipelineOver(t, o, addresses...).Run(testkit.Context(t), tensor.Bag{"h0": x})
			if err != nil {
				t.Fatal(err)
			}
			near(t, string(e), out["h3"], x, e)
		})
	}
}

// What the first stage is sent and what the last one answers is not narrowed: with a
// single stage nothing is.
func TestOnlyWhatGoesFromStageToStageIsNarrowed(t *testing.T) {
	t.Parallel()
	o := options()
	o.Encoding = encoding.Int8
	x := hidden(1, 4, 7, 384)
	out, err := pipelineOver(t, o, []string{start(t, passOn(0, 1)).address}).Run(testkit.Context(t), tensor.Bag{"h0": x})
	if err != nil {
		t.Fatal(err)
	}
	near(t, "a single stage", out["h1"], x, encoding.Float32)
}

// A foreign stage is one that somebody else wrote, by stage.proto.
type foreign struct {
	address  string
	requests chan *stagepb.RunRequest
}

// startForeign starts a stage that describes itself so, and answers by run.
func startForeign(t testing.TB, d *stagepb.DescribeResponse, run func(*stagepb.RunRequest) (*stagepb.RunResponse, error)) *foreign {
	t.Helper()
	f := &foreign{requests: make(chan *stagepb.RunRequest, 10)}
	s := grpc.NewServer()
	s.RegisterService(&grpc.ServiceDesc{ServiceName: serviceName, HandlerType: (*any)(nil), Methods: []grpc.MethodDesc{
		{MethodName: "Describe", Handler: func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			return d, decode(&stagepb.DescribeRequest{})
		}},
		{MethodName: "Run", Handler: func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			in := &stagepb.RunRequest{}
			if err := decode(in); err != nil {
				return nil, err
			}
			f.requests <- in
			return run(in)
		}},
	}}, nil)
	l := listenAt(t, "localhost:0")
	f.address = l.Addr().String()
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return f
}

// second describes the last of two stages.
func second(wires ...string) *stagepb.DescribeResponse {
	return &stagepb.DescribeResponse{Protocol: Protocol, Bundle: thisBundle, Rank: 1, Stages: 2, Version: "v0", Encodings: wires}
}

func sameBack(in *stagepb.RunRequest) (*stagepb.RunResponse, error) {
	return &stagepb.RunResponse{Tensors: in.GetTensors(), Timings: []*stagepb.Timing{{Rank: 1}}}, nil
}

func TestACallThatIsMadeAgainKeepsItsEncoding(t *testing.T) {
	t.Parallel()
	breaks := startForeign(t, second("float16"), func(*stagepb.RunRequest) (*stagepb.RunResponse, error) {
		return nil, errors.New("the stage fails, and does not say how") // which is tried again
	})
	works := startForeign(t, second("float16"), sameBack)
	first := start(t, passOn(0, 2))
	o := options()
	o.Encoding = encoding.Float16
	p := pipelineOver(t, o, []string{first.address}, []string{breaks.address, works.address})
	x := hidden(1, 4, 7, 384)
	want, ok := encoding.Float16.Narrow(x, func(n int) []byte { return tensor.AlignedBytes(int64(n)) })
	if !ok {
		t.Fatal("not narrowed")
	}
	// A call goes to either; the other one's turn comes once it is known to be there.
	broken := 0
	for calls := 0; broken == 0; calls++ {
		if calls == 1000 {
			t.Fatal("no call was retried")
		}
		out, err := p.Run(testkit.Context(t), tensor.Bag{"h0": x})
		if err != nil {
			t.Fatal(err)
		}
		near(t, "the answer", out["h1"], x, encoding.Float16)
		got := []*stagepb.RunRequest{testkit.Receive(t, "the request", works.requests)}
		select {
		case r := <-breaks.requests:
			got = append(got, r)
			broken++
		default:
		}
		for _, r := range got {
			if r.GetEncoding() != "float16" || !bytes.Equal(r.GetTensors()[0].GetFloat16(), want.Data) {
				t.Errorf("the stage got encoding %q, and another tensor", r.GetEncoding())
			}
		}
	}
}

func TestAReplicaThatDoesNotKnowTheEncodingIsNotUsed(t *testing.T) {
	t.Parallel()
	old := startForeign(t, second(), sameBack)
	first := start(t, passOn(0, 2))
	in := tensor.Bag{"h0": hidden(1, 4, 7, 384)}
	o := options()
	o.Encoding = encoding.Int8
	says := []string{"stage 1 at " + old.address, "distinfer v0", "int8", "another encoding"}
	p := pipelineOver(t, o, []string{first.address}, []string{old.address})
	_, err := p.Run(testkit.Context(t), in)
	wantFault(t, err, errcode.Mismatch, says...)
	testkit.Eventually(t, "the front says so too", func() bool {
		err := p.Ready()
		return err != nil && strings.Contains(err.Error(), says[0]) && errcode.Of(err) == errcode.Mismatch
	})
	// Nor is it sent tensors in another encoding than the one that was asked for.
	if len(old.requests) > 0 {
		t.Errorf("it was called: %v", summary(<-old.requests))
	}
	// Another replica is used, and without --activation-dtype this one is.
	now := start(t, passOn(1, 2))
	both := pipelineOver(t, o, []string{first.address}, []string{old.address, now.address})
	for range 4 {
		if _, err := both.Run(testkit.Context(t), in); err != nil {
			t.Fatal(err)
		}
	}
	if len(old.requests) > 0 {
		t.Errorf("it was called: %v", summary(<-old.requests))
	}
	out, err := pipelineOver(t, options(), []string{first.address}, []string{old.address}).Run(testkit.Context(t), in)
	if err != nil {
		t.Fatal(err)
	}
	near(t, "as float32", out["h1"], in["h0"], encoding.Float32)
}

// The first stage is not sent anything narrow, but has to narrow what it sends on.
func TestAFirstStageThatDoesNotKnowTheEncodingIsNotUsed(t *testing.T) {
	t.Parallel()
	d := second()
	d.Rank = 0
	old := startForeign(t, d, sameBack)
	o := options()
	o.Encoding = encoding.Float16
	p := pipelineOver(t, o, []string{old.address}, []string{start(t, passOn(1, 2)).address})
	_, err := p.Run(testkit.Context(t), tensor.Bag{"h0": hidden(1, 4, 7, 384)})
	wantFault(t, err, errcode.Mismatch, "stage 0 at "+old.address, "float16")
}

func TestAnEncodingThatAStageDoesNotKnowIsRefused(t *testing.T) {
	t.Parallel()
	p := start(t, passOn(0, 1))
	conn := dialPlain(t, p.address)
	request := &stagepb.RunRequest{Protocol: Protocol, Bundle: thisBundle, Encoding: "float8", Tensors: tensorsToProto(tensor.Bag{"h0": hidden(1, 2)})}
	err := conn.Invoke(testkit.Context(t), RunMethod, request, &stagepb.RunResponse{})
	wantFault(t, fromStatus(t.Context(), err, "the stage"), errcode.Mismatch, `"float8"`, "float32, float16, int8", "distinfer v1")
	d, err := Describe(testkit.Context(t), 0, p.address, options())
	if err != nil || !slices.Equal(d.GetEncodings(), []string{"float32", "float16", "int8"}) {
		t.Errorf("it knows %v (%v)", d.GetEncodings(), err)
	}
}

// BenchmarkNarrowHop is BenchmarkHop between two stages, with each encoding.
func BenchmarkNarrowHop(b *testing.B) {
	for _, rows := range []int64{1, 32} {
		in := tensor.Bag{"h0": hidden(1, rows, 26, 384)}
		addresses := [][]string{{start(b, passOn(0, 2)).address}, {start(b, passOn(1, 2)).address}}
		for _, e := range encoding.Encodings() {
			b.Run(fmt.Sprintf("%d/%s", rows, e), func(b *testing.B) {
				o := options()
				o.Encoding, o.DeadAfter = e, time.Minute
				p := pipelineOver(b, o, addresses...)
				b.ReportAllocs()
				for b.Loop() {
					if _, err := p.Run(b.Context(), in); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
