package batch_test

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/classify"
	"github.com/distinfer/distinfer/runtime/classify/classifytest"
	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/runtime/pipeline"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/runtime/testkit"
	"github.com/distinfer/distinfer/runtime/textmodel"
	"github.com/distinfer/distinfer/server/batch"
)

func batcher(t testing.TB, m classifytest.Model, runner pipeline.Runner, change func(*batch.Config)) *batch.Batcher {
	t.Helper()
	c, err := classify.Open(m.Bundle(t), runner)
	if err != nil {
		t.Fatal(err)
	}
	config := batch.Config{Model: c.Model, MaxTexts: 1 << 20, MaxWait: time.Hour, Begin: 2, Log: slog.New(slog.DiscardHandler)}
	if change != nil {
		change(&config)
	}
	return batch.New(config)
}

// texts are of random lengths, each with its two logits.
func texts(random *rand.Rand, n, longest int) (all []string, want [][2]float64) {
	for range n {
		s, w := classifytest.Words(random, 1+random.IntN(longest))
		all, want = append(all, s), append(want, w)
	}
	return all, want
}

func wantAnswers(t testing.TB, answers []textmodel.Answer, want [][2]float64) {
	t.Helper()
	if len(answers) != len(want) {
		t.Errorf("%d answers to %d texts", len(answers), len(want))
		return
	}
	for i, a := range answers {
		if a.Err != nil || len(a.Values) != 2 || float64(a.Values[0]) != want[i][0] || float64(a.Values[1]) != want[i][1] {
			t.Errorf("text %d: %v, %v; want %v", i, a.Values, a.Err, want[i])
		}
	}
}

// Whoever a text is computed with, it gets its own answer.
func TestEveryCallerGetsItsOwnAnswers(t *testing.T) {
	t.Parallel()
	fixed := classifytest.Usual
	fixed.Inputs = []tensor.Spec{classifytest.Spec("input_ids", tensor.Int64, tensor.Fixed(5), classifytest.Sequence), classifytest.Spec("attention_mask", tensor.Int64, tensor.Fixed(5), classifytest.Sequence)}
	maskless := classifytest.Usual
	maskless.Inputs = classifytest.BERTInputs[:1]
	for name, m := range map[string]classifytest.Model{"usual": classifytest.Usual, "batch of 5": fixed, "without a mask": maskless} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			runner := &classifytest.Sums{}
			b := batcher(t, m, runner, nil)
			var callers sync.WaitGroup
			for seed := range uint64(20) {
				callers.Go(func() {
					random := rand.New(rand.NewPCG(seed, 5))
					for range 10 {
						all, want := texts(random, 1+random.IntN(20)*random.IntN(2), 60)
						answers, _, err := b.Answer(testkit.Context(t), textmodel.Inputs(all))
						if err != nil {
							t.Error(err)
							return
						}
						wantAnswers(t, answers, want)
					}
				})
			}
			callers.Wait()
			together := 0
			for _, s := range runner.Shapes {
				together = max(together, int(s[0]))
			}
			if together < 2 {
				t.Error("nothing was computed together")
			}
		})
	}
}

