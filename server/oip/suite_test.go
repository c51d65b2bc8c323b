package oip

import (
	"context"
	"fmt"
	"log/slog"
	"testing"

	"github.com/distinfer/distinfer/runtime/classify"
	"github.com/distinfer/distinfer/runtime/classify/classifytest"
	"github.com/distinfer/distinfer/runtime/pipeline/pipelinetest"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/runtime/text"
	"github.com/distinfer/distinfer/runtime/textmodel"
	"github.com/distinfer/distinfer/server/batch"
	"github.com/distinfer/distinfer/server/limiter"
)

func TestALimitedRunnerIsARunner(t *testing.T) {
	t.Parallel()
	_, suite := pipelinetest.Chain(1)
	suite.Runner = limited{limiter.New(2, 100), suite.Runner}
	pipelinetest.Run(t, suite)
}

func TestATextIsARunner(t *testing.T) {
	t.Parallel()
	c, err := classify.Open(classifytest.Usual.Bundle(t), &classifytest.Sums{})
	if err != nil {
		t.Fatal(err)
	}
	batcher := batch.New(batch.Config{Model: c.Model, MaxTexts: 100, Begin: 2, Log: slog.New(slog.DiscardHandler)})
	labels := &Text{
		Labels: c.Labels(),
		Answer: func(ctx context.Context, inputs []textmodel.Input) ([]textmodel.Answer, error) {
			answers, _, err := batcher.Answer(ctx, inputs)
			return answers, err
		},
		Results: func(a textmodel.Answer) ([]text.Result, error) { return c.Results(a, text.ByConfig) },
	}
	pipelinetest.Run(t, pipelinetest.Suite{
		Runner: labels, Inputs: labels.inputs(), Outputs: labels.outputs(),
		In: func(run int) tensor.Bag {
			return tensor.Bag{"text": {DType: tensor.String, Shape: []int64{2}, Strs: []string{fmt.Sprint("w", run), "w1 w2"}}}
		},
	})
}
