package main_test

import (
	"bufio"
	"bytes"
	"context"
	le "encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/distinfer/distinfer/runtime/testkit"
	"github.com/distinfer/distinfer/server/oip/oippb"
	"github.com/distinfer/distinfer/split/onnxfile/onnxtest"
)

// Words are t2, t3, …, with the ids of their numbers. The models of these tests have two
// tables: of ids, which is known before a run to end at 19, and of twice the ids, which
// split does not understand, and which a run finds to end at 29.
const (
	firstBad = 15 // by the second table
	knownBad = 20 // by the first one as well
	lastWord = 24
	width    = 4
	kinds    = 3
)

// fragile is a small model with these tables, as it is and as a reference.
type fragile struct {
	ids, twice, types [][width]float64
	out               [width][]float64 // what the last layer makes of it
}

func newFragile(types, outputs int) *fragile {
	f := &fragile{}
	number := 0.0
	table := func(rows int) (t [][width]float64) {
		for range rows {
			var row [width]float64
			for k := range row {
				number++
				row[k] = float64(float32(math.Sin(number * 1.7)))
			}
			t = append(t, row)
		}
		return t
	}
	f.ids, f.twice, f.types = table(knownBad), table(2*firstBad), table(types)
	for _, row := range table(outputs) {
		for i, x := range row {
			f.out[i] = append(f.out[i], x)
		}
	}
	return f
}

// model is the file of a model that answers what last makes of the hidden values h and the mask.
func (f *fragile) model(last func(g *onnxtest.Graph)) []byte {
	var g onnxtest.Graph
	for _, name := range []string{"input_ids", "attention_mask", "token_type_ids"} {
		g.Input(name, 7, "batch", "sequence")
	}
	floats := func(name string, rows [][width]float64) {
		var flat []float32
		for _, row := range rows {
			for _, x := range row {
				flat = append(flat, float32(x))
			}
		}
		g.Floats(name, []int64{int64(len(rows)), width}, flat)
	}
	floats("ids", f.ids)
	floats("twice", f.twice)
	floats("types", f.types)
	var out []float32
	for _, row := range f.out {
		for _, x := range row {
			out = append(out, float32(x))
		}
	}
	g.Floats("out", []int64{width, int64(len(f.out[0]))}, out)
	g.Node("Gather", []string{"ids", "input_ids"}, []string{"a"})
	g.Node("Add", []string{"input_ids", "input_ids"}, []string{"doubled"})
	g.Node("Gather", []string{"twice", "doubled"}, []string{"b"})
	g.Node("Gather", []string{"types", "token_type_ids"}, []string{"c"})
	g.Node("Add", []string{"a", "b"}, []string{"ab"})
	g.Node("Add", []string{"ab", "c"}, []string{"abc"})
	var same [width * width]float32
	for k := range width {
		same[k*width+k] = 1
	}
	g.Floats("same", []int64{width, width}, same[:]) // so that there are two layers
	g.Node("MatMul", []string{"abc", "same"}, []string{"h"})
	last(&g)
	return g.Model()
}

// meanThenOut pools over the tokens that the mask has.
func meanThenOut(g *onnxtest.Graph) {
	g.Ints("one", []int64{1}, 1)
	g.Ints("two", []int64{1}, 2)
	g.Node("Cast", []string{"attention_mask"}, []string{"mask"}, onnxtest.IntAttr("to", 1))
	g.Node("Unsqueeze", []string{"mask", "two"}, []string{"wide"})
	g.Node("Mul", []string{"h", "wide"}, []string{"masked"})
	g.Node("ReduceSum", []string{"masked", "one"}, []string{"sum"}, onnxtest.IntAttr("keepdims", 0))
	g.Node("ReduceSum", []string{"wide", "one"}, []string{"count"}, onnxtest.IntAttr("keepdims", 0))
	g.Node("Div", []string{"sum", "count"}, []string{"mean"})
	g.Node("MatMul", []string{"mean", "out"}, []string{"logits"})
	g.Output("logits", 1, "batch", kinds)
}

func outOfEach(name string) func(g *onnxtest.Graph) {
	return func(g *onnxtest.Graph) {
		g.Node("MatMul", []string{"h", "out"}, []string{name})
		g.Output(name, 1, "batch", "sequence", nil)
	}
}

