package classify

import (
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/classify/classifytest"
	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/runtime/testkit"
	"github.com/distinfer/distinfer/runtime/text"
	"github.com/distinfer/distinfer/runtime/textmodel"
)

func classifier(t testing.TB, m classifytest.Model, s *classifytest.Sums) *Classifier {
	t.Helper()
	c, err := Open(m.Bundle(t), s)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// An Answer is what a text gets: labels by descending score, or why there are none.
type Answer struct {
	Results []text.Result
	Err     error
}

// read reads what was computed.
func read(c *Classifier, computed []textmodel.Answer) []Answer {
	answers := make([]Answer, len(computed))
	for i, a := range computed {
		answers[i].Results, answers[i].Err = c.Results(a, text.ByConfig)
	}
	return answers
}

// answer has texts answered as one batch, as far as they can be tokenised.
func answer(t testing.TB, c *Classifier, texts []string) ([]Answer, error) {
	t.Helper()
	answers := make([]Answer, len(texts))
	var good []textmodel.Text
	var places []int
	for i, s := range texts {
		e, err := c.Encode(textmodel.Input{Text: s})
		if answers[i].Err = err; err == nil {
			good, places = append(good, e), append(places, i)
		}
	}
	rows := c.Rows()
	if rows == 0 {
		rows = max(1, len(good))
	}
	for some := range slices.Chunk(good, rows) {
		computed, _, err := c.Compute(testkit.Context(t), some)
		if err != nil {
			return answers, err
		}
		for k, a := range read(c, computed) {
			answers[places[k]] = a
		}
		places = places[len(some):]
	}
	return answers, nil
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

func TestAnswersComeInTheOrderOfTexts(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	for _, m := range []struct {
		name string
		classifytest.Model
	}{
		{"of a BERT", classifytest.Usual},
		{"without a mask, padded by position", classifytest.Model{Tokenizer: classifytest.TokenizerJSON, Config: classifytest.ConfigJSON, Inputs: classifytest.BERTInputs[:2], Outputs: classifytest.TwoLogits}},
		{"int32", classifytest.Model{Tokenizer: classifytest.TokenizerJSON, Config: classifytest.ConfigJSON, Inputs: []tensor.Spec{classifytest.Spec("input_ids", tensor.Int32, classifytest.Batch, classifytest.Sequence), classifytest.Spec("attention_mask", tensor.Int32, classifytest.Batch, classifytest.Sequence)}, Outputs: classifytest.TwoLogits}},
		{"mixed int32 and int64", classifytest.Model{Tokenizer: classifytest.TokenizerJSON, Config: classifytest.ConfigJSON, Inputs: []tensor.Spec{classifytest.Spec("input_ids", tensor.Int64, classifytest.Batch, classifytest.Sequence), classifytest.Spec("attention_mask", tensor.Int32, classifytest.Batch, classifytest.Sequence)}, Outputs: classifytest.TwoLogits}},
		{"batch of 1", classifytest.Model{Tokenizer: classifytest.TokenizerJSON, Config: classifytest.ConfigJSON, Inputs: []tensor.Spec{classifytest.Spec("input_ids", tensor.Int64, tensor.Fixed(1), classifytest.Sequence), classifytest.Spec("attention_mask", tensor.Int64, tensor.Fixed(1), classifytest.Sequence)}, Outputs: classifytest.TwoLogits}},
		{"batch of 5", classifytest.Model{Tokenizer: classifytest.TokenizerJSON, Config: classifytest.ConfigJSON, Inputs: []tensor.Spec{classifytest.Spec("input_ids", tensor.Int64, tensor.Fixed(5), classifytest.Sequence), classifytest.Spec("attention_mask", tensor.Int64, tensor.Fixed(5), classifytest.Sequence)}, Outputs: classifytest.TwoLogits}},
		{"logits by another name, of any rank", classifytest.Model{Tokenizer: classifytest.TokenizerJSON, Config: classifytest.ConfigJSON, Inputs: classifytest.BERTInputs, Outputs: []tensor.Spec{{Name: "scores", DType: tensor.Float32, AnyRank: true}}}},
	} {
		seed := random.Uint64()
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(seed, 0))
			runner := &classifytest.Sums{Output: m.Outputs[0].Name}
			c := classifier(t, m.Model, runner)
			for _, n := range []int{0, 1, 2, 33, 100} {
				var texts []string
				var want [][2]float64
				for range n {
					s, w := classifytest.Words(random, 1+random.IntN(200))
					texts, want = append(texts, s), append(want, w)
				}
				answers, err := answer(t, c, texts)
				if err != nil || len(answers) != n {
					t.Fatalf("%d answers to %d texts, %v", len(answers), n, err)
				}
				for i, a := range answers {
					wantAnswer(t, i, a, want[i])
				}
			}
			for _, bag := range runner.Bags {
				if _, err := tensor.MatchAll(m.Inputs, bag); err != nil || len(bag) != len(m.Inputs) {
					t.Fatalf("the runner is given %v: %v", bag.Names(), err)
				}
			}
		})
	}
}

