package split

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/split/graph"
	"github.com/distinfer/distinfer/split/plan"
	"github.com/distinfer/distinfer/split/types"
)

// A cut is a place between two anchored nodes: the first `at` of them are
// before it, the others after it.
type cut struct {
	at     int
	cost   int64  // of the anchored nodes before the cut
	layers int    // before the cut
	bytes  int64  // that cross it at the reference shape
	banned string // a value that would cross it and is no dense tensor
	glued  bool   // it would part a node from the one that quantises its result
}

// A planner prices the places where a graph can be cut.
type planner struct {
	g        *graph.Graph
	v        *types.Values
	position map[string]int // how many anchored nodes are done once the value is there
	uses     [][]string     // per anchored position: the values the node uses, constants left out
	needed   []string       // the model's outputs, constants left out

	made   map[string][]string // the weights that constants are made of, as far as it is known
	effort int                 // values that were looked at to price cheap values and weights
}

// maxEffort bounds what is looked at to price the places of a graph. Past it, cheap
// values are priced as if they were sent, and constants as if they were weights.
// (A transformer of 265 nodes takes some hundred.)
const maxEffort = 4_000_000

func newPlanner(g *graph.Graph, v *types.Values) *planner {
	p := &planner{g: g, v: v, position: map[string]int{}, made: map[string][]string{}}
	for _, in := range g.Inputs {
		p.position[in.Name] = 0
	}
	anchor := 0
	for i, n := range g.Nodes {
		at := 0
		switch g.Roles[i] {
		case graph.Constant:
			continue
		case graph.Cheap:
			for _, name := range g.Deps[i] {
				at = max(at, p.position[name])
			}
		case graph.Anchored:
			anchor++
			at = anchor
			p.uses = append(p.uses, p.variable(g.Deps[i]))
		}
		for _, name := range n.Outputs {
			if name != "" {
				p.position[name] = at
			}
		}
	}
	p.needed = p.variable(g.Outputs)
	return p
}

// variable drops the constants from a list of values.
func (p *planner) variable(names []string) []string {
	return slices.DeleteFunc(slices.Clone(names), p.g.IsConstant)
}

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

// cuts prices every place, from before the first anchored node to behind the
// last.
func (p *planner) cuts() []cut {
	n := len(p.g.Anchors)
	cuts := make([]cut, n+1)
	for at, i := range p.g.Anchors {
		c := cuts[at]
		c.cost += p.nodeCost(i)
		if p.isLayer(i) {
			c.layers++
		}
		cuts[at+1] = c
	}
	if cuts[n].layers == 0 { // a model without weights: every node is a layer
		for at := range cuts {
			cuts[at].layers = at
		}
	}

	p.backwards(func(at int, used *live) {
		c := &cuts[at]
		c.at = at
		var repeated []string
		c.bytes = used.bytes
		banned := slices.Collect(maps.Keys(used.banned))
		if p.effort > maxEffort {
			c.bytes += used.cheapBytes
		} else {
			repeated = p.repeated(at, used)
		}
		for _, name := range repeated {
			c.bytes += p.v.Sizes[name]
			if p.v.Specs[name].DType == tensor.Undefined {
				banned = append(banned, name)
			}
		}
		if len(banned) > 0 {
			c.banned = slices.Min(banned)
		}
	})
	// What quantises stays with what it quantises.
	for k := 1; k < n; k++ {
		i := p.g.Anchors[k]
		if p.g.Quantizes(i) {
			made := p.position[p.g.Nodes[i].Inputs[0]]
			cuts[k].glued = made == k || cuts[k-1].glued && made < k
		}
	}
	return cuts
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
				l.work.WeightBytes = append(l.work.WeightBytes, p.weightBytes(name))
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
func (l *layout) divide(n int, maxBytes int64) ([]cut, error) {
	if parts := l.parts(); n > maxStages && n < parts {
		return nil, fmt.Errorf("%d stages are more than can be planned; ask for %d or fewer, or for one a layer (%d) with --layers", n, maxStages, parts)
	}
	chosen, err := plan.Divide(l.work, n, plan.Limits{MaxStageBytes: maxBytes})
	var limit *plan.LimitError
	if errors.As(err, &limit) && limit.Stages > limit.Parts && limit.Parts < limit.Layers && l.banned != "" {
		return nil, fmt.Errorf("%w; values that are not dense tensors, such as %q, may not cross a cut", err, l.banned)
	}
	if err != nil {
		return nil, err
	}
	return l.borders(chosen.Stages), nil
}

// at are the cuts behind the given values or nodes.
func (p *planner) at(cuts []cut, names []string) ([]cut, error) {
	places := map[int]string{}
	for _, name := range names {
		at, err := p.place(name)
		if err != nil {
			return nil, err
		}
		switch other, taken := places[at]; {
		case at == 0:
			return nil, fmt.Errorf("--at %s: nothing but cheap arithmetic is before it, so no stage could end there", name)
		case at == len(cuts)-1:
			return nil, fmt.Errorf("--at %s: nothing is behind it, so no stage could begin there", name)
		case taken:
			return nil, fmt.Errorf("--at %s: it is the same place as %s", name, other)
		case cuts[at].banned != "":
			return nil, fmt.Errorf("--at %s: %q would cross the cut, which is not a dense tensor", name, cuts[at].banned)
		}
		places[at] = name
	}
	borders := cuts[:1:1]
	for _, at := range slices.Sorted(maps.Keys(places)) {
		borders = append(borders, cuts[at])
	}
	return append(borders, cuts[len(cuts)-1]), nil
}

// place is how many anchored nodes there are up to the given value or node.
func (p *planner) place(name string) (int, error) {
	if _, ok := p.g.Producer[name]; ok {
		return p.position[name], nil
	}
	found, at := 0, 0
	for _, n := range p.g.Nodes {
		if n.Name == name && name != "" {
			found++
			for _, out := range n.Outputs {
				at = max(at, p.position[out])
			}
		}
	}
	switch {
	case found == 1:
		return at, nil
	case found > 1:
		return 0, fmt.Errorf("--at %s: %d nodes have that name; name a value that the node makes", name, found)
	}
	return 0, fmt.Errorf("--at %s: the model has no value and no node of that name%s", name, p.similar(name))
}

// similar suggests names that hold the one that was not found.
func (p *planner) similar(name string) string {
	var list []string
	for _, n := range p.g.Nodes {
		for _, candidate := range append([]string{n.Name}, n.Outputs...) {
			if candidate != "" && strings.Contains(strings.ToLower(candidate), strings.ToLower(name)) && !slices.Contains(list, candidate) {
				list = append(list, candidate)
			}
		}
		if len(list) > 4 {
			break
		}
	}
	if len(list) == 0 {
		return "; --dry-run -o dot shows all"
	}
	return "; similar are " + strings.Join(list, ", ")
}