// gated is a runner whose runs wait until they are let go.
func gated() (runner *classifytest.Sums, running chan int64, release chan error) {
	running, release = make(chan int64, 100), make(chan error)
	return &classifytest.Sums{Before: func(ctx context.Context, rows, _ int64) error {
		running <- rows
		select {
		case err := <-release:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}}, running, release
}

type outcome struct {
	answers []textmodel.Answer
	err     error
}

func inBackground(ctx context.Context, b *batch.Batcher, all ...string) <-chan outcome {
	done := make(chan outcome, 1)
	go func() {
		answers, _, err := b.Answer(ctx, textmodel.Inputs(all))
		done <- outcome{answers, err}
	}()
	return done
}

func TestALoneTextBeginsAtOnceAndBatchesFillWhileStagesAreBusy(t *testing.T) {
	t.Parallel()
	runner, running, release := gated()
	b := batcher(t, classifytest.Usual, runner, nil)
	var all []<-chan outcome
	for range 2 { // as many as are in flight
		all = append(all, inBackground(testkit.Context(t), b, "w1 w2"))
		if rows := testkit.Receive(t, "the run of a lone text", running); rows != 1 {
			t.Errorf("a run of %d rows", rows)
		}
	}
	const more = 6
	for range more {
		all = append(all, inBackground(testkit.Context(t), b, "w3 w4"))
	}
	testkit.Eventually(t, "b.Stats().Waiting == more", func() bool { return b.Stats().Waiting == more })
	select {
	case rows := <-running:
		t.Fatalf("a third batch, of %d, is in flight", rows)
	default:
	}
	release <- nil
	if rows := testkit.Receive(t, "the batch of the waiting texts", running); rows != more {
		t.Errorf("a batch of %d, want %d", rows, more)
	}
	for range 2 {
		release <- nil
	}
	for _, done := range all {
		if o := testkit.Receive(t, "an answer", done); o.err != nil || o.answers[0].Err != nil {
			t.Errorf("%v", o)
		}
	}
	if s := b.Stats(); s.Waiting != 0 || s.Busy != 0 || s.InFlight != 0 {
		t.Errorf("in the end %+v", s)
	}
}

func TestACallerWhoLeavesFreesItsPlace(t *testing.T) {
	t.Parallel()
	runner, running, release := gated()
	b := batcher(t, classifytest.Usual, runner, func(c *batch.Config) { c.Begin, c.MaxTexts = 1, 3 })
	first := inBackground(testkit.Context(t), b, "w1")
	testkit.Receive(t, "the first run", running)
	leaving, leave := context.WithCancel(testkit.Context(t))
	gone := inBackground(leaving, b, "w2", "w3")
	testkit.Eventually(t, "b.Stats().Waiting == 2", func() bool { return b.Stats().Waiting == 2 })
	if _, _, err := b.Answer(testkit.Context(t), textmodel.Inputs([]string{"w4"})); errcode.Of(err) != errcode.Overloaded {
		t.Errorf("a fourth text: %v", err)
	}
	leave()
	if o := testkit.Receive(t, "the end of the call", gone); !errors.Is(o.err, context.Canceled) {
		t.Errorf("whoever left: %v", o.err)
	}
	second := inBackground(testkit.Context(t), b, "w5", "w6")
	testkit.Eventually(t, "b.Stats().Waiting == 2", func() bool { return b.Stats().Waiting == 2 })
	for range 2 {
		release <- nil
	}
	for _, done := range []<-chan outcome{first, second} {
		if o := testkit.Receive(t, "an answer", done); o.err != nil {
			t.Error(o.err)
		}
	}
	if rows := testkit.Receive(t, "the second run", running); rows != 2 {
		t.Errorf("%d rows were computed, want 2", rows)
	}
}

// A batch is stopped when the last one who waits for it leaves, and not before.
func TestABatchGoesOnWhileSomebodyWaitsForIt(t *testing.T) {
	t.Parallel()
	stopped := make(chan struct{})
	var once sync.Once
	runner, running, release := gated()
	before := runner.Before
	runner.Before = func(ctx context.Context, rows, length int64) error {
		err := before(ctx, rows, length)
		if ctx.Err() != nil {
			once.Do(func() { close(stopped) })
		}
		return err
	}
	b := batcher(t, classifytest.Usual, runner, func(c *batch.Config) { c.Begin = 1 })
	begun := inBackground(testkit.Context(t), b, "w0")
	testkit.Receive(t, "the first run", running)
	var leaves []context.CancelFunc
	var calls []<-chan outcome
	for range 2 {
		ctx, leave := context.WithCancel(testkit.Context(t))
		defer leave()
		leaves, calls = append(leaves, leave), append(calls, inBackground(ctx, b, "w1"))
	}
	testkit.Eventually(t, "b.Stats().Waiting == 2", func() bool { return b.Stats().Waiting == 2 })
	release <- nil
	testkit.Receive(t, "the first answer", begun)
	if rows := testkit.Receive(t, "the batch of two", running); rows != 2 {
		t.Fatalf("a batch of %d", rows)
	}
	leaves[0]()
	testkit.Receive(t, "the end of the first", calls[0])
	select {
	case <-stopped:
		t.Error("the batch was stopped though somebody waits for it")
	case <-time.After(50 * time.Millisecond):
	}
	leaves[1]()
	testkit.Receive(t, "the end of the second", calls[1])
	testkit.Receive(t, "the end of the batch", stopped)
	testkit.Eventually(t, "b.Stats().InFlight == 0", func() bool { return b.Stats().InFlight == 0 })
}

func TestWhatCannotBeAnsweredInTimeIsNotComputed(t *testing.T) {
	t.Parallel()
	var rows atomic.Int64
	slow := 50 * time.Millisecond
	runner := &classifytest.Sums{Before: func(_ context.Context, n, _ int64) error {
		rows.Add(n)
		time.Sleep(slow)
		return nil
	}}
	b := batcher(t, classifytest.Alone, runner, func(c *batch.Config) { c.Begin = 1 })
	for range 5 { // so that it is known how long one takes
		if _, _, err := b.Answer(testkit.Context(t), textmodel.Inputs([]string{"w1"})); err != nil {
			t.Fatal(err)
		}
	}
	// Far more waits than can be computed in a second. A single call of as many would
	// not hold up another.
	var background []<-chan outcome
	for range 60 {
		background = append(background, inBackground(testkit.Context(t), b, "w1"))
	}
	testkit.Eventually(t, "rows.Load()-5+int64(b.Stats().Waiting) >= 60", func() bool { return rows.Load()-5+int64(b.Stats().Waiting) >= 60 }) // all are there
	ctx, cancel := context.WithTimeout(t.Context(), time.Second/2)
	defer cancel()
	before := rows.Load()
	_, _, err := b.Answer(ctx, textmodel.Inputs([]string{"w2"}))
	after, refused := batch.IsRefused(err)
	if errcode.Of(err) != errcode.Overloaded || !refused || after < time.Second || after > time.Minute {
		t.Errorf("got %v, to be tried again after %s", err, after)
	}
	if n := rows.Load() - before; n > 5 {
		t.Errorf("the refusal took %d runs", n)
	}
	b.SetMaxWait(time.Second)
	_, _, err = b.Answer(testkit.Context(t), textmodel.Inputs([]string{"w2"}))
	if after, refused := batch.IsRefused(err); errcode.Of(err) != errcode.Overloaded || !refused || after <= 0 {
		t.Errorf("with a bound of the wait: %v, to be tried again after %s", err, after)
	}
	for _, done := range background {
		if o := testkit.Receive(t, "an answer", done); o.err != nil {
			t.Error(o.err)
		}
	}
	// What takes long by itself cannot be had in a short time either.
	ctx, cancel = context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, _, err := b.Answer(ctx, textmodel.Inputs(slices.Repeat([]string{"w1"}, 100))); errcode.Of(err) != errcode.Overloaded {
		t.Errorf("100 texts in a second: %v", err)
	}
}

// Texts wait for a batch in flight to end, where that costs less than another batch; but not
// for batches that are held up.
func TestTextsDoNotWaitForBatchesThatAreHeldUp(t *testing.T) {
	t.Parallel()
	runner, running, _ := gated()
	b := batcher(t, classifytest.Usual, runner, func(c *batch.Config) { c.Begin = 4 })
	ctx, cancel := context.WithCancel(testkit.Context(t))
	var callers sync.WaitGroup
	for range 3 { // one after the other; the first two are enough
		callers.Go(func() { _, _, _ = b.Answer(ctx, textmodel.Inputs([]string{"w1"})) })
		testkit.Receive(t, "a run", running)
	}
	cancel()
	callers.Wait()
}

// One that was let in, but for which the time is too short once it is its turn, costs
// no computation.
func TestLateTextsAreDroppedWhenItIsTheirTurn(t *testing.T) {
	t.Parallel()
	runner, running, release := gated()
	b := batcher(t, classifytest.Alone, runner, func(c *batch.Config) { c.Begin = 1 })
	learn := inBackground(testkit.Context(t), b, "w1")
	testkit.Receive(t, "the run", running)
	time.Sleep(time.Second) // that is how long a run takes, for all it knows
	release <- nil
	testkit.Receive(t, "the answer", learn)

	busy := inBackground(testkit.Context(t), b, "w1")
	testkit.Receive(t, "the run", running)
	short, end := context.WithTimeout(testkit.Context(t), 1500*time.Millisecond)
	defer end()
	hasNone := inBackground(short, b, "w2")
	testkit.Eventually(t, "b.Stats().Waiting == 1", func() bool { return b.Stats().Waiting == 1 })
	hasTime := inBackground(testkit.Context(t), b, "w2 w3 w4")
	testkit.Eventually(t, "b.Stats().Waiting == 2", func() bool { return b.Stats().Waiting == 2 })
	time.Sleep(700 * time.Millisecond) // for which it was not told to wait
	release <- nil
	testkit.Receive(t, "the answer", busy)
	if o := testkit.Receive(t, "the refusal", hasNone); errcode.Of(o.err) != errcode.Deadline {
		t.Errorf("got %v", o.err)
	}
	testkit.Receive(t, "the run of the other", running)
	release <- nil
	if o := testkit.Receive(t, "the other's answer", hasTime); o.err != nil {
		t.Error(o.err)
	}
	select {
	case <-running:
		t.Error("what was too late was computed")
	default:
	}
}

func TestOtherErrorsEndTheCallsOfTheBatch(t *testing.T) {
	t.Parallel()
	var runs atomic.Int64
	runner := &classifytest.Sums{Before: func(context.Context, int64, int64) error {
		runs.Add(1)
		return errcode.Errorf(errcode.Unavailable, "stage 1 is gone")
	}}
	b := batcher(t, classifytest.Usual, runner, func(c *batch.Config) { c.Begin = 1 })
	_, _, err := b.Answer(testkit.Context(t), textmodel.Inputs(slices.Repeat([]string{"w1"}, 1000)))
	if errcode.Of(err) != errcode.Unavailable || err.Error() != "stage 1 is gone" {
		t.Errorf("got %v", err)
	}
	testkit.Eventually(t, "b.Stats().InFlight == 0", func() bool { return b.Stats().InFlight == 0 })
	if n := runs.Load(); n != 1 {
		t.Errorf("%d batches were computed, though the first failed", n)
	}
	if s := b.Stats(); s.Busy != 0 || s.Waiting != 0 {
		t.Errorf("what is left: %+v", s)
	}
}

func TestTextsWithoutTokensCostNoRun(t *testing.T) {
	t.Parallel()
	runner := &classifytest.Sums{}
	b := batcher(t, classifytest.Usual, runner, func(c *batch.Config) { c.MaxTexts = 2 })
	for range 3 { // nor do they keep their places
		answers, _, err := b.Answer(testkit.Context(t), textmodel.Inputs([]string{" ", "\t"}))
		if err != nil || errcode.Of(answers[0].Err) != errcode.Invalid || errcode.Of(answers[1].Err) != errcode.Invalid {
			t.Errorf("%v, %v", answers, err)
		}
	}
	if answers, _, err := b.Answer(testkit.Context(t), textmodel.Inputs(nil)); err != nil || len(answers) != 0 {
		t.Errorf("no texts: %v, %v", answers, err)
	}
	if len(runner.Shapes) != 0 {
		t.Errorf("%v were computed", runner.Shapes)
	}
	if _, _, err := b.Answer(testkit.Context(t), textmodel.Inputs([]string{"a", "b", "c"})); errcode.Of(err) != errcode.TooLarge {
		t.Errorf("more than ever taken: %v", err)
	}
}

func TestAloneIsAlone(t *testing.T) {
	t.Parallel()
	runner := &classifytest.Sums{}
	b := batcher(t, classifytest.Alone, runner, nil)
	all, want := texts(rand.New(rand.NewPCG(1, 1)), 50, 20)
	answers, _, err := b.Answer(testkit.Context(t), textmodel.Inputs(all))
	if err != nil {
		t.Fatal(err)
	}
	wantAnswers(t, answers, want)
	for _, s := range runner.Shapes {
		if s[0] != 1 {
			t.Errorf("a batch has shape %v", s)
		}
	}
}

// Where no side was seen to be exact, and where nothing was seen, texts go together by
// length or not at all.
func TestOnlyWhatWasSeenToBeExactGoesTogether(t *testing.T) {
	t.Parallel()
	for name, rows := range map[string]*bundle.Rows{
		"any length": nil, "equal lengths": {Independent: true}, "alone": {Reason: "seen"},
	} {
		m := classifytest.Usual
		m.Rows = rows
		runner, running, release := gated()
		b := batcher(t, m, runner, func(c *batch.Config) { c.Begin = 1 })
		first := inBackground(testkit.Context(t), b, "w1")
		testkit.Receive(t, "the run", running)
		second := inBackground(testkit.Context(t), b, "w1 w2", "w3 w4", "w5 w6 w7", "w8 w9", "w0 w1 w2")
		testkit.Eventually(t, "b.Stats().Waiting == 5", func() bool { return b.Stats().Waiting == 5 })
		go func() {
			for {
				select {
				case <-running:
				case release <- nil:
				case <-t.Context().Done():
					return
				}
			}
		}()
		for _, done := range []<-chan outcome{first, second} {
			if o := testkit.Receive(t, "an answer", done); o.err != nil {
				t.Error(name, o.err)
			}
		}
		mixed, together := false, false
		for _, bag := range runner.Bags {
			mask, err := tensor.As[int64](bag["attention_mask"])
			if err != nil {
				t.Fatal(err)
			}
			mixed = mixed || slices.Contains(mask, 0)
			together = together || bag["input_ids"].Shape[0] > 1
		}
		if mixed && name != "any length" || together != (name != "alone") {
			t.Errorf("%s: shapes %v", name, runner.Shapes)
		}
	}
}

// Callers that come, leave, are late and refused at random leave nothing behind.
func TestNothingIsLeftBehind(t *testing.T) {
	t.Parallel()
	runner := &classifytest.Sums{Before: func(ctx context.Context, rows, _ int64) error {
		select {
		case <-time.After(time.Duration(rows) * 100 * time.Microsecond):
		case <-ctx.Done():
			return ctx.Err()
		}
		return nil
	}}
	b := batcher(t, classifytest.Usual, runner, func(c *batch.Config) { c.MaxTexts = 60 })
	var callers sync.WaitGroup
	var answered atomic.Int64
	for seed := range uint64(16) {
		callers.Go(func() {
			random := rand.New(rand.NewPCG(seed, 9))
			for range 40 {
				all, want := texts(random, 1+random.IntN(12), 40)
				// Most have little time; on a busy machine they get nothing, so some have enough.
				limit := time.Duration(random.IntN(40)) * time.Millisecond
				if random.IntN(8) == 0 {
					limit = testkit.Patience
				}
				ctx, cancel := context.WithTimeout(testkit.Context(t), limit)
				answers, _, err := b.Answer(ctx, textmodel.Inputs(all))
				cancel()
				switch code := errcode.Of(err); {
				case err == nil:
					answered.Add(1)
					wantAnswers(t, answers, want)
				case code != errcode.Canceled && code != errcode.Deadline && code != errcode.Overloaded:
					t.Error(err)
				}
			}
		})
	}
	callers.Wait()
	testkit.Eventually(t, "s.InFlight == 0 && s.Waiting == 0 && s.Busy == 0", func() bool { s := b.Stats(); return s.InFlight == 0 && s.Waiting == 0 && s.Busy == 0 })
	if answered.Load() == 0 {
		t.Error("nobody was answered")
	}
	if answers, _, err := b.Answer(testkit.Context(t), textmodel.Inputs([]string{"w1"})); err != nil || answers[0].Err != nil {
		t.Errorf("afterwards: %v, %v", answers, err)
	}
}

// A watcher notes the batches that a listener sees.
type watcher struct {
	mu   sync.Mutex
	seen []batch.Batch
}

func (w *watcher) listener() batch.Listener { return batch.Listener{BatchEnded: w.ended} }

func (w *watcher) ended(b batch.Batch) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen = append(w.seen, b)
}

