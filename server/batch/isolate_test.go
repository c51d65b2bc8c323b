package batch_test

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/distinfer/distinfer/runtime/classify/classifytest"
	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/runtime/pipeline"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/runtime/testkit"
	"github.com/distinfer/distinfer/runtime/textmodel"
	"github.com/distinfer/distinfer/server/batch"
)

// poison is the id of the word w9; a picky runner computes no text with it.
const poison = 19

// A picky runner computes no batch with a poisoned text, and counts its runs.
type picky struct {
	classifytest.Sums
	why  error
	runs atomic.Int64
}

func (p *picky) Run(ctx context.Context, in tensor.Bag) (tensor.Bag, error) {
	p.runs.Add(1)
	ids, err := tensor.As[int64](in["input_ids"])
	if err != nil {
		return nil, err
	}
	if slices.Contains(ids, poison) {
		return nil, p.why
	}
	return p.Sums.Run(ctx, in)
}

// good is a text that a picky runner computes, with its logits.
func good(random *rand.Rand) (string, [2]float64) {
	n := 1 + random.IntN(20)
	s, sum := "", 0
	for i := range n {
		w := random.IntN(9)
		s += fmt.Sprintf("w%d ", w)
		sum += (i + 1) * (10 + w)
	}
	return s, [2]float64{float64(sum), float64(n)}
}

// Whatever the reason is, it is that of the bad texts alone, and to find them takes
// no more runs than is said.
func TestAFailureIsThatOfTheTextsAtFault(t *testing.T) {
	t.Parallel()
	for _, why := range []error{errors.New("broken"), errcode.Errorf(errcode.Invalid, "an id"), errcode.Errorf(errcode.TooLarge, "long")} {
		for _, bad := range []int{1, 2, 5, 20, 60, 64} {
			t.Run(fmt.Sprint(errcode.Of(why), bad), func(t *testing.T) {
				t.Parallel()
				runner := &picky{why: why}
				w := &watcher{}
				b := batcher(t, classifytest.Usual, runner, func(c *batch.Config) { c.Begin, c.Listener = 1, w.listener() })
				random := rand.New(rand.NewPCG(uint64(bad), 3))
				const n = 64
				all, want, poisoned := make([]string, n), make([][2]float64, n), make([]bool, n)
				for i := range n {
					all[i], want[i] = good(random)
				}
				for _, i := range random.Perm(n)[:bad] {
					all[i], poisoned[i] = all[i]+"w9", true
				}
				answers, _, err := b.Answer(testkit.Context(t), textmodel.Inputs(all))
				if err != nil {
					t.Fatal(err)
				}
				for i, a := range answers {
					if poisoned[i] {
						if !errors.Is(a.Err, why) {
							t.Errorf("bad text %d: %v, %v", i, a.Values, a.Err)
						}
						continue
					}
					wantAnswers(t, answers[i:i+1], want[i:i+1])
				}
				failed, most := 0, 0
				testkit.Eventually(t, "all of them are there", func() bool {
					texts := 0
					for _, seen := range w.batches() {
						texts += seen.Texts
					}
					return texts == n
				})
				for _, seen := range w.batches() {
					failed += seen.Failed
					most += seen.Texts + 4*bits.Len(uint(seen.Texts)) + 1
				}
				if failed != bad {
					t.Errorf("the listener observed %d bad texts", failed)
				}
				if runs := int(runner.runs.Load()); runs > most || bad == 1 && runs > 2*bits.Len(n)+len(w.batches()) {
					t.Errorf("%d runs for %d texts, %d of them bad, in %d batches", runs, n, bad, len(w.batches()))
				}
			})
		}
	}
}

// A model that computes nothing costs a run a text, once that is known.
func TestAModelThatComputesNothingIsNotRunManyTimesAText(t *testing.T) {
	t.Parallel()
	runner := &picky{why: errors.New("broken")}
	b := batcher(t, classifytest.Usual, runner, func(c *batch.Config) { c.Begin = 1 })
	ask := func(n int) (runs int64) {
		before := runner.runs.Load()
		answers, _, err := b.Answer(testkit.Context(t), textmodel.Inputs(slices.Repeat([]string{"w9"}, n)))
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range answers {
			if errcode.Of(a.Err) != errcode.Internal {
				t.Errorf("%v, %v", a.Values, a.Err)
			}
		}
		return runner.runs.Load() - before
	}
	if runs := ask(1000); runs > 1400 {
		t.Errorf("%d runs for 1000 texts", runs)
	}
	if runs := ask(1000); runs != 1000 {
		t.Errorf("later %d runs for 1000 texts", runs)
	}
	for range 5 { // and good texts are soon computed together again
		all, want := make([]string, 1000), make([][2]float64, 1000)
		random := rand.New(rand.NewPCG(1, 3))
		for i := range all {
			all[i], want[i] = good(random)
		}
		answers, _, err := b.Answer(testkit.Context(t), textmodel.Inputs(all))
		if err != nil {
			t.Fatal(err)
		}
		wantAnswers(t, answers, want)
	}
	largest := int64(0)
	for _, s := range runner.Shapes[len(runner.Shapes)-10:] {
		largest = max(largest, s[0])
	}
	if largest < 8 {
		t.Errorf("after 5000 good texts batches are of %d", largest)
	}
}

