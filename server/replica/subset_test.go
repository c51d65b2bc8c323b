package replica_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/distinfer/distinfer/server/replica"
)

func addresses(n int) (list []string) {
	for i := range n {
		list = append(list, fmt.Sprintf("10.0.%d.%d:2222", i/250, i%250))
	}
	return list
}

func TestASubsetIsAsManyAndNoOthers(t *testing.T) {
	t.Parallel()
	all := addresses(20)
	for _, c := range []struct{ n, want int }{{0, 20}, {-1, 20}, {1, 1}, {7, 7}, {20, 20}, {99, 20}} {
		chosen := replica.Subset("a", all, c.n)
		if len(chosen) != c.want || len(slices.Compact(slices.Sorted(slices.Values(chosen)))) != c.want {
			t.Errorf("%d: %q", c.n, chosen)
		}
		if !slices.Equal(chosen, replica.Subset("a", all, c.n)) {
			t.Errorf("%d: another choice", c.n)
		}
	}
	if none := replica.Subset("a", nil, 3); len(none) != 0 {
		t.Errorf("%q", none)
	}
}

// Each replica is chosen about as often as chance has it, and each is first about as often.
func TestSubsetsSpreadOverTheReplicas(t *testing.T) {
	t.Parallel()
	const clients, replicas, n = 1000, 100, 10
	chosen, first := map[string]int{}, map[string]int{}
	for i := range clients {
		list := replica.Subset(fmt.Sprintf("client-%d", i), addresses(replicas), n)
		first[list[0]]++
		for _, a := range list {
			chosen[a]++
		}
	}
	for _, a := range addresses(replicas) { // 100 and 10 are meant; 4 standard deviations
		if chosen[a] < 62 || chosen[a] > 138 || first[a] > 23 {
			t.Errorf("%s is chosen %d times, and is first %d times", a, chosen[a], first[a])
		}
	}
}

func TestOneReplicaMoreOrLessChangesOneOfTheChosen(t *testing.T) {
	t.Parallel()
	all := addresses(51)
	for i := range 200 {
		client := fmt.Sprint(i)
		before, after := replica.Subset(client, all[:50], 10), replica.Subset(client, all, 10)
		kept := 0
		for _, a := range after {
			if slices.Contains(before, a) {
				kept++
			}
		}
		if kept < 9 {
			t.Errorf("client %d keeps %d of 10", i, kept)
		}
	}
}
