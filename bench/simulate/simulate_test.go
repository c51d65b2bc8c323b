package simulate

import (
	"slices"
	"testing"
	"time"
)

func small() Config {
	return Config{
		Costs: Medium, Fronts: 3, FrontProcessors: 1, Ranks: 2, Replicas: 8, Runs: 1, Load: 0.5,
		Warm: time.Second, Measured: 3 * time.Second, Down: 3 * time.Second, How: Killed, Seed: 1,
	}
}

func TestWithoutFailuresAllIsAnsweredOnce(t *testing.T) {
	t.Parallel()
	r := Simulate(small())
	if r.Refused != 0 || r.Failed != 0 || r.Lost != 0 || r.Retries != 0 || r.Texts < 300 {
		t.Errorf("%+v", r)
	}
	// A lone text takes 18.5 ms a stage on average, and two hops of each direction.
	if ratio := r.Throughput / r.Offered; ratio < 0.9 || ratio > 1.1 || r.P50 < 30*time.Millisecond {
		t.Errorf("%.2f of the texts, p50 %s", ratio, r.P50)
	}
	if r.FrontConnections != 24 || r.Connections != 3*24+2*8*8 {
		t.Errorf("%d connections of a front, %d of all", r.FrontConnections, r.Connections)
	}
}

func TestTheSameSeedGivesTheSame(t *testing.T) {
	t.Parallel()
	c := small()
	c.Failing, c.How = 0.2, Silent
	one, two := Simulate(c), Simulate(c)
	if one != two {
		t.Errorf("%+v, then %+v", one, two)
	}
	c.Seed = 2
	if other := Simulate(c); other == one {
		t.Error("another seed gives the same")
	}
}

func TestFailuresAreRetried(t *testing.T) {
	t.Parallel()
	for _, how := range []Failure{Killed, Silent, Slow} {
		c := small()
		c.Failing, c.How = 0.2, how
		r := Simulate(c)
		if r.Lost != 0 || r.Failed > r.Texts/100 || how != Slow && r.Retries == 0 {
			t.Errorf("%s: %+v", how, r)
		}
		c.Failing = 0
		if healthy := Simulate(c); r.P99 <= healthy.P99 {
			t.Errorf("%s: p99 %s, without failures %s", how, r.P99, healthy.P99)
		}
	}
}

// A subset too small leaves replicas without callers, one that covers them does not.
func TestSubsetsBoundConnections(t *testing.T) {
	t.Parallel()
	c := small()
	all := Simulate(c)
	c.Subset = 4
	some := Simulate(c)
	if some.Connections*2 != all.Connections || some.Throughput < 0.9*all.Throughput {
		t.Errorf("%+v, with all %+v", some, all)
	}
	c.Fronts, c.Subset, c.Load = 1, 2, 0.8
	if r := Simulate(c); r.Throughput > 0.6*r.Offered || r.Refused == 0 {
		t.Errorf("two replicas of eight answer all: %+v", r)
	}
}

func TestEvenSubsetsCoverAll(t *testing.T) {
	t.Parallel()
	addresses := []string{"a", "b", "c", "d", "e", "f"}
	times := map[string]int{}
	for i := range 6 {
		chosen := evenly(addresses, i, 6, 2)
		if len(chosen) != 2 {
			t.Fatal(chosen)
		}
		for _, a := range chosen {
			times[a]++
		}
	}
	for _, a := range addresses {
		if times[a] != 2 {
			t.Errorf("%s is chosen %d times", a, times[a])
		}
	}
	if all := evenly(addresses, 3, 6, 0); !slices.Equal(all, addresses) {
		t.Error(all)
	}
}

func TestEventsRunInOrder(t *testing.T) {
	t.Parallel()
	var c clock
	var order []int
	for i, d := range []time.Duration{30, 10, 20, 10, -5} {
		c.after(d, func() { order = append(order, i) })
	}
	c.run(20)
	if !slices.Equal(order, []int{4, 1, 3, 2}) || c.now != 20 {
		t.Errorf("%v at %d", order, c.now)
	}
}