func (w *watcher) batches() []batch.Batch {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.seen)
}

func TestTheListenerSeesEveryBatch(t *testing.T) {
	t.Parallel()
	runner, running, release := gated()
	w := &watcher{}
	b := batcher(t, classifytest.Usual, runner, func(c *batch.Config) { c.Begin, c.Listener = 1, w.listener() })
	ctx := testkit.Context(t)
	first := inBackground(ctx, b, "a")
	testkit.Receive(t, "the first batch", running)
	others := inBackground(ctx, b, "b", "c")
	testkit.Eventually(t, "b.Stats().Waiting == 2", func() bool { return b.Stats().Waiting == 2 })
	release <- nil
	testkit.Receive(t, "the second batch", running)
	release <- nil
	testkit.Receive(t, "an answer", first)
	testkit.Receive(t, "an answer", others)
	failing := inBackground(ctx, b, "d")
	testkit.Receive(t, "the third batch", running)
	release <- errors.New("broken")
	testkit.Receive(t, "an answer", failing)
	testkit.Eventually(t, "len(w.batches()) == 3", func() bool { return len(w.batches()) == 3 })
	seen := w.batches()
	if seen[0].Texts != 1 || seen[1].Texts != 2 || seen[2].Err == nil {
		t.Fatalf("the listener saw %+v", seen)
	}
	for _, b := range seen[:2] {
		if b.Took <= 0 || b.Err != nil {
			t.Errorf("a time is missing in %+v", b)
		}
	}
}

