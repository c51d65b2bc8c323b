package onnxtest

import (
	"fmt"
	"math"
	"strings"
)

// Vocabulary is how many ids a TextModel takes: [PAD] 0, [UNK] 1, </s> 2, and the
// words w3 to w39 behind them.
const Vocabulary = 40

// TextTokenizer is the tokenizer.json of a TextModel, with a padding section that is
// given as JSON, or null. A text ends with </s>, and both of a pair do.
func TextTokenizer(padding string) string {
	vocab := []string{`"[PAD]": 0`, `"[UNK]": 1`, `"</s>": 2`}
	for i := 3; i < Vocabulary; i++ {
		vocab = append(vocab, fmt.Sprintf(`"w%d": %d`, i, i))
	}
	return `{"version": "1.0", "padding": ` + padding + `,
"added_tokens": [{"id": 2, "content": "</s>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true}],
"pre_tokenizer": {"type": "WhitespaceSplit"}, "model": {"type": "WordLevel", "unk_token": "[UNK]", "vocab": {` + strings.Join(vocab, ", ") + `}},
"post_processor": {"type": "TemplateProcessing",
"single": [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "</s>", "type_id": 0}}],
"pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "</s>", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}, {"SpecialToken": {"id": "</s>", "type_id": 1}}],
"special_tokens": {"</s>": {"id": "</s>", "ids": [2], "tokens": ["</s>"]}}}}`
}

// TextConfig is the config.json of a TextModel.
const TextConfig = `{"architectures": ["MadeForSequenceClassification"], "id2label": {"0": "a", "1": "b"}, "problem_type": "regression",
"pad_token_id": 0, "eos_token_id": 2, "max_position_embeddings": 64}`

// wide is the width of the vectors in a TextModel.
const wide = 4

// TextGraph is the graph of a text model under construction.
type TextGraph struct {
	Graph
	outlier int // the id of a vector that is far larger than the others; 0: none
	ids     int // 0: Vocabulary
}

// vectors are those of the tokens.
func (t *TextGraph) vectors() string {
	ids := max(t.ids, Vocabulary)
	table := make([]float32, ids*wide)
	for i := range table {
		table[i] = float32(math.Sin(float64(7 * i)))
	}
	if t.outlier > 0 {
		table[t.outlier*wide] = 500
	}
	t.Floats("table", []int64{int64(ids), wide}, table)
	t.Node("Gather", []string{"table", "input_ids"}, []string{"h"})
	return "h"
}

// placed are the tokens' vectors with one for the place that each has in its row.
func (t *TextGraph) placed() string {
	places := make([]float32, 64*wide)
	for i := range places {
		places[i] = float32(math.Cos(float64(5 * i)))
	}
	t.Floats("places", []int64{64, wide}, places)
	t.Ints("unit", nil, 1)
	t.Ints("axis", nil, 1)
	t.Node("Mul", []string{"attention_mask", "nought"}, []string{"noughts"})
	t.Ints("nought", nil, 0)
	t.Node("Add", []string{"noughts", "unit"}, []string{"ones"})
	t.Node("CumSum", []string{"ones", "axis"}, []string{"counted"})
	t.Node("Sub", []string{"counted", "unit"}, []string{"numbers"})
	t.Node("Gather", []string{"places", "numbers"}, []string{"shift"})
	t.Node("Add", []string{t.vectors(), "shift"}, []string{"placed"})
	return "placed"
}

// mask makes the mask floats of the shape of the vectors.
func (t *TextGraph) mask() {
	t.Ints("end", []int64{1}, 2)
	t.Node("Cast", []string{"attention_mask"}, []string{"flat_mask"}, IntAttr("to", 1))
	t.Node("Unsqueeze", []string{"flat_mask", "end"}, []string{"mask"})
}

// mean is m, the mean of the vectors that the mask has.
func (t *TextGraph) mean(h string) string {
	t.mask()
	t.Ints("row", []int64{1}, 1)
	t.Node("Mul", []string{h, "mask"}, []string{"own"})
	t.Node("ReduceSum", []string{"own", "row"}, []string{"sum"}, IntAttr("keepdims", 0))
	t.Node("ReduceSum", []string{"mask", "row"}, []string{"number"}, IntAttr("keepdims", 0))
	t.Node("Div", []string{"sum", "number"}, []string{"m"})
	return "m"
}

// scaled is the mean in steps of a scale that is taken of the whole batch, and is larger where
// one id is in it.
func (t *TextGraph) scaled(outlier int) string {
	t.outlier = outlier
	t.Floats("least", nil, []float32{2})
	t.Floats("steps", nil, []float32{16})
	m := t.mean(t.vectors())
	t.Node("Abs", []string{m}, []string{"sizes"})
	t.Node("ReduceMax", []string{"sizes"}, []string{"most"}, IntAttr("keepdims", 0))
	t.Node("Max", []string{"most", "least"}, []string{"scale"})
	t.Node("Div", []string{m, "scale"}, []string{"scaled"})
	t.Node("Mul", []string{"scaled", "steps"}, []string{"counted"})
	t.Node("Round", []string{"counted"}, []string{"rounded"})
	t.Node("Div", []string{"rounded", "steps"}, []string{"back"})
	t.Node("Mul", []string{"back", "scale"}, []string{"v"})
	return "v"
}

