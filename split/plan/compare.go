package plan

import (
	"fmt"
	"time"
)

// An Arrangement is a way to spread a model over machines.
type Arrangement string

// The arrangements that are compared.
const (
	Whole    Arrangement = "whole"    // on one machine
	Replicas Arrangement = "replicas" // the whole model on every machine that can hold it
	Pipeline Arrangement = "pipeline" // cut into stages
)

// An Option is one arrangement on a number of machines, and what it would give.
type Option struct {
	Arrangement Arrangement
	Machines    int
	Stages      []Stage       // one a machine; of replicas each is the whole chain
	Throughput  float64       // items a second when there are always requests; +Inf where they cost nothing
	Latency     time.Duration // of one item that meets no other; of replicas on the slowest of them
	WhyNot      string        // why this is not possible, or ""
	Best        bool
}

// Compare predicts what can be had of machines for work that is one item: the
// whole model on the best of them, the whole model on each that can hold it, and
// the best pipeline for every number of machines. The best is the option with the
// highest throughput; of those within 1 % of it the one with the smallest latency,
// and then with the fewest machines. None is when nothing is possible.
//
// For a pipeline it chooses machines, their order and the borders between their
// stages so that the slowest stage is as fast as can be; among equals it is the plan
// with the smallest latency.
//
// A stage is as slow as the slowest of computing, receiving and sending, since a
// machine does all three at once, for different requests. It receives its input
// and the answer of the stage behind it; it sends its own answer, which is always
// the model's outputs, and the input of the stage behind it. Requests come and
// answers go over the first machine's link. Between two machines the smaller
// bandwidth counts, and the latencies of both.
//
// For every number of machines the choice is between places where layers begin or,
// when the memories allow no plan with these, where weights begin: at least 32 of
// them and twice as many as machines, 362 for 8 machines that all differ, and never
// more than 1024. Machines that differ more than that can be done for are refused:
// 14 that all differ, or 129 that are alike.
func Compare(work Work, machines []Machine) ([]Option, error) {
	p, err := newPlacer(work, machines)
	if err != nil {
		return nil, err
	}
	options := []Option{p.pipeline(1), p.replicas(machines)}
	for k := 2; k <= len(machines); k++ {
		options = append(options, p.pipeline(k))
	}
	markBest(options)
	return options, nil
}

// pipeline is the option of k stages; of one stage it is that of the whole model.
func (p *placer) pipeline(k int) Option {
	o := Option{Arrangement: Pipeline, Machines: k}
	if k == 1 {
		o.Arrangement = Whole
	}
	if k > p.stages || p.board(k).periods[k] == never {
		o.WhyNot = p.whyNot(k)
		return o
	}
	plan := p.board(k).plan(k)
	o.Stages = plan.Stages
	o.Throughput = second / float64(plan.Period)
	o.Latency = time.Duration(plan.Latency / nanosecond)
	return o
}

// replicas is the option of a copy on every machine that can hold it.
func (p *placer) replicas(machines []Machine) Option {
	o := Option{Arrangement: Replicas}
	end := len(p.work.Segments)
	in, out := p.work.traffic(0, end)
	for i, m := range machines {
		s := p.work.plan([]int{0, end}).Stages[0]
		if m.Memory > 0 && s.WeightBytes > m.Memory {
			continue
		}
		s.Machine, s.Time = i, m.compute(s.Time)
		o.Stages = append(o.Stages, s)
		o.Throughput += second / float64(max(s.Time, m.transfer(in), m.transfer(out)))
		o.Latency = max(o.Latency, time.Duration((Machine{}.hop(m, in, out)+s.Time)/nanosecond))
	}
	switch o.Machines = len(o.Stages); o.Machines {
	case 0:
		o.WhyNot = p.whyNot(1)
	case 1:
		o.WhyNot = fmt.Sprintf("has room on one machine only, %q", machines[o.Stages[0].Machine].Name)
	}
	if o.WhyNot != "" {
		return Option{Arrangement: Replicas, WhyNot: o.WhyNot}
	}
	return o
}

// markBest marks the option to be preferred, if any is possible.
func markBest(options []Option) {
	var most float64
	for _, o := range options {
		most = max(most, o.Throughput)
	}
	best := -1
	for i, o := range options {
		if o.WhyNot != "" || o.Throughput < most*0.99 {
			continue
		}
		if best < 0 || o.Latency < options[best].Latency || o.Latency == options[best].Latency && o.Machines < options[best].Machines {
			best = i
		}
	}
	if best >= 0 {
		options[best].Best = true
	}
}
