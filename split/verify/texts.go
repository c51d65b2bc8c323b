package verify

import (
	"context"

	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/split/engine"
)

// roomForTexts bounds the outputs of the whole model that are kept for texts, in bytes.
const roomForTexts = 512 << 20

// wholeTexts has the whole model compute the texts that the stages will.
func (v *verifier) wholeTexts(ctx context.Context, whole engine.Session) error {
	if v.rows == nil {
		return nil
	}
	room := int64(roomForTexts)
	if v.o.Memory > 0 {
		room = min(room, v.o.Memory/8)
	}
	if err := v.rows.Whole(ctx, whole, room); err != nil {
		return err
	}
	for _, r := range v.texts() {
		if err := v.runAgain(ctx, whole, r); err != nil {
			return err
		}
	}
	return nil
}

// texts are the runs on texts, as far as they came.
func (v *verifier) texts() []*run {
	if v.rows == nil {
		return nil
	}
	var list []*run
	for _, t := range v.rows.Runs() {
		r := &run{name: t.Name, kind: ofTexts, in: t.In, at: t.At, whole: t.Whole, failed: t.Err, stage: t.Stage, tokens: t.Tokens}
		if t.Texts > 1 {
			r.kind = ofBatches
		}
		list = append(list, r)
	}
	return list
}

// declaredTexts fails unless a stage gave for texts what the manifest says, where the whole model
// does not tell.
func (v *verifier) declaredTexts(rank int, compared bool) error {
	if compared {
		return nil
	}
	for _, r := range v.texts() {
		sizes, err := tensor.MatchAll(v.b.Inputs, r.in)
		if err != nil {
			return err
		}
		r.sizes = sizes
		if err := asDeclared(v.b.Stages[rank], r, r.at, rank); err != nil {
			return err
		}
	}
	return nil
}

// finishTexts says which texts the stages ran on, and what was left out.
func (v *verifier) finishTexts() {
	if v.rows == nil {
		return
	}
	if why := v.rows.Broken(); why != "" && v.Against != AgainstNothing {
		v.skip("No texts were compared: %s.", why)
	}
	if n := v.rows.LeftOut(); n > 0 {
		v.skip("%d batches of texts were not compared, for want of time or memory.", n)
	}
	t := Texts{Most: v.rows.Most()}
	for _, r := range v.texts() {
		if r.failed != nil {
			continue
		}
		if t.Longest = max(t.Longest, r.tokens); r.kind == ofTexts {
			t.Alone++
		} else {
			t.Batches++
		}
	}
	if t.Alone+t.Batches > 0 {
		v.Texts = &t
	}
}
