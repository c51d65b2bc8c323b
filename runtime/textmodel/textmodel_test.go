package textmodel

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/classify/classifytest"
	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/runtime/ort"
	"github.com/distinfer/distinfer/runtime/ort/orttest"
	"github.com/distinfer/distinfer/runtime/pipeline"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/split/onnxfile/onnxtest"
)

// function is a Runner.
type function func(in tensor.Bag) (tensor.Bag, error)

func (f function) Run(_ context.Context, in tensor.Bag) (tensor.Bag, error) { return f(in) }

// recorder returns set answers, and keeps its inputs.
type recorder struct {
	given  []tensor.Bag
	answer func(shape []int64) tensor.Tensor
}

func (r *recorder) Run(_ context.Context, in tensor.Bag) (tensor.Bag, error) {
	r.given = append(r.given, in)
	return tensor.Bag{"logits": r.answer(in["input_ids"].Shape)}, nil
}

// numbered answers 0, 1, 2, … in an output of some width for each text, or for each token.
func numbered(width int64, perToken bool) *recorder {
	return &recorder{answer: func(shape []int64) tensor.Tensor {
		dims := []int64{shape[0], width}
		if perToken {
			dims = []int64{shape[0], shape[1], width}
		}
		n, _ := tensor.Elements(dims)
		values := make([]float32, n)
		for i := range values {
			values[i] = float32(i)
		}
		return tensor.Of(dims, values)
	}}
}

func open(t testing.TB, m classifytest.Model, runner pipeline.Runner) (*Model, error) {
	t.Helper()
	b := m.Bundle(t)
	files, err := Read(b)
	if err != nil {
		return nil, err
	}
	return New(b, files, runner, "logits")
}

