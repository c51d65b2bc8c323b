package split

import (
	"fmt"
	"maps"
	"slices"

	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/split/graph"
	"github.com/distinfer/distinfer/split/onnxfile"
)

// A part is what goes into one stage.
type part struct {
	sub  onnxfile.Subgraph
	cost int64

	arriving []string // values that are there before the stage
	leaving  []string // values that are there after it
	inputs   []string // those of arriving that its nodes use
	outputs  []string // those of leaving that its nodes make
	forward  []string // those of leaving that arrived
}

// extract divides the graph at the given borders.
func (p *planner) extract(borders []cut) ([]part, error) {
	crossing := make([][]string, len(borders))
	k := len(borders) - 1
	p.backwards(func(at int, used *live) {
		if at == borders[k].at && k > 0 {
			crossing[k] = p.crossing(at, used)
			k--
		}
	})
	crossing[0] = tensor.Names(p.g.Inputs)
	crossing[len(crossing)-1] = p.g.Outputs

	parts := make([]part, len(borders)-1)
	for k := range parts {
		from, to := borders[k], borders[k+1]
		var err error
		if parts[k], err = p.part(crossing[k], p.g.Anchors[from.at:to.at], crossing[k+1]); err != nil {
			return nil, fmt.Errorf("stage %d: %w", k, err)
		}
		parts[k].cost = to.cost - from.cost
	}
	p.keepUnusedInputs(&parts[0])
	return parts, nil
}

// part collects what the given anchored nodes, and the values that have to
// leave, are computed from.
func (p *planner) part(arriving []string, anchors []int, leaving []string) (part, error) {
	out := part{arriving: arriving, leaving: leaving}
	arrived := map[string]bool{}
	for _, name := range arriving {
		arrived[name] = true
	}
	nodes, weights, used := map[int]bool{}, map[int]bool{}, map[string]bool{}
	inside := map[int]bool{}
	for _, i := range anchors {
		inside[i] = true
	}
	var failed error
	var want func(name string)
	add := func(i int) {
		if nodes[i] {
			return
		}
		nodes[i] = true
		for _, dep := range p.g.Deps[i] {
			want(dep)
		}
	}
	want = func(name string) {
		producer := p.g.Producer[name]
		switch {
		case arrived[name]:
			used[name] = true
		case producer == graph.FromInitializer:
			weights[p.g.Initializer[name]] = true
		case producer >= 0 && (p.g.Roles[producer] != graph.Anchored || inside[producer]):
			add(producer)
		case failed == nil:
			failed = fmt.Errorf("the plan leaves out %q, which is a bug in distinfer", name)
		}
	}
	for _, i := range anchors {
		add(i)
	}
	for _, name := range leaving {
		if arrived[name] {
			out.forward = append(out.forward, name)
			continue
		}
		out.outputs = append(out.outputs, name)
		want(name)
	}
	if failed != nil {
		return part{}, failed
	}
	for _, name := range arriving {
		if used[name] {
			out.inputs = append(out.inputs, name)
		}
	}
	out.sub = p.v.Subgraph(slices.Sorted(maps.Keys(nodes)), slices.Sorted(maps.Keys(weights)), out.inputs, out.outputs)
	return out, nil
}

// keepUnusedInputs makes inputs that no node of the model uses inputs of the
// first stage, which like the whole model takes and ignores them.
func (p *planner) keepUnusedInputs(first *part) {
	for _, name := range first.arriving {
		if slices.Contains(first.inputs, name) || slices.Contains(first.forward, name) {
			continue
		}
		first.inputs = append(first.inputs, name)
		first.sub.Inputs = append(first.sub.Inputs, p.v.Info(name))
	}
}
