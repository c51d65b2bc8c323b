package main_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/ort"
	"github.com/distinfer/distinfer/runtime/ort/orttest"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/runtime/testkit"
	"github.com/distinfer/distinfer/server/stage/stagepb"
	"github.com/distinfer/distinfer/split/onnxfile/onnxtest"
)

// A foreigner is a client of stages that was not written in Go: the Python program
// scripts/interop/client.py, which generates its code from stage.proto.
type foreigner struct {
	process *os.Process
	say     *json.Encoder
	hear    *bufio.Reader
}

func newForeigner(t *testing.T) *foreigner {
	t.Helper()
	root := testkit.Root(t)
	python := filepath.Join(root, ".setup", "interop", "bin", "python")
	if _, err := os.Stat(python); err != nil {
		t.Fatalf("no Python with gRPC: %v; run `make setup`", err)
	}
	cmd := exec.Command(python, filepath.Join(root, "scripts", "interop", "client.py"), filepath.Join(root, "server", "stage", "stagepb", "stage.proto"))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	f := &foreigner{process: cmd.Process, say: json.NewEncoder(stdin), hear: bufio.NewReader(stdout)}
	t.Cleanup(func() {
		defer f.hurry()()
		if err := errors.Join(stdin.Close(), cmd.Wait()); err != nil {
			t.Errorf("client.py: %v\n%s", err, stderr.String())
		}
	})
	return f
}

// hurry ends the client if it hangs, until the function it returns is called.
func (f *foreigner) hurry() (stop func() bool) {
	return time.AfterFunc(2*testkit.Patience, func() { _ = f.process.Kill() }).Stop
}

// A foreignCall is one line for client.py.
type foreignCall struct {
	Address string          `json:"address"`
	Method  string          `json:"method"`
	Timeout float64         `json:"timeout"` // in seconds
	Cancel  bool            `json:"cancel"`  // when the next line comes
	Narrow  string          `json:"narrow"`  // how float32 tensors are sent
	Request json.RawMessage `json:"request"`
}

// A foreignAnswer is what client.py answers.
type foreignAnswer struct {
	Response      json.RawMessage
	Code, Message string
	Info          struct{ Domain, Reason string }
}

// send sends a call.
func (f *foreigner) send(t *testing.T, c foreignCall, request proto.Message) {
	t.Helper()
	var err error
	if c.Request, err = protojson.Marshal(request); err != nil {
		t.Fatal(err)
	}
	if c.Timeout == 0 {
		c.Timeout = testkit.Patience.Seconds()
	}
	if err := f.say.Encode(c); err != nil {
		t.Fatal(err)
	}
}

// receive waits for the answer of the call that was sent.
func (f *foreigner) receive(t *testing.T) foreignAnswer {
	t.Helper()
	defer f.hurry()()
	line, err := f.hear.ReadBytes('\n')
	if err != nil {
		t.Fatalf("no answer of client.py: %v", err)
	}
	var a foreignAnswer
	if err := json.Unmarshal(line, &a); err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	return a
}

// run calls Run.
func (f *foreigner) run(t *testing.T, address string, request *stagepb.RunRequest) foreignAnswer {
	t.Helper()
	f.send(t, foreignCall{Address: address, Method: "Run"}, request)
	return f.receive(t)
}

// compute is run for a call that has to succeed on as many stages as it has hops.
func (f *foreigner) compute(t *testing.T, address string, request *stagepb.RunRequest) tensor.Bag {
	t.Helper()
	return f.computeNarrow(t, address, request, "")
}

