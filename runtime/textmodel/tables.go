package textmodel

import (
	"fmt"
	"math"
	"slices"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/runtime/feed"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/runtime/text"
)

// positions is how many tokens a text may have by the model's own tables; ok is false when
// that is not known.
func positions(b *bundle.Bundle, plan *feed.Plan) (n int, ok bool) {
	most := int64(math.MaxInt64)
	if b.Limits == nil {
		return 0, false
	}
	if b.Limits.Tokens > 0 {
		most = b.Limits.Tokens
	}
	if ids, ok := tensor.Find(b.Inputs, plan.IDs); ok && len(ids.Dims) == 2 {
		for _, s := range b.Limits.Sizes {
			if slices.Contains(s.Dims, ids.Dims[1].Name) {
				most = min(most, s.Max)
			}
		}
	}
	if v, ok := b.Limits.Of(plan.Positions); ok && v.Max < math.MaxInt64 {
		most = min(most, max(v.Max+1-plan.First, 1))
	}
	return int(min(most, math.MaxInt32)), most < math.MaxInt64
}

// known fails, with a errcode.Invalid, for a text with what the model's tables do not have.
func (m *Model) known(e text.Encoding, pair bool) error {
	if v, ok := m.limits.Of(m.plan.IDs); ok {
		if i := outside(v, e.IDs); i >= 0 {
			return errcode.Errorf(errcode.Invalid, "token %d of the text has the id %d, and the model's table %s ends at %d: its vocabulary is smaller than the tokenizer's; leave the token out", i, e.IDs[i], v.Table, v.Max)
		}
	}
	v, ok := m.limits.Of(m.plan.Types)
	if !ok {
		return nil
	}
	switch i := outside(v, e.TypeIDs); {
	case i < 0:
		return nil
	case pair:
		return errcode.Errorf(errcode.Invalid, "the model takes no pairs of texts: token %d is of type %d, and its table %s ends at %d; send each text by itself", i, e.TypeIDs[i], v.Table, v.Max)
	default:
		return errcode.Errorf(errcode.Invalid, "token %d of the text is of type %d, and the model's table %s ends at %d", i, e.TypeIDs[i], v.Table, v.Max)
	}
}

// outside is where the first value stands that a limit does not allow, or -1.
func outside(v tensor.ValueLimit, values []int64) int {
	return slices.IndexFunc(values, func(x int64) bool { return !v.Allows(x) })
}

// padKnown fails when the model's table does not have the token that batches are padded with.
func (m *Model) padKnown(padded text.Batch) error {
	v, ok := m.limits.Of(m.plan.IDs)
	if !ok {
		return nil
	}
	if i := outside(v, padded.IDs); i >= 0 {
		return fmt.Errorf("the padding token's id is %d, and the model's table %s ends at %d", padded.IDs[i], v.Table, v.Max)
	}
	return nil
}