func model(t testing.TB, m classifytest.Model, runner pipeline.Runner) *Model {
	t.Helper()
	made, err := open(t, m, runner)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func encode(t testing.TB, m *Model, inputs ...Input) []Text {
	t.Helper()
	texts := make([]Text, len(inputs))
	for i, in := range inputs {
		var err error
		if texts[i], err = m.Encode(in); err != nil {
			t.Fatalf("%q: %v", in.Text, err)
		}
	}
	return texts
}

func compute(t testing.TB, m *Model, texts ...string) []Answer {
	t.Helper()
	answers, _, err := m.Compute(t.Context(), encode(t, m, Inputs(texts)...))
	if err != nil {
		t.Fatal(err)
	}
	return answers
}

// with puts a section into a tokenizer.json.
func with(section, value string) string {
	return strings.Replace(classifytest.TokenizerJSON, `"model"`, fmt.Sprintf(`%q: %s, "model"`, section, value), 1)
}

func padding(strategy, direction string) string {
	return `{"strategy": ` + strategy + `, "direction": "` + direction + `", "pad_to_multiple_of": null, "pad_id": 7, "pad_type_id": 3, "pad_token": "[PAD]"}`
}

const (
	bertLike   = `{"type": "BertProcessing", "sep": ["w8", 18], "cls": ["w9", 19]}`
	batchWide  = `"BatchLongest"`
	longFirst  = `{"max_length": 6, "strategy": "LongestFirst", "stride": 0}`
	onlyFirst  = `{"max_length": 6, "strategy": "OnlyFirst", "stride": 0}`
	fixedSix   = `{"Fixed": 6}`
	threeInts  = "[[10 11 12] [13 0 0]]"
	threeMasks = "[[1 1 1] [1 0 0]]"
)

// rowsOf writes an input as its rows.
func rowsOf(t testing.TB, in tensor.Tensor) string {
	t.Helper()
	wide, err := tensor.As[int64](in)
	if err != nil {
		narrow, err := tensor.As[int32](in)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range narrow {
			wide = append(wide, int64(v))
		}
	}
	return fmt.Sprint(slices.Collect(slices.Chunk(wide, int(in.Shape[1]))))
}

func TestABatchHasTheInputsOfTheModel(t *testing.T) {
	t.Parallel()
	i64, i32 := tensor.Int64, tensor.Int32
	spec := func(name string, d tensor.DType) tensor.Spec {
		return classifytest.Spec(name, d, classifytest.Batch, classifytest.Sequence)
	}
	for name, c := range map[string]struct {
		tokenizer, config string
		inputs            []tensor.Spec
		want              map[string]string
	}{
		"all three": {"", "", classifytest.BERTInputs, map[string]string{"input_ids": threeInts, "attention_mask": threeMasks, "token_type_ids": "[[0 0 0] [0 0 0]]"}},
		"int32":     {"", "", []tensor.Spec{spec("input_ids", i32), spec("attention_mask", i64)}, map[string]string{"input_ids": threeInts, "attention_mask": threeMasks}},
		"ids alone": {"", "", []tensor.Spec{spec("input_ids", i64)}, map[string]string{"input_ids": threeInts}},
		"an id for padding": {
			strings.Replace(classifytest.TokenizerJSON, `"[PAD]": 0, `, "", 1), `{"pad_token_id": 5}`, classifytest.BERTInputs[:2],
			map[string]string{"input_ids": "[[10 11 12] [13 5 5]]", "attention_mask": threeMasks},
		},
		"padding on the left": {
			with("padding", padding(batchWide, "Left")), "", classifytest.BERTInputs,
			map[string]string{"input_ids": "[[10 11 12] [7 7 13]]", "attention_mask": "[[1 1 1] [0 0 1]]", "token_type_ids": "[[0 0 0] [3 3 0]]"},
		},
		"a length that the file fixes": {
			with("padding", padding(fixedSix, "Right")), "", classifytest.BERTInputs[:1],
			map[string]string{"input_ids": "[[10 11 12 7 7 7] [13 7 7 7 7 7]]"},
		},
		"and a mask, so that it need not be": {
			with("padding", padding(fixedSix, "Right")), "", classifytest.BERTInputs[:2],
			map[string]string{"input_ids": "[[10 11 12] [13 7 7]]", "attention_mask": threeMasks},
		},
		"positions": {"", `{"max_position_embeddings": 2}`, classifytest.BERTInputs[:1], map[string]string{"input_ids": "[[10 11] [13 0]]"}},
		"positions beyond the file's": {
			with("truncation", `{"max_length": 1, "strategy": "LongestFirst", "stride": 0}`), `{"max_position_embeddings": 2}`, classifytest.BERTInputs[:1],
			map[string]string{"input_ids": "[[10] [13]]"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := classifytest.Usual
			m.Inputs = c.inputs
			if c.tokenizer != "" {
				m.Tokenizer = c.tokenizer
			}
			if c.config != "" {
				m.Config = c.config
			}
			r := numbered(2, false)
			compute(t, model(t, m, r), "w0 w1 w2", "w3")
			bag := r.given[0]
			if _, err := tensor.MatchAll(c.inputs, bag); err != nil || len(bag) != len(c.want) {
				t.Errorf("given %v: %v", bag.Names(), err)
			}
			for input, want := range c.want {
				if got := rowsOf(t, bag[input]); got != want {
					t.Errorf("%s is %s, want %s", input, got, want)
				}
			}
		})
	}
}

// Texts are padded where that was seen to change no answer, whatever the file says; on the
// file's side where there is a choice, and not at all where there is no such side.
func TestPaddingIsWhereItChangesNoAnswer(t *testing.T) {
	t.Parallel()
	both := []string{bundle.Right, bundle.Left}
	multiple := strings.Replace(padding(batchWide, "Right"), "null", "4", 1)
	for name, c := range map[string]struct {
		padding string
		rows    *bundle.Rows
		inputs  int
		want    string // ids of texts of three tokens and of one; "" where they do not go together
		length  int    // of the text of three
	}{
		"as the file says":            {padding(batchWide, "Left"), &bundle.Rows{Independent: true, Padding: both}, 2, "[[10 11 12] [7 7 13]]", 3},
		"not as the file says, right": {padding(batchWide, "Left"), &bundle.Rows{Independent: true, Padding: both[:1]}, 2, "[[10 11 12] [13 7 7]]", 3},
		"not as the file says, left":  {padding(batchWide, "Right"), &bundle.Rows{Independent: true, Padding: both[1:]}, 2, "[[10 11 12] [7 7 13]]", 3},
		"no section, left":            {"null", &bundle.Rows{Independent: true, Padding: both[1:]}, 2, "[[10 11 12] [0 0 13]]", 3},
		"to a multiple":               {multiple, &bundle.Rows{Independent: true, Padding: both[1:]}, 2, "[[7 10 11 12] [7 7 7 13]]", 4},
		"nowhere":                     {padding(batchWide, "Right"), &bundle.Rows{Independent: true}, 2, "", 3},
		"nowhere, not to a multiple":  {multiple, &bundle.Rows{Independent: true}, 2, "", 3},
		"nowhere, not to a length":    {padding(fixedSix, "Right"), &bundle.Rows{Independent: true}, 2, "", 3},
		"alone":                       {padding(fixedSix, "Right"), &bundle.Rows{}, 2, "", 3},
		"not known":                   {padding(batchWide, "Right"), nil, 2, "", 3},
		"without a mask":              {padding(fixedSix, "Left"), &bundle.Rows{Independent: true, Padding: both[:1]}, 1, "[[7 7 7 10 11 12] [7 7 7 7 7 13]]", 6},
	} {
		m := classifytest.Usual
		m.Tokenizer, m.Inputs = with("padding", c.padding), m.Inputs[:c.inputs]
		b := m.Bundle(t)
		b.Rows = c.rows
		files, err := Read(b)
		if err != nil {
			t.Fatal(err)
		}
		r := numbered(1, true)
		made, err := New(b, files, r, "logits")
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if made.Mixes() != (c.want != "" && c.inputs == 2) || made.Alone() != (c.rows == nil || !c.rows.Independent) {
			t.Errorf("%s: mixes %v, alone %v", name, made.Mixes(), made.Alone())
		}
		texts := encode(t, made, Inputs([]string{"w0 w1 w2", "w3"})...)
		if texts[0].Length != c.length {
			t.Errorf("%s: a text has %d tokens, want %d", name, texts[0].Length, c.length)
		}
		answers, _, err := made.Compute(t.Context(), texts)
		if c.want == "" {
			if err == nil || len(r.given) != 0 {
				t.Errorf("%s: texts of different lengths were put together as %s", name, rowsOf(t, r.given[0]["input_ids"]))
			}
			continue
		}
		if err != nil || rowsOf(t, r.given[0]["input_ids"]) != c.want {
			t.Errorf("%s: %v, want %s, %v", name, r.given, c.want, err)
			continue
		}
		// What is a text's own follows the side.
		ids, _ := tensor.As[int64](r.given[0]["input_ids"])
		for _, v := range answers[1].Values {
			if ids[int(v)] != 13 {
				t.Errorf("%s: the text of one token is answered %v", name, answers[1].Values)
			}
		}
	}
}

func TestAModelWithoutAPaddingTokenTakesTextsOfEqualLength(t *testing.T) {
	t.Parallel()
	m := classifytest.Usual
	m.Tokenizer, m.Rows = strings.Replace(classifytest.TokenizerJSON, `"[PAD]": 0, `, "", 1), &bundle.Rows{Independent: true}
	r := numbered(2, false)
	compute(t, model(t, m, r), "w0 w1", "w2 w3")
	if got := rowsOf(t, r.given[0]["input_ids"]); got != "[[10 11] [12 13]]" {
		t.Errorf("given %s", got)
	}
}

func TestAnAnswerIsATextsOwnPart(t *testing.T) {
	t.Parallel()
	texts := []string{"w0", "w1 w2 w3", "w4 w5"}
	for name, c := range map[string]struct {
		direction string
		perToken  bool
		want      string
	}{
		"for a text":                      {"Right", false, "[0 1] [2] [2 3] [2] [4 5] [2]"},
		"for a token":                     {"Right", true, "[0 1] [1 2] [6 7 8 9 10 11] [3 2] [12 13 14 15] [2 2]"},
		"for a token, padded on the left": {"Left", true, "[4 5] [1 2] [6 7 8 9 10 11] [3 2] [14 15 16 17] [2 2]"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := classifytest.Usual
			m.Tokenizer = with("padding", padding(batchWide, c.direction))
			made := model(t, m, numbered(2, c.perToken))
			answers := compute(t, made, texts...)
			var got []string
			for i, a := range answers {
				got = append(got, fmt.Sprint(a.Values), fmt.Sprint(a.Shape))
				if a.Err != nil || cap(a.Values) != len(a.Values) {
					t.Errorf("text %d: %v, and appending to its answer may write into the next", i, a.Err)
				}
			}
			if strings.Join(got, " ") != c.want {
				t.Errorf("got %v, want %s", got, c.want)
			}
			for i, want := range []string{"[10]", "[11 12 13]", "[14 15]"} {
				if fmt.Sprint(answers[i].Tokens.IDs) != want {
					t.Errorf("text %d has tokens %v, want %s", i, answers[i].Tokens.IDs, want)
				}
			}
			// Each sees the whole answer that is its own, and no more is kept.
			reduced := compute(t, made.Reduced(func(a Answer) Answer {
				return Answer{Values: a.Values[:1], Shape: []int64{int64(len(a.Tokens.IDs))}}
			}), texts...)
			for i, a := range reduced {
				if !slices.Equal(a.Values, answers[i].Values[:1]) || a.Shape[0] != int64(len(answers[i].Tokens.IDs)) || a.Tokens.IDs != nil {
					t.Errorf("text %d is reduced to %+v", i, a)
				}
			}
		})
	}
}