// computeNarrow is compute with float32 tensors sent in another encoding.
func (f *foreigner) computeNarrow(t *testing.T, address string, request *stagepb.RunRequest, encoding string) tensor.Bag {
	t.Helper()
	f.send(t, foreignCall{Address: address, Method: "Run", Narrow: encoding}, request)
	a := f.receive(t)
	if a.Response == nil {
		t.Fatalf("%s: %s", a.Code, a.Message)
	}
	response := &stagepb.RunResponse{}
	if err := protojson.Unmarshal(a.Response, response); err != nil {
		t.Fatal(err)
	}
	if n := len(response.GetTimings()); n != 1+len(request.GetRoute()) {
		t.Errorf("timings of %d stages", n)
	}
	for rank, m := range response.GetTimings() {
		if m.GetRank() != uint32(rank) || m.GetComputed() == 0 || m.GetTotal() < m.GetWaited()+m.GetComputed()+m.GetNext() {
			t.Errorf("the timings of rank %d are %v", rank, m)
		}
	}
	out := tensor.Bag{}
	for _, m := range response.GetTensors() {
		v := tensor.Tensor{DType: tensor.DType(m.GetDtype()), Shape: m.GetDims(), Data: m.GetData()}
		for _, s := range m.GetStrings() {
			v.Strs = append(v.Strs, string(s))
		}
		if err := v.Check(); err != nil {
			t.Errorf("tensor %q: %v", m.GetName(), err)
		}
		out[m.GetName()] = v
	}
	return out
}

// refused checks that a call is refused with a code, and by a stage with a reason.
func (f *foreigner) refused(t *testing.T, address string, request *stagepb.RunRequest, code, reason, says string) {
	t.Helper()
	a := f.run(t, address, request)
	if a.Code != code || a.Info.Reason != reason || !strings.Contains(a.Message, says) {
		t.Errorf("the answer is %+v; want %s, %q and %q", a, code, reason, says)
	}
	if reason != "" && a.Info.Domain != "distinfer" {
		t.Errorf("the reason is of domain %q", a.Info.Domain)
	}
}

// message makes a request of tensors for a stage and those behind it.
func message(t *testing.T, dir string, in tensor.Bag, behind ...string) *stagepb.RunRequest {
	t.Helper()
	b, err := bundle.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	request := &stagepb.RunRequest{Protocol: 1, Bundle: string(b.ID)}
	for _, address := range behind {
		request.Route = append(request.Route, &stagepb.Hop{Addresses: []string{address}})
	}
	for _, name := range in.Names() {
		v := in[name]
		m := &stagepb.Tensor{Name: name, Dtype: int32(v.DType), Dims: v.Shape, Data: v.Data}
		for _, s := range v.Strs {
			m.Strings = append(m.Strings, []byte(s))
		}
		request.Tensors = append(request.Tensors, m)
	}
	return request
}

func TestAPythonClientGetsWhatTheUnsplitModelComputes(t *testing.T) {
	t.Parallel()
	f := newForeigner(t)
	for _, model := range []string{"sst2-minilm", "seed-rnn"} {
		dir := split(t, model, 2)
		_, first := stage(t, dir, 0)
		_, second := stage(t, dir, 1)
		w := wholeModel(t, model)
		for _, s := range dataset(t, "dev.tsv")[:4] {
			e, err := w.tokenizer.Encode(s.text)
			if err != nil {
				t.Fatal(err)
			}
			shape := []int64{1, int64(len(e.IDs))}
			in := tensor.Bag{"input_ids": tensor.Of(shape, e.IDs)}
			if slices.Contains(w.inputs, "attention_mask") {
				in["attention_mask"] = tensor.Of(shape, e.AttentionMask)
			}
			out := f.compute(t, first, message(t, dir, in, second))
			got, err := tensor.As[float32](out["logits"])
			if err != nil {
				t.Fatal(err)
			}
			want := w.logits(t, s.text)
			if len(got) != len(want) || len(out) != 1 || !slices.Equal(out["logits"].Shape, []int64{1, 2}) {
				t.Fatalf("%s, %q: %v, want %v", model, s.text, out, want)
			}
			for i := range want {
				if d := got[i] - want[i]; !(d <= 1e-4 && d >= -1e-4) {
					t.Errorf("%s, %q: %v, want %v", model, s.text, got, want)
				}
			}
		}
	}
}

