package host_test

import (
	"testing"

	"github.com/distinfer/distinfer/runtime/host/hosttest"
)

func TestAvailableMemoryIsWhatTheTightestBoundLeaves(t *testing.T) {
	t.Parallel()
	const meminfo = "MemTotal:  9000 kB\nMemAvailable:    4000 kB\n"
	for what, c := range map[string]struct {
		files map[string]string
		want  int64
	}{
		"nothing is known":     {nil, 0},
		"the machine's":        {map[string]string{"proc/meminfo": meminfo}, 4000 << 10},
		"a group without":      {map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/memory.max": "max\n"}, 4000 << 10},
		"a group's":            {map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/memory.max": "1000\n", "sys/fs/cgroup/a/memory.current": "700\n", "sys/fs/cgroup/a/memory.stat": "anon 5\ninactive_file 200\n"}, 500},
		"that of one above":    {map[string]string{"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max": "1000\n", "sys/fs/cgroup/a/memory.max": "100\n", "sys/fs/cgroup/a/memory.current": "40\n"}, 60},
		"that of a container":  {map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "1000\n", "sys/fs/cgroup/memory.current": "1\n"}, 999},
		"version 1":            {map[string]string{"proc/self/cgroup": "3:cpu:/a\n2:blkio,memory:/a\n", "sys/fs/cgroup/memory/a/memory.limit_in_bytes": "1000\n", "sys/fs/cgroup/memory/a/memory.usage_in_bytes": "900\n"}, 100},
		"nothing is left":      {map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "10\n", "sys/fs/cgroup/memory.current": "20\n"}, 1},
		"what is not a number": {map[string]string{"proc/meminfo": "MemAvailable: many kB\n", "proc/self/cgroup": "odd\n"}, 0},
	} {
		if got := hosttest.FileSystem(t, c.files).AvailableMemory(); got != c.want {
			t.Errorf("%s: %d, want %d", what, got, c.want)
		}
	}
}
