package plan

import (
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// bordersOf are the borders of a plan, the outermost included.
func bordersOf(p Plan) []int {
	borders := []int{0}
	for _, s := range p.Stages {
		borders = append(borders, s.To)
	}
	return borders
}

// checkStages compares what a plan says of its stages with the work.
func checkStages(t *testing.T, w Work, p Plan) {
	t.Helper()
	end := 0
	for _, s := range p.Stages {
		if s.From != end || s.To < s.From || s.WeightBytes != weights(w, s.From, s.To) || s.In != w.Cross[s.From] || s.Out != w.Cross[s.To] {
			t.Fatalf("%+v is not what the work says: %+v", s, w)
		}
		if s.Machine < 0 && s.Time != computing(w, s.From, s.To) {
			t.Fatalf("%+v takes %d", s, computing(w, s.From, s.To))
		}
		end = s.To
	}
	if end != len(w.Segments) {
		t.Fatalf("the plan ends at %d", end)
	}
}

// A divisionOracle tries every division.
type divisionOracle struct {
	w    Work
	ways map[int][][]int // all, by number of stages
}

func newDivisionOracle(w Work) divisionOracle {
	o := divisionOracle{w, map[int][][]int{}}
	for n := 1; n <= len(w.Segments); n++ {
		o.ways[n] = borderings(w, everywhere(w), n)
	}
	return o
}

// needed is the smallest limit for n stages, MaxInt64 where none works.
func (o divisionOracle) needed(n int) int64 {
	least := int64(math.MaxInt64)
	for _, borders := range o.ways[n] {
		least = min(least, heaviest(o.w, borders))
	}
	return least
}

// works are the numbers of stages that keep a limit.
func (o divisionOracle) works(limit int64) []int {
	var works []int
	for n := 1; n <= len(o.w.Segments); n++ {
		if o.needed(n) <= limit && len(o.ways[n]) > 0 {
			works = append(works, n)
		}
	}
	return works
}

func TestDivideIsAsGoodAsTryingEverything(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	solved, fine, refused := 0, 0, 0
	for range 6000 {
		w := randomWork(r, 1+r.IntN(9))
		n := 1 + r.IntN(min(5, 1+len(w.Segments)*2/3))
		var limit int64
		if r.IntN(3) > 0 {
			limit = 1 + r.Int64N(1+weights(w, 0, len(w.Segments)))
		}
		fits := func(borders []int) bool { return limit == 0 || heaviest(w, borders) <= limit }

		ways := borderings(w, worthwhile(w, false), n)
		if !slices.ContainsFunc(ways, fits) {
			ways = borderings(w, worthwhile(w, true), n)
			fine++
		}
		lightest := r.IntN(4) == 0
		want := bestDivision(w, slices.DeleteFunc(ways, func(borders []int) bool { return !fits(borders) }), lightest)
		p, err := Divide(w, n, Limits{MaxStageBytes: limit, Lightest: lightest})
		if err != nil {
			refused++
			if slices.ContainsFunc(borderings(w, everywhere(w), n), fits) {
				t.Fatalf("%v: refused, but there is a plan for %+v", err, w)
			}
			continue
		}
		solved++
		checkStages(t, w, p)
		if !slices.Equal(bordersOf(p), want) {
			t.Fatalf("%d stages of at most %d bytes: borders %v, the best are %v: %+v", n, limit, bordersOf(p), want, w)
		}
		if slowest, _ := divided(w, want); p.Period != slowest {
			t.Fatalf("period %d, not %d", p.Period, slowest)
		}
	}
	if solved < 2000 || refused < 1000 || fine-refused < 20 {
		t.Errorf("%d solved, %d of them by fine places only, and %d refused say little", solved, fine-refused, refused)
	}
}

// bestDivision is the best of all ways, or nil.
func bestDivision(w Work, ways [][]int, lightest bool) []int {
	best := func(least, within int64) (want []int) {
		for _, borders := range ways {
			if slow, _ := divided(w, borders); slow <= within && heaviest(w, borders) <= least && (want == nil || better(w, borders, want)) {
				want = borders
			}
		}
		return want
	}
	fastest := best(never, never)
	if fastest == nil {
		return nil
	}
	within := int64(never)
	if slow, _ := divided(w, fastest); !lightest {
		within = slow + slow/20
	}
	least := int64(never)
	for _, borders := range ways {
		if slow, _ := divided(w, borders); slow <= within {
			least = min(least, heaviest(w, borders))
		}
	}
	if has := heaviest(w, fastest); !lightest && least >= has-has/20 {
		return fastest
	}
	return best(least+least/20, never)
}

// better is the order of divisions: by the slowest stage, then by bytes, then with
// the earlier borders, the last first.
func better(w Work, a, b []int) bool {
	slowA, bytesA := divided(w, a)
	slowB, bytesB := divided(w, b)
	if slowA != slowB {
		return slowA < slowB
	}
	if bytesA != bytesB {
		return bytesA < bytesB
	}
	a, b = slices.Clone(a), slices.Clone(b)
	slices.Reverse(a)
	slices.Reverse(b)
	return slices.Compare(a, b) < 0
}

func TestDivideNamesTheLimitThatBinds(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(3, 4))
	layers, bytes, hopeless := 0, 0, 0
	for range 3000 {
		w := randomWork(r, 1+r.IntN(8))
		n := 1 + r.IntN(9)
		limit := r.Int64N(1 + weights(w, 0, len(w.Segments)))
		_, err := Divide(w, n, Limits{MaxStageBytes: limit})
		if err == nil {
			continue
		}
		var e *LimitError
		if !errors.As(err, &e) {
			t.Fatal(err)
		}
		o := newDivisionOracle(w)
		if limit == 0 {
			limit = math.MaxInt64
		}
		if works := o.works(limit); len(works) == 0 {
			hopeless++
			if e.Smallest != 0 || e.Largest != 0 || !strings.Contains(e.Error(), "raise the limit") {
				t.Fatalf("%v, but no number works", e)
			}
		} else if e.Smallest != works[0] || e.Largest != works[len(works)-1] || slices.Contains(works, n) {
			t.Fatalf("%v, but what works is %v", e, works)
		}
		parts, any := 0, int64(math.MaxInt64)
		for k, ways := range o.ways {
			if len(ways) > 0 {
				parts = max(parts, k)
				any = min(any, o.needed(k))
			}
		}
		if e.Parts != parts || e.NeededByAny != any {
			t.Fatalf("%d parts and %d bytes, not %d and %d", e.Parts, e.NeededByAny, parts, any)
		}
		if n > parts {
			layers++
			if e.Needed != 0 {
				t.Fatalf("%v: no limit works for %d of %d", e, n, parts)
			}
			continue
		}
		bytes++
		if e.Needed != o.needed(n) {
			t.Fatalf("%d bytes, but %d stages need %d", e.Needed, n, o.needed(n))
		}
		if _, err := Divide(w, n, Limits{MaxStageBytes: e.Needed}); err != nil {
			t.Fatalf("told to use %d: %v", e.Needed, err)
		}
		if _, err := Divide(w, n, Limits{MaxStageBytes: e.Needed - 1}); e.Needed > 1 && err == nil {
			t.Fatalf("%d is not the smallest", e.Needed)
		}
	}
	if layers < 300 || bytes < 300 || hopeless < 100 {
		t.Errorf("%d, %d and %d cases say little", layers, bytes, hopeless)
	}
}