func TestFixedBatchIsFilled(t *testing.T) {
	t.Parallel()
	m := classifytest.Usual
	m.Inputs = []tensor.Spec{classifytest.Spec("input_ids", tensor.Int64, tensor.Fixed(4), classifytest.Sequence)}
	runner := &classifytest.Sums{}
	c := classifier(t, m, runner)
	answers, err := answer(t, c, []string{"w0", "w1", "w2", "w3", "w4", "w5"})
	if err != nil {
		t.Fatal(err)
	}
	for i, a := range answers {
		wantAnswer(t, i, a, [2]float64{float64(10 + i), 1})
	}
	if len(runner.Shapes) != 2 || runner.Shapes[0][0] != 4 || runner.Shapes[1][0] != 4 {
		t.Errorf("batches have shapes %v", runner.Shapes)
	}
}

func TestTextsAreCutToTheModelsPositions(t *testing.T) {
	t.Parallel()
	m := classifytest.Usual
	m.Config = `{"problem_type": "regression", "id2label": {"0": "sum", "1": "tokens"}, "max_position_embeddings": 3}`
	answers, err := answer(t, classifier(t, m, &classifytest.Sums{}), []string{"w1 w2 w3 w4", "w1 w2"})
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
	m := classifytest.Usual
	m.Tokenizer = strings.Replace(classifytest.TokenizerJSON, `{"version"`, `{"padding": {"strategy": {"Fixed": 6}, "direction": "Left", "pad_to_multiple_of": null, "pad_id": 1, "pad_type_id": 0, "pad_token": "[UNK]"}, "version"`, 1)
	for name, c := range map[string]struct {
		inputs []tensor.Spec
		length int64
		want   [2]float64
	}{
		"mask":    {classifytest.BERTInputs, 2, [2]float64{11 + 2*12, 2}},
		"no mask": {classifytest.BERTInputs[:1], 6, [2]float64{1 + 2 + 3 + 4 + 5*11 + 6*12, 6}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := m
			m.Inputs = c.inputs
			runner := &classifytest.Sums{}
			answers, err := answer(t, classifier(t, m, runner), []string{"w1 w2"})
			if err != nil {
				t.Fatal(err)
			}
			wantAnswer(t, name, answers[0], c.want)
			if got := runner.Shapes[0][1]; got != c.length {
				t.Errorf("padded to %d, want %d", got, c.length)
			}
		})
	}
}

