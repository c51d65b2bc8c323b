package batch

import (
	"slices"
	"time"

	"github.com/distinfer/distinfer/runtime/textmodel"
)

// An item is one text that waits for its batch.
type item struct {
	text     textmodel.Text
	call     *call
	index    int // among the texts of the call
	deadline time.Time

	turn float64 // when it is served, in virtual time
	seq  uint64  // orders items of the same turn
}

// A queue holds waiting texts, and chooses which are computed together.
//
// Fairness between calls decides which text is next, by weighted fair queueing (Demers, Keshav
// and Shenker 1989): virtual time passes with the work done, slower the more calls share it,
// and the texts of one call have their turns one after the other. So a call of one text does
// not wait behind the thousand texts of another. Length decides which texts join it.
//
// It does no I/O and has no clock.
type queue struct {
	limits
	cost      *cost
	suspicion suspicion
	room      *room
	items     []*item // by length, then by turn
	now       float64 // virtual time, in tokens
	seq       uint64
	calls     map[*call]int // texts that wait, by call
}

// limits are what a batch may be.
type limits struct {
	rows      int  // most texts
	tokens    int  // most tokens, but for a single text
	fixedRows bool // the model always computes this number of rows
	sameOnly  bool // padding would change an answer: texts of one length only
}

func newQueue(l limits, c *cost) *queue {
	return &queue{limits: l, cost: c, room: newRoom(nil, nil, nil), calls: map[*call]int{}}
}

func (q *queue) len() int { return len(q.items) }

// ahead is how many texts are served before the last one of a new call of n texts, its own
// included. Calls share, so each other call has at most n texts served before.
func (q *queue) ahead(n int) int {
	if n == 1 { // the usual call; fast, also under overload
		return 1 + len(q.calls)
	}
	ahead := n
	for _, waiting := range q.calls {
		ahead += min(waiting, n)
	}
	return ahead
}

// add queues a text of a call.
func (q *queue) add(c *call, index int, t textmodel.Text, deadline time.Time) {
	q.seq++
	it := &item{text: t, call: c, index: index, deadline: deadline, turn: max(q.now, c.turn), seq: q.seq}
	c.turn = it.turn + q.cost.alone(it.text.Length)
	at, _ := slices.BinarySearchFunc(q.items, it, compare)
	q.items = slices.Insert(q.items, at, it)
	q.calls[c]++
}

func compare(a, b *item) int {
	switch {
	case a.text.Length != b.text.Length:
		return a.text.Length - b.text.Length
	case earlier(a, b):
		return -1
	case earlier(b, a):
		return 1
	}
	return 0
}

func earlier(a, b *item) bool {
	return a.turn < b.turn || a.turn == b.turn && a.seq < b.seq
}

// remove removes the texts of a call that still wait, and returns how many.
func (q *queue) remove(c *call) int {
	if q.calls[c] == 0 {
		return 0
	}
	return len(q.take(func(it *item) bool { return it.call == c }))
}

// take removes the items that meant selects.
func (q *queue) take(meant func(*item) bool) []*item {
	var taken []*item
	q.items = slices.DeleteFunc(q.items, func(it *item) bool {
		if !meant(it) {
			return false
		}
		taken = append(taken, it)
		return true
	})
	q.left(taken)
	return taken
}

// longest is the length of the longest text that waits; there is one.
func (q *queue) longest() int { return q.items[len(q.items)-1].text.Length }

// late removes the texts that would be answered after their deadline if they began now.
// answered estimates when a batch of a number of tokens would be answered.
func (q *queue) late(answered func(tokens int) time.Time) []*item {
	return q.take(func(it *item) bool { return !it.deadline.IsZero() && answered(it.text.Length).After(it.deadline) })
}

