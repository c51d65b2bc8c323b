package batch

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/runtime/pipeline"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/runtime/textmodel"
)

func TestOverheadIsLearntFromWhatBatchesTake(t *testing.T) {
	t.Parallel()
	for _, want := range []float64{0, 4, 13, 100} {
		random := rand.New(rand.NewPCG(7, 7))
		c := newCost()
		for range 500 {
			tokens := 5 + random.IntN(400)
			noise := 0.85 + 0.3*random.Float64()
			c.learn(tokens, time.Duration((want+float64(tokens))*noise*float64(300*time.Microsecond)))
		}
		if math.Abs(c.overhead-want) > 3+want/5 {
			t.Errorf("overhead %.1f, want %.0f", c.overhead, want)
		}
	}
}

func TestOverheadStaysAsPresumedWhereNothingTellsIt(t *testing.T) {
	t.Parallel()
	for name, next := range map[string]func(i int) (int, time.Duration){
		"all of one size":           func(int) (int, time.Duration) { return 100, 30 * time.Millisecond },
		"the more the faster":       func(i int) (int, time.Duration) { return 10 + i, time.Second / time.Duration(i+1) },
		"no time at all":            func(i int) (int, time.Duration) { return 10 + i, 0 },
		"too few":                   func(i int) (int, time.Duration) { return 10 + 1000*min(i, 1), time.Duration(min(i, 5)) * time.Second },
		"texts of no position ever": func(int) (int, time.Duration) { return 0, time.Second },
	} {
		c := newCost()
		count := 100
		if name == "too few" {
			count = enough - 2
		}
		for i := range count {
			c.learn(next(i))
		}
		if c.overhead != presumed {
			t.Errorf("%s: overhead %.1f", name, c.overhead)
		}
	}
}

// Where a batch takes longer than its texts alone, texts stay alone.
func TestBatchesThatAreSlowerAreNotMade(t *testing.T) {
	t.Parallel()
	c := newCost()
	for i := range 300 {
		tokens := 10 + i%100
		c.learn(tokens, time.Duration(tokens*tokens)*time.Microsecond)
	}
	q := newQueue(limits{rows: maxRows, tokens: maxTokens}, c)
	for range 20 {
		q.add(&call{}, 0, textmodel.Text{Length: 20}, time.Time{})
	}
	for q.len() > 0 {
		if n := len(q.next(1)); n != 1 {
			t.Fatalf("a batch of %d, with an overhead of %.1f", n, c.overhead)
		}
	}
}

func TestEveryTextIsChosenOnceAndBatchesKeepTheirLimits(t *testing.T) {
	t.Parallel()
	for seed := range uint64(60) {
		random := rand.New(rand.NewPCG(seed, 1))
		l := limits{rows: 1 + random.IntN(40), tokens: 10 + random.IntN(2000), sameOnly: seed%5 == 0}
		if seed%7 == 0 {
			l.fixedRows, l.tokens = true, math.MaxInt
		}
		cost := newCost()
		cost.overhead = float64(random.IntN(200)) - 4
		q := newQueue(l, cost)
		waiting := map[*call]map[int]bool{}
		for range 300 {
			switch random.IntN(4) {
			case 0: // a call comes
				c := &call{}
				waiting[c] = map[int]bool{}
				for i := range 1 + random.IntN(30)*random.IntN(2) {
					q.add(c, i, textmodel.Text{Length: 1 + random.IntN(200)}, time.Time{})
					waiting[c][i] = true
				}
			case 1: // one gives up
				for c, texts := range waiting {
					if n := q.remove(c); n != len(texts) {
						t.Fatalf("%d texts of a call were removed, %d waited", n, len(texts))
					}
					delete(waiting, c)
					break
				}
			default:
				first := earliest(q)
				items := q.next(1 + random.IntN(5))
				tokens, has := 0, false
				for _, it := range items {
					if !waiting[it.call][it.index] {
						t.Fatal("a text was chosen that does not wait")
					}
					if delete(waiting[it.call], it.index); len(waiting[it.call]) == 0 {
						delete(waiting, it.call)
					}
					tokens = max(tokens, it.text.Length*len(items))
					has = has || it == first
					if l.sameOnly && it.text.Length != items[0].text.Length {
						t.Fatal("lengths are mixed")
					}
				}
				if len(items) > l.rows || len(items) > 1 && tokens > l.tokens || first != nil && !has {
					t.Fatalf("a batch of %d with %d tokens, of at most %+v; with the first: %v", len(items), tokens, l, has)
				}
			}
			count := 0
			for _, texts := range waiting {
				count += len(texts)
			}
			if q.len() != count || len(q.calls) != len(waiting) {
				t.Fatalf("%d texts of %d calls wait, want %d of %d", q.len(), len(q.calls), count, len(waiting))
			}
		}
		for q.len() > 0 {
			q.next(1)
		}
		if len(q.calls) != 0 || q.next(1) != nil {
			t.Fatalf("an empty queue has %d calls", len(q.calls))
		}
	}
}