// The tokens of an answer are the text's, whatever the file pads to.
func TestTokensOfAnAnswerAreWithoutPadding(t *testing.T) {
	t.Parallel()
	for _, direction := range []string{"Right", "Left"} {
		m := classifytest.Usual
		m.Inputs = m.Inputs[:1] // without a mask, so that the file's padding stays
		m.Tokenizer = strings.Replace(with("padding", padding(fixedSix, direction)), `"model"`, `"post_processor": `+bertLike+`, "model"`, 1)
		made := model(t, m, numbered(1, true)).WithOffsets()
		a := compute(t, made, "w1  w2")[0]
		e := a.Tokens
		if fmt.Sprint(e.IDs, e.TypeIDs, e.AttentionMask, e.SpecialTokensMask, e.Offsets) != "[19 11 12 18] [0 0 0 0] [1 1 1 1] [1 0 0 1] [{0 0} {0 2} {4 6} {0 0}]" {
			t.Errorf("padded %s: %+v", direction, e)
		}
		if want := map[string]string{"Right": "[0 1 2 3]", "Left": "[2 3 4 5]"}[direction]; fmt.Sprint(a.Values) != want {
			t.Errorf("padded %s: %v, want %s", direction, a.Values, want)
		}
		plain := compute(t, model(t, m, numbered(1, true)), "w1")[0]
		if plain.Tokens.Offsets != nil {
			t.Error("offsets that nobody asked for")
		}
	}
}

