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

func TestWhatFitsIsKnownBeforehand(t *testing.T) {
	t.Parallel()
	g := &Guard{&counting{}, inputs, []memory.Estimate{nil, squares}, func() []int64 { return []int64{1 << 20, 50 << 20} }}
	for _, c := range []struct {
		batch, sequence int64
		runs            int
		want            bool
	}{{1, 6, 1, true}, {1, 7, 1, false}, {2, 4, 1, true}, {2, 5, 1, false}, {1, 6, 2, false}, {1, 4, 2, true}, {1, 1, 0, true}} {
		sizes := tensor.Sizes{"batch": c.batch, "sequence": c.sequence}
		if got := g.Fits(sizes, c.runs); got != c.want {
			t.Errorf("%+v: %t", c, got)
		}
		if err := g.Check(sizes); c.runs == 1 && (err == nil) != c.want {
			t.Errorf("%+v: %v", c, err)
		}
	}
	if !g.Fits(nil, 1) || g.Check(nil) != nil {
		t.Error("what is not known is refused")
	}
}
