package oip_test

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"maps"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/runtime/testkit"
	"github.com/distinfer/distinfer/server/front"
	"github.com/distinfer/distinfer/server/oip"
	"github.com/distinfer/distinfer/server/oip/oippb"
)

const (
	maxBody = 1 << 16
)

// same gives its inputs back: the output y is the input x, and so on.
type same struct{ wait <-chan struct{} }

func (s same) Run(ctx context.Context, in tensor.Bag) (tensor.Bag, error) {
	if s.wait != nil {
		select {
		case <-s.wait:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return tensor.Bag{
		"y": in["x"], "names_out": in["names"],
		"half": {DType: tensor.Float16, Shape: []int64{1}, Data: []byte{0, 0x3c}},
		"odd":  {DType: tensor.Complex64, Shape: []int64{1}, Data: make([]byte, 8)},
	}, nil
}

func model() oip.Model {
	n := []tensor.Dim{tensor.Named("n"), tensor.Fixed(2)}
	return oip.Model{
		Name: "m", Runner: same{}, NoText: "it reads no texts",
		Ready:   func(context.Context) error { return nil },
		Inputs:  []tensor.Spec{{Name: "x", DType: tensor.Float64, Dims: n}, {Name: "names", DType: tensor.String, AnyRank: true}},
		Outputs: []tensor.Spec{{Name: "y", DType: tensor.Float64, Dims: n}, {Name: "names_out", DType: tensor.String, AnyRank: true}},
	}
}

func config(m oip.Model) oip.Config {
	log := slog.New(slog.DiscardHandler)
	return oip.Config{
		Use:     func() (oip.Model, func()) { return m, func() {} },
		Host:    front.New(front.Config{MaxBody: maxBody, Timeout: testkit.Patience, Log: log}, front.Model{}),
		MaxBody: maxBody, Timeout: testkit.Patience, Log: log,
	}
}

func post(s http.Handler, path, body string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

const (
	x     = `{"name":"x","shape":[1,2],"datatype":"FP64","data":[1,2]}`
	names = `{"name":"names","shape":[1],"datatype":"BYTES","data":["a"]}`
)

func inputs(list ...string) string { return `{"inputs":[` + strings.Join(list, ",") + `]}` }

func TestWhatIsWrongWithARequestIsSaid(t *testing.T) {
	t.Parallel()
	m := model()
	m.Outputs = append(m.Outputs, tensor.Spec{Name: "half", DType: tensor.Float16, Dims: []tensor.Dim{tensor.Fixed(1)}},
		tensor.Spec{Name: "odd", DType: tensor.Complex64, Dims: []tensor.Dim{tensor.Fixed(1)}})
	s := oip.New(config(m))
	like := func(old, with string) string { return inputs(strings.Replace(x, old, with, 1), names) }
	binary := `{"name":"x","shape":[1,2],"datatype":"FP64","parameters":{"binary_data_size":16}}`
	asked := func(outputs string) string { return `{"inputs":[` + x + `,` + names + `],"outputs":[` + outputs + `]}` }
	for _, c := range []struct {
		body, says string
		headers    []string
	}{
		{``, "not JSON of the form", nil},
		{strings.TrimSuffix(inputs(x, names), "}") + `,"inputs":[]}`, `"inputs" is given twice`, nil},
		{strings.TrimSuffix(inputs(x, names), "}") + `,"INPUTS":[]}`, `the field "INPUTS" of the body is not known; it is spelt "inputs"`, nil},
		{`{"Inputs":[` + x + `,` + names + `]}`, `it is spelt "inputs"`, nil},
		{like(`"x"`, `"x","name":"x"`), `"name" is given twice`, nil},
		{like(`"data"`, `"Data"`), `the field "Data" of "inputs"[0] is not known; it is spelt "data"`, nil},
		{like(`"data"`, `"data":[],"data"`), `"data" is given twice`, nil},
		{like(`"data"`, `"parameters":{"a":1,"a":2},"data"`), `"parameters"."a" is given twice`, nil},
		{asked(`{"name":"y","name":"y"}`), `"name" is given twice`, nil},
		{inputs(x, names) + `{}`, "something follows", nil},
		{`[]`, "must not be a list", nil},
		{"{\"id\":\"\xff\"}", "not UTF-8", nil},
		{`{"inputs":[` + names + `],"outputs":[{"name":"y"}]}`, `"x" is missing`, nil},
		{inputs(x, x, names), "twice", nil},
		{like(`"x"`, `"z"`), `no input "z"`, nil},
		{like("FP64", "FP8"), `"FP8" is not known`, nil},
		{like("FP64", "FP32"), "is FP32, the model wants FP64", nil},
		{like(`"shape":[1,2],`, ``), "has no shape", nil},
		{like("[1,2]", "[-1,2]"), "negative dimension", nil},
		{like("[1,2]", "[4611686018427387904,4611686018427387904]"), "too large", nil},
		{like("[1,2]", "[1099511627776,2]"), "the data has fewer", nil},
		{like("[1,2]", "[1.5,2]"), `"shape"[0] must be a whole number, not 1.5`, nil},
		{like("[1,2]", "[null,2]"), `"shape"[0] must be a whole number, not null`, nil},
		{like("[1,2]", `["1",2]`), `"shape"[0] must be a whole number, not a string`, nil},
		{like("[1,2]", "[1e19,2]"), `"shape"[0] must be a whole number, not 1e19`, nil},
		{strings.Replace(asked(`{"name":"y"}`), "[1,2]", "[2,1]", 1), "the model wants", nil},
		{like("[1,2]", "[1,3]"), "as many elements", nil},
		{like(`"data":[1,2]`, `"data":[1]`), "as many elements", nil},
		{like(`"data":[1,2]`, `"data":[1,2,3]`), "as many elements", nil},
		{like(`"data":[1,2]`, `"data":[[1],[2]]`), "as many elements", nil},
		{like(`"data":[1,2]`, `"data":[1,[2]]`), "nested otherwise", nil},
		{like(`"data":[1,2]`, `"data":[1,null]`), "element 1 is null", nil},
		{like(`"data":[1,2]`, `"data":[1,1e999]`), "element 1 is 1e999", nil},
		{like(`"data":[1,2]`, `"data":7777`), "must be a list", nil},
		{like(`,"data":[1,2]`, ``), "has no data", nil},
		{like(`"data":[1,2]`, `"data":`+strings.Repeat("[", 9000)+strings.Repeat("]", 9000)), "nested otherwise", nil},
		{`{"inputs":[` + strings.Repeat("{},", 1<<14) + `{}]}`, "16386 objects", nil},
		{inputs(x, strings.Replace(names, `"a"`, `7`, 1)), "which is not BYTES", nil},
		{inputs(binary, names), "0 bytes of binary data are left", nil},
		{inputs(binary, names) + strings.Repeat("\x00", 17), "1 bytes follow", []string{"Inference-Header-Content-Length", strconv.Itoa(len(inputs(binary, names)))}},
		{like(`"data":[1,2]`, `"data":[1,2],"parameters":{"binary_data_size":0}`), "both data and", nil},
		{like(`"data":[1,2]`, `"parameters":{"binary_data_size":0}`), "takes 16 bytes, there are 0", nil},
		{like(`"data":[1,2]`, `"parameters":{"binary_data_size":-1}`), "it can be 0 or more", nil},
		{like(`"data":[1,2]`, `"parameters":{"shared_memory_region":"r"}`), "shared_memory_region", nil},
		{inputs(x, names), `is "9999"`, []string{"Inference-Header-Content-Length", "9999"}},
		{inputs(x, names), "read the body", []string{"Content-Encoding", "gzip"}},
		{inputs(x, names), "Prefer", []string{"Prefer", "wait=x"}},
		{inputs(x, names), `"half" is FP16, which has no form in JSON`, nil},
		{asked(`{"name":"odd"}`), "is complex64", nil},
		{asked(`{"name":"z"}`), `no output "z"`, nil},
		{asked(`{"name":"y"},{"name":"y"}`), "asked for twice", nil},
		{asked(`{"name":"y","parameters":{"classification":3}}`), "classification", nil},
		{asked(`{"name":"y","parameters":{"binary_data":"yes"}}`), "must be true or false", nil},
		{`{"parameters":{"sequence_id":"s"},` + inputs(x, names)[1:], "sequence_id", nil},
		{`{"parameters":{"timeout":"s"},` + inputs(x, names)[1:], "must be a whole number", nil},
	} {
		w := post(s, "/v2/models/m/infer", c.body, c.headers...)
		var problem struct{ Error string }
		if err := json.Unmarshal(w.Body.Bytes(), &problem); err != nil || w.Code != http.StatusBadRequest || !strings.Contains(problem.Error, c.says) {
			t.Errorf("%.200s: %d %.300s; want %q", c.body, w.Code, w.Body, c.says)
		}
	}
}

// Unknown fields of a request are ignored, a byte order mark too.
func TestUnknownFieldsAndAByteOrderMarkAreLeftAlone(t *testing.T) {
	t.Parallel()
	s := oip.New(config(model()))
	for name, body := range map[string]string{
		"unknown fields": `{"more":{"inputs":[1]},"inputs":[` + strings.Replace(x, "{", `{"hint":null,"more":[{}],`, 1) + `,` + names + `],"outputs":[{"name":"y","index":0}],"more":2}`,
		"a mark":         "\ufeff" + inputs(x, names),
		"nulls":          `{"id":null,"parameters":null,"outputs":null,"inputs":[` + strings.Replace(x, "{", `{"parameters":null,`, 1) + `,` + names + `]}`,
	} {
		if w := post(s, "/v2/models/m/infer", body); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `"data":[1,2]`) {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
}

// counted gives x back as y, and counts its runs.
type counted struct{ runs *atomic.Int64 }

func (c counted) Run(_ context.Context, in tensor.Bag) (tensor.Bag, error) {
	c.runs.Add(1)
	return tensor.Bag{"y": in["x"]}, nil
}

// What the model's tables do not have is refused before the run, over HTTP and gRPC.
func TestInputsBeyondTheLimitsAreNotRun(t *testing.T) {
	t.Parallel()
	var runs atomic.Int64
	n := []tensor.Dim{tensor.Named("batch"), tensor.Named("sequence")}
	m := oip.Model{
		Name: "m", NoText: "none", Ready: func(context.Context) error { return nil },
		Inputs:  []tensor.Spec{{Name: "x", DType: tensor.Int64, Dims: n}},
		Outputs: []tensor.Spec{{Name: "y", DType: tensor.Int64, Dims: n}},
		Limits:  &tensor.Limits{Values: []tensor.ValueLimit{{Input: "x", Min: -21, Max: 20, Table: "E (21 rows)"}}, Sizes: []tensor.SizeLimit{{Dims: []string{"sequence"}, Max: 4}}},
		Runner:  counted{&runs},
	}
	s, conn := oip.New(config(m)), serve(t, config(m))
	for _, c := range []struct {
		values []int64
		says   string
	}{
		{[]int64{20, -21}, ""},
		{[]int64{20, 21}, `"x" has the value 21 at [0 1]; its table E (21 rows) takes -21 to 20`},
		{[]int64{-22}, "takes -21 to 20"},
		{[]int64{math.MinInt64}, "takes -21 to 20"},
		{[]int64{1, 1, 1, 1, 1}, "dimension sequence is 5, and the model's tables are for 4 at most"},
	} {
		before := runs.Load()
		data, err := json.Marshal(c.values)
		if err != nil {
			t.Fatal(err)
		}
		w := post(s, "/v2/models/m/infer", `{"inputs":[{"name":"x","shape":[1,`+strconv.Itoa(len(c.values))+`],"datatype":"INT64","data":`+string(data)+`}]}`)
		in := &oippb.ModelInferRequest{ModelName: "m", Inputs: []*oippb.ModelInferRequest_InferInputTensor{{Name: "x", Datatype: "INT64", Shape: []int64{1, int64(len(c.values))}, Contents: &oippb.InferTensorContents{Int64Contents: c.values}}}}
		_, err = infer(t.Context(), conn, in)
		if c.says == "" {
			if w.Code != http.StatusOK || err != nil || runs.Load() != before+2 {
				t.Errorf("%v: %d %s, %v, %d runs", c.values, w.Code, w.Body, err, runs.Load()-before)
			}
			continue
		}
		var problem struct{ Error string }
		if errJSON := json.Unmarshal(w.Body.Bytes(), &problem); errJSON != nil || w.Code != http.StatusBadRequest || !strings.Contains(problem.Error, c.says) {
			t.Errorf("%v: %d %s, want %q", c.values, w.Code, w.Body, c.says)
		}
		if status.Code(err) != codes.InvalidArgument || !strings.Contains(status.Convert(err).Message(), c.says) {
			t.Errorf("%v over gRPC: %v, want %q", c.values, err, c.says)
		}
		if runs.Load() != before {
			t.Errorf("%v was run", c.values)
		}
	}
}

// A whole number of JSON is one however it is written.
func TestWholeNumbersMayHaveAPointAndAnExponent(t *testing.T) {
	t.Parallel()
	m := model()
	m.Inputs[0].DType, m.Outputs[0].DType = tensor.Int64, tensor.Int64
	s := oip.New(config(m))
	ask := func(datum, shape, timeout string) *httptest.ResponseRecorder {
		return post(s, "/v2/models/m/infer", `{"parameters":{"timeout":`+timeout+`},"outputs":[{"name":"y"}],"inputs":[{"name":"x","shape":[`+shape+`,2],"datatype":"INT64","data":[`+datum+`,7]},`+names+`]}`)
	}
	for datum, want := range map[string]string{"3.0": "3", "-3e0": "-3", "30e-1": "3", "9.007199254740991e15": "9007199254740991", "9223372036854775807": "9223372036854775807", "-0.0": "0"} {
		if w := ask(datum, "1.0", "6e99"); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `"data":[`+want+`,7]`) {
			t.Errorf("%s: %d %s", datum, w.Code, w.Body)
		}
	}
	for _, datum := range []string{"3.5", "1e-1", "9007199254740993.0", "9223372036854775808", "1e999", `"3.0"`} {
		if w := ask(datum, "1", "0"); w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "which is not INT64") {
			t.Errorf("%s: %d %s", datum, w.Code, w.Body)
		}
	}
	if w := ask("1", "1", "1.5"); w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "timeout must be a whole number") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestTheDescriptionHasEveryRoute(t *testing.T) {
	t.Parallel()
	var d struct{ Paths map[string]any }
	if err := json.Unmarshal(oip.Description, &d); err != nil {
		t.Fatal(err)
	}
	if described, answered := slices.Sorted(maps.Keys(d.Paths)), oip.Routes(oip.New(config(model()))); !slices.Equal(described, answered) {
		t.Errorf("described are %q, answered %q", described, answered)
	}
}

func TestRoutesThatThereAreNot(t *testing.T) {
	t.Parallel()
	m := model()
	m.Ready = func(context.Context) error { return errcode.Errorf(errcode.Unavailable, "no stage") }
	s := oip.New(config(m))
	for _, c := range []struct {
		method, path string
		status       int
		says         string
	}{
		{"GET", "/v2/models/z", 404, `"error":"there is no model`},
		{"GET", "/v2/models/m-text", 404, "it reads no texts"},
		{"GET", "/v2/models/m/versions/2", 404, "no version"},
		{"GET", "/v2/models/m/config", 404, "there is nothing at"},
		{"POST", "/v2/repository/index", 404, "there is nothing at"},
		{"GET", "/v2/models/m/infer", 405, "use POST"},
		{"POST", "/v2", 405, "use GET"},
		{"GET", "/v2/health/live", 200, `{"live":true}`},
		{"GET", "/v2/health/ready", 503, `{"ready":false,"error":"no stage"}`},
		{"GET", "/v2/models/m/ready", 503, `{"name":"m","ready":false,"error":"no stage"}`},
		{"GET", "/v2/models/m/versions/1", 200, `"shape":[-1,2]`},
	} {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest(c.method, c.path, http.NoBody))
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.says) || !json.Valid(w.Body.Bytes()) {
			t.Errorf("%s %s: %d %s", c.method, c.path, w.Code, w.Body)
		}
	}
}

