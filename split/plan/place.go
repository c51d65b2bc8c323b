package plan

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"time"
)

// A Machine can compute one stage, or all of the work.
type Machine struct {
	Name      string
	Speed     int64         // in thousandths of the reference machine's
	Memory    int64         // bytes for weights; 0 is no limit
	Bandwidth int64         // of its link, bits a second in each direction; 0 is no limit
	Latency   time.Duration // of its link, one way
}

// compute is what takes the reference machine a time, in picoseconds like it.
func (m Machine) compute(time int64) int64 { return scale(time, 1000, m.Speed) }

// transfer is the time in which bytes go over the machine's link.
func (m Machine) transfer(bytes int64) int64 {
	if m.Bandwidth == 0 {
		return 0
	}
	return scale(bytes, 8*second, m.Bandwidth)
}

// hop is the time that a request and its answer need between two machines.
func (m Machine) hop(to Machine, request, answer int64) int64 {
	return scale(int64(m.Latency), 2*nanosecond, 1) + scale(int64(to.Latency), 2*nanosecond, 1) +
		max(m.transfer(request), to.transfer(request)) + max(m.transfer(answer), to.transfer(answer))
}

// traffic is what comes in and goes out for one request of the stage between two
// borders: question and answer, and those of the stage behind it.
func (w *Work) traffic(from, to int) (in, out int64) {
	answer := w.Cross[len(w.Segments)]
	if to == len(w.Segments) {
		return w.Cross[from], answer
	}
	return w.Cross[from] + answer, answer + w.Cross[to]
}

const (
	nanosecond = 1_000 // picoseconds
	second     = 1_000_000_000_000
)

// tooLong is a time in picoseconds, half an hour, that no request may take on one
// machine. The times of many machines can be added up.
const tooLong = never >> 12

// scale is a·b/c, rounded down, or tooLong when that is less.
func scale(a, b, c int64) int64 {
	high, low := bits.Mul64(uint64(a), uint64(b))
	if high >= uint64(c) {
		return tooLong
	}
	quotient, _ := bits.Div64(high, low, uint64(c))
	return int64(min(quotient, tooLong))
}

func nevers(n int) []int64 { return slices.Repeat([]int64{never}, n) }

// A kind is a number of machines that are alike in all but their names.
type kind struct {
	Machine
	members []int // indices in the caller's list
}

// A placer knows the work and the machines. Which machines are in use is a state,
// the number of each kind as the digits of one number: 20 equal machines have 21
// states and not a million.
type placer struct {
	work   *Work
	stages int // the largest number that machines and layers allow
	kinds  []kind
	digits []int // what one machine of each kind adds to a state
	sizes  []int // machines in each state
	most   int   // places to choose from
	boards [2]*board
}

// Planning takes a step for every pair of places, every state, every kind that the
// last machine in it may be of, and every number of machines. Keeping the steps
// below maxSteps keeps the time about a second, and memory far below a gigabyte.
const (
	maxSteps  = 1 << 30
	minPlaces = 32
)

func newPlacer(work Work, machines []Machine) (*placer, error) {
	w, err := work.checked()
	if err != nil {
		return nil, err
	}
	if len(machines) == 0 {
		return nil, errors.New("there are no machines to place the model on; name at least one")
	}
	parts, _ := w.parts()
	p := &placer{work: w, stages: min(len(machines), parts)}
	known := map[Machine]int{}
	whole, crossing := w.plan([]int{0, len(w.Segments)}).Stages[0].Time, slices.Max(w.Cross)
	for i, m := range machines {
		if m.Speed <= 0 || m.Memory < 0 || m.Bandwidth < 0 || m.Latency < 0 {
			return nil, fmt.Errorf("machine %q: its speed must be above 0, and its memory, bandwidth and latency not below", m.Name)
		}
		if m.compute(whole)+m.hop(m, crossing, crossing) >= tooLong {
			return nil, fmt.Errorf("machine %q is too slow: a request could take it half an hour; leave it out", m.Name)
		}
		m.Name = ""
		k, ok := known[m]
		if !ok {
			k = len(p.kinds)
			known[m] = k
			p.kinds = append(p.kinds, kind{Machine: m})
		}
		p.kinds[k].members = append(p.kinds[k].members, i)
	}

	states, last := 1, 0.0
	for _, k := range p.kinds {
		n := len(k.members)
		p.digits = append(p.digits, states)
		states = min(states*(n+1), maxSteps)
		last += float64(n) / float64(n+1)
	}
	p.most = int(math.Sqrt(maxSteps / (float64(states) * last * float64(len(machines)))))
	if p.most < max(minPlaces, 2*len(machines)) {
		return nil, fmt.Errorf("%d machines of %d kinds are too many to try: at most 13 that all differ, or 128 that are alike, can be tried; leave some out, or give similar ones the same numbers", len(machines), len(p.kinds))
	}
	p.most = min(p.most, maxPlaces)
	p.sizes = make([]int, states)
	for s := range p.sizes {
		for t := range p.kinds {
			p.sizes[s] += p.count(s, t)
		}
	}
	return p, nil
}

// count is how many machines of kind t a state has.
func (p *placer) count(s, t int) int { return s / p.digits[t] % (len(p.kinds[t].members) + 1) }

// board is the one with plans of k stages. Fine places are tried where others allow
// none.
func (p *placer) board(k int) *board {
	for i := range p.boards {
		if p.boards[i] == nil {
			p.boards[i] = p.newBoard(i > 0)
		}
		if p.boards[i].periods[k] != never {
			return p.boards[i]
		}
	}
	return p.boards[1]
}

// whyNot says why there is no plan of k stages, in the words of what the model is
// or needs.
func (p *placer) whyNot(k int) string {
	if parts, layers := p.work.parts(); k > parts {
		return fmt.Sprintf("can be cut into %d stages at most, by its %d layers", parts, layers)
	}
	c := p.board(k).chain
	total := c.ended[len(c.at)-1]
	var memories []int64 // the largest first; such that they can be added up
	for _, kind := range p.kinds {
		for range kind.members {
			memories = append(memories, min(cmp.Or(kind.Memory, never), never/maxPlaces))
		}
	}
	slices.Sort(memories)
	slices.Reverse(memories)
	var together int64
	for _, m := range memories[:k] {
		together += m
	}
	switch {
	case k == 1:
		return fmt.Sprintf("needs %s on one machine, the largest has %s", needs(total), has(together))
	case together < total:
		return fmt.Sprintf("needs %s on %d machines, the largest have %s together", needs(total), k, has(together))
	}
	if needed := c.needed(k); memories[0] < needed {
		return fmt.Sprintf("needs %s on one of %d machines, the largest has %s", needs(needed), k, has(memories[0]))
	}
	return fmt.Sprintf("has no cut into %d stages with which each fits into the memory of a machine", k)
}
