package split

import (
	"maps"
	"slices"

	"github.com/distinfer/distinfer/runtime/tensor"
)

// littleLarger is how many more bytes may cross a cut to have a cheap value
// computed again behind it.
const littleLarger = 4 << 10

// crossing are the values that have to be sent over a cut after `at` anchored
// nodes, given the values used behind it, in lexical order.
func (p *planner) crossing(at int, used *live) []string {
	names := slices.Clone(p.repeated(at, used))
	for name := range used.plain {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// repeated are the values that have to be sent over a cut, beside those used
// plainly, so that the cheap ones can be had behind it.
//
// A cheap value is computed again behind the cut when what it is computed from
// crosses anyway, is smaller than the value itself, or is only a little larger:
// a few kilobytes are nothing beside a round trip, and a chain of stages that
// pass on the model's own inputs is easier to follow.
func (p *planner) repeated(at int, used *live) []string {
	if len(used.cheap) == 0 {
		return nil
	}
	if used.last != nil && at >= used.last.until {
		return used.last.names
	}
	cheap := make([]string, 0, len(used.cheap))
	for name := range used.cheap {
		cheap = append(cheap, name)
	}
	slices.Sort(cheap)

	// carry are the values to send so that a value can be had behind the cut.
	carried := map[string][]string{}
	sent := map[string]bool{}
	var carry func(name string) []string
	carry = func(name string) []string {
		p.effort++
		if list, known := carried[name]; known {
			return list
		}
		var list []string
		if p.g.IsCheap(name) {
			for _, dep := range p.variable(p.g.Deps[p.g.Producer[name]]) {
				for _, s := range carry(dep) {
					if !slices.Contains(list, s) {
						list = append(list, s)
					}
				}
			}
		} else if p.position[name] <= at {
			list = []string{name}
		}
		if p.g.IsCheap(name) && p.position[name] <= at {
			var more int64
			for _, s := range list {
				if !sent[s] && !used.plain[s] {
					more += p.v.Sizes[s]
				}
			}
			if more > p.v.Sizes[name]+littleLarger {
				list = []string{name}
			}
		}
		carried[name] = list
		return list
	}
	for _, name := range cheap {
		for _, s := range carry(name) {
			p.effort++
			if !used.plain[s] {
				sent[s] = true
			}
		}
	}
	answer := &repetition{names: slices.Sorted(maps.Keys(sent)), involved: carried}
	for name := range carried {
		if at >= p.position[name] {
			answer.until = max(answer.until, p.position[name])
		}
	}
	used.last = answer
	return answer.names
}

// live are the values that are used behind a place and not made there.
type live struct {
	plain  map[string]bool // not cheap: they are sent
	cheap  map[string]bool // cheap: a stage may compute them again
	banned map[string]bool // those of the plain ones that are no dense tensors

	bytes, cheapBytes int64 // of the plain ones, of the cheap ones

	last *repetition // the answer at the place visited before, while it holds
}

// A repetition is what has to be sent so that cheap values can be computed again. It
// holds down to place `until`, as long as no other cheap values are used and
// none of the involved values begins or ceases to be sent plainly.
type repetition struct {
	names    []string
	involved map[string][]string
	until    int
}

// changed forgets an answer that a value was involved in.
func (l *live) changed(name string) {
	if l.last != nil {
		if _, involved := l.last.involved[name]; involved {
			l.last = nil
		}
	}
}

func (l *live) add(p *planner, name string) {
	switch {
	case p.g.IsCheap(name):
		if !l.cheap[name] {
			l.cheap[name] = true
			l.cheapBytes += p.v.Sizes[name]
			l.last = nil
		}
	case !l.plain[name]:
		l.plain[name] = true
		l.bytes += p.v.Sizes[name]
		l.changed(name)
		if p.v.Specs[name].DType == tensor.Undefined {
			l.banned[name] = true
		}
	}
}

func (l *live) drop(p *planner, name string) {
	if l.plain[name] {
		delete(l.plain, name)
		delete(l.banned, name)
		l.changed(name)
		l.bytes -= p.v.Sizes[name]
	}
}

// backwards visits every place, from behind the last anchored node to before the
// first, with the values that are used behind it and not made there.
func (p *planner) backwards(visit func(at int, used *live)) {
	used := &live{plain: map[string]bool{}, cheap: map[string]bool{}, banned: map[string]bool{}}
	for _, name := range p.needed {
		used.add(p, name)
	}
	for at := len(p.g.Anchors); at >= 0; at-- {
		visit(at, used)
		if at > 0 {
			for _, name := range p.uses[at-1] {
				used.add(p, name)
			}
			for _, name := range p.g.Nodes[p.g.Anchors[at-1]].Outputs {
				used.drop(p, name)
			}
		}
	}
}