// Every route tells which methods it takes, and the usual ones of other software are among them.
func TestOptionsTellsWhatIsPossible(t *testing.T) {
	t.Parallel()
	s := oip.New(config(model()))
	for path, want := range map[string]string{"/v2": "GET, HEAD, OPTIONS", "/v2/models/m/ready": "GET, HEAD, OPTIONS", "/v2/models/m/infer": "POST, OPTIONS"} {
		for method, status := range map[string]int{http.MethodOptions: http.StatusNoContent, http.MethodPut: http.StatusMethodNotAllowed} {
			w := httptest.NewRecorder()
			s.ServeHTTP(w, httptest.NewRequest(method, path, http.NoBody))
			if w.Code != status || w.Header().Get("Allow") != want {
				t.Errorf("%s %s: %d, Allow is %q, want %q", method, path, w.Code, w.Header().Get("Allow"), want)
			}
		}
	}
}

func TestAnotherContentEncodingIsRefused(t *testing.T) {
	t.Parallel()
	s := oip.New(config(model()))
	for _, encodings := range [][]string{{"br"}, {"gzip, gzip"}, {"gzip", "gzip"}, {"identity", "br"}} {
		r := httptest.NewRequest(http.MethodPost, "/v2/models/m/infer", strings.NewReader(inputs(x, names)))
		r.Header["Content-Encoding"] = encodings
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code != http.StatusUnsupportedMediaType || !strings.Contains(w.Body.String(), strings.Join(encodings, ", ")) {
			t.Errorf("%q: %d %s", encodings, w.Code, w.Body)
		}
	}
}