// TextKinds are variants of a model that gives each text two logits: the mean of its tokens'
// vectors through a layer. In each, the answer depends on something else as well.
var TextKinds = map[string]func(t *TextGraph) (vector string){
	"nothing": func(t *TextGraph) string { return t.mean(t.vectors()) },
	"a place": func(t *TextGraph) string { return t.mean(t.placed()) },
	"the last of the batch's tokens": func(t *TextGraph) string {
		t.Ints("last", nil, -1)
		t.Node("Gather", []string{t.vectors(), "last"}, []string{"v"}, IntAttr("axis", 1))
		return "v"
	},
	"padding": func(t *TextGraph) string {
		t.Node("ReduceMean", []string{t.placed()}, []string{"v"}, intsAttr("axes", 1), IntAttr("keepdims", 0))
		return "v"
	},
	// The last vectors of those at </s>, as BART's classifiers pick them.
	"rows by an id": func(t *TextGraph) string {
		t.Ints("eos", nil, 2)
		t.Ints("last", nil, -1)
		t.Node("Equal", []string{"input_ids", "eos"}, []string{"ends"})
		t.Node("NonZero", []string{"ends"}, []string{"found"})
		t.Node("Transpose", []string{"found"}, []string{"at"})
		t.Node("GatherND", []string{t.vectors(), "at"}, []string{"picked"})
		t.Ints("none", []int64{1}, 0)
		t.Ints("one", []int64{1}, 1)
		t.Node("Shape", []string{"input_ids"}, []string{"size"})
		t.Node("Slice", []string{"size", "none", "one"}, []string{"rows"})
		t.Ints("rest", []int64{2}, -1, wide)
		t.Node("Concat", []string{"rows", "rest"}, []string{"grouped_shape"}, IntAttr("axis", 0))
		t.Node("Reshape", []string{"picked", "grouped_shape"}, []string{"grouped"})
		t.Node("Gather", []string{"grouped", "last"}, []string{"v"}, IntAttr("axis", 1))
		return "v"
	},
	"the mean of the batch": func(t *TextGraph) string {
		t.Node("ReduceMean", []string{t.mean(t.vectors())}, []string{"all"}, intsAttr("axes", 0), IntAttr("keepdims", 1))
		t.Node("Sub", []string{"m", "all"}, []string{"v"})
		return "v"
	},
	"the largest of the batch": func(t *TextGraph) string { return t.scaled(Vocabulary - 1) },
	"one id of many in the batch": func(t *TextGraph) string {
		t.ids = 20_000
		return t.scaled(12_345)
	},
	// Attention whose scores are quantised with a scale that was found without padding, so
	// that what the mask takes away is not taken away.
	"padding that integers do not hold": func(t *TextGraph) string {
		t.Floats("scale", nil, []float32{0.05})
		t.Floats("question", []int64{wide, 1}, []float32{0.5, -0.25, 1, 0.75})
		t.Floats("far", nil, []float32{-1e9})
		t.Floats("whole", nil, []float32{1})
		h := t.vectors()
		t.mask()
		t.Node("MatMul", []string{h, "question"}, []string{"scores"})
		t.Node("Sub", []string{"whole", "mask"}, []string{"away"})
		t.Node("Mul", []string{"away", "far"}, []string{"bias"})
		t.Node("Add", []string{"scores", "bias"}, []string{"masked"})
		t.Raw(5, Message{}.Int(2, 3).Text(8, "zero").Embed(9, Message{0}))
		t.Node("QuantizeLinear", []string{"masked", "scale", "zero"}, []string{"integers"})
		t.Node("DequantizeLinear", []string{"integers", "scale", "zero"}, []string{"floats"})
		t.Node("Softmax", []string{"floats"}, []string{"shares"}, IntAttr("axis", 1))
		t.Node("Mul", []string{"shares", h}, []string{"parts"})
		t.Ints("along", []int64{1}, 1)
		t.Node("ReduceSum", []string{"parts", "along"}, []string{"v"}, IntAttr("keepdims", 0))
		return "v"
	},
}

// intsAttr makes an attribute that holds a list of one integer.
func intsAttr(name string, value int64) Message {
	return Message{}.Text(1, name).Int(8, value).Int(20, 7)
}

// TextModel is the model of a kind of TextKinds.
func TextModel(kind string) Message {
	t := &TextGraph{}
	t.Input("input_ids", 7, "batch", "sequence")
	t.Input("attention_mask", 7, "batch", "sequence")
	v := TextKinds[kind](t)
	t.Floats("layer", []int64{wide, 2}, []float32{1, -2, 0.5, 1, -1, 0.25, 2, 1})
	t.Floats("inner", []int64{wide, wide}, []float32{1, 0, 0.5, -1, 0, 1, -0.5, 0.25, 0.5, 1, 1, 0, -0.25, 0, 0.5, 1})
	t.Node("MatMul", []string{v, "inner"}, []string{"mixed"})
	t.Node("Tanh", []string{"mixed"}, []string{"bent"})
	t.Node("MatMul", []string{"bent", "layer"}, []string{"logits"})
	t.Output("logits", 1, "batch", 2)
	return t.Model()
}
