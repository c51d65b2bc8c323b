// Package batch computes the texts of many callers together. It keeps waiting texts in one
// bounded queue, chooses which go together and when, and gives every caller its answers.
//
// A batch begins when fewer are in flight than keep every stage busy. So a lone text never
// waits, and batches fill up while the stages are busy. It does not know what computes the
// batches, nor who the callers are; it knows neither HTTP nor gRPC.
package batch

import (
	"context"
	"fmt"
	"hash/maphash"
	"log/slog"
	"math"
	"sync"
	"time"

	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/runtime/pipeline"
	"github.com/distinfer/distinfer/runtime/textmodel"
	"github.com/distinfer/distinfer/server/quarantine"
)

// Config says how a Batcher batches.
type Config struct {
	Model *textmodel.Model

	// MaxTexts is the most texts that wait or are computed; more are refused.
	MaxTexts int

	// MaxWait is the longest estimated wait of a text for its turn; a call that would wait
	// longer is refused. 0 is 2 s, or the time of 4 batches if that is longer.
	MaxWait time.Duration

	// Begin is how many batches are in flight until timings say how many should be. Without
	// timings it stays so.
	Begin int

	// Memory is that of what computes; nil is without a bound.
	Memory Memory

	// Alone computes every text by itself, even if the Model allows more.
	Alone bool

	Listener Listener
	Log      *slog.Logger
}

// The largest batch: short texts fill it by rows, long ones by tokens, which are rows times
// the longest row. A model with a fixed number of rows has that number.
const (
	maxRows   = 128
	maxTokens = 4096
)

// The longest wait if none is configured. Clients give up soon after usualWait; but a slow
// model needs usualBatches waiting, or its batches do not fill.
const (
	usualWait    = 2 * time.Second
	usualBatches = 4
)

// A Batcher answers texts. It is safe for concurrent use.
type Batcher struct {
	model    *textmodel.Model
	maxTexts int
	maxWait  time.Duration
	listener Listener
	log      *slog.Logger
	bad      *quarantine.List // texts
	encoders encoders
	memory   Memory

	mu sync.Mutex
	scheduler
	busy     int // texts that wait or are computed
	ended    int // batches, of all
	watching bool
}

// New makes a Batcher.
func New(c Config) *Batcher {
	l := limits{rows: maxRows, tokens: maxTokens, sameOnly: !c.Model.Mixes()}
	if n := c.Model.Rows(); n > 0 {
		l.rows, l.tokens, l.fixedRows = n, math.MaxInt, true
	}
	if c.Alone || c.Model.Alone() {
		l.rows = 1
	}
	b := &Batcher{
		model: c.Model, maxTexts: c.MaxTexts, maxWait: c.MaxWait, listener: Tee(c.Listener), log: c.Log,
		bad: quarantine.New(quarantine.DefaultPolicy), encoders: newEncoders(c.MaxTexts), memory: c.Memory,
		scheduler: newScheduler(l, c.Begin),
	}
	b.queue.room = newRoom(c.Model.Sizes, c.Memory, func() int { return b.concurrency.atOnce })
	return b
}

// A call is a caller that waits for the answers to its texts. The Batcher's lock guards it.
type call struct {
	ctx     context.Context //nolint:containedctx // its lifetime is the call's
	answers []textmodel.Answer
	timing  Timing
	entered time.Time
	missing int     // texts without an answer
	turn    float64 // of its next text
	err     error
	over    bool // nobody waits any more
	done    chan struct{}
	runs    map[*run]int // its texts in batches in flight
}

// A run is a batch in flight.
type run struct {
	items  []*item
	texts  []textmodel.Text
	wanted int // texts that somebody waits for
	cancel context.CancelFunc
}