func earliest(q *queue) *item {
	var first *item
	for _, it := range q.items {
		if first == nil || earlier(it, first) {
			first = it
		}
	}
	return first
}

// However many texts a call has, one that comes later with a single text is served
// after a few batches, and the large call is not starved by many small ones.
func TestLargeCallsAndSmallOnesShare(t *testing.T) {
	t.Parallel()
	q := newQueue(limits{rows: 8, tokens: maxTokens}, newCost())
	large := &call{}
	for i := range 1000 {
		q.add(large, i, textmodel.Text{Length: 20}, time.Time{})
	}
	q.next(1)
	if n := q.ahead(1); n != 2 {
		t.Errorf("%d texts are served before a call of one is, want it and one of the large call", n)
	}
	if n := q.ahead(5000); n != 5000+q.calls[large] {
		t.Errorf("%d texts are served before a call of 5,000 is", n)
	}
	small := &call{}
	q.add(small, 0, textmodel.Text{Length: 60}, time.Time{}) // nobody's batch-mate by its length
	for n := 1; q.calls[small] > 0; n++ {
		if n > 3 {
			t.Fatalf("a call of one text waits after %d batches", n)
		}
		q.next(1)
	}
	// From now on there is always a small call waiting.
	before := q.calls[large]
	for range 200 {
		q.add(&call{}, 0, textmodel.Text{Length: 60}, time.Time{})
		q.next(1)
	}
	if served := before - q.calls[large]; served < 200 {
		t.Errorf("of the large call %d texts were served in 200 batches", served)
	}
	if q.len() > q.calls[large]+150 {
		t.Errorf("%d small calls wait", q.len()-q.calls[large])
	}
}

func TestBatchesLeaveWorkForThoseThatBeginAtTheSameTime(t *testing.T) {
	t.Parallel()
	q := newQueue(limits{rows: maxRows, tokens: maxTokens}, newCost())
	q.cost.overhead = 1000
	for range 12 {
		q.add(&call{}, 0, textmodel.Text{Length: 20}, time.Time{})
	}
	for free := 3; free > 0; free-- {
		if n := len(q.next(free)); n != 4 {
			t.Errorf("%d texts with %d free", n, free)
		}
	}
}

func TestLateTextsAreTakenOut(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	q := newQueue(limits{rows: 8, tokens: maxTokens}, newCost())
	soon, later, never := &call{}, &call{}, &call{}
	q.add(soon, 0, textmodel.Text{Length: 10}, now.Add(9*time.Millisecond))
	q.add(later, 0, textmodel.Text{Length: 10}, now.Add(11*time.Millisecond))
	q.add(never, 0, textmodel.Text{Length: 1000}, time.Time{})
	late := q.late(func(tokens int) time.Time { return now.Add(time.Duration(tokens) * time.Millisecond) })
	if len(late) != 1 || late[0].call != soon || q.len() != 2 || q.calls[soon] != 0 {
		t.Errorf("%d are late, %d wait", len(late), q.len())
	}
}

func timing(machine uint64, rank, processors, atOnce int, computed time.Duration) pipeline.Timing {
	return pipeline.Timing{Rank: rank, Machine: machine, Processors: processors, AtOnce: atOnce, Computed: computed}
}