func TestBodiesAreBoundedOnceDecompressed(t *testing.T) {
	t.Parallel()
	s := oip.New(config(model()))
	long := inputs(x, names) + strings.Repeat(" ", maxBody)
	for encoding, make := range map[string]func(io.Writer) io.WriteCloser{
		"gzip":    func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) },
		"x-gzip":  func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) },
		"deflate": func(w io.Writer) io.WriteCloser { return zlib.NewWriter(w) },
	} {
		for body, want := range map[string]int{inputs(x, names): 200, long: 413} {
			var small bytes.Buffer
			c := make(&small)
			if _, err := io.WriteString(c, body); err != nil {
				t.Fatal(err)
			}
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
			if w := post(s, "/v2/models/m/infer", small.String(), "Content-Encoding", encoding); w.Code != want {
				t.Errorf("%s of %d bytes: %d %s", encoding, len(body), w.Code, w.Body)
			}
		}
	}
	if w := post(s, "/v2/models/m/infer", long); w.Code != 413 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestNumbersThatJSONCannotSayAreNotSaid(t *testing.T) {
	t.Parallel()
	s := oip.New(config(model()))
	header := inputs(`{"name":"x","shape":[1,2],"datatype":"FP64","parameters":{"binary_data_size":16}}`, names)
	for _, bits := range []uint64{math.Float64bits(math.NaN()), math.Float64bits(math.Inf(1))} {
		raw := make([]byte, 16)
		for i := range 8 {
			raw[i] = byte(bits >> (8 * i))
		}
		w := post(s, "/v2/models/m/infer", header+string(raw), "Inference-Header-Content-Length", strconv.Itoa(len(header)))
		if w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "binary_data_output") {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	}
}