// Answer answers every text, in order, and returns where the time went. What is wrong with a
// single text is in its Answer. An error concerns all of them: errcode.TooLarge for more than
// MaxTexts, a RefusedError for a full queue or an answer that would come after ctx ends, or
// the reason why they were not computed.
//
// When ctx ends, its waiting texts leave the queue, and a batch that no caller waits for is
// stopped.
func (b *Batcher) Answer(ctx context.Context, texts []textmodel.Input) ([]textmodel.Answer, Timing, error) {
	if len(texts) > b.maxTexts {
		return nil, Timing{}, errcode.Errorf(errcode.TooLarge, "%d texts are more than the %d that can be taken at a time", len(texts), b.maxTexts)
	}
	if err := ctx.Err(); err != nil {
		return nil, Timing{}, err
	}
	if err := b.reserve(ctx, len(texts)); err != nil {
		return nil, Timing{}, err
	}
	started := time.Now()
	c := &call{ctx: ctx, answers: make([]textmodel.Answer, len(texts)), done: make(chan struct{}), runs: map[*run]int{}}
	encoded := make([]textmodel.Text, len(texts))
	for i, s := range texts {
		var err error
		if encoded[i], c.answers[i].Err, err = b.encoders.encode(ctx, b.model, s); err != nil {
			b.leave(len(texts))
			return nil, Timing{}, err
		}
		if c.answers[i].Err == nil {
			c.answers[i].Err = b.quarantined(started, encoded[i])
		}
		if c.answers[i].Err == nil {
			c.answers[i].Err = b.fits(encoded[i])
		}
		if c.answers[i].Err == nil {
			c.missing++
		}
	}
	c.timing.Encoding = time.Since(started)
	if c.missing == 0 {
		b.leave(len(texts))
		return c.answers, c.timing, nil
	}
	c.entered = time.Now()
	b.enter(ctx, c, encoded)
	select {
	case <-c.done:
		if c.err == nil {
			b.listener.Answered(len(texts), c.timing)
		}
		return c.answers, c.timing, c.err
	case <-ctx.Done():
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if c.over { // just now
		return c.answers, c.timing, c.err
	}
	b.end(c, ctx.Err())
	return nil, c.timing, c.err
}

// fits returns an error for a text that what computes never has the memory for.
func (b *Batcher) fits(t textmodel.Text) error {
	if b.memory == nil {
		return nil
	}
	sizes := b.model.Sizes(1, t.Length)
	if b.memory.Fits(sizes, 1) {
		return nil
	}
	return fmt.Errorf("the text has %d tokens: %w", t.Length, b.memory.Check(sizes))
}

// quarantined returns an error for a text that ended a stage by itself a while ago.
func (b *Batcher) quarantined(now time.Time, t textmodel.Text) error {
	if b.bad.Len() == 0 {
		return nil
	}
	_, err := b.bad.Find(now, b.key(t))
	return err
}

func (b *Batcher) key(t textmodel.Text) quarantine.Key {
	return b.bad.Key(func(h *maphash.Hash) { _, _ = t.WriteTo(h) })
}

// remember quarantines texts that ended a stage.
func (b *Batcher) remember(r *run, o *outcome) {
	for i, it := range r.items {
		if o.done[i] && errcode.Of(o.answers[i].Err) == errcode.Fatal {
			b.bad.Add(time.Now(), b.key(it.text), o.answers[i].Err)
		}
	}
}

// enter queues the texts of a call that could be encoded.
func (b *Batcher) enter(ctx context.Context, c *call, texts []textmodel.Text) {
	deadline, _ := ctx.Deadline()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.busy -= len(texts) - c.missing
	for i, t := range texts {
		if c.answers[i].Err == nil {
			b.queue.add(c, i, t, deadline)
		}
	}
	switch {
	case b.queue.len() == 0:
	case b.hold():
		b.watch()
	default:
		b.dispatch(time.Now())
	}
}

// watch begins waiting texts when the batches in flight stall. The lock is held.
func (b *Batcher) watch() {
	if b.watching || b.queue.len() == 0 {
		return
	}
	b.watching = true
	ended := b.ended
	time.AfterFunc(b.patience(), func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.watching = false
		if b.ended == ended {
			b.dispatch(time.Now())
		}
		b.watch()
	})
}

// timeLeft is the time until the deadline of ctx; math.MaxInt64 without one.
func timeLeft(ctx context.Context) time.Duration {
	if deadline, ok := ctx.Deadline(); ok {
		return time.Until(deadline)
	}
	return math.MaxInt64
}

func round(d time.Duration) time.Duration { return d.Round(10 * time.Millisecond) }

