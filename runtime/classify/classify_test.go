package classify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/fault"
	"github.com/distinfer/distinfer/runtime/tensor"
)

// patience bounds waits that end sooner unless something is broken.
const patience = 20 * time.Second

// The words w0 to w9 have the ids 10 to 19; what is not a word is unknown.
const tokenizerJSON = `{"version": "1.0", "pre_tokenizer": {"type": "WhitespaceSplit"}, "model": {"type": "WordLevel", "unk_token": "[UNK]",
"vocab": {"[PAD]": 0, "[UNK]": 1, "w0": 10, "w1": 11, "w2": 12, "w3": 13, "w4": 14, "w5": 15, "w6": 16, "w7": 17, "w8": 18, "w9": 19}}}`

// unkLess has no unknown token in its vocabulary, so that some texts cannot be
// tokenised.
const unkLess = `{"version": "1.0", "pre_tokenizer": {"type": "WhitespaceSplit"}, "model": {"type": "WordLevel", "unk_token": "[UNK]",
"vocab": {"[PAD]": 0, "w0": 10, "w1": 11}}}`

const configJSON = `{"problem_type": "regression", "id2label": {"0": "sum", "1": "tokens"}}`

// A model is what a bundle of these tests holds.
type model struct {
	tokenizer, config string // no file when empty
	inputs, outputs   []tensor.Spec
}

func spec(name string, d tensor.DType, dims ...tensor.Dim) tensor.Spec {
	return tensor.Spec{Name: name, DType: d, Dims: dims}
}

var (
	batch, sequence = tensor.Named("batch"), tensor.Named("sequence")

	bertInputs = []tensor.Spec{
		spec("input_ids", tensor.Int64, batch, sequence),
		spec("attention_mask", tensor.Int64, batch, sequence),
		spec("token_type_ids", tensor.Int64, batch, sequence),
	}
	twoLogits = []tensor.Spec{spec("logits", tensor.Float32, batch, tensor.Fixed(2))}
	usual     = model{tokenizerJSON, configJSON, bertInputs, twoLogits}
)

