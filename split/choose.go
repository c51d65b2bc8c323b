package split

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/distinfer/distinfer/split/plan"
)

// An Alternative is one way to use the given machines, and what it would give.
type Alternative struct {
	Arrangement plan.Arrangement `json:"arrangement"`
	// Machines are the names of the machines used; of a pipeline, in rank order.
	Machines []string `json:"machines,omitempty"`
	// Throughput is in runs of the model at the reference sizes a second, when
	// there are always requests; 0 where nothing bounds it.
	Throughput float64       `json:"throughput,omitempty"`
	Latency    time.Duration `json:"latency_ns,omitempty"` // of a request that meets no other
	WhyNot     string        `json:"why_not,omitempty"`    // why it is not possible
	Best       bool          `json:"best,omitempty"`
}

// stageOverhead is what a stage's process takes beside its weights, in bytes: ONNX Runtime
// itself, activations and messages (see docs/performance.md).
const stageOverhead = 80 << 20

// choose divides the graph as the options say.
func (p *planner) choose(cuts []cut, o Options) ([]part, []Alternative, error) {
	if len(o.At) > 0 {
		borders, err := p.at(cuts, o.At)
		if err != nil {
			return nil, nil, err
		}
		parts, err := p.extract(borders)
		return parts, nil, errors.Join(err, p.fits(parts, o.MaxStageBytes))
	}
	if o.Machines != nil {
		return p.compare(cuts, o)
	}
	// A limit is on what is stored; for memory counts what is loaded.
	l := p.layout(cuts, o.Lightest && o.MaxStageBytes == 0)
	limits := plan.Limits{MaxStageBytes: o.MaxStageBytes, Lightest: o.Lightest}
	n := o.Stages
	if o.Layers {
		n = l.parts()
	}
	borders, err := l.divide(n, limits)
	var limit *plan.LimitError
	if errors.As(err, &limit) && o.More && limit.Smallest > n {
		borders, err = l.divide(limit.Smallest, limits)
	}
	if err != nil {
		return nil, nil, err
	}
	parts, err := p.extract(borders)
	return parts, nil, err
}

// fits fails when a stage has more weights than the limit, unless that is 0.
func (p *planner) fits(parts []part, limit int64) error {
	for rank, part := range parts {
		if _, bytes := p.parameters(part); limit > 0 && bytes > limit {
			return fmt.Errorf("stage %d has %d bytes of weights, more than the %d that a stage may have; cut once more before it", rank, bytes, limit)
		}
	}
	return nil
}

// compare divides the graph in the way that is best for the given machines.
func (p *planner) compare(cuts []cut, o Options) ([]part, []Alternative, error) {
	machines := make([]plan.Machine, len(o.Machines))
	for i, m := range o.Machines {
		if m.Memory > 0 {
			m.Memory = max(m.Memory-stageOverhead, 1)
		}
		machines[i] = m
	}
	l := p.layout(cuts, true)
	options, err := plan.Compare(l.work, machines)
	if err != nil {
		return nil, nil, err
	}
	var alternatives []Alternative
	var best *plan.Option
	for i, option := range options {
		a := Alternative{Arrangement: option.Arrangement, Latency: option.Latency, WhyNot: option.WhyNot, Best: option.Best}
		if !math.IsInf(option.Throughput, 0) {
			a.Throughput = option.Throughput
		}
		for _, s := range option.Stages {
			a.Machines = append(a.Machines, machines[s.Machine].Name)
		}
		alternatives = append(alternatives, a)
		if option.Best {
			best = &options[i]
		}
	}
	if best == nil {
		return nil, nil, fmt.Errorf("the model does not fit these machines: %s (%d MB of each machine's memory are set aside for what is not weights)", options[len(options)-1].WhyNot, stageOverhead>>20)
	}
	borders := []cut{cuts[0], cuts[len(cuts)-1]}
	if best.Arrangement == plan.Pipeline {
		borders = l.borders(best.Stages)
	}
	parts, err := p.extract(borders)
	return parts, alternatives, errors.Join(err, p.fits(parts, o.MaxStageBytes))
}