// token is what the model makes of one.
func (f *fragile) token(id, kind int) []float64 {
	values := make([]float64, len(f.out[0]))
	for i, row := range f.out {
		h := f.ids[id][i] + f.twice[2*id][i] + f.types[kind][i]
		for k, w := range row {
			values[k] += h * w
		}
	}
	return values
}

// asked is a text, or a pair, and what is right of it.
type asked struct {
	text, pair string
	ids, types []int
	bad        string // what an error has to say; "" for a good one
}

func (s *asked) add(random *rand.Rand, kind, badAt int) string {
	var words []string
	for i := range 1 + random.IntN(24) {
		id := 2 + random.IntN(firstBad-2)
		if i == badAt {
			id = firstBad + random.IntN(lastWord+1-firstBad)
			s.bad = fmt.Sprintf("idx=%d must be", 2*id)
			if id >= knownBad {
				s.bad = fmt.Sprintf("has the id %d,", id)
			}
		}
		words = append(words, fmt.Sprint("t", id))
		s.ids, s.types = append(s.ids, id), append(s.types, kind)
	}
	return strings.Join(words, " ")
}

func newSample(random *rand.Rand, bad, pair bool) *asked {
	s := &asked{}
	at := -1
	if bad {
		at = 0
	}
	s.text = s.add(random, 0, at)
	if pair {
		s.pair = s.add(random, 1, -1)
	}
	return s
}

// each is what the model makes of each token.
func (f *fragile) each(s *asked) (all [][]float64) {
	for i, id := range s.ids {
		all = append(all, f.token(id, s.types[i]))
	}
	return all
}

func (f *fragile) mean(s *asked) []float64 {
	mean := make([]float64, len(f.out[0]))
	for _, values := range f.each(s) {
		for k, v := range values {
			mean[k] += v / float64(len(s.ids))
		}
	}
	return mean
}

func softmax(logits []float64) []float64 {
	sum, p := 0.0, make([]float64, len(logits))
	for _, l := range logits {
		sum += math.Exp(l)
	}
	for i, l := range logits {
		p[i] = math.Exp(l) / sum
	}
	return p
}

func near[T float32 | float64](got []T, want []float64) bool {
	if len(got) != len(want) {
		return false
	}
	for i, w := range want {
		if !(math.Abs(float64(got[i])-w) < 1e-4) { // nor if it is not a number
			return false
		}
	}
	return true
}

// serving is a front over two stages, with what was counted.
type serving struct {
	*fragile
	url       string
	conn      *grpc.ClientConn
	name      string
	processes []*server
	good, bad atomic.Int64
}

func serveFragile(t *testing.T, f *fragile, last func(*onnxtest.Graph), config string) *serving {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "fragile")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	vocabulary := map[string]int{"[PAD]": 0, "[UNK]": 1}
	for id := 2; id <= lastWord; id++ {
		vocabulary[fmt.Sprint("t", id)] = id
	}
	words, err := json.Marshal(vocabulary)
	if err != nil {
		t.Fatal(err)
	}
	put(t, dir, "tokenizer.json", `{"version": "1.0", "pre_tokenizer": {"type": "WhitespaceSplit"},
"post_processor": {"type": "TemplateProcessing", "single": [{"Sequence": {"id": "A", "type_id": 0}}], "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}], "special_tokens": {}},
"model": {"type": "WordLevel", "unk_token": "[UNK]", "vocab": `+string(words)+`}}`)
	put(t, dir, "config.json", config)
	put(t, dir, "model.onnx", string(f.model(last)))
	out := filepath.Join(t.TempDir(), "stages")
	ok(t, dir, "", "split", filepath.Join(dir, "model.onnx"), "--stages", "2", "--out", out)
	s := &serving{fragile: f, name: "fragile"}
	var addresses []string
	for rank := range 2 {
		process, address := stage(t, out, rank)
		s.processes, addresses = append(s.processes, process), append(addresses, address)
	}
	process, address, grpcAddress := frontWithGRPC(t, out, addresses)
	s.processes, s.url, s.conn = append(s.processes, process), "http://"+address, dialled(t, grpcAddress, nil)
	return s
}

