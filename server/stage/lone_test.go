package stage

import (
	"testing"
	"time"
)

// Lone runs have help once it was seen that they are long, and runs beside others never.
func TestHelpIsForLongRunsThatAreAlone(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		took   time.Duration
		helped bool
	}{{10 * helpFrom, true}, {helpFrom / 10, false}} {
		helped, runs := false, 0
		s := &Server{config: Config{ShareThreads: func(n int, alone bool) { runs, helped = n, alone }}}
		run := func(inFlight int) (help bool) {
			tried := s.begins(inFlight)
			help = helped
			if runs != 1 {
				t.Errorf("%d runs are observed instead of one", runs)
			}
			s.ends(tried, c.took)
			return help
		}
		if run(1) {
			t.Error("the first run has help before it is known how long it takes without")
		}
		with := 0
		for range 2 * tryEvery {
			if run(1) {
				with++
			}
		}
		if c.helped && with < 2*tryEvery-3 || !c.helped && with > 0 {
			t.Errorf("of %d lone runs of %s %d have help", 2*tryEvery, c.took, with)
		}
		if run(2) {
			t.Error("a run has help although its caller has two in flight")
		}
		first := s.begins(1)
		second := s.begins(1)
		if helped || runs != 2 || second {
			t.Errorf("beside another run: help %v, %d runs", helped, runs)
		}
		s.ends(second, c.took)
		s.ends(first, c.took)
		if runs != 0 {
			t.Errorf("%d runs in the end", runs)
		}
	}
}