func TestAPythonClientLearnsWhatAStageHolds(t *testing.T) {
	t.Parallel()
	f := newForeigner(t)
	dir := split(t, "seed-rnn", 2)
	_, address := stage(t, dir, 1)
	f.send(t, foreignCall{Address: address, Method: "Describe"}, &stagepb.DescribeRequest{})
	a := f.receive(t)
	got := &stagepb.DescribeResponse{}
	if a.Response == nil {
		t.Fatalf("%+v", a)
	}
	if err := protojson.Unmarshal(a.Response, got); err != nil {
		t.Fatal(err)
	}
	b, err := bundle.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if bundle.ID(got.GetBundle()) != b.ID || got.GetRank() != 1 || got.GetStages() != 2 || got.GetModel() != b.Model.Name || got.GetOnnxruntime() == "" {
		t.Errorf("%v", got)
	}
}

// What ONNX Runtime makes of an element type on the CPU: nothing, since it has no
// memory or no kernels for it; or only casts, since its Identity does not take the
// type. It copies all others.
var (
	notComputed = []tensor.DType{tensor.Complex64, tensor.Complex128, tensor.Float4E2M1, tensor.Float6E2M3, tensor.Float6E3M2}
	onlyCast    = []tensor.DType{tensor.Uint4, tensor.Int4, tensor.Float8E8M0, tensor.Uint2, tensor.Int2}
)

// same adds nodes that give a value of a type as it is. One of them is an If, since
// a stage would repeat the others rather than have their result sent.
func same(g *onnxtest.Graph, d tensor.DType, in, out string) {
	copied, inside := out, d
	if slices.Contains(onlyCast, d) {
		g.Node("Cast", []string{in}, []string{out + "_float"}, onnxtest.IntAttr("to", int64(tensor.Float32)))
		in, copied, inside = out+"_float", out+"_copied", tensor.Float32
		defer g.Node("Cast", []string{copied}, []string{out}, onnxtest.IntAttr("to", int64(d)))
	}
	branch := func(name string) *onnxtest.Graph {
		var b onnxtest.Graph
		b.Node("Identity", []string{in}, []string{out + name})
		b.Output(out+name, int64(inside), onnxtest.AnyRank)
		return &b
	}
	g.Node("If", []string{"flag"}, []string{copied},
		onnxtest.GraphAttr("then_branch", branch("_then")), onnxtest.GraphAttr("else_branch", branch("_else")))
}

// sameModel is a model of two layers that gives tensors of the types as they are:
// scalars, lists and tensors of three dimensions.
func sameModel(types []tensor.DType) (model []byte, cut string) {
	ranks := [][]any{{}, {"n"}, {"batch", 2, "m"}}
	var g onnxtest.Graph
	g.Input("flag", int64(tensor.Bool))
	for _, d := range types {
		for rank, dims := range ranks {
			name := d.String() + strconv.Itoa(rank)
			g.Input(name, int64(d), dims...)
			cut = name + "_half"
			same(&g, d, name, cut)
		}
	}
	for _, d := range types {
		for rank, dims := range ranks {
			name := d.String() + strconv.Itoa(rank)
			same(&g, d, name+"_half", name+"_same")
			g.Output(name+"_same", int64(d), dims...)
		}
	}
	return g.ModelAt(13, 25), cut
}

// sampleOf makes a tensor whose elements differ.
func sampleOf(t *testing.T, d tensor.DType, shape ...int64) tensor.Tensor {
	t.Helper()
	n, err := tensor.Elements(shape)
	if err != nil {
		t.Fatal(err)
	}
	v := tensor.Tensor{DType: d, Shape: shape}
	if d == tensor.String {
		for i := range n {
			v.Strs = append(v.Strs, []string{"", "ein Vögelchen", "二\n", "a\x00b"}[i%4])
		}
		return v
	}
	v.Data = make([]byte, d.Bytes(n))
	for i := range v.Data {
		v.Data[i] = byte(29*i + 3)
		if d == tensor.Bool {
			v.Data[i] %= 2
		}
	}
	// Types smaller than a byte leave the rest of their last byte empty.
	if used := d.Bytes(8) * n % 8; used != 0 && len(v.Data) > 0 {
		v.Data[len(v.Data)-1] &= 1<<used - 1
	}
	return v
}

