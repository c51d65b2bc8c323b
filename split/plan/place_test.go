package plan

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// bestOf is what trying everything finds for k stages, from the places that plans
// choose from; feasible tells whether any borders at all allow a plan.
func bestOf(w Work, machines []Machine, k int) (period, latency int64, feasible bool) {
	period, latency = bestPlaced(w, worthwhile(w, false), machines, k)
	if period == math.MaxInt64 {
		period, latency = bestPlaced(w, worthwhile(w, true), machines, k)
	}
	if period != math.MaxInt64 {
		return period, latency, true
	}
	all, _ := bestPlaced(w, everywhere(w), machines, k)
	return period, latency, all != math.MaxInt64
}

// checkPlaced compares what a plan says with the work and the machines.
func checkPlaced(t *testing.T, w Work, machines []Machine, p Plan) {
	t.Helper()
	checkStages(t, w, p)
	var chosen []Machine
	used := map[int]bool{}
	for _, s := range p.Stages {
		if used[s.Machine] {
			t.Fatalf("machine %d has two stages", s.Machine)
		}
		used[s.Machine] = true
		m := machines[s.Machine]
		chosen = append(chosen, m)
		if s.Time != floor(computing(w, s.From, s.To), 1000, m.Speed) {
			t.Fatalf("%+v on %+v", s, m)
		}
	}
	period, latency, fits := placed(w, bordersOf(p), chosen)
	if !fits || period != p.Period || latency != p.Latency {
		t.Fatalf("period %d and latency %d are said to be %d and %d", period, latency, p.Period, p.Latency)
	}
}

// checkWhyNot holds what an error says against what trying everything finds.
func checkWhyNot(t *testing.T, w Work, machines []Machine, k int, why string) {
	t.Helper()
	var memories []int64
	for _, m := range machines {
		if m.Memory == 0 {
			m.Memory = math.MaxInt64 / 10
		}
		memories = append(memories, m.Memory)
	}
	slices.Sort(memories)
	slices.Reverse(memories)
	needed := int64(math.MaxInt64)
	ways := borderings(w, everywhere(w), k)
	for _, borders := range ways {
		needed = min(needed, heaviest(w, borders))
	}
	whole := weights(w, 0, len(w.Segments))
	var together int64
	for _, m := range memories[:k] {
		together += m
	}
	var want string
	switch {
	case len(ways) == 0:
		want = "stages at most, by its"
	case k == 1:
		want = "needs " + needs(whole) + " on one machine, the largest has " + has(memories[0])
	case together < whole:
		want = "needs " + needs(whole) + " on "
	case memories[0] < needed:
		want = "needs " + needs(needed) + " on one of "
	default:
		want = "has no cut into "
	}
	if !strings.Contains(why, want) {
		t.Fatalf("%q does not say %q", why, want)
	}
}

// place is the best plan of any number of machines.
func place(work Work, machines []Machine) (Plan, error) {
	p, err := newPlacer(work, machines)
	if err != nil {
		return Plan{}, err
	}
	period, stages := int64(never), 0
	for k := 1; k <= p.stages; k++ {
		if b := p.board(k); b.periods[k] < period {
			period, stages = b.periods[k], k
		}
	}
	if stages == 0 {
		return Plan{}, fmt.Errorf("the model does not fit these machines: it %s", p.whyNot(p.stages))
	}
	return p.board(stages).plan(stages), nil
}

func TestPlaceAndCompareAreAsGoodAsTryingEverything(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(7, 8))
	solved, refused, pipelines, fewer := 0, 0, 0, 0
	cases := 3000
	if testing.Short() {
		cases = 500
	}
	for range cases {
		w := randomWork(r, 1+r.IntN(9))
		machines := randomMachines(r, 1+r.IntN(4), w)
		if r.IntN(8) == 0 {
			w = randomWork(r, 1+r.IntN(6))
			machines = randomMachines(r, 5, w)
		}
		options, err := Compare(w, machines)
		if err != nil {
			t.Fatal(err)
		}
		least, leastLatency, stages := int64(math.MaxInt64), int64(0), 0
		for k := 1; k <= len(machines); k++ {
			period, latency, feasible := bestOf(w, machines, k)
			o := options[k]
			if k == 1 {
				o = options[0]
			}
			if o.Machines != k || (o.WhyNot == "") != feasible {
				t.Fatalf("%d stages are feasible: %t, but %+v\n%+v\n%+v", k, feasible, o, w, machines)
			}
			if !feasible {
				checkWhyNot(t, w, machines, k, o.WhyNot)
				continue
			}
			pipelines++
			checkPlaced(t, w, machines, Plan{Stages: o.Stages, Period: period, Latency: latency})
			if o.Throughput != 1e12/float64(period) || o.Latency != time.Duration(latency/1000) {
				t.Fatalf("%+v, but the best takes %d and %d", o, period, latency)
			}
			if period < least {
				least, leastLatency, stages = period, latency, k
			}
		}
		checkReplicas(t, w, machines, options[1])
		checkBest(t, options)

		p, err := place(w, machines)
		if err != nil {
			refused++
			if stages > 0 {
				t.Fatalf("%v, but there is a plan: %+v %+v", err, w, machines)
			}
			parts := min(len(machines), len(worthwhile(w, false))+1)
			checkWhyNot(t, w, machines, parts, err.Error())
			continue
		}
		solved++
		if stages < len(machines) {
			fewer++
		}
		checkPlaced(t, w, machines, p)
		if p.Period != least || p.Latency != leastLatency || len(p.Stages) != stages {
			t.Fatalf("%+v, but the best takes %d and %d: %+v %+v", p, least, leastLatency, w, machines)
		}
	}
	if !testing.Short() && (solved < 1500 || refused < 200 || pipelines < 2500 || fewer < 500) {
		t.Errorf("%d solved (%d with fewer machines), %d refused, %d pipelines say little", solved, fewer, refused, pipelines)
	}
}

