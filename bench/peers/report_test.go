package peers

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/distinfer/distinfer/bench/stats"
)

// measured is a contestant whose repeats gave these rates at 32 requests at a
// time, and half as many milliseconds.
func measured(name string, rates ...float64) *contestant {
	c := &contestant{Name: name}
	for i, r := range rates {
		if r > 0 {
			c.Rounds = append(c.Rounds, round{Repeat: i, Figures: map[int]figure{32: {Rate: r, P50: r / 2, Right: 1}}})
		}
	}
	return c
}

func TestRatiosAreOfTheSameRepeat(t *testing.T) {
	t.Parallel()
	// The machine gets slower from repeat to repeat, and the ratio stays.
	a, b := measured("a", 400, 200, 100), measured("b", 200, 100, 50)
	if got := ratio(a, b, 32, rate); got != (stats.Spread{Median: 2, Least: 2, Most: 2}) {
		t.Errorf("got %v, want 2 throughout", got)
	}
	// b failed in the second repeat.
	if got := ratio(a, measured("b", 200, 0, 25), 32, rate); got != (stats.Spread{Median: 3, Least: 2, Most: 4}) {
		t.Errorf("got %v, want the first and the third repeat only", got)
	}
	if got := ratio(a, b, 1, rate); !math.IsNaN(got.Median) {
		t.Errorf("what was not measured has the ratio %v", got)
	}
}

func TestTheBestPeerIsThatOfEachRepeat(t *testing.T) {
	t.Parallel()
	us := measured("us", 100, 100)
	peers := []*contestant{measured("a", 50, 20), measured("b", 25, 40), measured("c")}
	if got := lowest(us, peers, 32, rate); got != (stats.Spread{Median: 2.25, Least: 2, Most: 2.5}) {
		t.Errorf("lowest is %v", got)
	}
	if got := highest(us, peers, 32, rate); got != (stats.Spread{Median: 4.5, Least: 4, Most: 5}) {
		t.Errorf("highest is %v", got)
	}
	if got := lowest(us, nil, 32, rate); !math.IsNaN(got.Median) {
		t.Errorf("beside nobody: %v", got)
	}
}

func TestGoalsAreOnlyOfWhatWasMeasured(t *testing.T) {
	t.Parallel()
	us, front, peer := measured(twoStages, 130), measured(oneStage, 100), measured("fastapi", 100)
	us.Ours, front.Ours = true, true
	r := &report{Contestants: []*contestant{us, front, peer}, Concurrencies: []int{32}}
	var met []bool
	for _, g := range r.list() {
		met = append(met, g.met())
	}
	// At 32: not slower than the front alone, 1.3 times the best peer.
	if !slices.Equal(met, []bool{true, true}) {
		t.Errorf("%+v", r.list())
	}
	peer.Rounds[0].Figures[1] = figure{P50: 10}
	us.Rounds[0].Figures[1] = figure{P50: 11}
	goals := r.list()
	if last := goals[len(goals)-1]; !last.most || last.met() {
		t.Errorf("a p50 above a peer's meets %+v", last)
	}
}

func TestTheReportShowsWrongAnswersAndFailures(t *testing.T) {
	t.Parallel()
	wrong, failed := measured("wrong", 100), &contestant{Name: "gone", About: "never came up", Failed: "no right answer within 2m0s"}
	f := wrong.Rounds[0].Figures[32]
	f.Right, f.Trouble = 0.99999, `wrong, status 200: {"label":"x"}`
	wrong.Rounds[0].Figures[32] = f
	var out strings.Builder
	r := &report{Contestants: []*contestant{wrong, failed}, Concurrencies: []int{32}}
	if err := r.print(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"99.99 %", `wrong, status 200: {"label":"x"}`, "FAILED: no right answer within 2m0s"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the report lacks %q:\n%s", want, out.String())
		}
	}
}

func TestEveryTurnBeginsElsewhere(t *testing.T) {
	t.Parallel()
	first := map[int]bool{}
	for repeat := range 3 {
		order := rotated(8, repeat, 3)
		first[order[0]] = true
		if all := slices.Sorted(slices.Values(order)); !slices.Equal(all, []int{0, 1, 2, 3, 4, 5, 6, 7}) {
			t.Errorf("not everybody has one turn: %v", order)
		}
	}
	if len(first) != 3 {
		t.Errorf("the repeats begin with %v", first)
	}
	if got := rotated(1, 4, 9); !slices.Equal(got, []int{0}) {
		t.Errorf("one alone: %v", got)
	}
}