// serve serves gRPC, and gives a connection to it.
func serve(t *testing.T, c oip.Config) *grpc.ClientConn {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- oip.New(c).Serve(ctx, l) }()
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return conn
}

func infer(ctx context.Context, conn *grpc.ClientConn, in *oippb.ModelInferRequest) (*oippb.ModelInferResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, testkit.Patience)
	defer cancel()
	out := &oippb.ModelInferResponse{}
	return out, conn.Invoke(ctx, "/inference.GRPCInferenceService/ModelInfer", in, out)
}

func message() *oippb.ModelInferRequest {
	return &oippb.ModelInferRequest{ModelName: "m", Id: "7", Inputs: []*oippb.ModelInferRequest_InferInputTensor{
		{Name: "x", Datatype: "FP64", Shape: []int64{1, 2}, Contents: &oippb.InferTensorContents{Fp64Contents: []float64{1, 2}}},
		{Name: "names", Datatype: "BYTES", Shape: []int64{}, Contents: &oippb.InferTensorContents{BytesContents: [][]byte{[]byte("a")}}},
	}}
}

func TestMessagesAreAnsweredAsTheyCame(t *testing.T) {
	t.Parallel()
	conn := serve(t, config(model()))
	out, err := infer(t.Context(), conn, message())
	if err != nil || out.GetId() != "7" || len(out.GetRawOutputContents()) != 0 || len(out.GetOutputs()[0].GetContents().GetFp64Contents()) != 2 {
		t.Errorf("%v, %v", out, err)
	}
	raw := message()
	raw.Inputs[0].Contents, raw.Inputs[1].Contents = nil, nil
	raw.RawInputContents = [][]byte{make([]byte, 16), {1, 0, 0, 0, 'a'}}
	out, err = infer(t.Context(), conn, raw)
	if err != nil || len(out.GetRawOutputContents()) != 2 || string(out.GetRawOutputContents()[1]) != "\x01\x00\x00\x00a" || out.GetOutputs()[1].GetContents() != nil {
		t.Errorf("%v, %v", out, err)
	}
}

