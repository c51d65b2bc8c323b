// Package rows finds out whether what a model answers to a text depends on what else is
// in its batch: texts are computed alone and together, and the answers compared.
//
// It runs the model instead of reading its operators, so it holds for any model. It knows neither
// how a model is cut nor what loads the stages; batches pass through the stages given.
package rows

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/pipeline"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/runtime/textmodel"
	"github.com/distinfer/distinfer/split/engine"
)

// Limit is how far an answer in a batch may be from the same text's alone, absolute for
// numbers up to 1 and relative beyond. It is half of what is guaranteed of all texts,
// since only some are tried.
const Limit = 5e-5

// longestTest is the time that the stages may take in all.
const longestTest = 10 * time.Minute

// Open makes the text model of a bundle, whose answers are all numbers that may be told
// of a text. It fails for a model that reads no texts.
type Open func(*bundle.Bundle) (*textmodel.Model, error)

// A Finding is what was found out.
type Finding struct {
	bundle.Rows
	Texts   int `json:"texts"`   // that were computed alone
	Batches int `json:"batches"` // that they were compared with
	// Differences are the largest that were seen, by what the batches were: of "equal"
	// length, or padded on the "right" or "left".
	Differences map[string]float64 `json:"differences,omitempty"`
}

// A kind is what is special about a batch.
type kind string

const (
	alone kind = "alone"
	equal kind = "equal"
	right kind = bundle.Right
	left  kind = bundle.Left

	longest kind = "longest" // a text of the most tokens, for the whole model and the stages alone
)

// A trial is one batch on its way through the stages.
type trial struct {
	kind  kind
	rows  []int // of the Test's texts
	batch *textmodel.Batch
	at    tensor.Bag
	whole tensor.Bag // what the whole model answers; nil: it was not asked
	err   error      // why it did not come to its end
	stage int        // where
}

// A Test is a set of batches. They are the same whenever the model and its files are.
type Test struct {
	texts  []textmodel.Text
	trials []*trial // of kind alone first, in the order of texts
	models map[kind]*textmodel.Model

	written []int // texts as people write them, one by itself

	judges  bool // whether it is to be found out what may be computed together
	stages  int  // that the batches went through
	failed  map[int]bool
	left    time.Duration
	broken  string         // why the test could not be made
	without map[kind]error // why there are no batches of a kind

	asked         bool // the whole model
	most, leftOut int
}

// New makes the batches of a test. It fails when the bundle has no model that reads texts.
// The given ids are tried in addition to ids that the bundle's files name. Unless it judges which
// texts may be computed together, the batches are for comparing stages with the whole model only.
func New(b *bundle.Bundle, open Open, ids []int64, judges bool) (*Test, error) {
	t := &Test{models: map[kind]*textmodel.Model{}, without: map[kind]error{}, left: longestTest, judges: judges, failed: map[int]bool{}}
	for kind, rows := range map[kind]bundle.Rows{
		alone: {},
		right: {Independent: true, Padding: []string{bundle.Right}},
		left:  {Independent: true, Padding: []string{bundle.Left}},
	} {
		as := *b
		as.Rows = &rows
		m, err := open(&as)
		switch {
		case err != nil && kind == alone:
			return nil, err
		case err != nil:
			t.without[kind] = err
		case kind == alone || m.Mixes():
			t.models[kind] = m
		}
	}
	t.models[equal], t.models[longest] = t.models[alone], t.models[alone]
	newMaker(t, b, ids).make()
	return t, nil
}

func (t *Test) add(k kind, rows ...int) {
	m := t.models[k]
	if m == nil {
		return
	}
	if most := m.Rows(); most > 0 && len(rows) > most {
		rows = rows[:most]
	}
	if k == alone || len(rows) > 1 {
		t.trials = append(t.trials, &trial{kind: k, rows: slices.Clone(rows)})
	}
}

// Break says that the test cannot be made.
func (t *Test) Break(why string) {
	if t.broken == "" {
		t.broken = why
	}
}

