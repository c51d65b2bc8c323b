// Package plan decides where a chain of work is cut into stages, and which
// machine computes which stage.
//
// It knows numbers only: not where they come from, nor what becomes of a plan.
// Times are whole picoseconds and all choices are made between whole numbers, so
// that the same numbers give the same plan on every architecture.
//
// The time of planning grows with the square of the places where a cut may be, so
// not every border of the chain is one: of all borders between one layer and the
// next it is the one that the fewest bytes cross, and of equals the last, so that
// what follows a layer stays with it. Only when the weights do not fit into that
// number of stages there are more: one for every segment with weights, since
// nothing else makes a difference to what fits. When these are more than the bound
// that each function names, there is a place for every few of them, and a plan
// that only just fits may be missed.
package plan

import (
	"fmt"
	"iter"
	"math"
	"slices"
)

// Work is a chain of segments, computed in order.
type Work struct {
	Segments    []Segment
	WeightBytes []int64 // by the ids that segments name
	Cross       []int64 // bytes over the border before each segment; at the end those of the outputs
}

// A Segment is a part of the chain that is never cut.
type Segment struct {
	Time    int64   // picoseconds on the reference machine
	Layers  int     // every stage needs at least one, unless the chain has none
	Weights []int32 // ids; a weight counts once in each stage that uses it
}

// A Plan is a chain cut into stages.
type Plan struct {
	Stages []Stage
	// Period is the time of the slowest stage in picoseconds: what lies between
	// one answer and the next when there are always requests.
	Period int64
	// Latency is the time of a request that meets no other, in picoseconds. It is
	// known for given machines only.
	Latency int64
}

// A Stage is a run of segments on one machine.
type Stage struct {
	From, To    int   // the first segment, and the first one behind the stage
	Machine     int   // index in the list of machines; -1 is the reference machine
	Time        int64 // picoseconds of computing on that machine
	WeightBytes int64
	In, Out     int64 // bytes over the borders before and behind the stage
}

// never is the price of what is not possible.
const never = math.MaxInt64

// checked refuses numbers that are out of range; the others can
// be added up. A chain without layers comes back with one in every segment.
func (w Work) checked() (*Work, error) {
	if len(w.Cross) != len(w.Segments)+1 {
		return nil, fmt.Errorf("%d segments have %d borders, but there are bytes for %d", len(w.Segments), len(w.Segments)+1, len(w.Cross))
	}
	const most = never / 4
	var time, weights, cross int64
	for i, s := range w.Segments {
		if s.Time < 0 || s.Time > most-time || s.Layers < 0 {
			return nil, fmt.Errorf("segment %d: %d ps and %d layers are out of range", i, s.Time, s.Layers)
		}
		time += s.Time
		for _, id := range s.Weights {
			if id < 0 || int(id) >= len(w.WeightBytes) {
				return nil, fmt.Errorf("segment %d: there is no weight %d, only %d of them", i, id, len(w.WeightBytes))
			}
		}
	}
	for id, bytes := range w.WeightBytes {
		if bytes < 0 || bytes > most-weights {
			return nil, fmt.Errorf("weight %d: %d bytes are out of range", id, bytes)
		}
		weights += bytes
	}
	for i, bytes := range w.Cross {
		if bytes < 0 || bytes > most/(2*picosecondsPerLinkByte)-cross {
			return nil, fmt.Errorf("border %d: %d bytes are out of range", i, bytes)
		}
		cross += bytes
	}
	if _, layers := w.parts(); layers == 0 {
		w.Segments = slices.Clone(w.Segments)
		for i := range w.Segments {
			w.Segments[i].Layers = 1
		}
	}
	return &w, nil
}

// parts is the largest number of stages with a layer in each, and the number of
// layers.
func (w *Work) parts() (parts, layers int) {
	for _, s := range w.Segments {
		parts += sign(s.Layers)
		layers += s.Layers
	}
	return max(parts, 1), layers
}

func sign(n int) int { return min(n, 1) }

// inner is what crosses a border between two stages. Over the outermost go the
// model's inputs and outputs: there is nothing to choose there.
func (w *Work) inner(border int) int64 {
	if border == 0 || border == len(w.Segments) {
		return 0
	}
	return w.Cross[border]
}

