package metrics_test

import (
	"context"
	"log/slog"
	"testing"

	"github.com/distinfer/distinfer/runtime/classify"
	"github.com/distinfer/distinfer/runtime/classify/classifytest"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/server/batch"
)

type none struct{}

func (none) Run(context.Context, tensor.Bag) (tensor.Bag, error) { return nil, nil }

// batcher is one with nothing to do that begins with five batches.
func batcher(t *testing.T) *batch.Batcher {
	t.Helper()
	c, err := classify.Open(classifytest.Usual.Bundle(t), none{})
	if err != nil {
		t.Fatal(err)
	}
	return batch.New(batch.Config{Model: c.Model, MaxTexts: 8, Begin: 5, Log: slog.New(slog.DiscardHandler)})
}