// Through has all batches computed by the next stage. It fails only when ctx ends.
func (t *Test) Through(ctx context.Context, stage pipeline.Runner) error {
	if t.broken != "" {
		return nil
	}
	started := time.Now()
	limited, cancel := context.WithTimeout(ctx, t.left)
	defer cancel()
	for _, tr := range t.trials {
		if t.begin(tr); tr.err != nil {
			continue
		}
		out, err := stage.Run(limited, tr.at)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case limited.Err() != nil:
			t.Break(fmt.Sprintf("the test took longer than %s", longestTest))
			return nil
		}
		if tr.at = out; err != nil {
			t.fail(tr, err)
		}
	}
	t.stages++
	t.left = max(t.left-time.Since(started), time.Nanosecond)
	return nil
}

var errTooFew = errors.New("its texts do not run alone")

// fail ends a batch.
func (t *Test) fail(tr *trial, err error) {
	var slow *engine.SlowError
	if errors.As(err, &slow) && tr.whole != nil {
		tr.whole = nil
		t.leftOut++
	}
	tr.at, tr.err, tr.stage = nil, err, t.stages
	if tr.kind == alone {
		t.failed[tr.rows[0]] = true
	}
}

// begin makes the batch unless it is made, of those of its texts that run alone.
func (t *Test) begin(tr *trial) {
	if tr.batch != nil || tr.err != nil {
		return
	}
	tr.rows = slices.DeleteFunc(tr.rows, func(i int) bool { return t.failed[i] })
	if len(tr.rows) == 0 || len(tr.rows) == 1 && tr.kind != alone && tr.kind != longest {
		tr.err = errTooFew
		return
	}
	var texts []textmodel.Text
	for _, i := range tr.rows {
		texts = append(texts, t.texts[i])
	}
	batch, err := t.models[tr.kind].Batch(texts)
	if err != nil {
		t.fail(tr, err)
		return
	}
	tr.batch, tr.at = batch, batch.In
}

// A seen is what is known of the batches of a kind.
type seen struct {
	batches int
	largest float64
	wrong   string // empty: no answer changed by more than the limit
}

// An UnansweredError says that a model cannot compute texts that its files make.
type UnansweredError struct {
	Failed, Of int
	Err        error // of one of them
}

func (e *UnansweredError) Error() string {
	return fmt.Sprintf("%d of the %d texts that were tried cannot be computed (%s); an export for some lengths only is like that: export the model again, for texts of any length, or of one that its inputs fix", e.Failed, e.Of, line(e.Err))
}

// Unwrap returns the error of one of the texts.
func (e *UnansweredError) Unwrap() error { return e.Err }

// Unanswered is an *UnansweredError when most texts, each by itself, cannot be computed. Some
// models do without some, such as one that needs an id in each text.
func (t *Test) Unanswered() error {
	if t.broken != "" {
		return nil
	}
	e := &UnansweredError{Of: len(t.written)}
	var slow *engine.SlowError
	for _, tr := range t.trials {
		if tr.kind == alone && tr.err != nil && slices.Contains(t.written, tr.rows[0]) && !errors.As(tr.err, &slow) {
			e.Failed, e.Err = e.Failed+1, tr.err
		}
	}
	if 2*e.Failed <= e.Of {
		return nil
	}
	return e
}

