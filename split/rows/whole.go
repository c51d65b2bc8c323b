package rows

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/distinfer/distinfer/runtime/pipeline"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/runtime/textmodel"
	"github.com/distinfer/distinfer/split/engine"
)

// A Run is a batch of the test on its way through the whole model and the stages.
type Run struct {
	Name   string // for messages
	Texts  int
	Tokens int        // of the longest text
	In     tensor.Bag // what the model is given
	Whole  tensor.Bag // what the whole model answers; nil: it was not asked
	At     tensor.Bag // what the next stage is given, or what the last one answered; nil with Err
	Err    error      // why a stage did not compute it
	Stage  int        // the one that did not
}

const (
	// wholeTime is the time that the whole model may take in all.
	wholeTime = 2 * time.Minute
	// The time that a text of the most tokens may take: about as much as all others together,
	// within these bounds.
	leastLongest, mostLongest = 200 * time.Millisecond, 20 * time.Second
)

// Whole has the whole model compute the texts alone, batches of each kind that have half as many tokens
// together, and a text of the most tokens, to compare what the stages give. What it refuses the
// stages are not given. It keeps as many bytes of outputs as there is room for. It fails only
// when ctx ends.
func (t *Test) Whole(ctx context.Context, whole pipeline.Runner, room int64) error {
	t.asked = true
	started, tokens, batches := time.Now(), 0, 0
	for _, tr := range t.byTurns() {
		if t.begin(tr); tr.err != nil {
			continue
		}
		n := len(tr.rows) * t.tokens(tr)
		switch {
		case room <= 0 || time.Since(started) > wholeTime:
			t.leaveOut(tr)
			continue
		case tr.kind == alone:
			tokens += n
		case batches > 0 && batches+n > tokens/2:
			t.drop(tr)
			continue
		default:
			batches += n
		}
		if err := t.wholly(ctx, tr, whole, &room); err != nil {
			return err
		}
	}
	spent := time.Since(started)
	if tr := t.longest(spent, tokens+batches, room); tr != nil {
		return t.wholly(ctx, tr, whole, &room)
	}
	return nil
}

// byTurns are the texts alone, and then the batches, of each kind in turn.
func (t *Test) byTurns() []*trial {
	turn, seen := map[*trial]int{}, map[kind]int{}
	for _, tr := range t.trials {
		if tr.kind != alone {
			seen[tr.kind]++
			turn[tr] = seen[tr.kind]
		}
	}
	return slices.SortedStableFunc(slices.Values(t.trials), func(a, b *trial) int { return turn[a] - turn[b] })
}

// wholly has the whole model compute one batch.
func (t *Test) wholly(ctx context.Context, tr *trial, whole pipeline.Runner, room *int64) error {
	out, err := whole.Run(ctx, tr.at)
	var slow *engine.SlowError
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, &slow):
		*room = 0
		t.leaveOut(tr)
	case err != nil:
		t.fail(tr, err)
	default:
		tr.whole = out
		for _, x := range out {
			*room -= int64(len(x.Data))
		}
	}
	return nil
}

// leaveOut leaves a batch out of what is compared, for want of time or room.
func (t *Test) leaveOut(tr *trial) {
	t.leftOut++
	t.drop(tr)
}

// drop has the stages alone compute a batch, if anything follows from that.
func (t *Test) drop(tr *trial) {
	if !t.judges || tr.kind == longest {
		tr.err = errLeftOut
	}
}

var errLeftOut = errors.New("it was left out")

// longest adds a text of the most tokens that the model reads, or of as many as there is time and
// room for, given what the others took. It is nil when that is no more than they have.
func (t *Test) longest(spent time.Duration, tokens int, room int64) *trial {
	most, bounded := t.models[alone].Tokenizer().MaxLength()
	if tokens == 0 || !bounded {
		return nil
	}
	t.most = most
	allowed := min(max(spent, leastLongest), mostLongest)
	bytes := int64(0) // of the output, for a token
	for _, tr := range t.trials {
		for _, x := range tr.whole {
			bytes = max(bytes, int64(len(x.Data)/max(1, len(tr.rows)*t.tokens(tr))))
		}
	}
	n := most
	for ; n > 2*longRow; n /= 2 {
		// Attention grows with the square of the length.
		takes := spent / time.Duration(tokens) * time.Duration(n) * time.Duration(1+n/1024)
		if takes <= allowed && int64(n)*bytes < room/2 {
			break
		}
	}
	if n <= 2*longRow {
		return nil
	}
	for count := n; count > longRow; count -= max(1, count/8) {
		text := strings.Join(slices.Repeat(words, count/len(words)+1)[:count], " ")
		e, err := t.models[alone].Encode(textmodel.Input{Text: text, Cut: true})
		if err != nil {
			return nil
		}
		if len(e.Encoding().IDs) <= n {
			t.texts = append(t.texts, e)
			tr := &trial{kind: longest, rows: []int{len(t.texts) - 1}}
			t.trials = append(t.trials, tr)
			if t.begin(tr); tr.err != nil {
				return nil
			}
			return tr
		}
	}
	return nil
}

// tokens is the length of a batch.
func (t *Test) tokens(tr *trial) (n int) {
	for _, i := range tr.rows {
		n = max(n, t.texts[i].Length)
	}
	return n
}

// Runs are the batches as far as they were computed: those that the whole model computed when it
// was asked, and otherwise all that the stages take.
func (t *Test) Runs() []Run {
	if t.broken != "" {
		return nil
	}
	var list []Run
	for _, tr := range t.trials {
		if tr.batch == nil || t.asked && tr.whole == nil || !t.asked && tr.err != nil {
			continue
		}
		r := Run{Texts: len(tr.rows), Tokens: t.tokens(tr), In: tr.batch.In, Whole: tr.whole, At: tr.at, Err: tr.err, Stage: tr.stage}
		switch tr.kind {
		case alone, longest:
			r.Name = fmt.Sprintf("a text of %d tokens", r.Tokens)
		case equal:
			r.Name = fmt.Sprintf("%d texts of %d tokens", r.Texts, r.Tokens)
		default:
			r.Name = fmt.Sprintf("%d texts padded on the %s to %d tokens", r.Texts, tr.kind, r.Tokens)
		}
		list = append(list, r)
	}
	return list
}

// Most is how many tokens the model reads; 0: it was not asked for.
func (t *Test) Most() int { return t.most }

// LeftOut is how many batches the whole model did not compute, for want of time or memory.
func (t *Test) LeftOut() int { return t.leftOut }

// Broken is why the test could not be made, or "".
func (t *Test) Broken() string { return t.broken }

// Judges reports whether it is to be found out what may be computed together.
func (t *Test) Judges() bool { return t.judges }
