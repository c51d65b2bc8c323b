//go:build linux

package threads_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/distinfer/distinfer/runtime/ort"
	"github.com/distinfer/distinfer/runtime/ort/orttest"
	"github.com/distinfer/distinfer/runtime/selftest"
)

// What computes has the nice value it was given, and the threads of Go have not.
func TestOnlyRunsStepBack(t *testing.T) {
	const nice = "13" // no other session's
	s, err := orttest.Library(t).OpenBytes("the self-test", selftest.Model, selftest.Inputs(), selftest.Outputs(), ort.Options{Threads: 1, Nice: 13})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	if _, err := selftest.Share(s)(context.Background(), 1, selftest.Request([]float32{1, 2}, 0)); err != nil {
		t.Fatal(err)
	}
	stats, err := filepath.Glob("/proc/self/task/*/stat")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, path := range stats {
		stat, err := os.ReadFile(path)
		if err != nil { // the thread is over
			continue
		}
		// Field 19 of proc_pid_stat(5); the second ends with the last parenthesis.
		_, rest, _ := strings.Cut(string(stat), ") ")
		if fields := strings.Fields(rest); fields[16] == nice {
			found++
		}
	}
	if found != 1 {
		t.Errorf("%d of %d threads have the nice value %s, not 1", found, len(stats), nice)
	}
}
