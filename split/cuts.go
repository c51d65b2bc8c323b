package split

import (
	"maps"
	"slices"

	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/split/graph"
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

	loaded widths              // of weights in memory
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
	p.loaded = widthsOf(g, v)
	return p
}

// variable drops the constants from a list of values.
func (p *planner) variable(names []string) []string {
	return slices.DeleteFunc(slices.Clone(names), p.g.IsConstant)
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
