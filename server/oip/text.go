package oip

import (
	"context"
	"fmt"
	"slices"

	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/runtime/text"
	"github.com/distinfer/distinfer/runtime/textmodel"
)

// truncatedParameter is the parameter of a response that names the texts which were cut to
// what the model reads. A Text answers it beside its outputs, and without it when there are none.
const truncatedParameter = "truncated"

// textSuffix is behind a model's name in that of the entry which takes texts.
const textSuffix = "-text"

// A Text is a model that labels texts, as a Runner: of "text", BYTES [n], or of pairs of
// texts, BYTES [n, 2], it makes "label", BYTES [n], and its "score", FP32 [n], and for each of "labels", BYTES [k],
// its score in "scores", FP32 [n, k].
type Text struct {
	Labels []string
	// Answer has inputs computed, and Results reads an answer as labels and scores, the best first.
	Answer  func(context.Context, []textmodel.Input) ([]textmodel.Answer, error)
	Results func(textmodel.Answer) ([]text.Result, error)
}

func (t *Text) inputs() []tensor.Spec {
	return []tensor.Spec{{Name: "text", DType: tensor.String, AnyRank: true}}
}

func (t *Text) outputs() []tensor.Spec {
	n, k := tensor.Named("n"), tensor.Fixed(int64(len(t.Labels)))
	return []tensor.Spec{
		{Name: "label", DType: tensor.String, Dims: []tensor.Dim{n}},
		{Name: "score", DType: tensor.Float32, Dims: []tensor.Dim{n}},
		{Name: "scores", DType: tensor.Float32, Dims: []tensor.Dim{n, k}},
		{Name: "labels", DType: tensor.String, Dims: []tensor.Dim{k}},
	}
}

// inputs are the texts of a tensor, or its pairs of texts.
func inputs(t tensor.Tensor) ([]textmodel.Input, error) {
	pairs := len(t.Shape) == 2 && t.Shape[1] == 2
	switch {
	case !pairs && len(t.Shape) != 1:
		return nil, errcode.Errorf(errcode.Invalid, `the input "text" has the shape %v; it can be [n] for texts, or [n, 2] for pairs of texts`, t.Shape)
	case len(t.Strs) == 0:
		return nil, errcode.Errorf(errcode.Invalid, `the input "text" has no text`)
	}
	for i, s := range t.Strs {
		if s == "" {
			return nil, errcode.Errorf(errcode.Invalid, `element %d of the input "text" is empty`, i)
		}
	}
	if !pairs {
		return textmodel.Inputs(t.Strs), nil
	}
	var list []textmodel.Input
	for pair := range slices.Chunk(t.Strs, 2) {
		list = append(list, textmodel.Input{Text: pair[0], Pair: &pair[1]})
	}
	return list, nil
}

// Run implements pipeline.Runner.
func (t *Text) Run(ctx context.Context, in tensor.Bag) (tensor.Bag, error) {
	texts, err := inputs(in["text"])
	if err != nil {
		return nil, err
	}
	answers, err := t.Answer(ctx, texts)
	if err != nil {
		return nil, err
	}
	place := make(map[string]int, len(t.Labels))
	for i, l := range t.Labels {
		place[l] = i
	}
	n, k := len(texts), len(t.Labels)
	label, score, scores := make([]string, n), make([]float32, n), make([]float32, n*k)
	for i, a := range answers {
		results, err := t.Results(a)
		if err != nil {
			return nil, fmt.Errorf("text %d: %w", i, err)
		}
		label[i], score[i] = results[0].Label, float32(results[0].Score)
		for _, r := range results {
			scores[i*k+place[r.Label]] = float32(r.Score)
		}
	}
	rows, columns := int64(n), int64(k)
	bag := tensor.Bag{
		"label":  {DType: tensor.String, Shape: []int64{rows}, Strs: label},
		"score":  tensor.Of([]int64{rows}, score),
		"scores": tensor.Of([]int64{rows, columns}, scores),
		"labels": {DType: tensor.String, Shape: []int64{columns}, Strs: t.Labels},
	}
	if cut := textmodel.Truncated(n, func(i int) bool { return answers[i].Tokens.Truncated }); cut != "" {
		bag[truncatedParameter] = tensor.Tensor{DType: tensor.String, Shape: []int64{1}, Strs: []string{cut}}
	}
	return bag, nil
}