// plan describes the stages between borders, on reference machines.
func (w *Work) plan(borders []int) Plan {
	var p Plan
	for k, to := range borders[1:] {
		from := borders[k]
		s := Stage{From: from, To: to, Machine: -1, In: w.Cross[from], Out: w.Cross[to]}
		seen := map[int32]bool{}
		for _, segment := range w.Segments[from:to] {
			s.Time += segment.Time
			for _, id := range segment.Weights {
				if !seen[id] {
					seen[id] = true
					s.WeightBytes += w.WeightBytes[id]
				}
			}
		}
		p.Stages = append(p.Stages, s)
		p.Period = max(p.Period, s.Time+(w.inner(from)+w.inner(to))*picosecondsPerLinkByte)
	}
	return p
}

// A chain is the work between the places where it may be cut.
type chain struct {
	at     []int     // the border at each place, the outermost included
	time   []int64   // of what is before each place
	parts  []int     // segments with layers before each place
	cross  []int64   // bytes over each place, none over the outermost
	ended  []int64   // bytes of weights with their last use before each place
	shared [][]reuse // from each place to the next: the weights that are used again later
}

// A reuse is a weight with its next use behind place next.
type reuse struct {
	bytes int64
	next  int
}

// chain joins the segments between places. Fine places are those where weights
// begin, others those where layers do; there are not many more than most.
func (w *Work) chain(fine bool, most int) *chain {
	c := &chain{at: w.places(fine, most)}
	end := len(c.at) - 1
	c.time, c.parts, c.ended = make([]int64, end+1), make([]int, end+1), make([]int64, end+1)
	c.shared = make([][]reuse, end)
	next := make([]int, len(w.WeightBytes)) // where each weight is used, as seen from behind; 0 is nowhere
	for p := end; p > 0; p-- {
		for _, s := range w.Segments[c.at[p-1]:c.at[p]] {
			c.time[p] += s.Time
			c.parts[p] += sign(s.Layers)
			for _, id := range s.Weights {
				switch next[id] {
				case p:
					continue
				case 0:
					c.ended[p] += w.WeightBytes[id]
				default:
					c.shared[p-1] = append(c.shared[p-1], reuse{w.WeightBytes[id], next[id] - 1})
				}
				next[id] = p
			}
		}
	}
	for p, border := range c.at {
		c.cross = append(c.cross, w.inner(border))
		if p > 0 {
			c.time[p] += c.time[p-1]
			c.parts[p] += c.parts[p-1]
			c.ended[p] += c.ended[p-1]
		}
	}
	return c
}

func (w *Work) places(fine bool, most int) []int {
	parts, _ := w.parts()
	rank := func(s Segment) int {
		if fine && len(s.Weights) > 0 {
			return 1
		}
		return sign(s.Layers)
	}
	ranks := 0
	for _, s := range w.Segments {
		ranks += rank(s)
	}
	at := []int{0}
	group, seenRanks, seenParts := -1, 0, 0
	for i, s := range w.Segments {
		seenRanks += rank(s)
		seenParts += sign(s.Layers)
		if seenParts == 0 || seenParts == parts {
			continue // a stage would have no layer
		}
		border := i + 1
		switch g := seenRanks * min(ranks, most) / ranks; {
		case g != group:
			at = append(at, border)
			group = g
		case w.Cross[border] <= w.Cross[at[len(at)-1]]:
			at[len(at)-1] = border
		}
	}
	return append(at, len(w.Segments))
}

// ending yields the stages that end at place j, the shortest first: where each
// begins, and the bytes of its weights.
func (c *chain) ending(j int) iter.Seq2[int, int64] {
	return func(yield func(int, int64) bool) {
		var shared int64
		for i := j - 1; i >= 0; i-- {
			for _, r := range c.shared[i] {
				if r.next >= j {
					shared += r.bytes
				}
			}
			if !yield(i, c.ended[j]-c.ended[i]+shared) {
				return
			}
		}
	}
}

// legal reports whether what is between two places can be a stage: it has a
// layer, or it is all there is.
func (c *chain) legal(i, j int) bool {
	return c.parts[i] < c.parts[j] || i == 0 && j == len(c.at)-1
}
