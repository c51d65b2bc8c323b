package stats_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/distinfer/distinfer/bench/stats"
)

func TestTheMiddleAndTheEnds(t *testing.T) {
	t.Parallel()
	if m := stats.Median([]time.Duration{4, 1, 2, 9}); m != 3 {
		t.Error(m)
	}
	if s := stats.SpreadOf([]float64{3, 1, 2}); s.String() != "2.00 (1.00–3.00)" || s.Text("%.0f") != "2 (1–3)" {
		t.Error(s)
	}
	if s := stats.SpreadOf(nil); s.String() != "–" {
		t.Error(s)
	}
	sorted := []int{1, 2, 3, 4}
	for share, want := range map[float64]int{0: 1, 0.5: 2, 0.51: 3, 0.99: 4, 1: 4} {
		if got := stats.Quantile(sorted, share); got != want {
			t.Errorf("%v: %d", share, got)
		}
	}
	if stats.Quantile([]int(nil), 0.5) != 0 {
		t.Error("there is a quantile of nothing")
	}
}

func TestAFileIsWrittenWholly(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.json")
	for range 2 {
		if err := stats.WriteJSON(path, []int{1}); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(path)
	left, _ := os.ReadDir(filepath.Dir(path))
	if string(data) != "[\n  1\n]\n" || err != nil || len(left) != 1 {
		t.Errorf("%s %v %v", data, err, left)
	}
	if err := stats.WriteJSON(filepath.Join(path, "none"), 1); err == nil {
		t.Error("it was written into a file as if that were a folder")
	}
}