func TestAPythonClientGetsTensorsOfEveryTypeBackAsTheyWere(t *testing.T) {
	t.Parallel()
	var types []tensor.DType
	for d := tensor.Undefined + 1; d.Known(); d++ {
		if !slices.Contains(notComputed, d) {
			types = append(types, d)
		}
	}
	if len(types) != 23 {
		t.Fatalf("%d element types: %v", len(types), types)
	}
	dir := t.TempDir()
	model, cut := sameModel(types)
	if err := os.WriteFile(filepath.Join(dir, "model.onnx"), model, 0o600); err != nil {
		t.Fatal(err)
	}
	ok(t, dir, "", "split", "model.onnx", "--at", cut, "--no-verify")
	dir = filepath.Join(dir, "stages")
	b, err := bundle.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	between := map[tensor.DType]int{}
	for _, s := range b.Stages[0].Outputs {
		between[s.DType]++
	}
	for _, d := range types {
		if between[d] != 3 {
			t.Errorf("%d tensors of %s go from stage to stage", between[d], d)
		}
	}
	_, first := stage(t, dir, 0)
	_, second := stage(t, dir, 1)
	f := newForeigner(t)
	// In the second request n and batch are 0.
	for _, n := range []int64{3, 0} {
		in := tensor.Bag{"flag": tensor.Of(nil, []bool{n == 3})}
		for _, d := range types {
			in[d.String()+"0"] = sampleOf(t, d)
			in[d.String()+"1"] = sampleOf(t, d, n)
			in[d.String()+"2"] = sampleOf(t, d, n, 2, 5)
		}
		out := f.compute(t, first, message(t, dir, in, second))
		for _, name := range in.Names() {
			if name == "flag" {
				continue
			}
			got, there := out[name+"_same"]
			want := in[name]
			if !there || got.DType != want.DType || !slices.Equal(got.Shape, want.Shape) || !bytes.Equal(got.Data, want.Data) || !slices.Equal(got.Strs, want.Strs) {
				t.Errorf("%s of shape %v: %v, want %v", name, want.Shape, got, want)
			}
		}
		if len(out) != len(in)-1 {
			t.Errorf("%d tensors came back of %d: %v", len(out), len(in)-1, out.Names())
		}
	}
}

// The types left out above: once ONNX Runtime takes one, it belongs among the others.
func TestTypesThatONNXRuntimeDoesNotTake(t *testing.T) {
	t.Parallel()
	library := orttest.Library(t)
	for _, d := range notComputed {
		model, _ := sameModel([]tensor.DType{d})
		path := filepath.Join(t.TempDir(), "model.onnx")
		if err := os.WriteFile(path, model, 0o600); err != nil {
			t.Fatal(err)
		}
		if session, err := library.Open(path, nil, nil, ort.Options{Threads: 1}); err == nil {
			_ = session.Close()
			t.Errorf("ONNX Runtime takes %s", d)
		}
	}
}