// nothingOfOurs fails when a request was counted or logged as the server's failure.
func (s *serving) nothingOfOurs(t *testing.T) {
	t.Helper()
	_, metrics := fetch(t, http.MethodGet, s.url+"/metrics", "")
	if found := regexp.MustCompile(`(?m)^distinfer_(http_requests_total\{.*code="5|grpc_requests_total\{.*code="(Internal|Unknown|Unavailable)).*$`).FindAllString(metrics, -1); len(found) > 0 {
		t.Errorf("%q", found)
	}
	for _, p := range s.processes {
		p.mu.Lock()
		for _, e := range p.log {
			if e["level"] == "ERROR" {
				t.Errorf("%v logged %v", p.cmd.Args[1:2], e)
			}
		}
		p.mu.Unlock()
	}
}

// post sends a body, and reads a good answer into answer. It checks that a bad one is said to
// be the client's, with its reason and without any of ONNX Runtime's places.
func (s *serving) post(t *testing.T, path, kind string, body, answer any, bad string) bool {
	t.Helper()
	data, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	return s.send(t, http.MethodPost, path, kind, data, answer, bad)
}

func (s *serving) send(t *testing.T, method, path, kind string, body []byte, answer any, bad string) bool {
	t.Helper()
	ctx, end := context.WithTimeout(t.Context(), testkit.Patience)
	defer end()
	r, err := http.NewRequestWithContext(ctx, method, s.url+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", kind)
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Error(err)
		return false
	}
	defer func() { _ = response.Body.Close() }()
	data, err := io.ReadAll(response.Body)
	switch {
	case err != nil:
		t.Error(err)
		return false
	case bad != "":
		s.bad.Add(1)
		if response.StatusCode != http.StatusBadRequest || !said(string(data), bad) {
			t.Errorf("%s %s: %d %.300s; want 400, %q", path, body, response.StatusCode, data, bad)
		}
		return false
	case response.StatusCode != http.StatusOK:
		t.Errorf("%s %s: %d %.300s", path, body, response.StatusCode, data)
		return false
	}
	s.good.Add(1)
	if text, plain := answer.(*string); plain {
		*text = strings.TrimSpace(string(data))
		return true
	}
	if err := json.Unmarshal(data, answer); err != nil {
		t.Errorf("%s: %v in %.300s", path, err, data)
		return false
	}
	return true
}

func said(message, bad string) bool {
	return strings.Contains(message, bad) && !strings.Contains(message, "onnxruntime") && !strings.Contains(message, ".cc:") && !strings.Contains(message, ".h:")
}

var letters = []string{"a", "b", "c"}

type scored struct {
	Label string
	Score float64
}

