package overload

import (
	"context"
	"time"

	"github.com/distinfer/distinfer/bench/cluster"
	"github.com/distinfer/distinfer/server/load"
)

// A part is a load, and what it did to the processes: the cluster's, in its order,
// and this one, which is the last.
type part struct {
	name     string
	result   *load.Result
	computed []float64   // processors that each process kept busy
	before   []float64   // memory of the cluster's processes, in bytes
	during   [][]float64 // the same, again and again
}

// lookEvery is how often memory is looked at.
const lookEvery = 250 * time.Millisecond

func measured(ctx context.Context, name string, c *cluster.Cluster, o load.Options, t load.Target, texts []string) (part, error) {
	p := part{name: name}
	var err error
	if p.before, err = memories(c); err != nil {
		return p, err
	}
	began := time.Now()
	busy, err := computed(c)
	if err != nil {
		return p, err
	}
	stop := p.look(c)
	p.result, err = load.Run(ctx, o, t, texts)
	stop()
	if err != nil {
		return p, err
	}
	took := time.Since(began).Seconds()
	later, err := computed(c)
	for i := range later {
		p.computed = append(p.computed, (later[i]-busy[i]).Seconds()/took)
	}
	return p, err
}

// look notes the memory of the processes until stop is called.
func (p *part) look(c *cluster.Cluster) (stop func()) {
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			if now, err := memories(c); err == nil { // who is gone is noticed by its requests
				p.during = append(p.during, now)
			}
			select {
			case <-end:
				return
			case <-time.After(lookEvery):
			}
		}
	}()
	return func() {
		close(end)
		<-ended
	}
}

func memories(c *cluster.Cluster) ([]float64, error) {
	var list []float64
	for _, p := range c.Serving() {
		m, err := p.Memory()
		if err != nil {
			return nil, err
		}
		list = append(list, m)
	}
	return list, nil
}

// computed is the processor time that the cluster's processes and this one have
// used.
func computed(c *cluster.Cluster) ([]time.Duration, error) {
	var list []time.Duration
	for _, p := range c.Serving() {
		d, err := p.Computed()
		if err != nil {
			return nil, err
		}
		list = append(list, d)
	}
	own, err := cluster.Own()
	return append(list, own), err
}
