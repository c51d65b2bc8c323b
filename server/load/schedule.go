package load

import (
	"context"
	"sync"
	"time"
)

// A schedule says when the next request is due, and when there is none.
type schedule struct {
	o     Options
	began time.Time

	mu      sync.Mutex // held by the one client that waits for the next time
	given   int
	counted int
}

// A turn is one request's place in the schedule.
type turn struct {
	number  int
	due     time.Duration // since the run began
	counted bool          // it is no part of the warm-up
}

// next waits until a request is due. In a closed loop one always is.
func (s *schedule) next(ctx context.Context) (t turn, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ctx.Err() != nil {
		return t, false
	}
	t = turn{number: s.given, due: time.Since(s.began)}
	if s.o.Rate > 0 {
		t.due = time.Duration(float64(s.given) / s.o.Rate * float64(time.Second))
	}
	t.counted = t.due >= s.o.Warmup
	if s.over(t) || s.o.Rate > 0 && !s.wait(ctx, s.began.Add(t.due)) {
		return t, false
	}
	s.given++
	if t.counted {
		s.counted++
	}
	return t, true
}

func (s *schedule) over(t turn) bool {
	return s.exhausted() || s.o.Duration > 0 && t.due >= s.o.Warmup+s.o.Duration
}

// exhausted reports whether there were as many requests as asked for.
func (s *schedule) exhausted() bool { return s.o.Requests > 0 && s.counted >= s.o.Requests }

// Go's timers are up to a millisecond late, which is much beside the latency of a
// fast service. So the end of a wait is left to the kernel, unless a request falls
// due in every such millisecond: it would be more wake-ups than it is worth then, and
// those of a millisecond are asked together at its end.
const (
	timerLate  = time.Millisecond
	preciseFor = float64(time.Second / timerLate) // requests a second
)

// wait reports whether the time came before the context ended.
func (s *schedule) wait(ctx context.Context, when time.Time) bool {
	early := timerLate
	if s.o.Rate > preciseFor {
		early = 0
		when = s.began.Add((when.Sub(s.began) + timerLate - 1).Truncate(timerLate))
	}
	if wait := time.Until(when) - early; wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return false
		}
	}
	for rest := time.Until(when); rest > 0; rest = time.Until(when) {
		sleep(rest)
	}
	return true
}