// sameLabels checks labels with their scores.
func sameLabels(t *testing.T, what string, got []scored, want []float64) {
	t.Helper()
	values := make([]float64, len(letters))
	for _, g := range got {
		if i := slices.Index(letters, g.Label); i >= 0 {
			values[i] = g.Score
		}
	}
	if len(got) != len(letters) || !near(values, want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// some are samples of which a few are bad. first is what is said of the first of these.
func some(random *rand.Rand, n int, share float64, pairs bool) (list []*asked, first string) {
	for range n {
		s := newSample(random, random.Float64() < share, pairs)
		if first == "" {
			first = s.bad
		}
		list = append(list, s)
	}
	return list, first
}

func texts(list []*asked) (all []string) {
	for _, s := range list {
		all = append(all, s.text)
	}
	return all
}

// lines sends a line for each asked, and checks that each gets its own answer.
func (s *serving) lines(t *testing.T, list []*asked, each func(what string, line []byte, want *asked)) (failed int) {
	t.Helper()
	var body bytes.Buffer
	for _, one := range list {
		if one.pair != "" {
			fmt.Fprintf(&body, `{"text": %q, "text_pair": %q}`+"\n", one.text, one.pair)
		} else {
			fmt.Fprintf(&body, "%q\n", one.text)
		}
	}
	response, err := http.Post(s.url+"/predict", "application/x-ndjson", &body)
	if err != nil {
		t.Error(err)
		return 0
	}
	defer func() { _ = response.Body.Close() }()
	read := bufio.NewScanner(response.Body)
	for i, want := range list {
		if !read.Scan() {
			t.Errorf("line %d of %d is missing: %v", i, len(list), read.Err())
			return failed
		}
		var problem struct {
			Error string
			Line  int
		}
		if want.bad != "" {
			s.bad.Add(1)
			if err := json.Unmarshal(read.Bytes(), &problem); err != nil || problem.Line != i+1 || !said(problem.Error, want.bad) {
				t.Errorf("line %d, %q: %s, want %q", i, want.text, read.Text(), want.bad)
			}
			failed++
			continue
		}
		s.good.Add(1)
		each(fmt.Sprintf("line %d, %q", i, want.text), read.Bytes(), want)
	}
	return failed
}

// inferText asks the model for texts by the Open Inference Protocol over HTTP.
func (s *serving) inferText(t *testing.T, list []*asked, bad string) {
	t.Helper()
	shape, data := []int{len(list)}, []string{}
	for _, one := range list {
		if data = append(data, one.text); one.pair != "" {
			shape, data = []int{len(list), 2}, append(data, one.pair)
		}
	}
	var answer struct {
		Outputs []struct {
			Name string
			Data json.RawMessage
		}
	}
	in := map[string]any{"inputs": []any{map[string]any{"name": "text", "datatype": "BYTES", "shape": shape, "data": data}}, "outputs": []any{map[string]any{"name": "scores"}}}
	if !s.post(t, "/v2/models/fragile-text/infer", "application/json", in, &answer, bad) {
		return
	}
	var scores []float64
	if err := json.Unmarshal(answer.Outputs[0].Data, &scores); err != nil {
		t.Error(err)
	}
	var want []float64
	for _, one := range list {
		want = append(want, softmax(s.mean(one))...)
	}
	if !near(scores, want) {
		t.Errorf("%q: %v, want %v", texts(list), scores, want)
	}
}

// tensors are the inputs for those asked, padded.
func tensors(list []*asked) (shape []int64, ids, mask, types []int64) {
	longest := 0
	for _, s := range list {
		longest = max(longest, len(s.ids))
	}
	for _, s := range list {
		for i := range longest {
			if i < len(s.ids) {
				ids, mask, types = append(ids, int64(s.ids[i])), append(mask, 1), append(types, int64(s.types[i]))
			} else {
				ids, mask, types = append(ids, 0), append(mask, 0), append(types, 0)
			}
		}
	}
	return []int64{int64(len(list)), int64(longest)}, ids, mask, types
}

// inferTensors asks for tensors over HTTP, and for the same over gRPC.
func (s *serving) inferTensors(t *testing.T, output string, shape, ids, mask, types []int64, bad string, check func([]float64)) {
	t.Helper()
	values := map[string][]int64{"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
	inputs, message := []any{}, &oippb.ModelInferRequest{ModelName: s.name}
	for _, name := range []string{"input_ids", "attention_mask", "token_type_ids"} {
		inputs = append(inputs, map[string]any{"name": name, "datatype": "INT64", "shape": shape, "data": append([]int64{}, values[name]...)})
		var raw []byte
		for _, v := range values[name] {
			raw = le.LittleEndian.AppendUint64(raw, uint64(v))
		}
		message.Inputs = append(message.Inputs, &oippb.ModelInferRequest_InferInputTensor{Name: name, Datatype: "INT64", Shape: shape})
		message.RawInputContents = append(message.RawInputContents, raw)
	}
	var answer struct {
		Outputs []struct{ Data []float64 }
	}
	if s.post(t, "/v2/models/fragile/infer", "application/json", map[string]any{"inputs": inputs, "outputs": []any{map[string]any{"name": output}}}, &answer, bad) {
		check(answer.Outputs[0].Data)
	}
	ctx, end := context.WithTimeout(t.Context(), testkit.Patience)
	defer end()
	out := &oippb.ModelInferResponse{}
	err := s.conn.Invoke(ctx, openInferenceService+"ModelInfer", message, out)
	if bad != "" {
		s.bad.Add(1)
		if status.Code(err) != codes.InvalidArgument || !said(status.Convert(err).Message(), bad) {
			t.Errorf("%v over gRPC: %v, want %q", shape, err, bad)
		}
		return
	}
	if err != nil {
		t.Errorf("%v over gRPC: %v", shape, err)
		return
	}
	s.good.Add(1)
	var got []float64
	for raw := out.GetRawOutputContents()[0]; len(raw) > 0; raw = raw[4:] {
		got = append(got, float64(math.Float32frombits(le.LittleEndian.Uint32(raw))))
	}
	check(got)
}

// raw asks for tensors of those asked, which may be bad.
func (s *serving) raw(t *testing.T, output string, list []*asked, first string, want func(*asked, int) []float64) {
	shape, ids, mask, types := tensors(list)
	s.inferTensors(t, output, shape, ids, mask, types, tensorsBad(ids, first), func(got []float64) {
		each := len(got) / len(list)
		for i, one := range list {
			w := want(one, int(shape[1]))
			if part := got[i*each:]; len(part) < len(w) || !near(part[:len(w)], w) {
				t.Errorf("%v: row %d is %v, want %v", one.ids, i, part, w)
			}
		}
	})
}

// tensorsBad is what is said of ids: of those that are known to be bad the first, before a run.
func tensorsBad(ids []int64, first string) string {
	if first == "" {
		return ""
	}
	if i := slices.IndexFunc(ids, func(id int64) bool { return id >= knownBad }); i >= 0 {
		return fmt.Sprintf("has the value %d at", ids[i])
	}
	return "idx="
}

// strange are tensors that are of the declared types and ranks, and that nobody computes.
func (s *serving) strange(t *testing.T, random *rand.Rand, output string) {
	one := []int64{1}
	switch random.IntN(5) {
	case 0:
		s.inferTensors(t, output, []int64{1, 1}, []int64{math.MinInt64}, one, []int64{0}, "has the value -9223372036854775808", nil)
	case 1:
		s.inferTensors(t, output, []int64{1, 1}, []int64{math.MaxInt64}, one, []int64{0}, "has the value 9223372036854775807", nil)
	case 2:
		s.inferTensors(t, output, []int64{1, 1}, []int64{2}, one, []int64{9}, "token_type_ids", nil)
	case 3: // within the first table, and not within the second
		s.inferTensors(t, output, []int64{1, 1}, []int64{-knownBad}, one, []int64{0}, "idx=-40", nil)
	case 4:
		s.inferTensors(t, output, []int64{1, 2}, []int64{2, firstBad}, []int64{1, 1}, []int64{0, 0}, "idx=30", nil)
	}
}

// fuzz asks at random, from many clients at a time, for a while that DISTINFER_FUZZ sets.
func (s *serving) fuzz(t *testing.T, ways ...func(random *rand.Rand)) {
	t.Helper()
	long := 400 * time.Millisecond
	if set := os.Getenv("DISTINFER_FUZZ"); set != "" {
		var err error
		if long, err = time.ParseDuration(set); err != nil {
			t.Fatal(err)
		}
	}
	seed, err := strconv.ParseUint(os.Getenv("DISTINFER_FUZZ_SEED"), 10, 64)
	if err != nil {
		seed = 1
	}
	var clients sync.WaitGroup
	ends := time.Now().Add(long)
	for client := range uint64(8) {
		clients.Go(func() {
			random := rand.New(rand.NewPCG(seed, client))
			for i := int(client); i < len(ways)+int(client) || time.Now().Before(ends); i++ {
				ways[i%len(ways)](random)
			}
		})
	}
	clients.Wait()
	s.nothingOfOurs(t)
	measured(t, "%s: %d good and %d bad answers with the seed %d", t.Name(), s.good.Load(), s.bad.Load(), seed)
	if s.good.Load() < 20 || s.bad.Load() < 20 {
		t.Error("too few were asked")
	}
}

const threeLabels = `"id2label": {"0": "a", "1": "b", "2": "c"}`

// Texts and tensors at random, good and bad ones, over every route: each good one is answered
// right, each bad one is refused with its own reason, and nothing is the server's failure.
func TestGoodTextsAreAnsweredAndBadOnesRefusedOnEveryRoute(t *testing.T) {
	t.Parallel()
	t.Run("labels", func(t *testing.T) {
		t.Parallel()
		s := serveFragile(t, newFragile(2, kinds), meanThenOut, `{"architectures": ["XForSequenceClassification"], "pad_token_id": 0, `+threeLabels+`}`)
		type object = map[string]any
		line := func(what string, line []byte, want *asked) {
			var got []scored
			if err := json.Unmarshal(line, &got); err != nil {
				t.Errorf("%s: %v in %s", what, err, line)
			}
			sameLabels(t, what, got, softmax(s.mean(want)))
		}
		list := func(random *rand.Rand, pairs bool) {
			list, first := some(random, 1+random.IntN(12), 0.04, pairs)
			inputs := []any{}
			for _, one := range list {
				if pairs {
					inputs = append(inputs, object{"text": one.text, "text_pair": one.pair})
				} else {
					inputs = append(inputs, one.text)
				}
			}
			var got [][]scored
			if s.post(t, "/predict", "application/json", object{"inputs": inputs, "parameters": object{"function_to_apply": "none"}}, &got, first) {
				for i, one := range list {
					sameLabels(t, one.text, got[i], s.mean(one))
				}
			}
		}
		s.fuzz(t,
			func(random *rand.Rand) {
				one := newSample(random, random.IntN(4) == 0, false)
				var label string
				if s.send(t, http.MethodGet, "/?text="+url.QueryEscape(one.text), "", nil, &label, one.bad) {
					mean := s.mean(one)
					if i := slices.Index(letters, label); i < 0 || mean[i] < slices.Max(mean)-1e-4 {
						t.Errorf("%q: %s, of %v", one.text, label, mean)
					}
				}
			},
			func(random *rand.Rand) { list(random, false) },
			func(random *rand.Rand) { list(random, true) },
			func(random *rand.Rand) {
				list, _ := some(random, 1+random.IntN(40), 0.1, false)
				s.lines(t, list, line)
			},
			func(random *rand.Rand) {
				list, _ := some(random, 1+random.IntN(40), 0.1, true)
				s.lines(t, list, line)
			},
			func(random *rand.Rand) {
				list, first := some(random, 1+random.IntN(6), 0.1, random.IntN(2) == 0)
				s.inferText(t, list, first)
			},
			func(random *rand.Rand) {
				list, first := some(random, 1+random.IntN(6), 0.1, true)
				s.raw(t, "logits", list, first, func(one *asked, _ int) []float64 { return s.mean(one) })
			},
			func(random *rand.Rand) { s.strange(t, random, "logits") },
			func(random *rand.Rand) {
				one := newSample(random, random.IntN(3) == 0, false)
				label, err := labelOverGRPC(t, s.conn, "fragile-text", one.text)
				if one.bad != "" {
					s.bad.Add(1)
					if status.Code(err) != codes.InvalidArgument || !said(status.Convert(err).Message(), one.bad) {
						t.Errorf("%q over gRPC: %v, want %q", one.text, err, one.bad)
					}
					return
				}
				s.good.Add(1)
				mean := s.mean(one)
				if i := slices.Index(letters, label); err != nil || i < 0 || mean[i] < slices.Max(mean)-1e-4 {
					t.Errorf("%q over gRPC: %s, %v, of %v", one.text, label, err, mean)
				}
			},
		)
		t.Run("48 clients, every tenth text bad", func(t *testing.T) {
			var clients sync.WaitGroup
			for client := range uint64(48) {
				clients.Go(func() {
					random := rand.New(rand.NewPCG(client, 1))
					for i := range 20 {
						one := newSample(random, (i+int(client))%10 == 0, false)
						var got [][]scored
						if s.post(t, "/predict", "application/json", object{"inputs": one.text}, &got, one.bad) {
							sameLabels(t, one.text, got[0], softmax(s.mean(one)))
						}
					}
				})
			}
			clients.Wait()
		})
		t.Run("400 lines, two of them bad", func(t *testing.T) {
			random := rand.New(rand.NewPCG(400, 1))
			list, _ := some(random, 400, 0, false)
			list[100], list[301] = newSample(random, true, false), newSample(random, true, false)
			if failed := s.lines(t, list, line); failed != 2 {
				t.Errorf("%d lines failed", failed)
			}
		})
		s.nothingOfOurs(t)
	})
	t.Run("one type", func(t *testing.T) {
		t.Parallel()
		s := serveFragile(t, newFragile(1, kinds), meanThenOut, `{"architectures": ["XForSequenceClassification"], "pad_token_id": 0, `+threeLabels+`}`)
		s.fuzz(t, func(random *rand.Rand) {
			pair := random.IntN(3) == 0
			one := newSample(random, !pair && random.IntN(3) == 0, pair)
			bad := one.bad
			if pair {
				bad = "takes no pairs of texts"
			}
			input := any(one.text)
			if pair {
				input = map[string]any{"text": one.text, "text_pair": one.pair}
			}
			var got [][]scored
			if s.post(t, "/predict", "application/json", map[string]any{"inputs": []any{input}}, &got, bad) {
				sameLabels(t, one.text, got[0], softmax(s.mean(one)))
			}
		}, func(random *rand.Rand) {
			list, _ := some(random, 1+random.IntN(20), 0.1, false)
			for _, one := range list {
				if random.IntN(5) == 0 {
					one.pair, one.bad = "t2", "takes no pairs of texts"
					if i := slices.IndexFunc(one.ids, func(id int) bool { return id >= knownBad }); i >= 0 {
						one.bad = fmt.Sprintf("has the id %d,", one.ids[i])
					}
				}
			}
			s.lines(t, list, func(what string, line []byte, want *asked) {
				var got []scored
				if err := json.Unmarshal(line, &got); err != nil {
					t.Errorf("%s: %v in %s", what, err, line)
				}
				sameLabels(t, what, got, softmax(s.mean(want)))
			})
		})
	})
	t.Run("entities", func(t *testing.T) {
		t.Parallel()
		s := serveFragile(t, newFragile(2, kinds), outOfEach("logits"), `{"architectures": ["XForTokenClassification"], "pad_token_id": 0, `+threeLabels+`}`)
		check := func(what string, got []entity, want *asked) {
			each := s.each(want)
			if len(got) != len(each) {
				t.Errorf("%s: %d entities of %d tokens", what, len(got), len(each))
				return
			}
			for i, g := range got {
				p := softmax(each[i])
				if k := slices.Index(letters, g.Entity); k < 0 || math.Abs(p[k]-slices.Max(p)) > 1e-4 || math.Abs(g.Score-p[k]) > 1e-4 {
					t.Errorf("%s: token %d is %+v, of %v", what, i, g, p)
				}
			}
		}
		s.fuzz(t, func(random *rand.Rand) {
			list, first := some(random, 1+random.IntN(12), 0.06, false)
			var got [][]entity
			if s.post(t, "/predict", "application/json", map[string]any{"inputs": texts(list), "parameters": map[string]any{"ignore_labels": []string{}}}, &got, first) {
				for i, one := range list {
					check(one.text, got[i], one)
				}
			}
		}, func(random *rand.Rand) {
			list, _ := some(random, 1+random.IntN(40), 0.1, false)
			s.lines(t, list, func(what string, line []byte, want *asked) {
				var got []entity
				if err := json.Unmarshal(line, &got); err != nil {
					t.Errorf("%s: %v in %s", what, err, line)
				}
				check(what, got, want)
			})
		}, func(random *rand.Rand) {
			list, first := some(random, 1+random.IntN(6), 0.1, true)
			s.raw(t, "logits", list, first, func(one *asked, _ int) []float64 { return slices.Concat(s.each(one)...) })
		}, func(random *rand.Rand) { s.strange(t, random, "logits") })
	})
	t.Run("embeddings", func(t *testing.T) {
		t.Parallel()
		s := serveFragile(t, newFragile(2, 6), outOfEach("last_hidden_state"), `{"architectures": ["XModel"], "pad_token_id": 0}`)
		unit := func(one *asked) []float64 { return unitOf64(s.mean(one)) }
		s.fuzz(t, func(random *rand.Rand) {
			list, first := some(random, 1+random.IntN(12), 0.06, false)
			path, want := "/predict", s.mean
			if random.IntN(2) == 0 {
				path, want = "/embed", unit
			}
			var got [][]float64
			if s.post(t, path, "application/json", map[string]any{"inputs": texts(list)}, &got, first) {
				for i, one := range list {
					if !near(got[i], want(one)) {
						t.Errorf("%s, %q: %v, want %v", path, one.text, got[i], want(one))
					}
				}
			}
		}, func(random *rand.Rand) {
			list, first := some(random, 1+random.IntN(12), 0.06, false)
			var got struct {
				Data []struct{ Embedding []float64 }
			}
			if s.post(t, "/v1/embeddings", "application/json", map[string]any{"input": texts(list), "model": "fragile"}, &got, first) {
				for i, one := range list {
					if !near(got.Data[i].Embedding, unit(one)) {
						t.Errorf("%q: %v, want %v", one.text, got.Data[i].Embedding, unit(one))
					}
				}
			}
		}, func(random *rand.Rand) {
			list, _ := some(random, 1+random.IntN(40), 0.1, false)
			s.lines(t, list, func(what string, line []byte, want *asked) {
				var got []float64
				if err := json.Unmarshal(line, &got); err != nil || !near(got, s.mean(want)) {
					t.Errorf("%s: %v, %v; want %v", what, got, err, s.mean(want))
				}
			})
		}, func(random *rand.Rand) {
			list, first := some(random, 1+random.IntN(6), 0.1, true)
			s.raw(t, "last_hidden_state", list, first, func(one *asked, _ int) []float64 { return slices.Concat(s.each(one)...) })
		}, func(random *rand.Rand) { s.strange(t, random, "last_hidden_state") })
	})
}

func unitOf64(v []float64) []float64 {
	length := 0.0
	for _, x := range v {
		length += x * x
	}
	unit := make([]float64, len(v))
	for i, x := range v {
		unit[i] = x / math.Sqrt(length)
	}
	return unit
}

// What a real model cannot compute is the client's fault over the Open Inference Protocol.
func TestTensorsThatARealModelCannotComputeAreRefused(t *testing.T) {
	t.Parallel()
	dir := split(t, "sst2-minilm", 2)
	s := &serving{name: "sst2-minilm"}
	var addresses []string
	for rank := range 2 {
		process, address := stage(t, dir, rank)
		s.processes, addresses = append(s.processes, process), append(addresses, address)
	}
	process, address, grpcAddress := frontWithGRPC(t, dir, addresses)
	s.processes, s.url, s.conn = append(s.processes, process), "http://"+address, dialled(t, grpcAddress, nil)
	for name, c := range map[string]struct {
		rows, length int
		id           int64
		says         string
	}{
		"an id behind the table":  {1, 3, 30522, "has the value 30522 at [0 0]"},
		"one far behind":          {2, 2, math.MaxInt64, "has the value 9223372036854775807"},
		"one before the table":    {1, 1, -30523, "takes -30522 to 30521"},
		"a sequence of 513":       {1, 513, 7, "dimension sequence is 513, and the model's tables are for 512 at most"},
		"no token":                {1, 0, 7, "cannot"},
		"a sequence that is long": {1, 5000, 7, "dimension sequence is 5000"},
	} {
		ids, mask := slices.Repeat([]int64{c.id}, c.rows*c.length), slices.Repeat([]int64{1}, c.rows*c.length)
		shape := []int{c.rows, c.length}
		var answer any
		in := map[string]any{"inputs": []any{
			map[string]any{"name": "input_ids", "datatype": "INT64", "shape": shape, "data": ids},
			map[string]any{"name": "attention_mask", "datatype": "INT64", "shape": shape, "data": mask},
		}}
		if s.post(t, "/v2/models/sst2-minilm/infer", "application/json", in, &answer, c.says) {
			t.Errorf("%s: %v", name, answer)
		}
		tensor := func(name string, values []int64) *oippb.ModelInferRequest_InferInputTensor {
			return &oippb.ModelInferRequest_InferInputTensor{Name: name, Datatype: "INT64", Shape: []int64{int64(c.rows), int64(c.length)}, Contents: &oippb.InferTensorContents{Int64Contents: values}}
		}
		ctx, end := context.WithTimeout(t.Context(), testkit.Patience)
		err := s.conn.Invoke(ctx, openInferenceService+"ModelInfer", &oippb.ModelInferRequest{ModelName: s.name, Inputs: []*oippb.ModelInferRequest_InferInputTensor{tensor("input_ids", ids), tensor("attention_mask", mask)}}, &oippb.ModelInferResponse{})
		end()
		if status.Code(err) != codes.InvalidArgument || !said(status.Convert(err).Message(), c.says) {
			t.Errorf("%s over gRPC: %v, want %q", name, err, c.says)
		}
	}
	s.nothingOfOurs(t)
}
