package simulate

import "time"

// A Failure is a way to fail.
type Failure string

// The failures.
const (
	Killed Failure = "killed" // the process ends and is started again
	Silent Failure = "silent" // it stands still, and goes on where it was
	Slow   Failure = "slow"   // it computes ten times as long
)

const slowness = 10

// plan has the share of the replicas of each rank fail, at random times of the first half of the
// measurement.
func (f *fleet) plan() {
	for _, machines := range f.ranks {
		n := int(f.Failing*float64(len(machines)) + 0.5)
		if f.Failing > 0 {
			n = max(n, 1)
		}
		for _, i := range f.random.Perm(len(machines))[:min(n, len(machines))] {
			m := machines[i]
			at := time.Duration(f.random.Float64() * float64(f.Measured) / 2)
			f.after(at, func() { m.fail(f.How) })
			f.after(at+f.Down, m.recover)
		}
	}
}

func (m *machine) fail(how Failure) {
	switch how {
	case Slow:
		m.slowness = slowness
	case Killed:
		m.state = killed
		m.end()
		for _, l := range m.callers {
			m.f.after(m.f.Hop, func() {
				if len(l.attempts) > 0 {
					l.broke()
					l.breakOff(true)
				}
			})
			m.notice(l)
		}
	case Silent:
		m.state = silent
		for _, l := range m.callers {
			m.notice(l)
		}
	}
}

// notice has a caller probe the replica at its next beat.
func (m *machine) notice(l *link) {
	phase := time.Duration(m.f.random.Float64() * float64(deadAfter/beats))
	m.f.after(phase, l.probe)
}

// end ends the process with all it has.
func (m *machine) end() {
	m.process++
	m.used, m.queue = 0, nil
	clear(m.held)
	if m.next == nil {
		return
	}
	m.next.dead = true
	for _, address := range m.next.addresses {
		l := m.next.links[address]
		for _, a := range sorted(l.attempts) {
			a.over = true
		}
		clear(l.attempts)
	}
}

func (m *machine) recover() {
	m.slowness = 1
	was := m.state
	m.state = healthy
	switch {
	case was == silent:
		frozen := m.frozen
		m.frozen = nil
		for _, do := range frozen {
			do()
		}
	case was == killed && m.next != nil:
		m.next.dead = false
		m.next.begin()
	}
}
