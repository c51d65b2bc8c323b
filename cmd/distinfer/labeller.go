package main

import (
	"context"

	"github.com/distinfer/distinfer/runtime/classify"
	"github.com/distinfer/distinfer/runtime/textmodel"
	"github.com/distinfer/distinfer/server/batch"
)

// A labeller labels texts in batches.
type labeller struct {
	batcher    *batch.Batcher
	classifier *classify.Classifier
}

func (l labeller) classify(ctx context.Context, texts []string) ([]classify.Answer, error) {
	return l.answer(ctx, textmodel.Inputs(texts))
}

// answer is classify for inputs, which may be pairs of texts.
func (l labeller) answer(ctx context.Context, inputs []textmodel.Input) ([]classify.Answer, error) {
	computed, _, err := l.batcher.Answer(ctx, inputs)
	if err != nil {
		return nil, err
	}
	return l.classifier.Answers(computed), nil
}