// end ends a call with an error. The lock is held.
func (b *Batcher) end(c *call, err error) {
	b.busy -= b.queue.remove(c)
	c.err, c.over = err, true
	for r, n := range c.runs {
		if r.wanted -= n; r.wanted == 0 {
			r.cancel()
		}
	}
	c.runs = nil
	close(c.done)
}

// dispatch begins batches while fewer are in flight than should be. The lock is held.
func (b *Batcher) dispatch(now time.Time) {
	if b.inFlight >= b.concurrency.now {
		return
	}
	b.dropLate(now)
	b.queue.room.renew(now)
	for items := b.next(); items != nil; items = b.next() {
		b.begin(items)
	}
}

// dropLate ends the calls with texts that would be answered too late. The lock is held.
func (b *Batcher) dropLate(now time.Time) {
	late := b.late(now)
	if len(late) > 0 {
		b.listener.Dropped(len(late))
	}
	for _, it := range late {
		b.busy--
		if !it.call.over {
			b.end(it.call, errcode.Errorf(errcode.Deadline, "there is not enough time left to compute an answer"))
		}
	}
}

// begin computes a batch that has begun. The lock is held.
func (b *Batcher) begin(items []*item) {
	r := &run{items: items, wanted: len(items), texts: make([]textmodel.Text, len(items))}
	var latest time.Time
	for i, it := range items {
		r.texts[i] = it.text
		it.call.runs[r]++
		if i == 0 || !latest.IsZero() && (it.deadline.IsZero() || it.deadline.After(latest)) {
			latest = it.deadline
		}
	}
	// Several callers may wait for the batch, so it has none of their contexts.
	ctx := context.Background()
	if latest.IsZero() {
		ctx, r.cancel = context.WithCancel(ctx)
	} else {
		ctx, r.cancel = context.WithDeadline(ctx, latest)
	}
	go b.run(ctx, r, b.inFlight)
}

// run computes a batch. beside is how many are in flight, this one included.
func (b *Batcher) run(ctx context.Context, r *run, beside int) {
	defer r.cancel()
	ctx, ended := b.listener.BatchBegun(ctx, r.callers(), len(r.items))
	started := time.Now()
	o := computeEach(ctx, r.texts, b.model.Compute)
	took := time.Since(started)
	ended(o.err)
	b.remember(r, &o)
	if internal := o.internal(); internal != nil && o.err == nil {
		b.log.ErrorContext(ctx, "a text cannot be computed", "error", internal)
	}
	defer func() { b.listener.BatchEnded(b.describe(r, took, &o)) }() // after the lock is released

	b.mu.Lock()
	defer b.mu.Unlock()
	if o.err == nil {
		b.queue.suspicion.learn(len(r.items), o.failed())
	}
	if o.whole && o.failed() == 0 { // failures say nothing about how long others take
		b.learn(ctx, r, took, o.timings, beside)
	}
	b.inFlight--
	b.ended++
	b.busy -= len(r.items)
	for i, it := range r.items {
		c := it.call
		if c.over {
			continue
		}
		delete(c.runs, r)
		if !o.done[i] {
			b.end(c, o.err)
			continue
		}
		c.answers[it.index] = o.answers[i]
		if c.missing--; c.missing == 0 {
			c.timing.Waiting, c.timing.Batch = started.Sub(c.entered), took
			c.timing.Texts, c.timing.Stages = len(r.items), o.timings
			c.over = true
			close(c.done)
		}
	}
	b.dispatch(time.Now())
}

// learn records how long a batch took. The lock is held.
func (b *Batcher) learn(ctx context.Context, r *run, took time.Duration, timings []pipeline.Timing, beside int) {
	tokens := b.tokens(r)
	computed := b.scheduler.learn(len(r.items), tokens, took, timings, beside)
	b.log.DebugContext(ctx, "batch", "texts", len(r.items), "tokens", tokens, "took", took, "computed", computed,
		"in_flight", b.inFlight, "target", b.concurrency.now, "waiting", b.queue.len(), "overhead", math.Round(b.cost.overhead*10)/10)
}

// MaxTexts is the most texts that wait or are computed.
func (b *Batcher) MaxTexts() int { return b.maxTexts }
