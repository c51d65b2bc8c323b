package main_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	neturl "net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/distinfer/distinfer/runtime/ort"
	"github.com/distinfer/distinfer/runtime/ort/orttest"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/runtime/testkit"
	"github.com/distinfer/distinfer/runtime/text"
	"github.com/distinfer/distinfer/server/client"
)

// A sample is a text with its right label.
type sample struct {
	text, label string
}

// dataset reads a file of SST-2: label and sentence, parted by a tab.
func dataset(t *testing.T, name string) []sample {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(testkit.Root(t), "models", "testdata", "sst2", name))
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasSuffix(name, ".gz") {
		r, err := gzip.NewReader(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		if data, err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
	var samples []sample
	for _, line := range strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")[1:] {
		label, sentence, _ := strings.Cut(line, "\t")
		samples = append(samples, sample{sentence, map[string]string{"0": "negative", "1": "positive"}[label]})
	}
	return samples
}

// allSentences says that the models are compared on every sentence and cut into every number of
// stages, as `make conformance WITH=sentences` does. It is much, and no two sentences differ in
// what they try.
func allSentences() bool { return os.Getenv("DISTINFER_SENTENCES") == "all" }

// devSet is every eighth sentence of SST-2's dev set, or all.
func devSet(t *testing.T) []sample {
	t.Helper()
	samples := dataset(t, "dev.tsv")
	if len(samples) != 872 {
		t.Fatalf("%d sentences, there should be 872", len(samples))
	}
	if allSentences() {
		return samples
	}
	var some []sample
	for i := 0; i < len(samples); i += 8 {
		some = append(some, samples[i])
	}
	return some
}

// A reference is a row of the answers of the 2018 system's own graph.
type reference struct {
	text   string
	logits [2]float64
	label  string
}

func references(t *testing.T) []reference {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(testkit.Root(t), "models", "testdata", "seed-rnn", "reference.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	var rows []reference
	for i, line := range strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")[1:] {
		cells := strings.Split(line, "\t")
		if len(cells) != 4 {
			t.Fatalf("row %d has %d columns", i, len(cells))
		}
		r := reference{label: cells[3]}
		// The sentence is escaped as in a JSON string.
		if err := json.Unmarshal([]byte(`"`+cells[0]+`"`), &r.text); err != nil {
			if err := json.Unmarshal([]byte(cells[0]), &r.text); err != nil {
				t.Fatalf("row %d: %v", i, err)
			}
		}
		for k := range r.logits {
			var err error
			if r.logits[k], err = strconv.ParseFloat(cells[k+1], 64); err != nil {
				t.Fatal(err)
			}
		}
		rows = append(rows, r)
	}
	return rows
}

// whole is the model that was not split, in this process: tokenizer, session,
// scores.
type whole struct {
	tokenizer *text.Tokenizer
	config    *text.Config
	session   *ort.Session
	inputs    []string
}

func wholeModel(t *testing.T, model string) *whole {
	t.Helper()
	dir := filepath.Join(testkit.Root(t), "models", model)
	open := func(name string) *os.File {
		f, err := os.Open(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		return f
	}
	w := &whole{inputs: []string{"input_ids"}}
	var err error
	if w.tokenizer, err = text.LoadTokenizer(open("tokenizer.json")); err != nil {
		t.Fatal(err)
	}
	if w.config, err = text.LoadConfig(open("config.json")); err != nil {
		t.Fatal(err)
	}
	if model != "seed-rnn" {
		w.inputs = append(w.inputs, "attention_mask")
	}
	var inputs []tensor.Spec
	for _, name := range w.inputs {
		inputs = append(inputs, tensor.Spec{Name: name, DType: tensor.Int64, Dims: []tensor.Dim{tensor.Named("batch"), tensor.Named("sequence")}})
	}
	logits := tensor.Spec{Name: "logits", DType: tensor.Float32, Dims: []tensor.Dim{tensor.Named("batch"), tensor.Fixed(2)}}
	if w.session, err = orttest.Library(t).Open(filepath.Join(dir, "model.onnx"), inputs, []tensor.Spec{logits}, ort.Options{Threads: 1}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.session.Close() })
	return w
}

// logits of one text, alone in its batch.
func (w *whole) logits(t *testing.T, s string) []float32 {
	t.Helper()
	e, err := w.tokenizer.Encode(s)
	if err != nil {
		t.Fatal(err)
	}
	shape := []int64{1, int64(len(e.IDs))}
	in := tensor.Bag{"input_ids": tensor.Of(shape, e.IDs), "attention_mask": tensor.Of(shape, e.AttentionMask)}
	out, err := w.session.Run(context.Background(), in)
	if err != nil {
		t.Fatal(err)
	}
	values, err := tensor.As[float32](out["logits"])
	if err != nil {
		t.Fatal(err)
	}
	return values
}