func TestWhatIsWrongWithAMessageIsSaid(t *testing.T) {
	t.Parallel()
	conn := serve(t, config(model()))
	for _, c := range []struct {
		change func(*oippb.ModelInferRequest)
		code   codes.Code
		says   string
	}{
		{func(r *oippb.ModelInferRequest) { r.ModelName = "z" }, codes.NotFound, "no model"},
		{func(r *oippb.ModelInferRequest) { r.ModelVersion = "2" }, codes.NotFound, "no version"},
		{func(r *oippb.ModelInferRequest) { r.RawInputContents = [][]byte{{}} }, codes.InvalidArgument, "2 inputs and 1 raw_input_contents"},
		{func(r *oippb.ModelInferRequest) { r.RawInputContents = [][]byte{make([]byte, 16), {0, 0, 0, 0}} }, codes.InvalidArgument, "contents beside raw"},
		{func(r *oippb.ModelInferRequest) { r.Inputs[0].Contents.Fp64Contents = []float64{1} }, codes.InvalidArgument, "2 elements, there are 1"},
		{func(r *oippb.ModelInferRequest) { r.Inputs[0].Contents.Fp32Contents = []float32{1} }, codes.InvalidArgument, "fp64_contents"},
		{func(r *oippb.ModelInferRequest) { r.Inputs[0].Contents = nil }, codes.InvalidArgument, "there are 0"},
		{func(r *oippb.ModelInferRequest) { r.Inputs[0].Shape = []int64{-1, 2} }, codes.InvalidArgument, "negative"},
		{func(r *oippb.ModelInferRequest) { r.Inputs[0].Shape = []int64{math.MaxInt64, math.MaxInt64} }, codes.InvalidArgument, "too large"},
		{func(r *oippb.ModelInferRequest) { r.Inputs[1].Name = "x" }, codes.InvalidArgument, "twice"},
		{func(r *oippb.ModelInferRequest) { r.Inputs = r.Inputs[:1] }, codes.InvalidArgument, "missing"},
		{func(r *oippb.ModelInferRequest) {
			r.Outputs = []*oippb.ModelInferRequest_InferRequestedOutputTensor{{Name: "z"}}
		}, codes.InvalidArgument, "no output"},
		{func(r *oippb.ModelInferRequest) {
			r.Parameters = map[string]*oippb.InferParameter{"sequence_id": {ParameterChoice: &oippb.InferParameter_Int64Param{Int64Param: 1}}}
		}, codes.InvalidArgument, "sequence_id"},
		{func(r *oippb.ModelInferRequest) { r.Inputs[1].Contents.BytesContents[0] = make([]byte, maxBody) }, codes.ResourceExhausted, "larger than max"},
		{func(r *oippb.ModelInferRequest) {
			r.Inputs = make([]*oippb.ModelInferRequest_InferInputTensor, 1<<14+1)
			for i := range r.Inputs {
				r.Inputs[i] = &oippb.ModelInferRequest_InferInputTensor{}
			}
		}, codes.Internal, "more than 16384"},
	} {
		in := message()
		c.change(in)
		if out, err := infer(t.Context(), conn, in); status.Code(err) != c.code || !strings.Contains(status.Convert(err).Message(), c.says) {
			t.Errorf("%v, %v; want %s, %q", out, err, c.code, c.says)
		}
	}
}

