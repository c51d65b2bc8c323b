package cluster

import (
	"testing"
	"time"

	"github.com/distinfer/distinfer/runtime/testkit"
)

func TestWhatTheKernelSays(t *testing.T) {
	t.Parallel()
	used, err := parseStat("77 (a ) b) S 1 2 3 4 5 6 7 8 9 10 250 50 7 8 20 0\n")
	if err != nil || used != 3*time.Second {
		t.Error(used, err)
	}
	busy, err := parseBusy("cpu  10 20 30 4000 5000 60 70 80 10 0\ncpu0 1 2 3\n")
	if err != nil || busy != 2700*time.Millisecond {
		t.Error(busy, err)
	}
	for _, stat := range []string{"", "77 (a", "77 (a) S 1"} {
		if _, err := parseStat(stat); err == nil {
			t.Errorf("%q", stat)
		}
	}
	if all, err := All(); err != nil || all <= 0 {
		t.Error(all, err)
	}
	p, _ := shell(t, "exec sleep 600")
	// A process that has just begun has next to none.
	testkit.Eventually(t, "the process has memory", func() bool {
		memory, err := p.Memory()
		peak, errPeak := p.PeakMemory()
		if err != nil || errPeak != nil {
			t.Error(err, errPeak)
		}
		return memory >= 1e4 && peak >= 1e3
	})
	if _, err := p.Computed(); err != nil {
		t.Error(err)
	}
	p.Kill()
	if _, err := p.Computed(); err == nil {
		t.Error("a process that is gone still computes")
	}
}
