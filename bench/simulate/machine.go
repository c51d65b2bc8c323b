package simulate

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/distinfer/distinfer/runtime/pipeline"
	"github.com/distinfer/distinfer/server/replica"
)

// A state is how a replica is.
type state int

const (
	healthy state = iota
	killed        // the process ended: connections break, new ones are refused
	silent        // nothing comes from it, and connections stay
)

// A machine is a replica of a rank: it computes as many runs at once as it has slots, the others
// wait in the order in which they came.
type machine struct {
	f        *fleet
	rank     int
	index    int
	address  string
	next     *caller // nil for the last rank
	callers  []*link
	state    state
	slowness float64
	process  int // the how many-th it is
	used     int // slots
	queue    []*attempt
	frozen   []func()          // what it goes on with once it is not silent any more
	held     map[*attempt]bool // it waits, is computed, or waits for the next rank
	busy     time.Duration
}

// receive takes a call that arrives.
func (m *machine) receive(a *attempt) {
	switch m.state {
	case silent:
		m.frozen = append(m.frozen, func() {
			if !a.over {
				m.receive(a)
			}
		})
		return
	case killed:
		m.f.after(m.f.Hop, func() {
			if !a.over {
				a.link.broke()
				a.lost(replica.Unsent, false)
			}
		})
		return
	}
	if len(m.held) >= m.f.Runs+maxQueue {
		m.reply(a, func() { a.lost(replica.Unsent, true) })
		return
	}
	a.came = m.f.now
	m.held[a] = true
	m.queue = append(m.queue, a)
	m.begin()
}

// reply sends something back, unless either end is gone meanwhile.
func (m *machine) reply(a *attempt, do func()) {
	m.f.after(m.f.Hop, func() {
		if !a.over {
			do()
		}
	})
}

func (m *machine) slots(a *attempt) int {
	if a.alone {
		return m.f.Runs
	}
	return 1
}

// begin computes what waits, as far as there are slots.
func (m *machine) begin() {
	for len(m.queue) > 0 {
		a := m.queue[0]
		if a.over { // its caller is gone
			m.queue = m.queue[1:]
			delete(m.held, a)
			continue
		}
		if m.used+m.slots(a) > m.f.Runs {
			return
		}
		m.queue = m.queue[1:]
		m.used += m.slots(a)
		a.computing, a.begun = m.f.now, true
		process, took := m.process, m.takes(a.call.job)
		m.f.after(took, func() {
			switch {
			case m.process != process:
			case m.state == silent:
				m.frozen = append(m.frozen, func() { m.computed(a, took) })
			default:
				m.computed(a, took)
			}
		})
	}
}

// takes is how long a run takes here.
func (m *machine) takes(j job) time.Duration {
	c := &m.f.Costs
	share := float64(j.tokens)/float64(m.f.Ranks) + c.Overhead/float64(m.f.Ranks)
	noise := math.Exp(c.Noise*m.f.random.NormFloat64() - c.Noise*c.Noise/2)
	return time.Duration(share * float64(c.Token) * noise * m.slowness / max(0.05, 1-m.probes()))
}

// probes is the share of its processors that probes take. Fronts probe every rank.
func (m *machine) probes() float64 {
	callers := float64(len(m.callers))
	if m.rank > 0 {
		callers += float64(m.f.Fronts*m.f.seen()) / float64(m.f.Replicas)
	}
	return callers * beats / deadAfter.Seconds() * m.f.Probe.Seconds() / float64(m.f.Runs)
}

// computed is the end of a run, which answers or is passed on.
func (m *machine) computed(a *attempt, took time.Duration) {
	release := func() {
		m.used -= m.slots(a)
		m.begin()
	}
	m.busy += took
	t := pipeline.Timing{
		Rank: m.rank, Machine: uint64(m.rank)<<32 | uint64(m.index) + 1, Processors: m.f.Runs, AtOnce: m.f.Runs,
		Waited: a.computing - a.came, Computed: took,
	}
	process := m.process
	reply := func(result answer) {
		if m.process != process {
			return
		}
		delete(m.held, a)
		if a.alone {
			release()
		}
		if a.over {
			return
		}
		if m.state == silent {
			m.frozen = append(m.frozen, func() { m.reply(a, func() { a.answered(result, t.Next) }) })
			return
		}
		m.reply(a, func() { a.answered(result, t.Next) })
	}
	if !a.alone {
		defer release()
	}
	if m.next == nil || a.over {
		reply(answer{ok: true, timings: []pipeline.Timing{t}})
		return
	}
	sent := m.f.now
	m.next.call(a.call.job, func(result answer) {
		t.Next = m.f.now - sent
		t.Total = m.f.now - a.came
		result.timings = append([]pipeline.Timing{t}, result.timings...)
		reply(result)
	})
}

// hop is how long a job travels to a rank.
func (f *fleet) hop(j job, rank int) time.Duration {
	bytes := 16 * j.tokens // token ids
	if rank > 0 {
		bytes = f.Bytes * j.tokens
	}
	return f.Hop + time.Duration(float64(bytes)/1000*float64(f.Byte))
}

// sorted has map order not matter.
func sorted(set map[*attempt]bool) []*attempt {
	var list []*attempt
	for a := range set {
		list = append(list, a)
	}
	slices.SortFunc(list, func(a, b *attempt) int {
		return cmp.Or(cmp.Compare(a.sent, b.sent), cmp.Compare(a.call.job.tokens, b.call.job.tokens), cmp.Compare(a.call.began, b.call.began))
	})
	return list
}