// What fails for the system's sake meanwhile is said to those whose texts were not
// computed yet; the others keep their answers.
func TestTheSystemsFailureWhileTextsAreIsolatedSparesThoseAnswered(t *testing.T) {
	t.Parallel()
	for _, code := range []errcode.Code{errcode.Unavailable, errcode.Overloaded, errcode.Deadline, errcode.Canceled, errcode.Mismatch} {
		var runs atomic.Int64
		runner, running, release := gated()
		b := batcher(t, classifytest.Usual, runner, func(c *batch.Config) { c.Begin = 1 })
		first := inBackground(testkit.Context(t), b, "w0")
		testkit.Receive(t, "the first run", running)
		var mates []<-chan outcome
		for range 4 {
			mates = append(mates, inBackground(testkit.Context(t), b, "w1"))
		}
		testkit.Eventually(t, "b.Stats().Waiting == 4", func() bool { return b.Stats().Waiting == 4 })
		release <- nil
		testkit.Receive(t, "the first answer", first)
		for i, err := range []error{errors.New("broken"), nil, errcode.Errorf(code, "gone")} {
			if rows := testkit.Receive(t, "a run", running); rows != []int64{4, 2, 2}[i] {
				t.Errorf("run %d is of %d", i, rows)
			}
			release <- err
			runs.Add(1)
		}
		answered := 0
		for _, done := range mates {
			switch o := testkit.Receive(t, "the end of a call", done); {
			case o.err == nil && o.answers[0].Err == nil:
				answered++
			case errcode.Of(o.err) != code:
				t.Errorf("%s: %v", code, o.err)
			}
		}
		if answered != 2 {
			t.Errorf("%s: %d were answered, want 2", code, answered)
		}
		if s := b.Stats(); s.Busy != 0 || s.Waiting != 0 {
			t.Errorf("what is left: %+v", s)
		}
	}
}

// Of many callers each tenth has a bad text, and nobody else notices.
func TestGoodCallersAreAnsweredBesideBadOnes(t *testing.T) {
	t.Parallel()
	runner := &picky{why: errors.New("broken")}
	b := batcher(t, classifytest.Usual, runner, nil)
	var callers sync.WaitGroup
	for caller := range uint64(48) {
		callers.Go(func() {
			random := rand.New(rand.NewPCG(caller, 7))
			for k := range 40 {
				s, want := good(random)
				bad := k%10 == int(caller%10)
				if bad {
					s += "w9"
				}
				answers, _, err := b.Answer(testkit.Context(t), textmodel.Inputs([]string{s}))
				switch {
				case err != nil:
					t.Error(err)
				case bad && !errors.Is(answers[0].Err, runner.why):
					t.Errorf("a bad text: %v, %v", answers[0].Values, answers[0].Err)
				case !bad:
					wantAnswers(t, answers, [][2]float64{want})
				}
			}
		})
	}
	callers.Wait()
	if runs := runner.runs.Load(); runs > 48*40*3/2 {
		t.Errorf("%d runs for %d texts", runs, 48*40)
	}
}

// Of texts that were with one that ended a stage, each is computed by itself, and the stages
// know it for a suspect.
func TestTextsThatWereWithADeadlyOneAreComputedOneByOne(t *testing.T) {
	t.Parallel()
	runner := &picky{why: errcode.Errorf(errcode.Fatal, "it ended stage 1")}
	var trusted, suspects atomic.Int64
	runner.Before = func(ctx context.Context, rows, _ int64) error {
		if pipeline.Suspect(ctx) && rows == 1 {
			suspects.Add(1)
		} else {
			trusted.Add(rows)
		}
		return nil
	}
	b := batcher(t, classifytest.Usual, runner, func(c *batch.Config) { c.Begin = 1 })
	all, want := []string{}, [][2]float64{}
	random := rand.New(rand.NewPCG(1, 3))
	for range 32 {
		s, w := good(random)
		all, want = append(all, s), append(want, w)
	}
	all[20] += "w9"
	defer func() { // and it is known from then on, whoever sends it along with whatever
		before := runner.runs.Load()
		again, _, err := b.Answer(testkit.Context(t), textmodel.Inputs([]string{"w1 w2", all[20]}))
		if err != nil || errcode.Of(again[1].Err) != errcode.Quarantined || !strings.Contains(again[1].Err.Error(), "it ended stage 1") {
			t.Errorf("%v, the same text again: %v", err, again[1].Err)
		}
		if again[0].Err != nil || runner.runs.Load() != before+1 {
			t.Errorf("the other: %v, %d runs", again[0].Err, runner.runs.Load()-before)
		}
	}()
	answers, _, err := b.Answer(testkit.Context(t), textmodel.Inputs(all))
	if err != nil || errcode.Of(answers[20].Err) != errcode.Fatal {
		t.Fatalf("%v, the deadly text: %v", err, answers[20].Err)
	}
	wantAnswers(t, slices.Delete(answers, 20, 21), slices.Delete(want, 20, 21))
	if runs := runner.runs.Load(); suspects.Load() == 0 || suspects.Load()+trusted.Load() != 31 {
		t.Errorf("%d runs, %d of them of suspects; %d texts were trusted", runs, suspects.Load(), trusted.Load())
	}
}
