//go:build linux

package threads_test

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/distinfer/distinfer/runtime/ort"
	"github.com/distinfer/distinfer/runtime/ort/orttest"
)

// kept are the processors that threads of this process are kept on, one for each
// such thread.
func kept(t *testing.T) (list []string) {
	t.Helper()
	paths, err := filepath.Glob("/proc/self/task/*/status")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		status, err := os.ReadFile(path)
		if err != nil { // the thread is over
			continue
		}
		_, rest, _ := strings.Cut(string(status), "Cpus_allowed_list:\t")
		if cpu, _, _ := strings.Cut(rest, "\n"); cpu != "" && !strings.ContainsAny(cpu, ",-") {
			list = append(list, cpu)
		}
	}
	return list
}

// Threads that share a run must not be given one processor. Only when there is one for
// each are they kept on them, and a run that has no help may go anywhere.
func TestARunThatAllHelpHasAProcessorForEachThread(t *testing.T) {
	processors := runtime.GOMAXPROCS(0)
	if processors < 2 || processors < runtime.NumCPU() {
		t.Skip("needs two processors or more, all of them")
	}
	p := newPool(t, processors-1)
	s := product(t, 4, ort.Options{Pool: p})
	before := len(kept(t)) // intra-op threads, which other tests may have placed already
	p.Allow(0)
	orttest.Run(t, s, rows(2000))
	if got := kept(t); len(got) != before {
		t.Errorf("a run without help is kept on a processor: %q", got)
	}
	p.Allow(processors - 1)
	orttest.Run(t, s, rows(2000))
	got, seen := kept(t), map[string]bool{}
	for _, cpu := range got {
		seen[cpu] = true
	}
	if len(got) != processors || len(seen) != processors {
		t.Errorf("%d processors, and threads are kept on %q", processors, got)
	}
}