func TestAsManyBatchesAreInFlightAsKeepTheBusiestMachineBusy(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	for name, c := range map[string]struct {
		took   time.Duration
		stages []pipeline.Timing
		want   int
	}{
		"one machine, one processor":          {10 * ms, []pipeline.Timing{timing(1, 0, 1, 1, 10*ms)}, 2},
		"two stages on two processors":        {21 * ms, []pipeline.Timing{timing(1, 0, 2, 2, 10*ms), timing(1, 1, 2, 2, 10*ms)}, 3},
		"with a thread each":                  {21 * ms, []pipeline.Timing{timing(1, 0, 2, 1, 10*ms), timing(1, 1, 2, 1, 10*ms)}, 3},
		"two machines of one processor":       {21 * ms, []pipeline.Timing{timing(1, 0, 1, 1, 10*ms), timing(2, 1, 1, 1, 10*ms)}, 3},
		"two machines of four":                {21 * ms, []pipeline.Timing{timing(1, 0, 4, 4, 10*ms), timing(2, 1, 4, 4, 10*ms)}, 10},
		"six machines":                        {66 * ms, []pipeline.Timing{timing(1, 0, 1, 1, 10*ms), timing(2, 1, 1, 1, 10*ms), timing(3, 2, 1, 1, 10*ms), timing(4, 3, 1, 1, 10*ms), timing(5, 4, 1, 1, 10*ms), timing(6, 5, 1, 1, 10*ms)}, 8},
		"one slow, one fast":                  {22 * ms, []pipeline.Timing{timing(1, 0, 1, 1, 20*ms), timing(2, 1, 1, 1, 1*ms)}, 2},
		"a slow network":                      {100 * ms, []pipeline.Timing{timing(1, 0, 1, 1, 10*ms), timing(2, 1, 1, 1, 10*ms)}, 11},
		"timings of another version":          {20 * ms, []pipeline.Timing{timing(0, 0, 0, 0, 10*ms), timing(0, 1, 0, 0, 10*ms)}, 2},
		"no time at all leaves what was":      {20 * ms, []pipeline.Timing{timing(1, 0, 1, 1, 0)}, 5},
		"nonsense is bounded":                 {time.Hour, []pipeline.Timing{timing(1, 0, 1, 1, 1)}, maxConcurrency},
		"more time than there was is bounded": {ms, []pipeline.Timing{timing(1, 0, 1, 1, time.Hour)}, 1},
	} {
		f := newConcurrency(5)
		for range 3 * trips {
			f.learn(c.took, c.stages)
		}
		if f.now != c.want {
			t.Errorf("%s: %d, want %d", name, f.now, c.want)
		}
	}
}

// Replicas share the work of their rank: each is seen in a part of the batches.
func TestReplicasNeedMoreInFlight(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	f := newConcurrency(5)
	for i := range uint64(3 * trips) {
		f.learn(20*ms, []pipeline.Timing{timing(i%3, 0, 1, 1, 10*ms), timing(3+i%3, 1, 1, 1, 10*ms)})
	}
	if f.now != 7 { // 2 batches for each of 3 replicas, and one
		t.Errorf("%d, want 7", f.now)
	}
	// What waited is not needed to keep machines busy.
	waited := timing(0, 0, 1, 1, 10*ms)
	waited.Waited = 80 * ms
	for range trips {
		f.learn(100*ms, []pipeline.Timing{waited, timing(1, 1, 1, 1, 10*ms)})
	}
	if f.now != 3 {
		t.Errorf("with waits: %d, want 3", f.now)
	}
}

// Of many replicas, chance has some compute more of the last batches than others. That must not
// lower the number in flight, or most would be idle.
func TestChanceAmongManyReplicasDoesNotLowerTheNumberInFlight(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	for _, replicas := range []int{10, 100, 300} {
		random := rand.New(rand.NewPCG(4, 4))
		f := newConcurrency(5)
		for range 20 * replicas {
			first, second := uint64(random.IntN(replicas)), uint64(1000+random.IntN(replicas))
			f.learn(20*ms, []pipeline.Timing{timing(first, 0, 1, 1, 10*ms), timing(second, 1, 1, 1, 10*ms)})
		}
		if want := 2*replicas + 1; f.now < want*9/10 || f.now > want*11/10 {
			t.Errorf("%d replicas: %d, want about %d", replicas, f.now, want)
		}
	}
}

// If more are in flight than there is capacity for, all take longer. That must not raise the
// number in flight.
func TestCrowdingDoesNotRaiseTheNumberInFlight(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	random := rand.New(rand.NewPCG(3, 3))
	f := newConcurrency(5)
	for range 3 * trips {
		hindered := time.Duration(random.IntN(30)) * ms
		if random.IntN(3) == 0 {
			hindered = 0
		}
		f.learn(5*ms+hindered, []pipeline.Timing{timing(1, 0, 2, 2, 2*ms), timing(1, 1, 2, 2, 2*ms)})
	}
	if f.now != 4 { // 5 ms at a batch each 2 ms, and one
		t.Errorf("%d, want 4", f.now)
	}
}

