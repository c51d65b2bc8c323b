package split

import (
	"fmt"
	"math"
	"slices"

	"github.com/distinfer/distinfer/runtime/tensor"
)

// A cut is a place between two anchored nodes: the first `at` of them are
// before it, the others after it.
type cut struct {
	at      int
	cost    int64 // of the anchored nodes before the cut
	layers  int   // before the cut
	bytes   int64 // that cross it at the reference shape
	illegal string
}

// A planner prices the places where a graph can be cut.
type planner struct {
	g        *graph
	v        *values
	position map[string]int // how many anchored nodes are done once the value is there
	uses     [][]string     // per anchored position: the values the node uses, constants left out
	needed   []string       // the model's outputs, constants left out
}

func newPlanner(g *graph, v *values) *planner {
	p := &planner{g: g, v: v, position: map[string]int{}}
	for _, in := range g.inputs {
		p.position[in.Name] = 0
	}
	anchor := 0
	for i, n := range g.nodes {
		at := 0
		switch g.roles[i] {
		case constant:
			continue
		case cheap:
			for _, name := range g.deps[i] {
				at = max(at, p.position[name])
			}
		case anchored:
			anchor++
			at = anchor
			p.uses = append(p.uses, p.variable(g.deps[i]))
		}
		for _, name := range n.Outputs {
			if name != "" {
				p.position[name] = at
			}
		}
	}
	p.needed = p.variable(g.outputs)
	return p
}

// variable drops the constants from a list of values.
func (p *planner) variable(names []string) []string {
	return slices.DeleteFunc(slices.Clone(names), p.g.isConstant)
}

// littleLarger is how many more bytes may cross a cut to have a cheap value
// computed again behind it.
const littleLarger = 4 << 10

