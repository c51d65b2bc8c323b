package budget

import (
	"context"
	"strings"
	"testing"

	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/runtime/memory"
	"github.com/distinfer/distinfer/runtime/pipeline"
	"github.com/distinfer/distinfer/runtime/tensor"
)

type counting struct{ runs int }

func (c *counting) Run(context.Context, tensor.Bag) (tensor.Bag, error) { c.runs++; return nil, nil }

func (c *counting) Trace(context.Context, tensor.Bag) (tensor.Bag, []pipeline.Timing, error) {
	c.runs++
	return nil, nil, nil
}

func TestWhatAStageWouldRefuseIsNotSent(t *testing.T) {
	t.Parallel()
	var c counting
	g := &Guard{&c, inputs, []memory.Estimate{nil, squares}, func() []int64 { return []int64{1 << 20, 50 << 20} }}
	_, err := g.Run(t.Context(), rows(1, 8))
	if errcode.Of(err) != errcode.TooLarge || !strings.Contains(err.Error(), "stage 1: a run of batch=1 sequence=8 takes about") || !strings.Contains(err.Error(), "sequence=6 would fit") || c.runs != 0 {
		t.Error(err, c.runs)
	}
	if _, _, err := g.Trace(t.Context(), rows(100, 1)); errcode.Of(err) != errcode.TooLarge || c.runs != 0 {
		t.Error(err, c.runs)
	}
	if _, _, err := g.Trace(t.Context(), rows(1, 6)); err != nil || c.runs != 1 {
		t.Error(err, c.runs)
	}
	g.Budgets = func() []int64 { return []int64{0, 0} } // none has told yet
	if _, err := g.Run(t.Context(), rows(1, 8)); err != nil || c.runs != 2 {
		t.Error(err, c.runs)
	}
}