func TestTextsWaitForOthersOnlyWhereThatIsWorthIt(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		now, inFlight int
		overhead      float64
		length        int
		want          bool
	}{
		"a lone text":                      {10, 0, 200, 50, false},
		"the second":                       {10, 1, 200, 50, false},
		"beside enough":                    {10, 4, 200, 50, true},
		"beside too few to keep all busy":  {10, 3, 200, 50, false},
		"where few are enough":             {3, 2, 200, 50, true},
		"where batches gain little":        {10, 9, 30, 50, false},
		"where batches are slower":         {10, 9, -4, 50, false},
		"a long text, which costs its own": {10, 9, 200, 128, false},
	} {
		f := newConcurrency(c.now)
		if got := f.enough(c.inFlight, &cost{overhead: c.overhead}, c.length); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestPaceTellsHowLongOthersTake(t *testing.T) {
	t.Parallel()
	var p pace
	if p.wait(1000) != 0 || p.latency(1000) != 0 {
		t.Error("something is known before anything was measured")
	}
	for range 100 { // two batches of 5 at a time, each in 50 ms
		p.learn(5, 80, 50*time.Millisecond, 2)
	}
	if got := p.wait(200); got.Round(time.Millisecond) != time.Second {
		t.Errorf("200 texts take %s at 200 a second", got)
	}
	if got := p.latency(40); got.Round(time.Millisecond) != 25*time.Millisecond {
		t.Errorf("half a batch takes %s", got)
	}
	if got := p.latency(8000); got.Round(time.Millisecond) != 50*time.Millisecond {
		t.Errorf("a huge batch takes %s", got)
	}
	// Short batches of many texts do not hide that the long ones take the time.
	var mixed pace
	for range 200 {
		mixed.learn(1, 80, 90*time.Millisecond, 1)
		mixed.learn(9, 80, 10*time.Millisecond, 1)
	}
	if got := mixed.wait(100); got < 850*time.Millisecond || got > 1150*time.Millisecond {
		t.Errorf("100 texts take %s at 10 in 100 ms", got)
	}
	p.learn(5, 80, 0, 2)
	if got := p.wait(200); got.Round(time.Millisecond) != time.Second {
		t.Errorf("after a batch of no time: %s", got)
	}
}

// pairs are the bytes of a run that keeps a number for each pair of tokens, of which a stage has
// some.
type pairs int64

func (p pairs) Fits(sizes tensor.Sizes, runs int) bool {
	return sizes["batch"]*sizes["sequence"]*sizes["sequence"]*int64(runs) <= int64(p)
}

func (p pairs) Check(sizes tensor.Sizes) error {
	if p.Fits(sizes, 1) {
		return nil
	}
	return errcode.Errorf(errcode.TooLarge, "stage 0: no memory")
}

func sized(rows, length int) tensor.Sizes {
	return tensor.Sizes{"batch": int64(rows), "sequence": int64(length)}
}

func TestBatchesFitIntoMemory(t *testing.T) {
	t.Parallel()
	for _, memory := range []pairs{1, 100, 10_000, 1 << 20, 100 << 20} {
		for _, runs := range []int{1, 3} {
			q := newQueue(limits{rows: maxRows, tokens: maxTokens}, newCost())
			q.cost.overhead = 500
			q.room = newRoom(sized, memory, func() int { return runs })
			random := rand.New(rand.NewPCG(uint64(memory), 1))
			for range 400 {
				q.add(&call{}, 0, textmodel.Text{Length: 1 + random.IntN(400)}, time.Time{})
			}
			batches := 0
			for ; q.len() > 0; batches++ {
				items := q.next(1)
				if longest := items[len(items)-1].text.Length; len(items) > 1 && !memory.Fits(sized(len(items), longest), runs) {
					t.Fatalf("%d texts of up to %d tokens are a batch, with %d pairs for %d runs", len(items), longest, memory, runs)
				}
			}
			if memory >= 100<<20 && batches > 80 {
				t.Errorf("%d batches, though there is memory", batches)
			}
		}
	}
}

// What fits is asked for again after a while.
func TestWhatFitsChanges(t *testing.T) {
	t.Parallel()
	memory := pairs(800)
	r := newRoom(sized, &memory, func() int { return 1 })
	now := time.Now()
	for _, step := range []struct {
		memory pairs
		after  time.Duration
		want   int
	}{{800, 0, 8}, {200, 0, 8}, {200, 2 * time.Second, 2}, {0, 4 * time.Second, 1}, {1 << 40, 6 * time.Second, 100}} {
		memory = step.memory
		r.renew(now.Add(step.after))
		if n := r.most(100, 10); n != step.want {
			t.Errorf("%+v: %d texts", step, n)
		}
	}
}