// crossing are the values that have to be sent over a cut after `at` anchored
// nodes, given the values used behind it, in lexical order.
//
// A cheap value is computed again behind the cut when what it is computed from
// crosses anyway, is smaller than the value itself, or is only a little larger:
// a few kilobytes are nothing beside a round trip, and a chain of stages that
// pass on the model's own inputs is easier to follow.
func (p *planner) crossing(at int, used map[string]bool) []string {
	sent := map[string]bool{}
	var cheap []string
	for name := range used {
		switch {
		case p.g.isCheap(name):
			cheap = append(cheap, name)
		case p.position[name] <= at:
			sent[name] = true
		}
	}
	slices.Sort(cheap)

	// carry are the values to send so that a value can be had behind the cut.
	carried := map[string][]string{}
	var carry func(name string) []string
	carry = func(name string) []string {
		if list, known := carried[name]; known {
			return list
		}
		var list []string
		if p.g.isCheap(name) {
			for _, dep := range p.variable(p.g.deps[p.g.producer[name]]) {
				for _, s := range carry(dep) {
					if !slices.Contains(list, s) {
						list = append(list, s)
					}
				}
			}
		} else if p.position[name] <= at {
			list = []string{name}
		}
		if p.g.isCheap(name) && p.position[name] <= at {
			var more int64
			for _, s := range list {
				if !sent[s] {
					more += p.v.sizes[s]
				}
			}
			if more > p.v.sizes[name]+littleLarger {
				list = []string{name}
			}
		}
		carried[name] = list
		return list
	}
	for _, name := range cheap {
		for _, s := range carry(name) {
			sent[s] = true
		}
	}
	names := make([]string, 0, len(sent))
	for name := range sent {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// cuts prices every place, from before the first anchored node to behind the
// last.
func (p *planner) cuts() []cut {
	n := len(p.g.anchors)
	cuts := make([]cut, n+1)
	layers := 0
	for _, i := range p.g.anchors {
		if p.g.isLayer(i, p.v) {
			layers++
		}
	}
	allCount := layers == 0 // a model without weights: every node is a layer
	for at, i := range p.g.anchors {
		c := cuts[at]
		c.cost += p.g.nodeCost(i, p.v)
		if allCount || p.g.isLayer(i, p.v) {
			c.layers++
		}
		cuts[at+1] = c
	}

	p.backwards(func(at int, used map[string]bool) {
		c := &cuts[at]
		c.at = at
		for _, name := range p.crossing(at, used) {
			c.bytes += p.v.sizes[name]
			if p.v.specs[name].DType == tensor.Undefined {
				c.illegal = name
			}
		}
	})
	return cuts
}

// backwards visits every place, from behind the last anchored node to before the
// first, with the values that are used behind it and not made there.
func (p *planner) backwards(visit func(at int, used map[string]bool)) {
	used := map[string]bool{}
	for _, name := range p.needed {
		used[name] = true
	}
	for at := len(p.g.anchors); at >= 0; at-- {
		visit(at, used)
		if at > 0 {
			for _, name := range p.uses[at-1] {
				used[name] = true
			}
			for _, name := range p.g.nodes[p.g.anchors[at-1]].Outputs {
				delete(used, name)
			}
		}
	}
}

// choose picks n-1 cuts so that the slowest stage is as fast as can be, its
// time being that of its nodes and of the bytes it receives and sends; among
// equals, those with the fewest bytes in all. It returns the n+1 borders.
func choose(cuts []cut, n int) ([]cut, error) {
	first, last := cuts[0], cuts[len(cuts)-1]
	// The outermost borders are the model's own inputs and outputs: there is
	// nothing to choose, and every plan pays for them alike.
	first.bytes, last.bytes = 0, 0
	if n == 1 {
		return []cut{first, last}, nil
	}
	if last.layers < n {
		return nil, fmt.Errorf("%d stages are more than the model has layers (%d); ask for --stages %d or fewer", n, last.layers, last.layers)
	}
	places := append(append([]cut{first}, candidates(cuts, n)...), last)
	time := func(i, j int) int64 {
		if places[j].layers == places[i].layers {
			return never
		}
		return places[j].cost - places[i].cost + (places[i].bytes+places[j].bytes)*picosecondsPerLinkByte
	}
	slowest, _ := divide(len(places), n, func(before int64, i, j int) int64 { return max(before, time(i, j)) })
	if slowest[n] == never {
		largest := n - 1
		for largest > 1 && slowest[largest] == never {
			largest--
		}
		return nil, whyNot(cuts, n, largest)
	}
	_, chosen := divide(len(places), n, func(before int64, i, j int) int64 {
		if time(i, j) > slowest[n] {
			return never
		}
		return before + places[j].bytes
	})
	borders := make([]cut, n+1)
	for k, i := range chosen {
		borders[k] = places[i]
	}
	return borders, nil
}

// never is the price of what is not possible.
const never = math.MaxInt64

// divide finds the cheapest way from the first of some places to the last in n
// steps, by dynamic programming: the best way to a place in k steps is found
// from the best ways in k-1. join is the price of a way that goes on from place i
// to place j, given its price so far. divide returns the price for every number
// of steps up to n, and the places of the way in n steps.
func divide(places, n int, join func(before int64, i, j int) int64) (prices []int64, way []int) {
	price := make([][]int64, n+1)
	from := make([][]int, n+1)
	for k := range price {
		price[k], from[k] = make([]int64, places), make([]int, places)
		for j := range price[k] {
			price[k][j] = never
		}
	}
	price[0][0] = 0
	for k := 1; k <= n; k++ {
		for j := k; j < places; j++ {
			for i := k - 1; i < j; i++ {
				if price[k-1][i] == never {
					continue
				}
				if p := join(price[k-1][i], i, j); p < price[k][j] {
					price[k][j], from[k][j] = p, i
				}
			}
		}
	}
	end := places - 1
	for k := range price {
		prices = append(prices, price[k][end])
	}
	way = make([]int, n+1)
	for k := n; k >= 0; k-- {
		way[k] = end
		end = from[k][end]
	}
	return prices, way
}

// whyNot says which limit binds when no legal cut gives n stages.
func whyNot(cuts []cut, n, largest int) error {
	for _, c := range cuts {
		if c.illegal != "" {
			return fmt.Errorf("no cut gives %d stages: values that are not dense tensors, such as %q, may not cross a cut; the largest number of stages that works is %d", n, c.illegal, largest)
		}
	}
	return fmt.Errorf("no cut gives %d stages; the largest number of stages that works is %d", n, largest)
}

// maxCandidates bounds the places that planning chooses from, since its time
// grows with their square.
const maxCandidates = 1024

// candidates are the places worth considering: of all places between one layer
// and the next, the legal one with the fewest bytes, and of equals the last, so
// that the element-wise nodes behind a layer stay with it (ONNX Runtime fuses
// them). Models with very many layers get a place for every few of them.
func candidates(cuts []cut, n int) []cut {
	layers := cuts[len(cuts)-1].layers
	groups := min(layers, max(maxCandidates, 4*n))
	var kept []cut
	group := -1
	for _, c := range cuts {
		if c.illegal != "" || c.layers == 0 || c.layers == layers {
			continue
		}
		switch at := c.layers * groups / layers; {
		case at != group:
			kept = append(kept, c)
			group = at
		case c.bytes <= kept[len(kept)-1].bytes:
			kept[len(kept)-1] = c
		}
	}
	return kept
}
