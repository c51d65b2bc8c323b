package simulate

import (
	"time"

	"github.com/distinfer/distinfer/server/batch"
)

// A front reads texts on its processors, and has the real Scheduler decide on batches.
type front struct {
	f          *fleet
	scheduler  *batch.Scheduler
	next       *caller
	processors []time.Duration // when each is free
	busy       time.Duration
	ended      int // batches
	watching   bool
}

func newFront(f *fleet, i int) *front {
	name := "front-" + string(rune('a'+i%26)) + string(rune('a'+i/26%26)) + string(rune('a'+i/676))
	return &front{
		f: f, scheduler: batch.NewScheduler(1 + f.Ranks*f.seen()), processors: make([]time.Duration, max(f.FrontProcessors, 1)),
		next: f.newCaller(name, i, f.Fronts, 0),
	}
}

// come reads a text, which waits for a processor of the front.
func (x *front) come(n int) {
	first := 0
	for i, free := range x.processors {
		if free < x.processors[first] {
			first = i
		}
	}
	x.processors[first] = max(x.processors[first], x.f.now) + x.f.Text
	x.busy += x.f.Text
	x.f.after(x.processors[first]-x.f.now, func() { x.add(n) })
}

func (x *front) add(n int) {
	if !x.scheduler.Add(n, x.f.tokens()) {
		if x.f.measures(n) {
			x.f.result.Refused++
		}
		return
	}
	if x.scheduler.Hold() {
		x.watch()
	} else {
		x.dispatch()
	}
}

// watch begins waiting texts when the batches in flight stall, as a Batcher does.
func (x *front) watch() {
	if x.watching || x.scheduler.Waiting() == 0 {
		return
	}
	x.watching = true
	ended := x.ended
	x.f.after(x.scheduler.Patience(), func() {
		x.watching = false
		if x.ended == ended {
			x.dispatch()
		}
		x.watch()
	})
}

func (x *front) dispatch() {
	for g, ok := x.scheduler.Next(); ok; g, ok = x.scheduler.Next() {
		began := x.f.now
		x.next.call(job{texts: len(g.Texts), tokens: g.Tokens}, func(a answer) {
			x.ended++
			x.f.result.batches++
			x.scheduler.End(g, x.f.now-began, a.timings, !a.ok)
			for _, n := range g.Texts {
				x.f.answered(n, a.ok)
			}
			x.dispatch()
		})
	}
}
