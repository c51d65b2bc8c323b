package simulate

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/distinfer/distinfer/runtime/testkit"
)

// The table in docs/capacity.md is the one that is computed.
func TestThePageHasTheTable(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(filepath.Join(testkit.Root(t), "docs", "capacity.md"))
	if err != nil {
		t.Fatal(err)
	}
	var table strings.Builder
	if err := printCapacity(&table); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(page), table.String()) {
		t.Errorf("docs/capacity.md has another table than `make bench NAME=simulate ARGS='-only capacity'`:\n%s", table.String())
	}
}

func TestWhatARateTakes(t *testing.T) {
	t.Parallel()
	small, large := Small.need(100, 2, 2), Small.need(1e6, 2, 8)
	if small.Replicas != 1 || small.Fronts != leastFronts || small.FrontSees != 0 {
		t.Errorf("%+v", small)
	}
	// Ten times the rate takes ten times the machines, up to rounding.
	if ten := Small.need(1e7, 2, 8); float64(ten.Replicas) < 9.9*float64(large.Replicas) || ten.Replicas > 10*large.Replicas {
		t.Errorf("%d replicas, then %d", large.Replicas, ten.Replicas)
	}
	if three := Small.need(1e6, 3, 8); 3*three.Replicas < 2*large.Replicas || three.Replicas >= large.Replicas {
		t.Errorf("%d replicas of each of three ranks, %d of two", three.Replicas, large.Replicas)
	}
	if large.FrontSees*large.Fronts < callersEach*large.Replicas || large.ReplicaSees != leastSeen {
		t.Errorf("%+v", large)
	}
	// What is planned is not busier than meant.
	busy := 1e6 / Config{Costs: Small, Ranks: 2, Replicas: large.Replicas, Runs: 8}.Capacity()
	if busy > targetBusy || busy < 0.95*targetBusy {
		t.Errorf("%.2f busy", busy)
	}
}