// Found judges what came out of the last stage.
func (t *Test) Found() Finding {
	f := Finding{Differences: map[string]float64{}}
	if t.broken != "" {
		f.Reason = "not tested: " + t.broken
		return f
	}
	answers := map[int]textmodel.Answer{}
	var refused error
	for _, tr := range t.trials {
		if tr.kind != alone {
			continue
		}
		list, err := tr.answers()
		if err == nil {
			err = list[0].Err
		}
		if err != nil {
			refused = err
			continue
		}
		answers[tr.rows[0]] = list[0]
	}
	f.Texts = len(answers)
	kinds := map[kind]*seen{equal: {}, right: {}, left: {}}
	for _, tr := range t.trials {
		if tr.kind == longest || errors.Is(tr.err, errTooFew) || slices.ContainsFunc(tr.rows, func(i int) bool { _, ok := answers[i]; return !ok }) {
			continue
		}
		if tr.kind != alone {
			kinds[tr.kind].compare(tr, answers)
			f.Batches++
		}
	}
	for k, s := range kinds {
		if s.batches > 0 {
			f.Differences[string(k)] = s.largest
		}
	}
	switch s := kinds[equal]; {
	case t.models[alone].Rows() == 1:
		f.Reason = "the model's inputs fix a batch of one text"
		return f
	case s.batches < 2:
		f.Reason = "not tested: fewer than two texts of equal length could be computed together"
		if refused != nil {
			f.Reason += " (" + line(refused) + ")"
		}
		return f
	case s.wrong != "":
		f.Reason = "of texts of equal length computed together, " + s.wrong
		return f
	}
	f.Independent = true
	f.Padding, f.Reason = t.sides(kinds)
	return f
}

// sides are those on which padding changes no answer, and why not on others.
func (t *Test) sides(kinds map[kind]*seen) (sides []string, reason string) {
	if t.models[right] == nil && t.models[left] == nil {
		if err := t.without[right]; err != nil {
			return nil, line(err)
		}
		return nil, "padding is part of what the model reads"
	}
	var reasons []string
	for _, k := range []kind{right, left} {
		switch s := kinds[k]; {
		case s.batches == 0:
			reasons = append(reasons, fmt.Sprintf("no texts of different lengths could be computed, padded on the %s", k))
		case s.wrong != "":
			reasons = append(reasons, fmt.Sprintf("of texts padded on the %s, %s", k, s.wrong))
		default:
			sides = append(sides, string(k))
		}
	}
	return sides, strings.Join(reasons, "; ")
}

// answers are those to the texts of a batch.
func (tr *trial) answers() ([]textmodel.Answer, error) {
	if tr.err != nil {
		return nil, tr.err
	}
	return tr.batch.Answers(tr.at)
}

// compare compares the answers in a batch with those alone.
func (s *seen) compare(tr *trial, alone map[int]textmodel.Answer) {
	s.batches++
	list, err := tr.answers()
	if err != nil {
		s.blame("texts that work alone fail together: " + line(err))
		return
	}
	for k, i := range tr.rows {
		d := math.Inf(1)
		if list[k].Err == nil {
			d = difference(alone[i].Values, list[k].Values)
		}
		if !math.IsInf(d, 1) {
			s.largest = max(s.largest, d)
		}
	}
	for k, i := range tr.rows {
		if list[k].Err != nil || math.IsInf(difference(alone[i].Values, list[k].Values), 1) {
			s.blame("some have another kind of answer than alone")
		}
	}
	if s.largest > Limit {
		s.wrong = "some have another answer than alone" // without a number, which another machine may have otherwise
	}
}

func (s *seen) blame(why string) {
	if s.wrong == "" {
		s.wrong = why
	}
}

// difference is the largest difference between want and got, relative for numbers beyond 1;
// infinite if they are not comparable.
func difference(want, got []float32) float64 {
	if len(want) != len(got) {
		return math.Inf(1)
	}
	largest := 0.0
	for i, a := range want {
		b := got[i]
		if a == b || a != a && b != b {
			continue
		}
		d := math.Abs(float64(a)-float64(b)) / max(1, math.Abs(float64(a)))
		if math.IsNaN(d) || math.IsInf(d, 0) {
			return math.Inf(1)
		}
		largest = max(largest, d)
	}
	return largest
}

// line is an error in one line that is not too long.
func line(err error) string {
	s := []rune(strings.Join(strings.Fields(err.Error()), " "))
	if len(s) > 300 {
		s = append(s[:300], '…')
	}
	return string(s)
}
