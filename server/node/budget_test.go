package node

import (
	"testing"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/host/hosttest"
	"github.com/distinfer/distinfer/server/cluster"
)

func TestStagesShareTheMemoryThereIs(t *testing.T) {
	t.Parallel()
	const meminfo = "MemTotal:  9000 kB\nMemAvailable:    6144 kB\n"
	group := map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/memory.max": "3000000\n", "sys/fs/cgroup/a/memory.current": "600000\n"}
	b := &bundle.Bundle{Manifest: bundle.Manifest{Stages: []bundle.Stage{{ParameterBytes: 100_000}, {ParameterBytes: 500_000}}}}
	for what, c := range map[string]struct {
		files  map[string]string
		set    func(*StageOptions)
		listen string
		want   int64
	}{
		"nothing is known":           {nil, nil, "localhost:2222", 0},
		"two stages and a front":     {map[string]string{"proc/meminfo": meminfo}, nil, "localhost:2222", (6144<<10-600_000)/3 + 100_000},
		"the larger of two":          {map[string]string{"proc/meminfo": meminfo}, func(o *StageOptions) { o.Rank = 1 }, "localhost:2223", (6144<<10-600_000)/3 + 500_000},
		"in a group":                 {group, nil, "localhost:2222", (3_000_000-600_000)/3 + 100_000},
		"a machine for itself":       {map[string]string{"proc/meminfo": meminfo}, nil, "198.51.100.1:2222", 6144 << 10},
		"others are elsewhere":       {map[string]string{"proc/meminfo": meminfo}, func(o *StageOptions) { o.Stages = cluster.Addresses{{"198.51.100.1:1"}, {"198.51.100.2:1"}} }, "198.51.100.1:2222", 6144 << 10},
		"what the operator says":     {group, func(o *StageOptions) { o.MaxMemory = 7 }, "localhost:2222", 7},
		"no more than there is left": {map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "3000000\n", "sys/fs/cgroup/memory.current": "2999000\n"}, nil, "localhost:2222", 1000},
	} {
		var o StageOptions
		if c.set != nil {
			c.set(&o)
		}
		if got := o.memoryShare(t.Context(), hosttest.FileSystem(t, c.files), b, c.listen); got != c.want {
			t.Errorf("%s: %d, want %d", what, got, c.want)
		}
	}
}

func TestMemoryIsDividedWithoutARest(t *testing.T) {
	t.Parallel()
	const mb = 1 << 20
	for _, share := range []int64{64 * mb, 300 * mb, 1024 * mb, 64 << 30} {
		m := divideMemory(share, 50*mb, 30*mb, 64*mb)
		if m.tensors <= 0 || m.arena <= 0 || m.margin < 24*mb || m.tensors > 256*mb {
			t.Errorf("%d: %+v", share, m)
		}
		if sum := 50*mb + m.margin + m.tensors + m.arena; share >= 256*mb && sum > share {
			t.Errorf("%d: %+v is %d", share, m, sum)
		}
		// Once a model is loaded that takes most of it, what is left is shared, and not promised to messages.
		if m := m.loaded(share*9/10, 64*mb); share >= 1024*mb && (m.tensors > share/40+leastTensors || m.forRuns(0, share*9/10) < m.tensors) {
			t.Errorf("%d: %+v", share, m)
		}
		if runs := m.forRuns(40*mb, 120*mb); runs < leastRuns || share >= 256*mb && 120*mb+m.margin+m.tensors+runs > share {
			t.Errorf("%d: %d for runs", share, runs)
		}
	}
}