func TestNewRefusesModelsThatAreNoTextClassifiers(t *testing.T) {
	t.Parallel()
	ids := classifytest.BERTInputs[0]
	for name, c := range map[string]struct {
		change func(*classifytest.Model)
		want   string
		is     error
	}{
		"no tokenizer.json": {func(m *classifytest.Model) { m.Tokenizer = "" }, "tokenizer.json", bundle.ErrNoFile},
		"no config.json":    {func(m *classifytest.Model) { m.Config = "" }, "config.json", bundle.ErrNoFile},
		"broken tokenizer":  {func(m *classifytest.Model) { m.Tokenizer = "{}" }, `"model" is missing`, nil},
		"broken config":     {func(m *classifytest.Model) { m.Config = "[]" }, "config.json", nil},
		"unknown input": {func(m *classifytest.Model) {
			m.Inputs = []tensor.Spec{ids, classifytest.Spec("pixel_values", tensor.Int64, classifytest.Batch, classifytest.Sequence)}
		}, "pixel_values", nil},
		"no ids": {func(m *classifytest.Model) { m.Inputs = classifytest.BERTInputs[1:] }, "no input input_ids", nil},
		"ids of floats": {func(m *classifytest.Model) {
			m.Inputs = []tensor.Spec{classifytest.Spec("input_ids", tensor.Float32, classifytest.Batch, classifytest.Sequence)}
		}, "input_ids float32[batch,sequence]", nil},
		"ids of rank 1": {func(m *classifytest.Model) {
			m.Inputs = []tensor.Spec{classifytest.Spec("input_ids", tensor.Int64, classifytest.Sequence)}
		}, "input_ids int64[sequence]", nil},
		"other labels": {func(m *classifytest.Model) {
			m.Outputs = []tensor.Spec{classifytest.Spec("logits", tensor.Float32, classifytest.Batch, tensor.Fixed(3))}
		}, "3 logits, but config.json names 2 labels", nil},
		"logits of rank 3": {func(m *classifytest.Model) {
			m.Outputs = []tensor.Spec{classifytest.Spec("logits", tensor.Float32, classifytest.Batch, classifytest.Sequence, tensor.Fixed(2))}
		}, "logits float32[batch,sequence,2]", nil},
		"logits of doubles": {func(m *classifytest.Model) {
			m.Outputs = []tensor.Spec{classifytest.Spec("logits", tensor.Float64, classifytest.Batch, tensor.Fixed(2))}
		}, "logits float64", nil},
		"two other outputs": {func(m *classifytest.Model) {
			m.Outputs = []tensor.Spec{classifytest.Spec("a", tensor.Float32, classifytest.Batch, tensor.Fixed(2)), classifytest.Spec("b", tensor.Float32, classifytest.Batch, tensor.Fixed(2))}
		}, "2 outputs and none is named logits", nil},
		"positions for no token": {func(m *classifytest.Model) {
			m.Config = `{"max_position_embeddings": 1}`
			m.Tokenizer = strings.Replace(classifytest.TokenizerJSON, `"model"`, `"post_processor": {"type": "BertProcessing", "sep": ["w0", 10], "cls": ["w1", 11]}, "model"`, 1)
		}, "1 positions of the model", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := classifytest.Usual
			c.change(&m)
			_, err := Open(m.Bundle(t), &classifytest.Sums{})
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
	m := classifytest.Usual
	m.Outputs = []tensor.Spec{classifytest.Spec("hidden", tensor.Float32, classifytest.Batch, classifytest.Sequence, tensor.Fixed(8)), classifytest.TwoLogits[0]}
	answers, err := answer(t, classifier(t, m, &classifytest.Sums{}), []string{"w1"})
	if err != nil {
		t.Fatal(err)
	}
	wantAnswer(t, "w1", answers[0], [2]float64{11, 1})
}

func TestWrongOutputOfARunnerIsItsError(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		runner *classifytest.Sums
		want   string
	}{
		"too few logits": {&classifytest.Sums{Change: func(l []float32) []float32 { return l[1:] }}, "for 2 texts"},
		"too many":       {&classifytest.Sums{Change: func(l []float32) []float32 { return append(l, 0) }}, "for 2 texts"},
		"another name":   {&classifytest.Sums{Output: "other"}, `did not answer "logits"`},
	} {
		_, err := answer(t, classifier(t, classifytest.Usual, c.runner), []string{"w1", "w2"})
		if err == nil || !strings.Contains(err.Error(), c.want) || errcode.Of(err) != errcode.Internal {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

func TestLogitsThatAreNoNumbersFailTheirTextOnly(t *testing.T) {
	t.Parallel()
	nan := float32(math.NaN())
	runner := &classifytest.Sums{Change: func(l []float32) []float32 {
		for i := 0; i < len(l); i += 2 {
			if l[i] == 12 {
				l[i] = nan
			}
		}
		return l
	}}
	answers, err := answer(t, classifier(t, classifytest.Usual, runner), []string{"w1", "w2", "w3"})
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
	m := classifytest.Usual
	m.Tokenizer = classifytest.UnkLess
	runner := &classifytest.Sums{}
	c := classifier(t, m, runner)
	answers, err := answer(t, c, []string{"w1", "other", "w0"})
	if err != nil {
		t.Fatal(err)
	}
	wantAnswer(t, "w1", answers[0], [2]float64{11, 1})
	wantAnswer(t, "w0", answers[2], [2]float64{10, 1})
	if err := answers[1].Err; errcode.Of(err) != errcode.Invalid {
		t.Errorf("other: %v is %s", err, errcode.Of(err))
	}
	if runner.Shapes[0][0] != 2 {
		t.Errorf("%d rows were computed", runner.Shapes[0][0])
	}
	if answers, err = answer(t, c, []string{"other"}); err != nil || answers[0].Err == nil || len(runner.Shapes) != 1 {
		t.Errorf("nothing to compute: %v, %v", answers, err)
	}
}

// A model would be given a sequence of length 0, or only padding, depending on
// the texts beside it.
func TestTextWithoutTokensIsInvalidAlone(t *testing.T) {
	t.Parallel()
	runner := &classifytest.Sums{}
	c := classifier(t, classifytest.Usual, runner)
	for _, texts := range [][]string{{" "}, {"w1", "\t\n", "w2 w3"}} {
		answers, err := answer(t, c, texts)
		if err != nil {
			t.Fatal(err)
		}
		for i, s := range texts {
			blank := strings.TrimSpace(s) == ""
			if a := answers[i]; blank && errcode.Of(a.Err) != errcode.Invalid || !blank && a.Err != nil {
				t.Errorf("%q: %v", s, a.Err)
			}
		}
	}
	if len(runner.Shapes) != 1 || runner.Shapes[0][0] != 2 {
		t.Errorf("batches have shapes %v", runner.Shapes)
	}
}

func TestPairsAreReadAsOne(t *testing.T) {
	t.Parallel()
	c := classifier(t, classifytest.Usual, &classifytest.Sums{})
	second := "w2 w3"
	pair, err := c.Encode(textmodel.Input{Text: "w1", Pair: &second})
	if err != nil {
		t.Fatal(err)
	}
	computed, _, err := c.Compute(testkit.Context(t), []textmodel.Text{pair})
	if err != nil {
		t.Fatal(err)
	}
	wantAnswer(t, "a pair", read(c, computed)[0], [2]float64{11 + 2*12 + 3*13, 3})
}

func TestLabelsAreThoseOfTheConfig(t *testing.T) {
	t.Parallel()
	c := classifier(t, classifytest.Usual, &classifytest.Sums{})
	if got := c.Labels(); !slices.Equal(got, []string{"sum", "tokens"}) {
		t.Errorf("got %q", got)
	}
}

func TestTokenizerIsTheFiles(t *testing.T) {
	t.Parallel()
	tokenizer, err := textmodel.Tokenizer(classifytest.Usual.Bundle(t))
	if err != nil {
		t.Fatal(err)
	}
	e, err := tokenizer.Encode("w3 what")
	if err != nil || !slices.Equal(e.IDs, []int64{13, 1}) {
		t.Errorf("got %v, %v", e.IDs, err)
	}
}