// checkReplicas computes the option of replicas anew.
func checkReplicas(t *testing.T, w Work, machines []Machine, o Option) {
	t.Helper()
	n, throughput, slowest := 0, 0.0, int64(0)
	for _, m := range machines {
		if period, latency, fits := placed(w, []int{0, len(w.Segments)}, []Machine{m}); fits {
			n++
			throughput += 1e12 / float64(period)
			slowest = max(slowest, latency/1000)
		}
	}
	if n < 2 {
		if o.WhyNot == "" || o.Throughput != 0 {
			t.Fatalf("%d machines can hold the model: %+v", n, o)
		}
		return
	}
	if o.WhyNot != "" || o.Machines != n || len(o.Stages) != n || o.Throughput != throughput || o.Latency != time.Duration(slowest) {
		t.Fatalf("%d replicas give %g in %d: %+v", n, throughput, slowest, o)
	}
}

// checkBest holds the mark against the rule.
func checkBest(t *testing.T, options []Option) {
	t.Helper()
	best, marked, most := -1, 0, 0.0
	for i, o := range options {
		if o.Best {
			best = i
			marked++
		}
		if o.WhyNot == "" {
			most = max(most, o.Throughput)
		}
	}
	if marked > 1 || marked == 0 && most > 0 {
		t.Fatalf("%d are the best of %+v", marked, options)
	}
	for _, o := range options {
		if b := options[max(best, 0)]; o.WhyNot == "" && o.Throughput >= 0.99*most {
			if b.Throughput < 0.99*most || o.Latency < b.Latency || o.Latency == b.Latency && o.Machines < b.Machines {
				t.Fatalf("%+v is better than %+v", o, b)
			}
		}
	}
}

// evenWork is n segments that take a millisecond each and have a megabyte of
// weights, with nothing between them.
func evenWork(n int) Work {
	w := Work{Cross: make([]int64, n+1)}
	for i := range n {
		w.Segments = append(w.Segments, Segment{Time: 1_000_000_000, Layers: 1, Weights: []int32{int32(i)}})
		w.WeightBytes = append(w.WeightBytes, 1_000_000)
	}
	return w
}

func TestTrapsOfPlace(t *testing.T) {
	t.Parallel()
	fast, slow := Machine{Name: "fast", Speed: 10_000}, Machine{Name: "slow", Speed: 100}
	tied := evenWork(4) // the first and the last share all they have
	tied.Segments[3].Weights = []int32{0}
	layer := evenWork(1)
	layer.Segments[0].Time *= 10
	heavy := evenWork(4)
	heavy.Cross = []int64{0, 1e6, 1e6, 1e6, 0}
	for name, c := range map[string]struct {
		work     Work
		machines []Machine
		period   int64 // in ms
		on       []int
	}{
		// PipeEdge takes the index of a type of device for that of a device, and
		// answers 40 where one layer could be on the fast one.
		"one layer, two slow and one fast": {layer, []Machine{{Speed: 250}, {Speed: 250}, {Speed: 1000}}, 10, []int{2}},
		"two slow and one fast":            {evenWork(10), []Machine{{Speed: 250}, {Speed: 250}, {Speed: 1000}}, 8, []int{2, 0}},
		"fewer are faster":                 {evenWork(2), []Machine{slow, fast, slow}, 0, []int{1}},
		"a heavy link":                     {heavy, []Machine{{Speed: 1000, Bandwidth: 1e9}, {Speed: 1000, Bandwidth: 1e9}}, 4, []int{0}},
		"a light link":                     {heavy, []Machine{{Speed: 1000, Bandwidth: 4e9}, {Speed: 1000, Bandwidth: 4e9}}, 2, []int{0, 1}},
		"the slower end counts":            {heavy, []Machine{{Speed: 1000, Bandwidth: 1e9}, {Speed: 1000, Bandwidth: 4e9}}, 4, []int{0}},
		"tied weights fit only together":   {tied, []Machine{{Speed: 1000, Memory: 3e6}, {Speed: 1000, Memory: 1e6}}, 3, []int{1, 0}},
		"memory before speed":              {evenWork(4), []Machine{{Speed: 1000, Memory: 1e6}, {Speed: 500, Memory: 3e6}}, 6, []int{1, 0}},
		"equal machines, fewer":            {evenWork(1), []Machine{{Speed: 1000}, {Speed: 1000}}, 1, []int{0}},
		"the nearer machine":               {evenWork(1), []Machine{{Speed: 1000, Latency: time.Second}, {Speed: 1000}}, 1, []int{1}},
	} {
		p, err := place(c.work, c.machines)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var on []int
		for _, s := range p.Stages {
			on = append(on, s.Machine)
		}
		if p.Period/1_000_000_000 != c.period || !slices.Equal(on, c.on) {
			t.Errorf("%s: %d ms on %v, not %d on %v", name, p.Period/1_000_000_000, on, c.period, c.on)
		}
	}
}