func (w *whole) results(t *testing.T, s string) []text.Result {
	t.Helper()
	r, err := w.config.Results(w.logits(t, s), text.ByConfig)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// sameResults compares labels, and scores within 1e-4, and returns the largest
// difference of the scores.
func sameResults(t *testing.T, text string, want, got []text.Result) float64 {
	t.Helper()
	if len(want) != len(got) {
		t.Fatalf("%q: %v, want %v", text, got, want)
	}
	largest := 0.0
	for i := range want {
		d := math.Abs(want[i].Score - got[i].Score)
		if want[i].Label != got[i].Label || !(d <= 1e-4) {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
		largest = max(largest, d)
	}
	return largest
}

// The whole job as a user does it: split, one process a stage, a front, HTTP.
func TestAnswersOverHTTPEqualTheUnsplitModels(t *testing.T) {
	t.Parallel()
	for _, model := range []string{"sst2-minilm", "seed-rnn"} {
		t.Run(model, func(t *testing.T) {
			t.Parallel()
			bundle := split(t, model, 2)
			_, first := stage(t, bundle, 0)
			_, second := stage(t, bundle, 1)
			_, url := front(t, bundle, []string{first, second})

			samples := devSet(t)
			w := wholeModel(t, model)
			var right, rightWhole int
			var largest float64
			answers := make([][]text.Result, len(samples))
			labels := make([]string, len(samples))
			var wg sync.WaitGroup
			slots := make(chan struct{}, 8)
			const list = 16 // texts a POST
			for from := 0; from < len(samples); from += list {
				wg.Go(func() {
					slots <- struct{}{}
					defer func() { <-slots }()
					chunk := samples[from:min(from+list, len(samples))]
					var texts []string
					for i, s := range chunk {
						texts = append(texts, s.text)
						status, body := fetch(t, "GET", url+"/?text="+neturl.QueryEscape(s.text), "")
						if status != 200 {
							t.Errorf("%q: %d %s", s.text, status, body)
						}
						labels[from+i] = strings.TrimSuffix(body, "\n")
					}
					request, err := json.Marshal(map[string]any{"inputs": texts})
					if err != nil {
						t.Error(err)
					}
					status, body := fetch(t, "POST", url+"/predict", string(request))
					var results [][]text.Result
					if err := json.Unmarshal([]byte(body), &results); err != nil || status != 200 || len(results) != len(texts) {
						t.Errorf("%d %s: %v", status, body, err)
						return
					}
					copy(answers[from:], results)
				})
			}
			wg.Wait()
			for i, s := range samples {
				want := w.results(t, s.text)
				largest = max(largest, sameResults(t, s.text, want, answers[i]))
				if labels[i] != want[0].Label {
					t.Errorf("%q: the label is %q, want %q", s.text, labels[i], want[0].Label)
				}
				if answers[i] != nil && answers[i][0].Label == s.label {
					right++
				}
				if want[0].Label == s.label {
					rightWhole++
				}
			}
			n := float64(len(samples))
			measured(t, "%s: accuracy on %d sentences of SST-2's dev set %.4f whole, %.4f in two stages over HTTP; largest difference of a score %.1e",
				model, len(samples), float64(rightWhole)/n, float64(right)/n, largest)
			if model == "sst2-minilm" && float64(right)/n < 0.90 {
				t.Errorf("accuracy %.4f is below what the model card says", float64(right)/n)
			}
		})
	}
}

func TestPredictionsInEveryNumberOfStagesEqualTheUnsplitModels(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		model        string
		stages, more []int // more when all sentences are compared
	}{{"sst2-minilm", []int{2, 6}, []int{1, 3}}, {"sst2-minilm-int8", []int{3}, []int{1, 2, 6}}, {"seed-rnn", []int{1, 2, 3}, nil}} {
		t.Run(c.model, func(t *testing.T) {
			t.Parallel()
			if allSentences() {
				c.stages = append(c.stages, c.more...)
			}
			samples := devSet(t)
			w := wholeModel(t, c.model)
			want := make([][]text.Result, len(samples))
			for i, s := range samples {
				want[i] = w.results(t, s.text)
			}
			file := filepath.Join(t.TempDir(), "sentences.tsv")
			table := "label\tcontent\n"
			for _, s := range samples {
				table += s.label + "\t" + s.text + "\n"
			}
			if err := os.WriteFile(file, []byte(table), 0o600); err != nil {
				t.Fatal(err)
			}
			for _, n := range c.stages {
				out := ok(t, t.TempDir(), "", "predict", file, "--column", "content", "-o", "json", "--bundle", split(t, c.model, n))
				lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
				if len(lines) != len(samples) {
					t.Fatalf("%d stages: %d lines for %d sentences", n, len(lines), len(samples))
				}
				largest := 0.0
				for i, line := range lines {
					var o struct {
						Line   int
						Label  string
						Scores map[string]float64
					}
					if err := json.Unmarshal([]byte(line), &o); err != nil || o.Line != i+2 {
						t.Fatalf("line %d: %s: %v", i+2, line, err)
					}
					got := []text.Result{{Label: o.Label, Score: o.Scores[o.Label]}}
					for label, score := range o.Scores {
						if label != o.Label {
							got = append(got, text.Result{Label: label, Score: score})
						}
					}
					largest = max(largest, sameResults(t, samples[i].text, want[i], got))
				}
				measured(t, "%s: %d stages in one process, %d sentences: labels equal, largest difference of a score %.1e", c.model, n, len(samples), largest)
			}
		})
	}
}

// Users of the 2018 system move over unchanged.
func TestSeedRNNAnswersAsItsTensorFlowGraphDid(t *testing.T) {
	t.Parallel()
	w := wholeModel(t, "seed-rnn")
	rows := references(t)
	if len(rows) != 972 {
		t.Fatalf("%d rows, there should be 972", len(rows))
	}
	largest := 0.0
	for _, r := range rows {
		logits := w.logits(t, r.text)
		for k := range r.logits {
			d := math.Abs(float64(logits[k]) - r.logits[k])
			largest = max(largest, d)
			if !(d <= 1e-5) {
				t.Errorf("%q: logits %v, the reference has %v", r.text, logits, r.logits)
			}
		}
		if got := w.results(t, r.text)[0].Label; got != r.label {
			t.Errorf("%q is %s, the reference has %s", r.text, got, r.label)
		}
	}
	measured(t, "seed-rnn: %d rows of the TensorFlow graph: labels equal, largest difference of a logit %.1e", len(rows), largest)

	// The same labels over the whole command line, empty texts left out: a front
	// refuses these.
	var texts, want []string
	for _, r := range rows {
		if r.text != "" {
			line, err := json.Marshal(r.text)
			if err != nil {
				t.Fatal(err)
			}
			texts, want = append(texts, string(line)), append(want, r.label)
		}
	}
	out := ok(t, t.TempDir(), strings.Join(texts, "\n"), "predict", "--format", "jsonl", "--bundle", split(t, "seed-rnn", 2))
	for i, line := range strings.Split(strings.TrimSuffix(out, "\n"), "\n") {
		if label, _, _ := strings.Cut(line, "\t"); label != want[i] {
			t.Errorf("%s is %s, the reference has %s", texts[i], label, want[i])
		}
	}
}

func TestAFrontToldOfNoStagesUsesTheUsualPortsAndNamesTheOneThatIsMissing(t *testing.T) {
	t.Parallel()
	bundle := split(t, "seed-rnn", 2)
	_, first := stage(t, bundle, 0)
	// A port that was just given back is closed.
	gone, address := stage(t, bundle, 1)
	gone.stop(t, syscall.SIGTERM)
	f, url := front(t, bundle, []string{first, address}, "--timeout", "2s")
	status, body := fetch(t, "GET", url+"/?text=good", "")
	if status != 503 || !strings.Contains(body, "stage 1 at "+address+", an address of the caller's route, cannot be reached as a stage") || strings.Count(body, "\n") != 1 {
		t.Errorf("%d %q", status, body)
	}
	if status, body := fetch(t, "POST", url+"/", `{"inputs":"good"}`); status != 503 || !strings.Contains(body, `{"error":"stage 1 at `) {
		t.Errorf("%d %q", status, body)
	}
	if status, _ := fetch(t, "GET", url+"/readyz", ""); status != 503 {
		t.Errorf("readyz: %d", status)
	}
	if status, _ := fetch(t, "GET", url+"/healthz", ""); status != 200 {
		t.Errorf("healthz: %d", status)
	}
	if e := f.entry(t, "stage cannot be used", 1); !strings.Contains(fmt.Sprint(e["error"]), "stage 1 at") {
		t.Errorf("the log says %v", e)
	}
}

func TestStagesOfDifferentBundlesAreNeverMixed(t *testing.T) {
	t.Parallel()
	two, three := split(t, "seed-rnn", 2), split(t, "seed-rnn", 3)
	_, first := stage(t, two, 0)
	_, other := stage(t, three, 1)
	_, url := front(t, two, []string{first, other})
	status, body := fetch(t, "GET", url+"/?text=good", "")
	if status != 503 || !strings.Contains(body, "stage 1 at "+other+" holds rank 1 of bundle") || !strings.Contains(body, "and rank 1 of bundle") {
		t.Errorf("%d %q", status, body)
	}
	// Stages in the wrong order.
	_, second := stage(t, two, 1)
	_, url = front(t, two, []string{second, first})
	if status, body := fetch(t, "GET", url+"/?text=good", ""); status != 503 || !strings.Contains(body, "rank order") {
		t.Errorf("%d %q", status, body)
	}
}

func TestAModelWithoutTokenizerIsServedWithoutTextRoute(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	data, err := os.ReadFile(modelFile(t, "seed-rnn"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "model.onnx"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	ok(t, dir, "", "split", "model.onnx", "--stages", "2")
	bundle := filepath.Join(dir, "stages")
	_, first := stage(t, bundle, 0)
	_, second := stage(t, bundle, 1)
	_, url := front(t, bundle, []string{first, second})
	if status, body := fetch(t, "GET", url+"/?text=good", ""); status != 404 || !strings.Contains(body, "tokenizer.json") {
		t.Errorf("%d %q", status, body)
	}
	testkit.Eventually(t, "the stages are ready", func() bool { status, _ := fetch(t, "GET", url+"/readyz", ""); return status == 200 })
	if r := run(t, dir, "good\n", "predict"); r.code != 1 || !strings.Contains(r.stderr, "tokenizer.json") {
		t.Errorf("predict: %+v", r)
	}
}

func TestAStageStopsInOrderAndComesBackOnItsPort(t *testing.T) {
	t.Parallel()
	bundle := split(t, "seed-rnn", 2)
	_, first := stage(t, bundle, 0)
	s, second := stage(t, bundle, 1)
	_, url := front(t, bundle, []string{first, second}, "--timeout", "3s")
	ask := func() int { status, _ := fetch(t, "GET", url+"/?text=good", ""); return status }
	if got := ask(); got != 200 {
		t.Fatalf("status %d", got)
	}
	if code := s.stop(t, syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if got := ask(); got != 503 {
		t.Errorf("without stage 1: status %d", got)
	}
	start(t, bundle, "serve-stage", "--bundle", bundle, "--rank", "1", "--listen", second).entry(t, "stage ready", 1)
	testkit.Eventually(t, "the front finds the stage again", func() bool { return ask() == 200 })
}

// underLoad asks a front of seed-rnn for labels, four at a time and up to 200 a second, until stop
// is called, and checks that each is answered right. More a second would try nothing more, and
// take the processor from other tests.
func underLoad(t *testing.T, url string) (stop func()) {
	t.Helper()
	want := wholeModel(t, "seed-rnn")
	samples := dataset(t, "dev.tsv")
	front, err := client.New(client.Config{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	var asked atomic.Int64
	var work sync.WaitGroup
	const workers = 4
	for worker := range workers {
		work.Go(func() {
			for i := worker; ; i += workers {
				select {
				case <-ended:
					return
				case <-time.After(20 * time.Millisecond):
				}
				text := samples[i%len(samples)].text
				got, err := front.Label(context.WithoutCancel(t.Context()), text)
				if label := want.results(t, text)[0].Label; got != label || err != nil {
					t.Errorf("%q: %s, want %s: %v", text, got, label, err)
				}
				asked.Add(1)
			}
		})
	}
	stop = sync.OnceFunc(func() {
		close(ended)
		work.Wait()
		t.Logf("%d requests", asked.Load())
	})
	t.Cleanup(stop)
	return stop
}

// The bundle is replaced while requests come in: each is answered, and the front
// does not end.
func TestAFrontFollowsAnotherBundleWithoutLosingARequest(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	bundle := filepath.Join(dir, "stages")
	ok(t, dir, "", "split", modelFile(t, "seed-rnn"), "--stages", "2")
	configure := func(text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, "distinfer.yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var old, next []string
	var before []*server
	for rank := range 2 {
		s, address := stage(t, bundle, rank)
		before, old = append(before, s), append(old, address)
	}
	configure("stages: [" + strings.Join(old, ", ") + "]\n")
	f := start(t, dir, "front", "--port", "0")
	url := f.entry(t, "front listening", 1)["url"].(string)
	stop := underLoad(t, url)
	hangUp := func() {
		t.Helper()
		if err := f.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	hangUp()
	f.entry(t, "neither bundle nor stages have changed", 1)
	configure("stagse: nonsense\n")
	hangUp()
	f.entry(t, "the front goes on with what it has", 1)

	ok(t, t.TempDir(), "", "split", modelFile(t, "seed-rnn"), "--stages", "3", "--force", "--out", bundle)
	for rank := range 3 {
		if rank == 2 { // until the last one is there, the front waits
			configure("stages: [" + strings.Join(append(next, "localhost:1"), ", ") + "]\n")
			hangUp()
			f.entry(t, "waiting for the stages of another bundle", 1)
		}
		_, address := stage(t, bundle, rank)
		next = append(next, address)
	}
	configure("stages: [" + strings.Join(next, ", ") + "]\n")
	hangUp()
	f.entry(t, "the front goes on with what it has", 2)
	f.entry(t, "front follows", 1)
	for _, s := range before {
		if code := s.stop(t, syscall.SIGTERM); code != 0 {
			t.Errorf("exit code %d", code)
		}
	}
	testkit.Eventually(t, "some requests are answered by the other bundle", func() bool {
		status, _ := fetch(t, "GET", url+"/?text=good", "")
		return status == 200
	})
	stop()
	if code := f.stop(t, syscall.SIGTERM); code != 0 {
		t.Errorf("exit code of the front %d", code)
	}
}

// Every process is restarted under load, and one of each pair is killed.
func TestRequestsSurviveRestartsOfEveryStage(t *testing.T) {
	t.Parallel()
	bundle := split(t, "seed-rnn", 2)
	var replicas [2][]string
	var processes []*server
	for rank := range replicas {
		for range 2 {
			s, address := stage(t, bundle, rank)
			processes, replicas[rank] = append(processes, s), append(replicas[rank], address)
		}
	}
	_, url := front(t, bundle, []string{strings.Join(replicas[0], "|"), strings.Join(replicas[1], "|")})
	stop := underLoad(t, url)
	for i, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL, syscall.SIGKILL, syscall.SIGTERM} {
		rank := i / 2
		if code := processes[i].stop(t, signal); signal == syscall.SIGTERM && code != 0 {
			t.Errorf("exit code %d", code)
		}
		s := start(t, bundle, "serve-stage", "--bundle", bundle, "--rank", strconv.Itoa(rank), "--listen", replicas[rank][i%2])
		s.entry(t, "stage ready", 1)
	}
	stop()
}

// A bundle is rolled out over the machines that serve another, one replica of each
// rank at a time, along the list of addresses that stays the same.
func TestABundleIsRolledOutUnderLoad(t *testing.T) {
	t.Parallel()
	bundle := split(t, "seed-rnn", 2)
	var replicas [2][]string
	var processes [2][]*server
	for rank := range replicas {
		for range 2 {
			s, address := stage(t, bundle, rank)
			processes[rank], replicas[rank] = append(processes[rank], s), append(replicas[rank], address)
		}
	}
	f, url := front(t, bundle, []string{strings.Join(replicas[0], "|"), strings.Join(replicas[1], "|")})
	stop := underLoad(t, url)

	// The same model by another name is another bundle with the same answers.
	model := filepath.Join(t.TempDir(), "renamed")
	if err := os.CopyFS(model, os.DirFS(filepath.Dir(modelFile(t, "seed-rnn")))); err != nil {
		t.Fatal(err)
	}
	ok(t, t.TempDir(), "", "split", filepath.Join(model, "model.onnx"), "--stages", "2", "--out", bundle, "--force")
	restart := func(replica int) {
		t.Helper()
		for rank := range replicas {
			if code := processes[rank][replica].stop(t, syscall.SIGTERM); code != 0 {
				t.Errorf("exit code %d", code)
			}
			s := start(t, bundle, "serve-stage", "--bundle", bundle, "--rank", strconv.Itoa(rank), "--listen", replicas[rank][replica])
			if got := s.entry(t, "stage ready", 1)["model"]; got != "renamed" {
				t.Errorf("it serves %v", got)
			}
		}
	}
	restart(1)
	if err := f.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	if got := f.entry(t, "front follows", 1)["model"]; got != "renamed" {
		t.Errorf("the front follows %v", got)
	}
	for name, want := range map[string]int{"renamed": http.StatusOK, "renamed-text": http.StatusOK, "seed-rnn": http.StatusNotFound} {
		if status, body := fetch(t, http.MethodGet, url+"/v2/models/"+name, ""); status != want {
			t.Errorf("/v2 tells of %s: %d %s", name, status, body)
		}
	}
	restart(0)
	stop()
}
