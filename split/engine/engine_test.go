package engine

import (
	"testing"
	"time"
)

// The time of runs that did not end counts for later ones, which still get some.
func TestRunsShareTheTimeTheyLose(t *testing.T) {
	t.Parallel()
	e := &timed{limit: 10 * time.Second}
	for _, c := range []struct{ lost, longest, want time.Duration }{
		{0, 0, 10 * time.Second},
		{4 * time.Second, 0, 6 * time.Second},
		{20 * time.Second, 0, time.Second},
		{20 * time.Second, time.Second, 5 * time.Second},
		{20 * time.Second, 9 * time.Second, 10 * time.Second},
	} {
		e.lost, e.longest = c.lost, c.longest
		if got := e.left(); got != c.want {
			t.Errorf("after %s lost and a run of %s there are %s, want %s", c.lost, c.longest, got, c.want)
		}
	}
}