func TestPairsAreReadAsOne(t *testing.T) {
	t.Parallel()
	pair := func(a, b string) Input { return Input{Text: a, Pair: &b} }
	processed := func(truncation string) string {
		return strings.Replace(with("truncation", truncation), `"model"`, `"post_processor": `+bertLike+`, "model"`, 1)
	}
	m := classifytest.Usual
	m.Tokenizer = processed(longFirst)
	r := numbered(2, false)
	made := model(t, m, r)
	if _, _, err := made.Compute(t.Context(), encode(t, made, pair("w0", "w1"), pair("w0 w1 w2 w3", "w4"), Input{Text: "w5"}, pair("", "w6"))); err != nil {
		t.Fatal(err)
	}
	for input, want := range map[string]string{
		"input_ids":      "[[19 10 18 11 18 0] [19 10 11 18 14 18] [19 15 18 0 0 0] [19 18 16 18 0 0]]",
		"attention_mask": "[[1 1 1 1 1 0] [1 1 1 1 1 1] [1 1 1 0 0 0] [1 1 1 1 0 0]]",
		"token_type_ids": "[[0 0 0 1 1 0] [0 0 0 0 1 1] [0 0 0 0 0 0] [0 0 1 1 0 0]]",
	} {
		if got := rowsOf(t, r.given[0][input]); got != want {
			t.Errorf("%s is %s, want %s", input, got, want)
		}
	}
	m.Tokenizer = processed(onlyFirst)
	if _, err := model(t, m, r).Encode(pair("w0", "w1 w2 w3 w4 w5")); errcode.Of(err) != errcode.Invalid || !strings.Contains(err.Error(), "tokenise: ") {
		t.Errorf("a pair that cannot be cut: %v", err)
	}
}

func TestWhatIsWrongWithATextIsTheCallers(t *testing.T) {
	t.Parallel()
	m := classifytest.Usual
	m.Tokenizer = classifytest.UnkLess
	made := model(t, m, numbered(2, false))
	for _, c := range []struct{ text, want string }{
		{"other", "not in the vocabulary"}, {"", "the text has no tokens"}, {" \n", "the text has no tokens"},
	} {
		if _, err := made.Encode(Input{Text: c.text}); errcode.Of(err) != errcode.Invalid || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, want %q", c.text, err, c.want)
		}
	}
}

func TestLengthsAreThoseOfABatchOfOne(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		tokenizer string
		inputs    int
		want      int
	}{
		"as many as there are":  {classifytest.TokenizerJSON, 2, 3},
		"fixed":                 {with("padding", padding(fixedSix, "Right")), 1, 6},
		"fixed, but for a mask": {with("padding", padding(fixedSix, "Right")), 2, 3},
		"a multiple":            {with("padding", strings.Replace(padding(batchWide, "Right"), "null", "4", 1)), 2, 4},
		"cut":                   {with("truncation", strings.Replace(longFirst, "6", "2", 1)), 2, 2},
	} {
		m := classifytest.Usual
		m.Tokenizer, m.Inputs = c.tokenizer, m.Inputs[:c.inputs]
		made := model(t, m, numbered(2, false))
		if got := encode(t, made, Input{Text: "w0 w1 w2"})[0].Length; got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
		long, err := made.Truncates("w0 w1 w2")
		if err != nil || long != (name == "cut") {
			t.Errorf("%s: truncated: %v, %v", name, long, err)
		}
		if made.Mixes() != (c.inputs == 2) || made.Rows() != 0 {
			t.Errorf("%s: mixes %v, %d rows", name, made.Mixes(), made.Rows())
		}
	}
}

func TestABatchOfAFixedNumberIsFilled(t *testing.T) {
	t.Parallel()
	m := classifytest.Usual
	m.Inputs = []tensor.Spec{
		classifytest.Spec("input_ids", tensor.Int64, tensor.Fixed(3), classifytest.Sequence),
		classifytest.Spec("attention_mask", tensor.Int64, tensor.Fixed(3), classifytest.Sequence),
	}
	r := numbered(2, false)
	made := model(t, m, r)
	if made.Rows() != 3 {
		t.Errorf("%d rows", made.Rows())
	}
	if answers := compute(t, made, "w1", "w2 w3"); len(answers) != 2 || fmt.Sprint(answers[1].Values) != "[2 3]" {
		t.Errorf("%+v", answers)
	}
	if got := rowsOf(t, r.given[0]["input_ids"]); got != "[[11 0] [12 13] [11 0]]" {
		t.Errorf("given %s", got)
	}
}