func TestErrorsOfDivide(t *testing.T) {
	t.Parallel()
	// Three layers of 4 GB; the first and the last share 3 GB of them.
	w := Work{
		Segments: []Segment{
			{Time: 1, Layers: 1, Weights: []int32{0, 1}},
			{Time: 1, Layers: 1, Weights: []int32{2}},
			{Time: 1, Layers: 1, Weights: []int32{0, 3}},
		},
		WeightBytes: []int64{3e9, 1e9, 4e9, 1_000_000_001},
		Cross:       make([]int64, 4),
	}
	for _, c := range []struct {
		n     int
		limit int64
		want  string
	}{
		{4, 0, "4 stages are more than the model has layers (3); ask for 3 or fewer"},
		{4, 5e9, "4 stages are more than the model has layers (3); ask for 3"},
		{4, 9e9, "4 stages are more than the model has layers (3); ask for 2 to 3"},
		{1, 9e9, "one of 1 stages needs 9.01 GB of weights or more, the limit is 9 GB; ask for 2 to 3"},
		{2, 5e9, "one of 2 stages needs 8 GB of weights or more, the limit is 5 GB; ask for 3"},
		{2, 4e9, "one of 2 stages needs 8 GB of weights or more, the limit is 4 GB; with any number of stages one needs at least 4.01 GB, so raise the limit to that"},
	} {
		_, err := Divide(w, c.n, Limits{MaxStageBytes: c.limit})
		if err == nil || err.Error() != c.want {
			t.Errorf("%d stages of %d bytes: %v\nwant %s", c.n, c.limit, err, c.want)
		}
	}
	w.Segments = []Segment{{Layers: 2}, {Layers: 1}}
	w.Cross = make([]int64, 3)
	want := "no cut gives 3 stages: the 3 layers of the model can be parted into 2 at most; ask for 2 or fewer"
	if _, err := Divide(w, 3, Limits{}); err == nil || err.Error() != want {
		t.Errorf("%v\nwant %s", err, want)
	}
}

