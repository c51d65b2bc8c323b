package simulate

import (
	"container/heap"
	"time"
)

// A clock runs events in the order of their time, and those of the same time in the order in
// which they were planned.
type clock struct {
	now    time.Duration // since the start
	events events
	seq    uint64
}

type event struct {
	at  time.Duration
	seq uint64
	do  func()
}

// after plans an event.
func (c *clock) after(d time.Duration, do func()) {
	c.seq++
	heap.Push(&c.events, &event{c.now + max(d, 0), c.seq, do})
}

// run runs all events up to a time.
func (c *clock) run(until time.Duration) {
	for len(c.events) > 0 && c.events[0].at <= until {
		e := heap.Pop(&c.events).(*event)
		c.now = e.at
		e.do()
	}
	c.now = until
}

// time is the time for state machines that take one.
func (c *clock) time() time.Time { return time.Unix(1<<30, 0).Add(c.now) }

type events []*event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at < e[j].at || e[i].at == e[j].at && e[i].seq < e[j].seq
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(*event)) }
func (e *events) Pop() any {
	old := *e
	x := old[len(old)-1]
	old[len(old)-1] = nil
	*e = old[:len(old)-1]
	return x
}