func TestAPythonClientLearnsWhyItIsRefused(t *testing.T) {
	t.Parallel()
	const limit = 1 << 20
	f := newForeigner(t)
	dir := split(t, "seed-rnn", 2)
	small := []string{"--max-message", strconv.Itoa(limit)}
	_, first := stage(t, dir, 0, small...)
	_, second := stage(t, dir, 1, small...)
	good := func() *stagepb.RunRequest {
		return message(t, dir, tensor.Bag{"input_ids": tensor.Of([]int64{1, 50}, make([]int64, 50))}, second)
	}
	if out := f.compute(t, first, good()); len(out) != 1 {
		t.Fatalf("%v", out)
	}
	for _, c := range []struct {
		name               string
		address            string
		change             func(*stagepb.RunRequest)
		code, reason, says string
	}{
		{"no version of the protocol", first, func(r *stagepb.RunRequest) { r.Protocol = 0 }, "FAILED_PRECONDITION", "mismatch", "speaks version 1 of the stage protocol"},
		{"another version of the protocol", first, func(r *stagepb.RunRequest) { r.Protocol = 2 }, "FAILED_PRECONDITION", "mismatch", "the caller version 2"},
		{"another bundle", first, func(r *stagepb.RunRequest) { r.Bundle = strings.Repeat("0", 64) }, "FAILED_PRECONDITION", "mismatch", "rank 0 of bundle 000000000000"},
		{"another rank", second, func(*stagepb.RunRequest) {}, "FAILED_PRECONDITION", "mismatch", "this is rank 1"},
		{"stages in the wrong order", first, func(r *stagepb.RunRequest) { r.Route[0].Addresses[0] = first }, "FAILED_PRECONDITION", "mismatch", "in rank order"},
		{"no route", first, func(r *stagepb.RunRequest) { r.Route = nil }, "INVALID_ARGUMENT", "invalid", "behind rank 0"},
		{"a missing tensor", first, func(r *stagepb.RunRequest) { r.Tensors = nil }, "INVALID_ARGUMENT", "invalid", `"input_ids" is missing`},
		{"another rank of a tensor", first, func(r *stagepb.RunRequest) { r.Tensors[0].Dims = []int64{50} }, "INVALID_ARGUMENT", "invalid", "has shape [50]"},
		{"another type", first, func(r *stagepb.RunRequest) { r.Tensors[0].Dtype = int32(tensor.Float64) }, "INVALID_ARGUMENT", "invalid", "is float64"},
		{"an unknown type", first, func(r *stagepb.RunRequest) { r.Tensors[0].Dtype = 99 }, "INVALID_ARGUMENT", "invalid", "unknown element type 99"},
		{"too little data", first, func(r *stagepb.RunRequest) { r.Tensors[0].Data = r.Tensors[0].Data[1:] }, "INVALID_ARGUMENT", "invalid", "needs 400 bytes, there are 399"},
		{"a message over the limit", first, func(r *stagepb.RunRequest) {
			r.Tensors[0].Dims, r.Tensors[0].Data = []int64{1, limit / 8}, make([]byte, limit)
		}, "RESOURCE_EXHAUSTED", "", "larger than max"},
	} {
		request := good()
		c.change(request)
		t.Run(c.name, func(t *testing.T) { f.refused(t, c.address, request, c.code, c.reason, c.says) })
	}
	if out := f.compute(t, first, good()); len(out) != 1 {
		t.Errorf("after what was refused: %v", out)
	}
}

func TestAPythonClientsDeadlineAndCancellationFreeTheStage(t *testing.T) {
	t.Parallel()
	dir := slowBundle(t)
	_, address := stage(t, dir, 0)
	request := func(times int64) *stagepb.RunRequest {
		return message(t, dir, tensor.Bag{"times": tensor.Of(nil, []int64{times}), "x": tensor.Of([]int64{64, 64}, make([]float32, 64*64))})
	}
	const forever = 1 << 40
	f := newForeigner(t)
	// As many of each as a stage computes at a time: were one not given up, the last
	// call would wait for it.
	for range 2 {
		f.send(t, foreignCall{Address: address, Method: "Run", Timeout: 1}, request(forever))
		if a := f.receive(t); a.Code != "DEADLINE_EXCEEDED" {
			t.Errorf("deadline: %+v", a)
		}
	}
	for range 2 {
		f.send(t, foreignCall{Address: address, Method: "Run", Cancel: true}, request(forever))
		busy(t, address)
		if err := f.say.Encode("cancel"); err != nil {
			t.Fatal(err)
		}
		if a := f.receive(t); a.Code != "CANCELLED" {
			t.Errorf("cancellation: %+v", a)
		}
	}
	if out := f.compute(t, address, request(1)); len(out) != 1 {
		t.Errorf("afterwards: %v", out)
	}
}
