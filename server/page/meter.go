package page

import (
	"math"
	"sync"
	"time"

	"github.com/distinfer/distinfer/server/batch"
)

// window is how many seconds the rates are of.
const window = 5

// A Meter counts batches and answers, and makes the rates of a Snapshot of them. It is safe for
// concurrent use.
type Meter struct {
	mu     sync.Mutex
	began  time.Time
	slots  [window + 1]slot // of a second each
	atOnce []int            // runs that a replica of each rank computes at a time
	last   batch.Timing
	lastAt time.Time // zero before the first one
}

// A slot is what happened in one second.
type slot struct {
	second         int64
	batches, texts int
	took           time.Duration // by batches
	answers        int
	waited         time.Duration // for them
	stages         []stageTime
}

type stageTime struct{ waited, computed time.Duration }

// NewMeter makes a Meter.
func NewMeter() *Meter { return &Meter{began: time.Now()} }

// Batches measures what a Batcher does.
func (m *Meter) Batches() batch.Listener {
	return batch.Listener{Answered: m.answered, BatchEnded: m.batchEnded}
}

func (m *Meter) answered(_ int, a batch.Timing) {
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.last, m.lastAt = a, now
	s := m.slot(now)
	s.answers++
	s.waited += a.Waiting
}

// slot is that of the second that now is in.
func (m *Meter) slot(now time.Time) *slot {
	s := &m.slots[now.Unix()%int64(len(m.slots))]
	if s.second != now.Unix() {
		*s = slot{second: now.Unix()}
	}
	return s
}

func (m *Meter) batchEnded(b batch.Batch) {
	if b.Err != nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.slot(time.Now())
	s.batches++
	s.texts += b.Texts
	s.took += b.Took
	for rank, t := range b.Stages {
		if rank == len(s.stages) {
			s.stages = append(s.stages, stageTime{})
		}
		if rank == len(m.atOnce) {
			m.atOnce = append(m.atOnce, 1)
		}
		s.stages[rank].waited += t.Waited
		s.stages[rank].computed += t.Computed
		m.atOnce[rank] = max(t.AtOnce, 1)
	}
}

// Fill puts what was measured into a Snapshot whose stages and replicas are there.
func (m *Meter) Fill(s *Snapshot) {
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	sum := slot{stages: make([]stageTime, len(s.Stages))}
	for i := range m.slots {
		if one := &m.slots[i]; now.Unix()-one.second < window {
			sum.add(one)
		}
	}
	// The slot of this second is not over yet.
	elapsed := float64(window-1) + float64(now.Nanosecond())/1e9
	elapsed = max(1, min(elapsed, now.Sub(m.began).Seconds()))
	s.Rates.Texts, s.Rates.Batches = float64(sum.texts)/elapsed, float64(sum.batches)/elapsed
	s.Rates.Waited, s.Rates.Took = mean(sum.waited, sum.answers), mean(sum.took, sum.batches)
	for rank, t := range sum.stages {
		stage := &s.Stages[rank]
		stage.Waited, stage.Computed = mean(t.waited, sum.batches), mean(t.computed, sum.batches)
		if rank < len(m.atOnce) {
			stage.Busy = min(1, t.computed.Seconds()/elapsed/float64(m.atOnce[rank]*max(1, stage.ready())))
		}
	}
	if !m.lastAt.IsZero() {
		s.Last = read(m.last, now.Sub(m.lastAt))
	}
}

func (s *slot) add(o *slot) {
	s.batches += o.batches
	s.texts += o.texts
	s.took += o.took
	s.answers += o.answers
	s.waited += o.waited
	for rank := range min(len(s.stages), len(o.stages)) {
		s.stages[rank].waited += o.stages[rank].waited
		s.stages[rank].computed += o.stages[rank].computed
	}
}

// ready is how many replicas can be used.
func (s *Stage) ready() int {
	n := 0
	for _, r := range s.Replicas {
		if r.Condition == "ready" {
			n++
		}
	}
	return n
}

// read converts an answer to milliseconds. The time that a stage's caller waited and the stage does
// not account for was spent on the way.
func read(a batch.Timing, ago time.Duration) *Last {
	l := &Last{Ago: ms(ago), Texts: a.Texts, Tokenize: ms(a.Encoding), Waiting: ms(a.Waiting), Took: ms(a.Batch)}
	caller := a.Batch
	for rank, t := range a.Stages {
		transfer := max(0, caller-t.Waited-t.Computed-t.Next)
		l.Stages = append(l.Stages, LastStage{rank, ms(transfer), ms(t.Waited), ms(t.Computed)})
		caller = t.Next
	}
	return l
}

func mean(sum time.Duration, n int) float64 {
	if n == 0 {
		return 0
	}
	return ms(sum / time.Duration(n))
}

// ms is milliseconds, to the microsecond.
func ms(d time.Duration) float64 { return math.Round(d.Seconds()*1e6) / 1e3 }
