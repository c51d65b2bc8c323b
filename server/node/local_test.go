package node

import (
	"slices"
	"testing"
)

// Several pipelines that are started at once must not take each other's ports, though
// the stages listen on them only later.
func TestPipelinesAreGivenPortsOfTheirOwn(t *testing.T) {
	t.Parallel()
	var all []string
	for range 5 {
		addresses, release, err := localStages(t.Context(), nil, 3)
		if err != nil {
			t.Fatal(err)
		}
		defer release()
		all = append(all, slices.Concat(addresses...)...)
	}
	slices.Sort(all)
	if unique := slices.Compact(slices.Clone(all)); len(unique) != 15 {
		t.Errorf("15 stages have the addresses %q", all)
	}
}