func TestNoTextsNeedNoModel(t *testing.T) {
	t.Parallel()
	for _, rows := range []tensor.Dim{classifytest.Batch, tensor.Fixed(2)} {
		m := classifytest.Usual
		m.Inputs = []tensor.Spec{classifytest.Spec("input_ids", tensor.Int64, rows, classifytest.Sequence)}
		r := numbered(2, false)
		if answers, _, err := model(t, m, r).Compute(t.Context(), nil); len(answers) != 0 || err != nil || len(r.given) != 0 {
			t.Errorf("%v, %v, after %d runs", answers, err, len(r.given))
		}
	}
}

// What tokenizer.json says of lengths counts where it is shorter than the model's.
func TestPaddingIsTheTokenOfTheFileThatCounts(t *testing.T) {
	t.Parallel()
	const object, decoder = `{"pad_token": {"content": "w3"}}`, `{"pad_token": "w2", "added_tokens_decoder": {}}`
	for name, c := range map[string]struct{ config, special, want string }{ // as transformers 4.57 and 5.23 have it
		"neither":               {"", "", "0"},
		"tokenizer_config":      {`{"pad_token": "w2"}`, "", "12"},
		"special_tokens_map":    {"", `{"pad_token": "w3"}`, "13"},
		"both":                  {`{"pad_token": "w2"}`, object, "13"},
		"null":                  {`{"pad_token": null}`, object, "13"},
		"null in the map":       {`{"pad_token": "w2"}`, `{"pad_token": null}`, "12"},
		"a decoder":             {decoder, object, "12"},
		"a decoder and nothing": {`{"added_tokens_decoder": {}}`, object, "0"},
	} {
		m := classifytest.Usual
		m.Files = map[string]string{}
		for file, content := range map[string]string{bundle.TokenizerConfigName: c.config, bundle.SpecialTokensName: c.special} {
			if content != "" {
				m.Files[file] = content
			}
		}
		m.Inputs = []tensor.Spec{classifytest.Spec("input_ids", tensor.Int64, tensor.Fixed(1), tensor.Fixed(2))}
		r := numbered(2, false)
		compute(t, model(t, m, r), "w0")
		if got, want := rowsOf(t, r.given[0]["input_ids"]), "[[10 "+c.want+"]]"; got != want {
			t.Errorf("%s: the model is given %s, want %s", name, got, want)
		}
	}
}

