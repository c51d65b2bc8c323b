package split

import (
	"errors"
	"fmt"

	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/split/graph"
	"github.com/distinfer/distinfer/split/plan"
)

// A layout is the chain of work that a plan divides: what lies between the places
// where a cut may be.
type layout struct {
	cuts   []cut // the borders of the segments
	work   plan.Work
	banned string // a value that is no dense tensor and forbids a place, if there is one
}

// layout prepares planning. Weights count as they are stored or, when loaded is
// set, as they are in memory once constants are computed.
func (p *planner) layout(cuts []cut, loaded bool) *layout {
	l := &layout{cuts: cuts[:1:1]}
	l.work.Cross = []int64{p.v.Bytes(tensor.Names(p.g.Inputs))}
	ids := map[string]int32{}
	var segment plan.Segment
	seen := map[int32]bool{}
	use := func(names []string) {
		for _, name := range p.weights(names, loaded) {
			id, known := ids[name]
			if !known {
				id = int32(len(l.work.WeightBytes))
				ids[name] = id
				bytes := p.weightBytes(name)
				if loaded {
					bytes = p.loaded.bytes(name, bytes)
				}
				l.work.WeightBytes = append(l.work.WeightBytes, bytes)
			}
			if !seen[id] {
				seen[id] = true
				segment.Weights = append(segment.Weights, id)
			}
		}
	}
	for k, c := range cuts[1:] {
		before := cuts[k]
		segment.Time += c.cost - before.cost
		segment.Layers += c.layers - before.layers
		use(p.g.Deps[p.g.Anchors[k]])
		last := k+2 == len(cuts)
		if last {
			use(p.g.Outputs)
		}
		if !last {
			if c.banned != "" {
				l.banned = c.banned
			}
			if c.banned != "" || c.glued {
				continue
			}
		}
		crossing := c.bytes
		if last {
			crossing = p.v.Bytes(p.g.Outputs)
		}
		l.cuts = append(l.cuts, c)
		l.work.Segments = append(l.work.Segments, segment)
		l.work.Cross = append(l.work.Cross, crossing)
		segment, seen = plan.Segment{}, map[int32]bool{}
	}
	return l
}

// weights are the weights that the given values are or are computed from:
// initializers and Constant nodes, or what is made of them. The few bytes that
// cheap nodes read do not count.
func (p *planner) weights(names []string, loaded bool) []string {
	var list []string
	for _, name := range names {
		switch {
		case !p.g.IsConstant(name):
		case loaded:
			list = append(list, name)
		default:
			list = append(list, p.madeOf(name)...)
		}
	}
	return list
}

// madeOf are the initializers and Constant nodes that a constant is made of.
func (p *planner) madeOf(name string) []string {
	if list, known := p.made[name]; known {
		return list
	}
	producer := p.g.Producer[name]
	if producer == graph.FromInitializer || len(p.g.Deps[producer]) == 0 || p.effort > maxEffort {
		return []string{name}
	}
	var list []string
	seen := map[string]bool{}
	for _, dep := range p.g.Deps[producer] {
		for _, w := range p.madeOf(dep) {
			if !seen[w] {
				seen[w] = true
				list = append(list, w)
			}
		}
	}
	p.effort += len(list)
	p.made[name] = list
	return list
}

func (p *planner) weightBytes(name string) int64 {
	if i, ok := p.g.Initializer[name]; ok {
		return p.g.Model.Graph.Initializers[i].Bytes()
	}
	return p.v.Sizes[name]
}

// borders are the cuts of a plan, the outermost included.
func (l *layout) borders(stages []plan.Stage) []cut {
	borders := []cut{l.cuts[0]}
	for _, s := range stages {
		borders = append(borders, l.cuts[s.To])
	}
	return borders
}

// parts is the largest number of stages that have a layer each.
func (l *layout) parts() int {
	parts := 0
	for _, s := range l.work.Segments {
		if s.Layers > 0 {
			parts++
		}
	}
	return max(parts, 1)
}

// maxStages bounds the stages that are planned, since the time that takes grows with
// them. One stage a layer needs no planning.
const maxStages = 512

// divide cuts into n equal stages.
func (l *layout) divide(n int, limits plan.Limits) ([]cut, error) {
	if parts := l.parts(); n > maxStages && n < parts {
		return nil, fmt.Errorf("%d stages are more than can be planned; ask for %d or fewer, or for one a layer (%d)", n, maxStages, parts)
	}
	chosen, err := plan.Divide(l.work, n, limits)
	var limit *plan.LimitError
	if errors.As(err, &limit) && limit.Stages > limit.Parts && limit.Parts < limit.Layers && l.banned != "" {
		return nil, fmt.Errorf("%w; values that are not dense tensors, such as %q, may not cross a cut", err, l.banned)
	}
	if err != nil {
		return nil, err
	}
	return l.borders(chosen.Stages), nil
}