func (m model) bundle(t testing.TB) *bundle.Bundle {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "stages")
	w, err := bundle.Create(dir, false)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, content string) bundle.File {
		f, err := w.WriteFile(name, func(to io.Writer) error {
			_, err := io.WriteString(to, content)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	manifest := &bundle.Manifest{
		Format: bundle.Format, Model: bundle.Model{Name: "made-up", SHA256: strings.Repeat("0", 64)},
		Inputs: m.inputs, Outputs: m.outputs,
		Stages: []bundle.Stage{{File: write("stage-0.onnx", "not run"), Inputs: m.inputs, Outputs: m.outputs}},
	}
	if m.tokenizer != "" {
		manifest.Files = append(manifest.Files, write(bundle.TokenizerName, m.tokenizer))
	}
	if m.config != "" {
		manifest.Files = append(manifest.Files, write(bundle.ConfigName, m.config))
	}
	if err := w.WriteManifest(manifest); err != nil {
		t.Fatal(err)
	}
	if err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	b, err := bundle.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A sums computes two logits for each row, from the ids that the mask has: their
// position-weighted sum modulo a prime, and their number. It records what it is
// given.
type sums struct {
	output string                                              // name of the output
	before func(ctx context.Context, rows, length int64) error // may be nil
	change func(logits []float32) []float32                    // may be nil

	mu     sync.Mutex
	shapes [][]int64
	bags   []tensor.Bag
}

const prime = 65521

func (s *sums) Run(ctx context.Context, in tensor.Bag) (tensor.Bag, error) {
	shape := in["input_ids"].Shape
	s.mu.Lock()
	s.shapes, s.bags = append(s.shapes, shape), append(s.bags, in)
	s.mu.Unlock()
	if s.before != nil {
		if err := s.before(ctx, shape[0], shape[1]); err != nil {
			return nil, err
		}
	}
	ids, err := integers(in["input_ids"])
	if err != nil {
		return nil, err
	}
	mask := slices.Repeat([]int64{1}, len(ids))
	if m, ok := in["attention_mask"]; ok {
		if mask, err = integers(m); err != nil {
			return nil, err
		}
	}
	var logits []float32
	for row := range int(shape[0]) {
		sum, n := int64(0), int64(0)
		for i := row * int(shape[1]); i < (row+1)*int(shape[1]); i++ {
			if mask[i] == 1 {
				n++
				sum = (sum + n*ids[i]) % prime
			}
		}
		logits = append(logits, float32(sum), float32(n))
	}
	if s.change != nil {
		logits = s.change(logits)
	}
	name := s.output
	if name == "" {
		name = "logits"
	}
	return tensor.Bag{name: tensor.Of([]int64{int64(len(logits))}, logits)}, nil
}

func integers(t tensor.Tensor) ([]int64, error) {
	if t.DType == tensor.Int64 {
		return tensor.As[int64](t)
	}
	narrow, err := tensor.As[int32](t)
	wide := make([]int64, len(narrow))
	for i, v := range narrow {
		wide[i] = int64(v)
	}
	return wide, err
}

// words makes a text of the given number of words, and its two logits.
func words(random *rand.Rand, n int) (string, [2]float64) {
	var s []string
	sum := int64(0)
	for i := range n {
		w := random.Int64N(10)
		s = append(s, fmt.Sprint("w", w))
		sum = (sum + int64(i+1)*(10+w)) % prime
	}
	return strings.Join(s, " "), [2]float64{float64(sum), float64(n)}
}

func classifier(t testing.TB, m model, s *sums, parallel int) *Classifier {
	t.Helper()
	c, err := New(m.bundle(t), s, parallel)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func wantAnswer(t testing.TB, what any, a Answer, want [2]float64) {
	t.Helper()
	if a.Err != nil {
		t.Errorf("%v: %v", what, a.Err)
		return
	}
	got := map[string]float64{}
	for _, r := range a.Results {
		got[r.Label] = r.Score
	}
	if len(a.Results) != 2 || got["sum"] != want[0] || got["tokens"] != want[1] || a.Results[0].Score < a.Results[1].Score {
		t.Errorf("%v: got %v, want %v", what, a.Results, want)
	}
}

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func TestAnswersComeInTheOrderOfTexts(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	for _, m := range []struct {
		name string
		model
	}{
		{"of a BERT", usual},
		{"without a mask, padded by position", model{tokenizerJSON, configJSON, bertInputs[:2], twoLogits}},
		{"int32", model{tokenizerJSON, configJSON, []tensor.Spec{spec("input_ids", tensor.Int32, batch, sequence), spec("attention_mask", tensor.Int32, batch, sequence)}, twoLogits}},
		{"mixed int32 and int64", model{tokenizerJSON, configJSON, []tensor.Spec{spec("input_ids", tensor.Int64, batch, sequence), spec("attention_mask", tensor.Int32, batch, sequence)}, twoLogits}},
		{"batch of 1", model{tokenizerJSON, configJSON, []tensor.Spec{spec("input_ids", tensor.Int64, tensor.Fixed(1), sequence), spec("attention_mask", tensor.Int64, tensor.Fixed(1), sequence)}, twoLogits}},
		{"batch of 5", model{tokenizerJSON, configJSON, []tensor.Spec{spec("input_ids", tensor.Int64, tensor.Fixed(5), sequence), spec("attention_mask", tensor.Int64, tensor.Fixed(5), sequence)}, twoLogits}},
		{"logits by another name, of any rank", model{tokenizerJSON, configJSON, bertInputs, []tensor.Spec{{Name: "scores", DType: tensor.Float32, AnyRank: true}}}},
	} {
		seed := random.Uint64()
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(seed, 0))
			runner := &sums{output: m.outputs[0].Name}
			c := classifier(t, m.model, runner, 3)
			for _, n := range []int{0, 1, 2, 33, 100} {
				var texts []string
				var want [][2]float64
				for range n {
					s, w := words(random, 1+random.IntN(200))
					texts, want = append(texts, s), append(want, w)
				}
				answers, err := c.Classify(testContext(t), texts)
				if err != nil || len(answers) != n {
					t.Fatalf("%d answers to %d texts, %v", len(answers), n, err)
				}
				for i, a := range answers {
					wantAnswer(t, i, a, want[i])
				}
			}
			for _, bag := range runner.bags {
				if _, err := tensor.MatchAll(m.inputs, bag); err != nil || len(bag) != len(m.inputs) {
					t.Fatalf("the runner is given %v: %v", bag.Names(), err)
				}
			}
		})
	}
}

func TestBatchesAreBounded(t *testing.T) {
	t.Parallel()
	for name, lengths := range map[string][]int{
		"many short texts":       slices.Repeat([]int{1}, 200),
		"long texts":             slices.Repeat([]int{1000}, 9),
		"one longer than all":    {1, maxTokens + 500, 2},
		"exactly full by rows":   slices.Repeat([]int{2}, maxRows),
		"exactly full by tokens": slices.Repeat([]int{maxTokens / 8}, 8),
		"every length":           {1, 5, 4000, 300, 2, 700, 128, 129, 127, 1, 64, 4096, 4097, 33, 10, 2048, 2049},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(3, 4))
			runner := &sums{}
			c := classifier(t, usual, runner, 2)
			var texts []string
			var want [][2]float64
			for _, n := range lengths {
				s, w := words(random, n)
				texts, want = append(texts, s), append(want, w)
			}
			answers, err := c.Classify(testContext(t), texts)
			if err != nil {
				t.Fatal(err)
			}
			for i, a := range answers {
				wantAnswer(t, i, a, want[i])
			}
			rows, tokens := 0, 0
			for _, s := range runner.shapes {
				if s[0] > maxRows || s[0]*s[1] > maxTokens && s[0] > 1 {
					t.Errorf("a batch has shape %v", s)
				}
				rows += int(s[0])
				tokens += int(s[0] * s[1])
			}
			if rows != len(lengths) {
				t.Errorf("%d rows were computed for %d texts", rows, len(lengths))
			}
			// Full batches are used: not one batch a text.
			if strings.HasPrefix(name, "exactly full") && len(runner.shapes) != 1 {
				t.Errorf("%d batches: %v", len(runner.shapes), runner.shapes)
			}
			if name == "many short texts" && len(runner.shapes) != 7 { // 200 / 32, rounded up
				t.Errorf("%d batches: %v", len(runner.shapes), runner.shapes)
			}
		})
	}
}