func TestErrorsOfPlace(t *testing.T) {
	t.Parallel()
	small := Machine{Name: "small", Speed: 1000, Memory: 1_500_000}
	for _, c := range []struct {
		machines []Machine
		want     string
	}{
		{nil, "there are no machines to place the model on; name at least one"},
		{[]Machine{{Name: "x"}}, `machine "x": its speed must be above 0, and its memory, bandwidth and latency not below`},
		{[]Machine{{Name: "x", Speed: 1, Bandwidth: -1}}, `machine "x": its speed must be above 0, and its memory, bandwidth and latency not below`},
		{[]Machine{{Name: "x", Speed: 1, Latency: math.MaxInt64}}, `machine "x" is too slow: a request could take it half an hour; leave it out`},
		{[]Machine{small}, "the model does not fit these machines: it needs 4 MB on one machine, the largest has 1.5 MB"},
		{[]Machine{small, small}, "the model does not fit these machines: it needs 4 MB on 2 machines, the largest have 3 MB together"},
		{[]Machine{small, small, small}, "the model does not fit these machines: it needs 2 MB on one of 3 machines, the largest has 1.5 MB"},
	} {
		if _, err := place(evenWork(4), c.machines); err == nil || err.Error() != c.want {
			t.Errorf("%v\nwant %s", err, c.want)
		}
		if len(c.machines) > 0 && c.machines[0].Memory > 0 {
			options, err := Compare(evenWork(4), c.machines)
			if err != nil || options[0].WhyNot != "needs 4 MB on one machine, the largest has 1.5 MB" || options[0].Best {
				t.Errorf("%+v, %v", options, err)
			}
		} else if _, err := Compare(evenWork(4), c.machines); err == nil {
			t.Errorf("%v: no error", c.machines)
		}
	}
}

// differing makes machines that all differ.
func differing(n int) []Machine {
	var machines []Machine
	for i := range n {
		machines = append(machines, Machine{
			Name: string(rune('a' + i)), Speed: int64(500 + 97*i), Memory: int64(20-i) * 10_000_000,
			Bandwidth: int64(1+i%5) * 1e8, Latency: time.Duration(i) * time.Microsecond,
		})
	}
	return machines
}

func TestPlaceOnManyMachines(t *testing.T) {
	t.Parallel()
	alike := func(n int) []Machine { return slices.Repeat([]Machine{{Speed: 1000, Bandwidth: 1e9}}, n) }
	free := evenWork(64) // with one heavy segment, nothing can be ruled out by time
	for i := range free.Segments {
		if i != 20 {
			free.Segments[i].Time = 0
		}
	}
	for name, c := range map[string]struct {
		work     Work
		machines []Machine
		refused  bool
	}{
		"8 that differ":          {evenWork(64), differing(8), false},
		"16 alike":               {evenWork(256), alike(16), false},
		"13 that differ":         {evenWork(20), differing(13), false},
		"14 that differ":         {evenWork(100), differing(14), true},
		"128 alike":              {evenWork(200), alike(128), false},
		"129 alike":              {evenWork(200), alike(129), true},
		"8 that differ, no time": {free, differing(8), false},
		"20 and 20":              {evenWork(200), append(alike(20), slices.Repeat(differing(1), 20)...), false},
		"a very deep chain":      {deepWork(100_000), differing(2), false},
	} {
		options, err := Compare(c.work, c.machines)
		if c.refused {
			if err == nil || !strings.Contains(err.Error(), "13 that all differ") {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		p, err := place(c.work, c.machines)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, o := range options {
			if o.Arrangement != Replicas && o.WhyNot == "" && o.Throughput > second/float64(p.Period) {
				t.Errorf("%s: %d machines are faster", name, o.Machines)
			}
			if o.WhyNot != "" && o.Arrangement == Pipeline && !strings.Contains(o.WhyNot, "needs") {
				t.Errorf("%s: %s", name, o.WhyNot)
			}
		}
	}
	p, err := place(evenWork(256), alike(16))
	if err != nil || p.Period != 16*1_000_000_000 || len(p.Stages) != 16 {
		t.Errorf("16 alike share 256 ms as %+v, %v", p, err)
	}
}
