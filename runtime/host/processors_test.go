package host_test

import (
	"maps"
	"runtime"
	"testing"

	"github.com/distinfer/distinfer/runtime/host/hosttest"
)

func TestProcessorsAreThoseThatTheTightestQuotaKeepsBusy(t *testing.T) {
	t.Parallel()
	all := runtime.GOMAXPROCS(0)
	for what, c := range map[string]struct {
		files map[string]string
		want  int
	}{
		"nothing is known":         {nil, all},
		"a group without":          {map[string]string{"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/cpu.max": "max 100000\n"}, all},
		"more than there are":      {map[string]string{"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/cpu.max": "99900000 100000\n"}, all},
		"one processor":            {map[string]string{"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/cpu.max": "100000 100000\n"}, 1},
		"a part of the second":     {map[string]string{"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/cpu.max": "190000 100000\n"}, 1},
		"a fifth of one":           {map[string]string{"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/cpu.max": "20000 100000\n"}, 1},
		"that of a group above":    {map[string]string{"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/cpu.max": "10000 10000\n"}, 1},
		"version 1":                {map[string]string{"proc/self/cgroup": "3:cpu,cpuacct:/a\n0::/\n", "sys/fs/cgroup/cpu/a/cpu.cfs_quota_us": "50000\n", "sys/fs/cgroup/cpu/a/cpu.cfs_period_us": "100000\n"}, 1},
		"version 1 without":        {map[string]string{"proc/self/cgroup": "3:cpu:/a\n", "sys/fs/cgroup/cpu/a/cpu.cfs_quota_us": "-1\n", "sys/fs/cgroup/cpu/a/cpu.cfs_period_us": "100000\n"}, all},
		"what is not a number":     {map[string]string{"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/cpu.max": "many few\n"}, all},
		"a period of nothing":      {map[string]string{"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/cpu.max": "100 0\n"}, all},
		"a file with another line": {map[string]string{"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/cpu.max": "100\n"}, all},
	} {
		if got := hosttest.FileSystem(t, c.files).Processors(); got.Count != c.want {
			t.Errorf("%s: %d, want %d", what, got.Count, c.want)
		}
	}
}

// Stages share processors when they are on one machine, may run on the same ones, and
// neither has a quota of its own.
func TestProcessesKnowWithWhomTheyShareProcessors(t *testing.T) {
	t.Parallel()
	files := map[string]string{"proc/sys/kernel/random/boot_id": "1-2-3\n", "proc/self/status": "Name: x\nCpus_allowed:\t3\nMems_allowed: 1\n", "proc/self/cgroup": "0::/a\n"}
	machine := func(name, data string) uint64 {
		changed := maps.Clone(files)
		changed[name] = data
		return hosttest.FileSystem(t, changed).Processors().Machine
	}
	this := machine("proc/self/cgroup", "0::/a\n")
	if other := machine("proc/self/cgroup", "0::/b\n"); other != this {
		t.Error("a group without a quota is taken for another machine")
	}
	for what, other := range map[string]uint64{
		"another machine":          machine("proc/sys/kernel/random/boot_id", "4-5-6\n"),
		"other processors":         machine("proc/self/status", "Cpus_allowed:\tc\n"),
		"a group with its own":     machine("sys/fs/cgroup/a/cpu.max", "10000 100000\n"),
		"a group above with a few": machine("sys/fs/cgroup/cpu.max", "10000 100000\n"),
	} {
		if other == this {
			t.Errorf("%s is taken for this machine", what)
		}
	}
}