// A client that fills the queue gives way to one that has less, up to half of it, and only
// with what is not computed yet; alone it has all of it.
func TestTheClientWithTheMostGivesWay(t *testing.T) {
	t.Parallel()
	runner, running, release := gated()
	b := batcher(t, classifytest.Alone, runner, func(c *batch.Config) { c.Begin, c.MaxTexts = 1, 9 })
	many, few := batch.WithClient(testkit.Context(t), "many"), batch.WithClient(testkit.Context(t), "few")
	first := inBackground(many, b, "w1")
	testkit.Receive(t, "the run", running)
	var waiting []<-chan outcome
	for i := range 8 {
		waiting = append(waiting, inBackground(many, b, "w2"))
		testkit.Eventually(t, "b.Stats().Waiting == i+1", func() bool { return b.Stats().Waiting == i+1 })
	}
	if o := testkit.Receive(t, "the refusal", inBackground(many, b, "w3")); errcode.Of(o.err) != errcode.Overloaded {
		t.Errorf("more than there is room for: %v", o.err)
	}
	var answered []<-chan outcome
	for i := range 4 {
		answered = append(answered, inBackground(few, b, "w4"))
		o := testkit.Receive(t, "who gives way", waiting[7-i])
		if _, refused := batch.IsRefused(o.err); !refused || errcode.Of(o.err) != errcode.Overloaded {
			t.Errorf("who gives way: %v", o.err)
		}
	}
	if o := testkit.Receive(t, "the refusal", inBackground(few, b, "w3")); errcode.Of(o.err) != errcode.Overloaded {
		t.Errorf("more than its share: %v", o.err)
	}
	go func() {
		for range running {
			release <- nil
		}
	}()
	release <- nil
	for i, o := range append(append(waiting[:4:4], answered...), first) {
		if o := testkit.Receive(t, "an answer", o); o.err != nil {
			t.Errorf("%d: %v", i, o.err)
		}
	}
}