// next removes the texts of the next batch, one of the free batches that may begin. It
// returns at least one text while any waits.
func (q *queue) next(free int) []*item {
	if len(q.items) == 0 {
		return nil
	}
	near := q.near()
	first := 0
	for i, it := range near {
		if earlier(it, near[first]) {
			first = i
		}
	}
	// Texts that another free batch could compute should not wait for this one.
	most := min(q.suspicion.most(q.rows), (len(q.items)+free-1)/max(free, 1))
	from, to := q.window(near, first, most)
	chosen := slices.Clone(near[from:to])
	q.now = max(q.now, near[first].turn) + q.price(chosen)/float64(len(q.calls))
	for _, it := range chosen {
		at, _ := slices.BinarySearchFunc(q.items, it, compare)
		q.items = slices.Delete(q.items, at, at+1)
	}
	q.left(chosen)
	return chosen
}

// reach is how many of the next texts are looked at. Some of them always go well together;
// looking further would only let texts overtake.
const reach = 128

// near are the texts whose turn is next, by length.
func (q *queue) near() []*item {
	if len(q.items) <= reach {
		return q.items
	}
	last := slices.SortedFunc(slices.Values(q.items), func(a, b *item) int {
		if earlier(a, b) {
			return -1
		}
		return 1
	})[reach-1]
	near := make([]*item, 0, reach)
	for _, it := range q.items {
		if !earlier(last, it) {
			near = append(near, it)
		}
	}
	return near
}

// left records that items wait no longer.
func (q *queue) left(items []*item) {
	for _, it := range items {
		if q.calls[it.call]--; q.calls[it.call] == 0 {
			delete(q.calls, it.call)
		}
	}
}

// price is what a batch of these costs, in tokens.
func (q *queue) price(items []*item) float64 {
	return q.cost.batch(q.area(len(items), items[len(items)-1].text.Length))
}

// area is how many tokens a batch has.
func (q *queue) area(rows, length int) int {
	if q.fixedRows {
		rows = q.rows
	}
	return rows * length
}

// holds reports whether a batch may have so many texts, the longest of so many tokens.
func (q *queue) holds(rows, length int) bool {
	return rows == 1 || rows*length <= q.tokens && (q.fixedRows || rows <= q.room.most(q.rows, length))
}

// nearlyBest is the share of the best gain that is enough for a batch: the last percent would
// take many more texts, which then all wait for each other.
const nearlyBest = 0.99

// window chooses up to most of the items, which are ordered by length, around the first one:
// the smallest window whose gain is nearly the best. The gain is what the texts cost alone
// divided by what they cost as a batch.
//
// For a given longest text, the next shorter ones gain most. One more is worth it while it
// costs more alone than its row costs here times the gain so far.
func (q *queue) window(items []*item, first, most int) (from, to int) {
	type choice struct {
		from, to int
		gain     float64
	}
	var found []choice
	best := 0.0
	value := 0.0 // of the texts from first on
	for last := first; last < len(items) && last-first < most; last++ {
		length := items[last].text.Length
		if q.sameOnly && length != items[first].text.Length {
			break
		}
		if !q.holds(last-first+1, length) {
			break
		}
		value += q.cost.alone(length)
		c := choice{first, last + 1, 0}
		sum := value
		c.gain = sum / q.cost.batch(q.area(last-first+1, length))
		for c.from > 0 && c.to-c.from < most && q.holds(c.to-c.from+1, length) {
			next := items[c.from-1].text.Length
			if q.sameOnly && next != length {
				break
			}
			sum += q.cost.alone(next)
			gain := sum / q.cost.batch(q.area(c.to-c.from+1, length))
			if gain <= c.gain {
				break
			}
			c.from--
			c.gain = gain
			found = append(found, c)
		}
		found = append(found, c)
		best = max(best, c.gain)
	}
	chosen := choice{first, first + 1, 0}
	for _, c := range found {
		better := c.gain >= nearlyBest*best
		smaller := c.to-c.from < chosen.to-chosen.from
		if better && (chosen.gain == 0 || smaller || c.to-c.from == chosen.to-chosen.from && c.gain > chosen.gain) {
			chosen = c
		}
	}
	return chosen.from, chosen.to
}