func TestOnlyHealthNeedsNoToken(t *testing.T) {
	t.Parallel()
	c := config(model())
	c.Allow = func(values []string) bool { return len(values) == 1 && values[0] == "Bearer good" }
	conn := serve(t, c)
	if _, err := grpc_health_v1.NewHealthClient(conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{}); err != nil {
		t.Error(err)
	}
	watch, err := grpc_health_v1.NewHealthClient(conn).Watch(t.Context(), &grpc_health_v1.HealthCheckRequest{})
	if err == nil {
		_, err = watch.Recv()
	}
	if status.Code(err) != codes.Unauthenticated {
		t.Errorf("a watch: %v", err)
	}
	for _, token := range []string{"", "Bearer bad"} {
		ctx := t.Context()
		if token != "" {
			ctx = metadata.AppendToOutgoingContext(ctx, "authorization", token)
		}
		if _, err := infer(ctx, conn, message()); status.Code(err) != codes.Unauthenticated {
			t.Errorf("%q: %v", token, err)
		}
	}
	if _, err := infer(metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer good"), conn, message()); err != nil {
		t.Error(err)
	}
}

func TestRunsAreBoundedInNumberAndTime(t *testing.T) {
	t.Parallel()
	m := model()
	wait := make(chan struct{})
	m.Runner = same{wait}
	s := oip.New(config(m))
	if w := post(s, "/v2/models/m/infer", `{"parameters":{"timeout":1000},`+inputs(x, names)[1:]); w.Code != http.StatusGatewayTimeout || !strings.Contains(w.Body.String(), "1ms") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	const many = 200
	got := make(chan *httptest.ResponseRecorder, many)
	for range many {
		go func() { got <- post(s, "/v2/models/m/infer", inputs(x, names)) }()
	}
	// Refused requests are answered before all others.
	for range many - 80 {
		if w := <-got; w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") == "" {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	}
	close(wait)
	for range 80 {
		if w := <-got; w.Code != http.StatusOK {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	}
}

func FuzzREST(f *testing.F) {
	s := oip.New(config(model()))
	f.Add(inputs(x, names), "")
	binary := inputs(`{"name":"x","shape":[1,2],"datatype":"FP64","parameters":{"binary_data_size":16}}`, names)
	f.Add(binary+strings.Repeat("\x00", 16), strconv.Itoa(len(binary)))
	f.Add(inputs(strings.Replace(x, "[1,2]}", "[[1,2]]}", 1), names), "")
	f.Add(`{"inputs":[{"shape":[9223372036854775807,9223372036854775807]}]}`, "0")
	f.Fuzz(func(t *testing.T, body, header string) {
		w := post(s, "/v2/models/m/infer", body, "Inference-Header-Content-Length", header)
		if w.Code != http.StatusOK && w.Code != http.StatusBadRequest && w.Code != http.StatusRequestEntityTooLarge {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		if w.Header().Get("Inference-Header-Content-Length") == "" && !json.Valid(w.Body.Bytes()) {
			t.Errorf("not JSON: %q", w.Body)
		}
	})
}

func FuzzMessage(f *testing.F) {
	s := oip.New(config(model()))
	raw := message()
	raw.RawInputContents = [][]byte{make([]byte, 16), {1, 0, 0, 0, 'a'}}
	for _, m := range []proto.Message{message(), raw, &oippb.ModelInferRequest{ModelName: "m"}} {
		data, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := oip.InferMessage(s, data); err != nil && status.Code(err) == codes.Unknown {
			t.Error(err)
		}
	})
}