func TestFixedBatchIsFilled(t *testing.T) {
	t.Parallel()
	m := usual
	m.inputs = []tensor.Spec{spec("input_ids", tensor.Int64, tensor.Fixed(4), sequence)}
	runner := &sums{}
	c := classifier(t, m, runner, 1)
	answers, err := c.Classify(testContext(t), []string{"w0", "w1", "w2", "w3", "w4", "w5"})
	if err != nil {
		t.Fatal(err)
	}
	for i, a := range answers {
		wantAnswer(t, i, a, [2]float64{float64(10 + i), 1})
	}
	if len(runner.shapes) != 2 || runner.shapes[0][0] != 4 || runner.shapes[1][0] != 4 {
		t.Errorf("batches have shapes %v", runner.shapes)
	}
}

func TestNoMoreBatchesAtOnceThanAllowed(t *testing.T) {
	t.Parallel()
	const parallel = 2
	var now atomic.Int64
	var reached sync.Once
	together := make(chan struct{})
	runner := &sums{before: func(ctx context.Context, _, _ int64) error {
		defer now.Add(-1)
		if n := now.Add(1); n > parallel {
			t.Errorf("%d batches are computed at once", n)
		} else if n == parallel {
			reached.Do(func() { close(together) })
		}
		select { // until there are as many as allowed
		case <-together:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}}
	c := classifier(t, usual, runner, parallel)
	texts := slices.Repeat([]string{"w1"}, 10*maxRows)
	var wg sync.WaitGroup
	for range 4 { // callers share the limit
		wg.Go(func() {
			if _, err := c.Classify(testContext(t), texts); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if len(runner.shapes) != 40 {
		t.Errorf("%d batches", len(runner.shapes))
	}
}

func TestTextsAreCutToTheModelsPositions(t *testing.T) {
	t.Parallel()
	m := usual
	m.config = `{"problem_type": "regression", "id2label": {"0": "sum", "1": "tokens"}, "max_position_embeddings": 3}`
	answers, err := classifier(t, m, &sums{}, 1).Classify(testContext(t), []string{"w1 w2 w3 w4", "w1 w2"})
	if err != nil {
		t.Fatal(err)
	}
	wantAnswer(t, "long", answers[0], [2]float64{11 + 2*12 + 3*13, 3})
	wantAnswer(t, "short", answers[1], [2]float64{11 + 2*12, 2})
}

// Padding that a model without a mask reads must be as the file says; with a
// mask it is only work.
func TestPaddingIsTheFilesUnlessThereIsAMask(t *testing.T) {
	t.Parallel()
	m := usual
	m.tokenizer = strings.Replace(tokenizerJSON, `{"version"`, `{"padding": {"strategy": {"Fixed": 6}, "direction": "Left", "pad_to_multiple_of": null, "pad_id": 1, "pad_type_id": 0, "pad_token": "[UNK]"}, "version"`, 1)
	for name, c := range map[string]struct {
		inputs []tensor.Spec
		length int64
		want   [2]float64
	}{
		"mask":    {bertInputs, 2, [2]float64{11 + 2*12, 2}},
		"no mask": {bertInputs[:1], 6, [2]float64{1 + 2 + 3 + 4 + 5*11 + 6*12, 6}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := m
			m.inputs = c.inputs
			runner := &sums{}
			answers, err := classifier(t, m, runner, 1).Classify(testContext(t), []string{"w1 w2"})
			if err != nil {
				t.Fatal(err)
			}
			wantAnswer(t, name, answers[0], c.want)
			if got := runner.shapes[0][1]; got != c.length {
				t.Errorf("padded to %d, want %d", got, c.length)
			}
		})
	}
}

func TestNewRefusesModelsThatAreNoTextClassifiers(t *testing.T) {
	t.Parallel()
	ids := bertInputs[0]
	for name, c := range map[string]struct {
		change func(*model)
		want   string
		is     error
	}{
		"no tokenizer.json": {func(m *model) { m.tokenizer = "" }, "tokenizer.json", bundle.ErrNoFile},
		"no config.json":    {func(m *model) { m.config = "" }, "config.json", bundle.ErrNoFile},
		"broken tokenizer":  {func(m *model) { m.tokenizer = "{}" }, `"model" is missing`, nil},
		"broken config":     {func(m *model) { m.config = "[]" }, "config.json", nil},
		"unknown input":     {func(m *model) { m.inputs = []tensor.Spec{ids, spec("pixel_values", tensor.Int64, batch, sequence)} }, "pixel_values", nil},
		"no ids":            {func(m *model) { m.inputs = bertInputs[1:] }, "no input input_ids", nil},
		"ids of floats":     {func(m *model) { m.inputs = []tensor.Spec{spec("input_ids", tensor.Float32, batch, sequence)} }, "input_ids float32[batch,sequence]", nil},
		"ids of rank 1":     {func(m *model) { m.inputs = []tensor.Spec{spec("input_ids", tensor.Int64, sequence)} }, "input_ids int64[sequence]", nil},
		"other labels":      {func(m *model) { m.outputs = []tensor.Spec{spec("logits", tensor.Float32, batch, tensor.Fixed(3))} }, "3 logits, but config.json names 2 labels", nil},
		"logits of rank 3": {func(m *model) {
			m.outputs = []tensor.Spec{spec("logits", tensor.Float32, batch, sequence, tensor.Fixed(2))}
		}, "logits float32[batch,sequence,2]", nil},
		"logits of doubles": {func(m *model) { m.outputs = []tensor.Spec{spec("logits", tensor.Float64, batch, tensor.Fixed(2))} }, "logits float64", nil},
		"two other outputs": {func(m *model) {
			m.outputs = []tensor.Spec{spec("a", tensor.Float32, batch, tensor.Fixed(2)), spec("b", tensor.Float32, batch, tensor.Fixed(2))}
		}, "2 outputs and none is named logits", nil},
		"positions for no token": {func(m *model) {
			m.config = `{"max_position_embeddings": 1}`
			m.tokenizer = strings.Replace(tokenizerJSON, `"model"`, `"post_processor": {"type": "BertProcessing", "sep": ["w0", 10], "cls": ["w1", 11]}, "model"`, 1)
		}, "1 positions of the model", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := usual
			c.change(&m)
			_, err := New(m.bundle(t), &sums{}, 1)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if errors.Is(err, bundle.ErrNoFile) != (c.is != nil) {
				t.Errorf("%v is ErrNoFile: %v", err, c.is == nil)
			}
		})
	}
}

func TestLogitsAreFoundByName(t *testing.T) {
	t.Parallel()
	m := usual
	m.outputs = []tensor.Spec{spec("hidden", tensor.Float32, batch, sequence, tensor.Fixed(8)), twoLogits[0]}
	answers, err := classifier(t, m, &sums{}, 1).Classify(testContext(t), []string{"w1"})
	if err != nil {
		t.Fatal(err)
	}
	wantAnswer(t, "w1", answers[0], [2]float64{11, 1})
}

func TestWrongOutputOfARunnerIsItsError(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		runner *sums
		want   string
	}{
		"too few logits": {&sums{change: func(l []float32) []float32 { return l[1:] }}, "for 2 texts and 2 labels"},
		"too many":       {&sums{change: func(l []float32) []float32 { return append(l, 0) }}, "for 2 texts and 2 labels"},
		"another name":   {&sums{output: "other"}, `did not answer "logits"`},
	} {
		_, err := classifier(t, usual, c.runner, 1).Classify(testContext(t), []string{"w1", "w2"})
		if err == nil || !strings.Contains(err.Error(), c.want) || fault.CodeOf(err) != fault.Internal {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

func TestLogitsThatAreNoNumbersFailTheirTextOnly(t *testing.T) {
	t.Parallel()
	nan := float32(math.NaN())
	runner := &sums{change: func(l []float32) []float32 {
		for i := 0; i < len(l); i += 2 {
			if l[i] == 12 {
				l[i] = nan
			}
		}
		return l
	}}
	answers, err := classifier(t, usual, runner, 1).Classify(testContext(t), []string{"w1", "w2", "w3"})
	if err != nil {
		t.Fatal(err)
	}
	wantAnswer(t, "w1", answers[0], [2]float64{11, 1})
	wantAnswer(t, "w3", answers[2], [2]float64{13, 1})
	if a := answers[1]; a.Err == nil || a.Results != nil {
		t.Errorf("w2: %v, %v", a.Results, a.Err)
	}
}

func TestTextThatCannotBeTokenisedIsInvalidAlone(t *testing.T) {
	t.Parallel()
	m := usual
	m.tokenizer = unkLess
	runner := &sums{}
	c := classifier(t, m, runner, 1)
	answers, err := c.Classify(testContext(t), []string{"w1", "other", "w0"})
	if err != nil {
		t.Fatal(err)
	}
	wantAnswer(t, "w1", answers[0], [2]float64{11, 1})
	wantAnswer(t, "w0", answers[2], [2]float64{10, 1})
	if err := answers[1].Err; fault.CodeOf(err) != fault.Invalid {
		t.Errorf("other: %v is %s", err, fault.CodeOf(err))
	}
	if runner.shapes[0][0] != 2 {
		t.Errorf("%d rows were computed", runner.shapes[0][0])
	}
	if answers, err = c.Classify(testContext(t), []string{"other"}); err != nil || answers[0].Err == nil || len(runner.shapes) != 1 {
		t.Errorf("nothing to compute: %v, %v", answers, err)
	}
}

// A model would be given a sequence of length 0, or only padding, depending on
// the texts beside it.
func TestTextWithoutTokensIsInvalidAlone(t *testing.T) {
	t.Parallel()
	runner := &sums{}
	c := classifier(t, usual, runner, 1)
	for _, texts := range [][]string{{" "}, {"w1", "\t\n", "w2 w3"}} {
		answers, err := c.Classify(testContext(t), texts)
		if err != nil {
			t.Fatal(err)
		}
		for i, s := range texts {
			blank := strings.TrimSpace(s) == ""
			if a := answers[i]; blank && fault.CodeOf(a.Err) != fault.Invalid || !blank && a.Err != nil {
				t.Errorf("%q: %v", s, a.Err)
			}
		}
	}
	if len(runner.shapes) != 1 || runner.shapes[0][0] != 2 {
		t.Errorf("batches have shapes %v", runner.shapes)
	}
}

func TestRunnersErrorEndsTheCall(t *testing.T) {
	t.Parallel()
	for _, batches := range []int{1, 5} {
		live := 0 // runs that could have succeeded
		runner := &sums{before: func(ctx context.Context, _, _ int64) error {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			live++
			return fault.Errorf(fault.Unavailable, "stage 1 is gone")
		}}
		_, err := classifier(t, usual, runner, 1).Classify(testContext(t), slices.Repeat([]string{"w1"}, batches*maxRows))
		if fault.CodeOf(err) != fault.Unavailable || err.Error() != "stage 1 is gone" {
			t.Errorf("%d batches: %v", batches, err)
		}
		if live != 1 {
			t.Errorf("%d of %d batches were computed, though the first failed", live, batches)
		}
	}
}

func TestCancellationReachesRunnerAndQueue(t *testing.T) {
	t.Parallel()
	running := make(chan struct{}, 100)
	runner := &sums{before: func(ctx context.Context, _, _ int64) error {
		running <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	}}
	c := classifier(t, usual, runner, 1)
	// One call runs, and one waits for its slot.
	var ends []chan error
	ctx, cancel := context.WithCancel(testContext(t))
	for range 2 {
		end := make(chan error, 1)
		go func() {
			_, err := c.Classify(ctx, []string{"w1"})
			end <- err
		}()
		ends = append(ends, end)
	}
	<-running
	cancel()
	for _, end := range ends {
		if err := <-end; fault.CodeOf(err) != fault.Canceled {
			t.Errorf("got %v", err)
		}
	}
	// The slot is free again.
	runner.before = nil
	answers, err := c.Classify(testContext(t), []string{"w1"})
	if err != nil {
		t.Fatal(err)
	}
	wantAnswer(t, "w1", answers[0], [2]float64{11, 1})
}

func TestLabelsAreThoseOfTheConfig(t *testing.T) {
	t.Parallel()
	c := classifier(t, usual, &sums{}, 1)
	if got := c.Labels(); !slices.Equal(got, []string{"sum", "tokens"}) {
		t.Errorf("got %q", got)
	}
}

func TestTokenizerIsTheFiles(t *testing.T) {
	t.Parallel()
	tokenizer, err := Tokenizer(usual.bundle(t))
	if err != nil {
		t.Fatal(err)
	}
	e, err := tokenizer.Encode("w3 what")
	if err != nil || !slices.Equal(e.IDs, []int64{13, 1}) {
		t.Errorf("got %v, %v", e.IDs, err)
	}
}