func TestTextsAreCutAndPaddedToALengthThatTheModelFixes(t *testing.T) {
	t.Parallel()
	const long = "w1 w2 w3 w4 w5 w6 w7"
	sixSix := strings.Replace(with("padding", padding(fixedSix, "Right")), `"model"`, `"truncation": `+longFirst+`, "model"`, 1)
	for name, c := range map[string]struct {
		tokenizer, config string
		pads, want        string
	}{
		"no padding, no truncation": {classifytest.TokenizerJSON, "", "", "[[10 0 0 0 0 0] [11 12 13 14 15 16]]"},
		"the padding id of config":  {classifytest.TokenizerJSON, "", `{"pad_token_id": 9}`, "[[10 9 9 9 9 9] [11 12 13 14 15 16]]"},
		"the same length":           {sixSix, "", "", "[[10 7 7 7 7 7] [11 12 13 14 15 16]]"},
		"padded to another":         {strings.Replace(sixSix, `"Fixed": 6`, `"Fixed": 9`, 1), "", "", "[[10 7 7 7 7 7] [11 12 13 14 15 16]]"},
		"truncated later":           {strings.Replace(sixSix, `"max_length": 6`, `"max_length": 7`, 1), "", "", "[[10 7 7 7 7 7] [11 12 13 14 15 16]]"},
		"truncated before":          {strings.Replace(sixSix, `"max_length": 6`, `"max_length": 5`, 1), "", "", "[[10 7 7 7 7 7] [11 12 13 14 15 7]]"},
		"on the left":               {strings.Replace(sixSix, "Right", "Left", 1), "", "", "[[7 7 7 7 7 10] [11 12 13 14 15 16]]"},
		"on the left by its config": {sixSix, `{"padding_side": "left", "truncation_side": "left", "model_max_length": 99}`, "", "[[7 7 7 7 7 10] [12 13 14 15 16 17]]"},
	} {
		for _, masked := range []bool{true, false} {
			m := classifytest.Usual
			m.Tokenizer, m.Files = c.tokenizer, map[string]string{}
			if c.config != "" {
				m.Files[bundle.TokenizerConfigName] = c.config
			}
			if c.pads != "" {
				m.Config = c.pads
			}
			m.Inputs = []tensor.Spec{classifytest.Spec("input_ids", tensor.Int32, tensor.Fixed(2), tensor.Fixed(6))}
			if masked {
				m.Inputs = append(m.Inputs, classifytest.Spec("attention_mask", tensor.Int32, tensor.Fixed(2), tensor.Fixed(6)))
			}
			r := numbered(2, false)
			compute(t, model(t, m, r), "w0", long)
			if got := rowsOf(t, r.given[0]["input_ids"]); got != c.want {
				t.Errorf("%s: the model is given %s, want %s", name, got, c.want)
			}
			if _, err := tensor.MatchAll(m.Inputs, r.given[0]); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

func TestModelsThatATokenizerDoesNotFillAreRefused(t *testing.T) {
	t.Parallel()
	batch, sequence := classifytest.Batch, classifytest.Sequence
	ids := classifytest.BERTInputs[0]
	padless := strings.Replace(classifytest.TokenizerJSON, `"[PAD]": 0, `, "", 1)
	for name, c := range map[string]struct {
		model  classifytest.Model
		want   string
		noFile bool
	}{
		"no tokenizer":       {classifytest.Model{Config: "{}"}, "tokenizer.json", true},
		"no config":          {classifytest.Model{Tokenizer: classifytest.TokenizerJSON}, "config.json", true},
		"a broken tokenizer": {classifytest.Model{Tokenizer: "[]", Config: "{}"}, "tokenizer.json: must be an object", false},
		"a broken config":    {classifytest.Model{Tokenizer: classifytest.TokenizerJSON, Config: "1"}, "config.json: must be an object", false},
		"no padding":         {classifytest.Model{Tokenizer: padless, Inputs: classifytest.BERTInputs}, "texts of different lengths cannot be put into one batch", false},
		"positions for no token": {
			classifytest.Model{Tokenizer: with("post_processor", bertLike), Config: `{"max_position_embeddings": 1}`, Inputs: classifytest.BERTInputs},
			"truncate texts to the 1 positions of the model", false,
		},
		"another input": {classifytest.Model{Inputs: []tensor.Spec{ids, classifytest.Spec("decoder_input_ids", tensor.Int64, batch, sequence)}}, "input decoder_input_ids int64[batch,sequence] cannot be filled from texts", false},
		"a length, and no padding": {
			classifytest.Model{Tokenizer: padless, Inputs: []tensor.Spec{classifytest.Spec("input_ids", tensor.Int64, batch, tensor.Fixed(6))}},
			"exactly 6 tokens, and neither tokenizer.json", false,
		},
		"no ids":            {classifytest.Model{Inputs: classifytest.BERTInputs[1:]}, "no input input_ids", false},
		"no inputs":         {classifytest.Model{Inputs: nil}, "no input input_ids", false},
		"ids of floats":     {classifytest.Model{Inputs: []tensor.Spec{classifytest.Spec("input_ids", tensor.Float32, batch, sequence)}}, "input_ids float32[batch,sequence] cannot be filled from texts: it should be int64 or int32", false},
		"ids of rank 3":     {classifytest.Model{Inputs: []tensor.Spec{classifytest.Spec("input_ids", tensor.Int64, batch, sequence, sequence)}}, "should have the dimensions of a batch and a sequence", false},
		"ids of any rank":   {classifytest.Model{Inputs: []tensor.Spec{{Name: "input_ids", DType: tensor.Int64, AnyRank: true}}}, "should have the dimensions of a batch and a sequence", false},
		"no rows":           {classifytest.Model{Inputs: []tensor.Spec{classifytest.Spec("input_ids", tensor.Int64, tensor.Fixed(0), sequence)}}, "fixes another number of texts than the inputs before it, or none", false},
		"rows that differ":  {classifytest.Model{Inputs: []tensor.Spec{classifytest.Spec("input_ids", tensor.Int64, tensor.Fixed(2), sequence), classifytest.Spec("attention_mask", tensor.Int64, tensor.Fixed(3), sequence)}}, "attention_mask int64[3,sequence] cannot be filled from texts: it fixes another number of texts", false},
		"a mask of strings": {classifytest.Model{Inputs: []tensor.Spec{ids, classifytest.Spec("attention_mask", tensor.String, batch, sequence)}}, "it should be integers, bool or float", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := c.model
			if !c.noFile {
				if m.Tokenizer == "" {
					m.Tokenizer = classifytest.TokenizerJSON
				}
				if m.Config == "" {
					m.Config = classifytest.ConfigJSON
				}
			}
			if len(m.Inputs) == 0 && strings.HasPrefix(name, "no inputs") {
				b := &bundle.Bundle{} // a manifest without inputs is none
				files, err := Read(classifytest.Usual.Bundle(t))
				if err != nil {
					t.Fatal(err)
				}
				if _, err := New(b, files, numbered(2, false), "logits"); err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("got %v, want %q", err, c.want)
				}
				return
			}
			if len(m.Inputs) == 0 {
				m.Inputs = classifytest.BERTInputs
			}
			m.Outputs = classifytest.TwoLogits
			_, err := open(t, m, numbered(2, false))
			if err == nil || !strings.Contains(err.Error(), c.want) || errors.Is(err, bundle.ErrNoFile) != c.noFile {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestLogitsAreFound(t *testing.T) {
	t.Parallel()
	batch, sequence := classifytest.Batch, classifytest.Sequence
	spec := classifytest.Spec
	any3 := tensor.Spec{Name: "x", DType: tensor.Float16, AnyRank: true}
	for _, c := range []struct {
		outputs    []tensor.Spec
		rank       int
		want, fail string
	}{
		{[]tensor.Spec{spec("logits", tensor.Float32, batch, tensor.Fixed(3))}, 2, "logits", ""},
		{[]tensor.Spec{spec("logits", tensor.Float16, batch, sequence, tensor.Fixed(3))}, 3, "logits", ""},
		{[]tensor.Spec{spec("scores", tensor.Float32, batch, tensor.Named("labels"))}, 2, "scores", ""},
		{[]tensor.Spec{any3}, 2, "x", ""},
		{[]tensor.Spec{any3}, 3, "x", ""},
		{[]tensor.Spec{spec("hidden", tensor.Int64, batch), spec("logits", tensor.Float32, batch, tensor.Fixed(3))}, 2, "logits", ""},
		{[]tensor.Spec{spec("logits", tensor.Float32, batch, tensor.Fixed(3))}, 3, "", "logits float32[batch,3] should be float32 or float16, of a batch, a sequence and a logit for each label"},
		{[]tensor.Spec{spec("logits", tensor.Float32, batch, sequence, tensor.Fixed(3))}, 2, "", "logits float32[batch,sequence,3] should be float32 or float16, of a batch and a logit for each label"},
		{[]tensor.Spec{spec("logits", tensor.BFloat16, batch, tensor.Fixed(3))}, 2, "", "should be float32 or float16"},
		{[]tensor.Spec{spec("logits", tensor.Float32, batch, tensor.Fixed(2))}, 2, "", "the model gives 2 logits, but config.json names 3 labels"},
		{[]tensor.Spec{spec("logits", tensor.Float32, batch, sequence, tensor.Fixed(4))}, 3, "", "the model gives 4 logits, but config.json names 3 labels"},
		{[]tensor.Spec{spec("a", tensor.Float32, batch, tensor.Fixed(3)), spec("b", tensor.Float32, batch, tensor.Fixed(3))}, 2, "", "2 outputs and none is named logits"},
		{nil, 2, "", "0 outputs and none is named logits"},
	} {
		got, err := Logits(c.outputs, c.rank, 3)
		if got != c.want || (err != nil) != (c.fail != "") || err != nil && !strings.Contains(err.Error(), c.fail) {
			t.Errorf("%v of rank %d: %q, %v; want %q, %q", c.outputs, c.rank, got, err, c.want, c.fail)
		}
	}
}

func TestAnOutputOfAWrongShapeIsTheModelsError(t *testing.T) {
	t.Parallel()
	of := func(shape ...int64) tensor.Tensor {
		n, _ := tensor.Elements(shape)
		return tensor.Of(shape, make([]float32, n))
	}
	boom := errors.New("boom")
	for name, c := range map[string]struct {
		bag  tensor.Bag
		err  error
		want string
	}{
		"a scalar":           {tensor.Bag{"logits": of()}, nil, "shape [] for 2 texts"},
		"too few rows":       {tensor.Bag{"logits": of(1, 2)}, nil, "shape [1 2] for 2 texts"},
		"too many rows":      {tensor.Bag{"logits": of(3, 2)}, nil, "shape [3 2] for 2 texts"},
		"no rows":            {tensor.Bag{"logits": of(0, 2)}, nil, "shape [0 2] for 2 texts"},
		"too few tokens":     {tensor.Bag{"logits": of(2, 2, 5)}, nil, "shape [2 2 5] for 3 tokens"},
		"too many tokens":    {tensor.Bag{"logits": of(2, 4, 5)}, nil, "shape [2 4 5] for 3 tokens"},
		"another name":       {tensor.Bag{"other": of(2, 2)}, nil, `did not answer "logits"`},
		"nothing":            {nil, nil, `did not answer "logits"`},
		"integers":           {tensor.Bag{"logits": tensor.Of([]int64{2, 1}, []int64{1, 2})}, nil, `output "logits": tensor holds int64`},
		"an error":           {nil, boom, "boom"},
		"an error by others": {tensor.Bag{"logits": of(2, 2)}, errcode.Errorf(errcode.Unavailable, "gone"), "gone"},
	} {
		made := model(t, classifytest.Usual, function(func(tensor.Bag) (tensor.Bag, error) { return c.bag, c.err }))
		answers, _, err := made.Compute(t.Context(), encode(t, made, Inputs([]string{"w0 w1 w2", "w3"})...))
		if answers != nil || err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, %v; want %q", name, answers, err, c.want)
		}
		if want := errcode.Of(c.err); c.err != nil && (!errors.Is(err, c.err) || errcode.Of(err) != want) {
			t.Errorf("%s: %v is %v, want %v", name, err, errcode.Of(err), want)
		}
	}
}

// What is no number is for those to judge who know what numbers mean.
func TestNumbersAreHandedOnAsTheyAre(t *testing.T) {
	t.Parallel()
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	made := model(t, classifytest.Usual, function(func(tensor.Bag) (tensor.Bag, error) {
		return tensor.Bag{"logits": tensor.Of([]int64{2, 2}, []float32{nan, -inf, 1, inf})}, nil
	}))
	a := compute(t, made, "w0", "w1")
	if v := a[0].Values; a[0].Err != nil || v[0] == v[0] || v[1] != -inf || a[1].Values[1] != inf {
		t.Errorf("%+v", a)
	}
	half := model(t, classifytest.Usual, function(func(tensor.Bag) (tensor.Bag, error) {
		return tensor.Bag{"logits": {DType: tensor.Float16, Shape: []int64{1, 2}, Data: []byte{0x00, 0x3c, 0x00, 0xc0}}}, nil
	}))
	if v := compute(t, half, "w0")[0].Values; !slices.Equal(v, []float32{1, -2}) {
		t.Errorf("float16 is %v", v)
	}
}

// traced is a Runner that tells where the time went.
type traced struct{ *recorder }

func (r traced) Trace(ctx context.Context, in tensor.Bag) (tensor.Bag, []pipeline.Timing, error) {
	out, err := r.Run(ctx, in)
	return out, []pipeline.Timing{{Rank: 1, Computed: time.Second}}, err
}

func TestTimingsAreTheRunners(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		runner pipeline.Runner
		want   int
	}{{numbered(2, false), 0}, {traced{numbered(2, false)}, 1}} {
		made := model(t, classifytest.Usual, c.runner)
		answers, timings, err := made.Compute(t.Context(), encode(t, made, Input{Text: "w0"}))
		if err != nil || len(answers) != 1 || len(timings) != c.want || c.want > 0 && timings[0].Computed != time.Second {
			t.Errorf("%v, %v, %v", answers, timings, err)
		}
	}
}

// A model that answers the ids it is given, one number for each token, shows that ONNX
// Runtime is given what it takes and that its answers are cut at the right places.
func TestONNXRuntimeTakesBatchesAndAnswersThem(t *testing.T) {
	t.Parallel()
	library := orttest.Library(t)
	for name, c := range map[string]struct {
		onnx  int64
		dtype tensor.DType
	}{"int64": {7, tensor.Int64}, "int32": {6, tensor.Int32}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var g onnxtest.Graph
			g.Input("input_ids", c.onnx, "batch", "sequence")
			g.Input("attention_mask", c.onnx, "batch", "sequence")
			g.Ints("last", []int64{1}, 2)
			g.Node("Mul", []string{"input_ids", "attention_mask"}, []string{"masked"})
			g.Node("Cast", []string{"masked"}, []string{"floats"}, onnxtest.IntAttr("to", 1))
			g.Node("Unsqueeze", []string{"floats", "last"}, []string{"logits"})
			g.Output("logits", 1, "batch", "sequence", 1)
			m := classifytest.Usual
			m.Inputs = []tensor.Spec{
				classifytest.Spec("input_ids", c.dtype, classifytest.Batch, classifytest.Sequence),
				classifytest.Spec("attention_mask", c.dtype, classifytest.Batch, classifytest.Sequence),
			}
			m.Outputs = []tensor.Spec{classifytest.Spec("logits", tensor.Float32, classifytest.Batch, classifytest.Sequence, tensor.Fixed(1))}
			session, err := library.OpenBytes(name, g.Model(), m.Inputs, m.Outputs, ort.Options{Threads: 1})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = session.Close() })
			for _, direction := range []string{"Right", "Left"} {
				m.Tokenizer = with("padding", padding(batchWide, direction))
				for i, a := range compute(t, model(t, m, session), "w0", "w1 w2 w3 w4", "w5 w6") {
					want := [][]float32{{10}, {11, 12, 13, 14}, {15, 16}}[i]
					if !slices.Equal(a.Values, want) || !slices.Equal(a.Shape, []int64{int64(len(want)), 1}) {
						t.Errorf("padded %s: text %d is answered %v of shape %v, want %v", direction, i, a.Values, a.Shape, want)
					}
				}
			}
		})
	}
}
