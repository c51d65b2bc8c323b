package cgroup

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

var made atomic.Int64

// group makes a group, and removes it after the test.
func group(t *testing.T, l Limits) *Group {
	t.Helper()
	root, err := Find()
	if err != nil {
		t.Skip(err)
	}
	g, err := root.New(fmt.Sprintf("distinfer-test-%d-%d", os.Getpid(), made.Add(1)), l)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Remove(); err != nil {
			t.Error(err)
		}
		for _, dir := range g.dirs() {
			if _, err := os.Stat(dir); err == nil {
				t.Errorf("%s is still there", dir)
			}
		}
	})
	return g
}

func run(g *Group, line ...string) (*exec.Cmd, string, error) {
	line = g.Command(line...)
	cmd := exec.Command(line[0], line[1:]...)
	out, err := cmd.CombinedOutput()
	return cmd, string(out), err
}

func TestProcessIsInTheGroup(t *testing.T) {
	g := group(t, Limits{CPU: 0.5, Period: 20 * time.Millisecond, Memory: 64 << 20})
	_, out, err := run(g, "sh", "-c", `cat /proc/self/cgroup; echo "$@"`, "name", "an argument", "'")
	if err != nil {
		t.Fatal(err, out)
	}
	if n := strings.Count(out, "distinfer-test-"); n != len(g.dirs()) {
		t.Errorf("it is in %d groups of %d:\n%s", n, len(g.dirs()), out)
	}
	if !strings.Contains(out, "\nan argument '\n") {
		t.Errorf("its arguments are others:\n%s", out)
	}
}

func TestProcessorTimeIsLimited(t *testing.T) {
	g := group(t, Limits{CPU: 0.1, Period: 20 * time.Millisecond})
	start := time.Now()
	cmd, out, err := run(g, "sh", "-c", "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done")
	if err != nil {
		t.Fatal(err, out)
	}
	took := time.Since(start)
	cpu := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	// It may have twice its share, for what it began with.
	if cpu > took/5+20*time.Millisecond {
		t.Errorf("it had %s of a processor in %s", cpu, took)
	}
	u, err := g.Usage()
	if err != nil || u.Periods == 0 || u.Throttled == 0 || u.Stalled == 0 {
		t.Errorf("%+v, %v", u, err)
	}
}

func TestMemoryIsLimited(t *testing.T) {
	g := group(t, Limits{Memory: 16 << 20})
	if _, out, err := run(g, "dd", "if=/dev/zero", "of=/dev/null", "bs=1M", "count=1"); err != nil {
		t.Error(err, out)
	}
	if u, err := g.Usage(); err != nil || u.OOMKills != 0 {
		t.Errorf("%+v, %v", u, err)
	}
	if _, _, err := run(g, "dd", "if=/dev/zero", "of=/dev/null", "bs=100M", "count=1"); err == nil {
		t.Error("it had 100 MB")
	}
	if u, err := g.Usage(); err != nil || u.OOMKills != 1 {
		t.Errorf("%+v, %v", u, err)
	}
}

func TestProgramThatCannotEnterIsNotRun(t *testing.T) {
	g := &Group{place{dir: t.TempDir() + "/gone"}, place{dir: t.TempDir()}}
	if _, out, err := run(g, "echo", "it runs"); err == nil || strings.Contains(out, "it runs") {
		t.Errorf("%q, %v", out, err)
	}
}

func TestGroupIsMadeOnce(t *testing.T) {
	root, err := Find()
	if err != nil {
		t.Skip(err)
	}
	name := fmt.Sprintf("distinfer-test-%d-once", os.Getpid())
	g, err := root.New(name, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := g.Remove(); err != nil {
			t.Error(err)
		}
	}()
	if _, err := root.New(name, Limits{}); err == nil {
		t.Error("another's group was taken")
	}
}

func TestSettings(t *testing.T) {
	l := Limits{CPU: 0.15, Period: 20 * time.Millisecond, Memory: 100}
	for _, c := range []struct {
		group Group
		want  string
	}{
		{Group{place{"c", false}, place{"m", false}}, "c/cpu.cfs_period_us=20000 c/cpu.cfs_quota_us=3000 c/cpu.shares=262144 m/memory.limit_in_bytes=100 m/memory.memsw.limit_in_bytes=100"},
		{Group{place{"g", true}, place{"g", true}}, "g/cpu.max=3000 20000 g/cpu.weight=10000 g/memory.max=100 g/memory.swap.max=0"},
		{Group{place{"c", false}, place{"g", true}}, "c/cpu.cfs_period_us=20000 c/cpu.cfs_quota_us=3000 c/cpu.shares=262144 g/memory.max=100 g/memory.swap.max=0"},
	} {
		var got []string
		for _, s := range c.group.settings(l) {
			got = append(got, s.file+"="+s.value)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%v, not %s", got, c.want)
		}
		if rest := c.group.settings(Limits{}); rest != nil {
			t.Errorf("without limits: %v", rest)
		}
	}
}

func TestLimitsThatTheKernelRefuses(t *testing.T) {
	for _, l := range []Limits{
		{CPU: -1}, {Memory: -1}, {CPU: 0.1}, {CPU: 0.1, Period: 5 * time.Millisecond}, {CPU: 0.1, Period: 2 * time.Second},
	} {
		if l.Valid() == nil {
			t.Errorf("%+v is taken", l)
		}
	}
	if err := (Limits{CPU: 0.05, Period: 20 * time.Millisecond}).Valid(); err != nil {
		t.Error(err)
	}
}

// What version 2 says of a group, as its documentation shows it.
func TestUsageOfVersion2(t *testing.T) {
	top := tree(t, "cpu.stat usage_usec 77\nnr_periods 9\nnr_throttled 4\nthrottled_usec 1500\n", "memory.events low 0\noom 3\noom_kill 2\noom_group_kill 0\n")
	g := &Group{place{top, true}, place{top, true}}
	if u, err := g.Usage(); err != nil || u != (Usage{9, 4, 1500 * time.Microsecond, 2}) {
		t.Errorf("%+v, %v", u, err)
	}
	if _, err := value("oom_killed 3\n", "oom_kill"); err == nil {
		t.Error("another key was taken")
	}
}