// noMemory has none for more than some tokens.
type noMemory int64

func (n noMemory) Fits(sizes tensor.Sizes, _ int) bool { return n.Check(sizes) == nil }

func (n noMemory) Check(sizes tensor.Sizes) error {
	for name, size := range sizes {
		if size > int64(n) {
			return errcode.Errorf(errcode.TooLarge, "stage 1: %s=%d would fit", name, n)
		}
	}
	return nil
}

// A text that no stage has the memory for is refused by itself and never sent; others are answered.
func TestATextThatNeverFitsIsRefusedBeforeItIsQueued(t *testing.T) {
	t.Parallel()
	runner := &classifytest.Sums{}
	b := batcher(t, classifytest.Usual, runner, func(c *batch.Config) { c.Memory = noMemory(20) })
	random := rand.New(rand.NewPCG(1, 1))
	short, want := classifytest.Words(random, 5)
	long, _ := classifytest.Words(random, 40)
	answers, _, err := b.Answer(t.Context(), textmodel.Inputs([]string{short, long, short}))
	if err != nil {
		t.Fatal(err)
	}
	if err := answers[1].Err; errcode.Of(err) != errcode.TooLarge || !strings.Contains(err.Error(), "tokens: stage 1: ") {
		t.Error(err)
	}
	wantAnswers(t, []textmodel.Answer{answers[0], answers[2]}, [][2]float64{want, want})
	for _, shape := range runner.Shapes {
		if shape[1] > 20 {
			t.Errorf("%d tokens were sent", shape[1])
		}
	}
}
