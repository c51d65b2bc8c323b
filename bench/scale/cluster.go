package scale

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/distinfer/distinfer/bench/cluster"
	"github.com/distinfer/distinfer/bench/cluster/cgroup"
)

// start serves a model by machines with as much memory, and a front before them, which is
// on none of them.
func (b *bench) start(ctx context.Context, s setup, memory int64) (*cluster.Cluster, error) {
	o := cluster.Options{Programs: b.Programs, Bundle: s.bundle, Fronts: 1, Threads: 1}
	o.Stages, o.Replicas = s.stages()
	o.StageFlags = []string{"--nice", "0"} // as on a machine of its own, which loopback does not tell
	o.FrontFlags = []string{"--timeout", timeout.String(), "--log-level", "debug"}
	o.NewGroup = func() (*cgroup.Group, error) {
		return b.group(cgroup.Limits{CPU: b.quota, Period: b.period, Memory: memory})
	}
	if s.Mbit > 0 {
		o.Linked = true
		// Toxiproxy knows whole milliseconds; those of one direction are there and back.
		o.Toxics = []cluster.Toxic{cluster.Bandwidth("upstream", s.Mbit), cluster.Bandwidth("downstream", s.Mbit), cluster.Latency("upstream", b.rtt)}
	}
	return cluster.Start(ctx, o)
}

// group makes a group that nobody else has.
func (b *bench) group(l cgroup.Limits) (*cgroup.Group, error) {
	b.made++
	return b.root.New(fmt.Sprintf("distinfer-scale-%d-%d", os.Getpid(), b.made), l)
}

// machines is how many a cluster has.
func machines(c *cluster.Cluster) int { return len(c.Groups) }

// times are the processor times that were used so far.
type times struct {
	machines           []time.Duration
	front, proxy, load time.Duration
	all                time.Duration // of every process there is, and of the kernel
}

func processorTimes(c *cluster.Cluster) (t times, err error) {
	for i, p := range c.Serving() {
		used, err := p.Computed()
		switch {
		case err != nil:
			return t, err
		case i == 0:
			t.front = used
		default:
			t.machines = append(t.machines, used)
		}
	}
	if c.Proxy != nil {
		if t.proxy, err = c.Proxy.Computed(); err != nil {
			return t, err
		}
	}
	if t.load, err = cluster.Own(); err != nil {
		return t, err
	}
	t.all, err = cluster.All()
	return t, err
}

func (t times) less(before times) times {
	d := times{front: t.front - before.front, proxy: t.proxy - before.proxy, load: t.load - before.load, all: t.all - before.all}
	for i := range t.machines {
		d.machines = append(d.machines, t.machines[i]-before.machines[i])
	}
	return d
}

// others is what was used by none of the processes that are measured.
func (t times) others() time.Duration {
	others := t.all - t.front - t.proxy - t.load
	for _, m := range t.machines {
		others -= m
	}
	return max(0, others)
}