func TestWhatCannotBeReckonedWithIsRefused(t *testing.T) {
	t.Parallel()
	good := func() Work {
		return Work{Segments: []Segment{{Time: 1, Layers: 1, Weights: []int32{0}}}, WeightBytes: []int64{1}, Cross: []int64{1, 1}}
	}
	if _, err := Divide(good(), 1, Limits{}); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(w *Work){
		"borders":          func(w *Work) { w.Cross = w.Cross[:1] },
		"negative time":    func(w *Work) { w.Segments[0].Time = -1 },
		"negative layers":  func(w *Work) { w.Segments[0].Layers = -1 },
		"endless time":     func(w *Work) { w.Segments[0].Time = math.MaxInt64 },
		"unknown weight":   func(w *Work) { w.Segments[0].Weights[0] = 1 },
		"negative id":      func(w *Work) { w.Segments[0].Weights[0] = -1 },
		"negative weight":  func(w *Work) { w.WeightBytes[0] = -1 },
		"endless weight":   func(w *Work) { w.WeightBytes[0] = math.MaxInt64 },
		"negative bytes":   func(w *Work) { w.Cross[1] = -1 },
		"endless bytes":    func(w *Work) { w.Cross[1] = math.MaxInt64 / 8000 },
		"a sum of endless": func(w *Work) { w.WeightBytes = slices.Repeat([]int64{math.MaxInt64 / 5}, 2) },
	} {
		w := good()
		spoil(&w)
		if _, err := Divide(w, 1, Limits{}); err == nil {
			t.Errorf("%s: no error", name)
		}
		if _, err := place(w, []Machine{{Speed: 1000}}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := Divide(good(), 0, Limits{}); err == nil {
		t.Error("no stages: no error")
	}
	if _, err := Divide(good(), 1, Limits{MaxStageBytes: -1}); err == nil {
		t.Error("a negative limit: no error")
	}
}

func TestAChainWithoutSegmentsIsOneStage(t *testing.T) {
	t.Parallel()
	w := Work{Cross: []int64{8}}
	p, err := Divide(w, 1, Limits{MaxStageBytes: 1})
	if err != nil || len(p.Stages) != 1 || p.Period != 0 {
		t.Errorf("%+v, %v", p, err)
	}
	if _, err := Divide(w, 2, Limits{}); err == nil {
		t.Error("two stages of nothing")
	}
	if p, err := place(w, []Machine{{Speed: 1000}}); err != nil || len(p.Stages) != 1 {
		t.Errorf("%+v, %v", p, err)
	}
}

// deepWork is a chain of many equal segments with a weight each, and one that all
// of them use.
func deepWork(n int) Work {
	w := Work{Segments: make([]Segment, n), Cross: make([]int64, n+1), WeightBytes: make([]int64, n+1)}
	for i := range w.Segments {
		w.Segments[i] = Segment{Time: 1_000_000, Layers: 1, Weights: []int32{int32(i), int32(n)}}
		w.Cross[i] = int64(i % 7)
		w.WeightBytes[i] = 1000
	}
	w.WeightBytes[n] = 500
	return w
}

func TestDivideOfAVeryDeepChain(t *testing.T) {
	t.Parallel()
	const n = 100_000
	w := deepWork(n)
	for _, limit := range []int64{0, n * 1000 / 4 * 101 / 100} {
		p, err := Divide(w, 4, Limits{MaxStageBytes: limit})
		if err != nil {
			t.Fatal(err)
		}
		for k, s := range p.Stages {
			if share := float64(s.To) / n * 4; math.Abs(share-float64(k+1)) > 0.01 {
				t.Errorf("stage %d ends at %d of %d", k, s.To, n)
			}
		}
	}
	if got := len(w.places(false, maxPlaces)); got > maxPlaces+2 {
		t.Errorf("%d places", got)
	}
	// The weight that all share counts in every stage: five do not quite fit.
	if _, err := Divide(deepWork(1000), 4, Limits{MaxStageBytes: 200_000}); err == nil || !strings.Contains(err.Error(), "ask for 6 to 1000") {
		t.Errorf("%v", err)
	}
}
