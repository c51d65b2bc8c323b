package split

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"
)

// randomCuts makes the places of a model of n nodes, some of them layers.
func randomCuts(r *rand.Rand, n int) []cut {
	cuts := make([]cut, n+1)
	for i := 1; i <= n; i++ {
		cuts[i] = cuts[i-1]
		cuts[i].at = i
		cuts[i].illegal = ""
		cuts[i].cost += r.Int64N(50) * picosecondsPerLinkByte
		if r.IntN(3) > 0 {
			cuts[i].layers++
		}
		cuts[i].bytes = r.Int64N(40)
		if r.IntN(8) == 0 && i < n {
			cuts[i].illegal = "a sequence"
		}
	}
	cuts[0].bytes = r.Int64N(40)
	return cuts
}

// bottleneck is the time of the slowest stage between borders, and all the
// bytes that cross. ok is false when one of several stages has no layer.
func bottleneck(borders []cut) (time, bytes int64, ok bool) {
	borders[0].bytes, borders[len(borders)-1].bytes = 0, 0
	for i := 1; i < len(borders); i++ {
		a, b := borders[i-1], borders[i]
		if a.layers == b.layers && len(borders) > 2 {
			return 0, 0, false
		}
		time = max(time, b.cost-a.cost+(a.bytes+b.bytes)*picosecondsPerLinkByte)
		bytes += b.bytes
	}
	return time, bytes, true
}

// best tries every choice of n-1 places.
func best(first cut, places []cut, last cut, n int) (time, bytes int64) {
	time = math.MaxInt64
	var try func(chosen []cut, from int)
	try = func(chosen []cut, from int) {
		if len(chosen) == n {
			borders := append(append([]cut{}, chosen...), last)
			if t, b, ok := bottleneck(borders); ok && (t < time || t == time && b < bytes) {
				time, bytes = t, b
			}
			return
		}
		for i := from; i < len(places); i++ {
			try(append(chosen, places[i]), i+1)
		}
	}
	try([]cut{first}, 0)
	return time, bytes
}

func TestChooseIsAsGoodAsTryingEverything(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	solved, impossible := 0, 0
	for range 3000 {
		cuts := randomCuts(r, 1+r.IntN(12))
		n := 1 + r.IntN(5)
		borders, err := choose(cuts, n)
		wantTime, wantBytes := best(cuts[0], candidates(cuts, n), cuts[len(cuts)-1], n)
		if err != nil {
			impossible++
			if wantTime != math.MaxInt64 {
				t.Fatalf("%v: refused, but there is a plan of time %d", err, wantTime)
			}
			continue
		}
		solved++
		if len(borders) != n+1 || borders[0].at != 0 || borders[n].at != len(cuts)-1 {
			t.Fatalf("%d stages: borders %v", n, borders)
		}
		time, bytes, ok := bottleneck(borders)
		if !ok || time != wantTime || bytes != wantBytes {
			t.Fatalf("%d stages: time %d and %d bytes, the best is %d and %d", n, time, bytes, wantTime, wantBytes)
		}
	}
	if solved < 500 || impossible < 100 {
		t.Errorf("%d solved and %d impossible cases say little", solved, impossible)
	}
}

func TestChooseNamesTheLargestNumberOfStagesThatWorks(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(3, 4))
	refused := 0
	for range 500 {
		cuts := randomCuts(r, 2+r.IntN(9))
		largest := 0
		for n := 1; n < 12; n++ {
			if _, err := choose(cuts, n); err == nil {
				largest = n
			}
		}
		if largest == 0 {
			continue // a model without layers cannot come from a planner
		}
		_, err := choose(cuts, largest+1)
		if err == nil {
			t.Fatal("more stages than the largest number")
		}
		layers := cuts[len(cuts)-1].layers
		if largest < layers {
			refused++
			if !strings.Contains(err.Error(), "largest number of stages that works is") {
				t.Errorf("%v", err)
			}
		}
	}
	if refused == 0 {
		t.Error("no case in which a sequence binds")
	}
}

func TestCandidatesAreBoundedForVeryDeepModels(t *testing.T) {
	t.Parallel()
	n := 200_000
	cuts := make([]cut, n+1)
	for i := range cuts {
		cuts[i] = cut{at: i, cost: int64(i), layers: i, bytes: int64(i % 7)}
	}
	if got := len(candidates(cuts, 2)); got > maxCandidates {
		t.Errorf("%d candidates", got)
	}
	borders, err := choose(cuts, 4)
	if err != nil {
		t.Fatal(err)
	}
	for i := 1; i < 4; i++ {
		if share := float64(borders[i].at) / float64(n) * 4; math.Abs(share-float64(i)) > 0.01 {
			t.Errorf("border %d is at %d of %d", i, borders[i].at, n)
		}
	}
}
