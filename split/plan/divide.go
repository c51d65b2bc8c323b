package plan

import (
	"fmt"
	"slices"
	"strconv"
)

// The link between reference machines: 1 Gbit/s.
const picosecondsPerLinkByte = 8_000

// The places that Divide chooses from, where layers begin and where weights begin.
// There are four for each stage when those are more.
const (
	maxPlaces     = 1 << 10
	maxFinePlaces = 1 << 11
)

// Limits are what no stage may exceed.
type Limits struct {
	MaxStageBytes int64 // of weights; 0 is no limit
	// Lightest asks for the stage with the most weights to have as few as can be, or a twentieth
	// more, before all else.
	Lightest bool
}

// Of plans whose slowest stage takes this part more than it has to at most, one is taken whose
// largest stage has less weights by this part or more.
const slack = 20

// Divide cuts the work into n stages for equal machines: the reference machine, on
// a network of 1 Gbit/s. The slowest stage is as fast as can be, its time being
// that of computing and of the bytes it receives and sends, where the model's own
// inputs and outputs do not count; among equals it is the plan with the fewest
// bytes in all. Where a stage that is slower by a twentieth at most saves a twentieth of the
// largest stage's weights, the weights decide.
//
// It chooses from 1024 places where layers begin or, when the limit allows no plan
// with these, from 2048 where weights begin; from 4n when that is more. The error
// is a *LimitError when no plan keeps the limits.
func Divide(work Work, n int, limits Limits) (Plan, error) {
	w, err := work.checked()
	if err != nil {
		return Plan{}, err
	}
	limit := limits.MaxStageBytes
	if n < 1 || limit < 0 {
		return Plan{}, fmt.Errorf("there are no %d stages of at most %d bytes: ask for at least 1 stage, and for 0 bytes where there is no limit", n, limit)
	}
	if limit == 0 {
		limit = never
	}
	parts, layers := w.parts()
	e := &LimitError{Stages: n, Layers: layers, Parts: parts, MaxStageBytes: limits.MaxStageBytes}
	fine := w.chain(true, max(maxFinePlaces, 4*min(n, parts)))
	switch {
	case n == parts && n > maxPlaces: // there is only one way
		p := w.plan(w.places(false, parts))
		if e.Needed = p.largest(); e.Needed <= limit {
			return p, nil
		}
	case n <= parts:
		for _, c := range []*chain{w.chain(false, max(maxPlaces, 4*n)), fine} {
			if borders := c.balanced(n, limit, limits.Lightest); borders != nil {
				return w.plan(borders), nil
			}
		}
		e.Needed = fine.needed(n)
	}
	e.NeededByAny = fine.needed(parts)
	if e.Smallest = fine.fewest(limit); e.Smallest > 0 {
		e.Largest = parts
	}
	return Plan{}, e
}

// largest is the most bytes of weights in a stage.
func (p Plan) largest() int64 {
	var bytes int64
	for _, s := range p.Stages {
		bytes = max(bytes, s.WeightBytes)
	}
	return bytes
}

// A LimitError says which limit a number of stages is beyond.
type LimitError struct {
	Stages        int   // asked for
	Layers        int   // of the chain
	Parts         int   // the largest number of stages with a layer in each
	MaxStageBytes int64 // the limit asked for; 0 is none
	Needed        int64 // the smallest limit that works for Stages stages; 0 if none does
	NeededByAny   int64 // the smallest limit that works for any number of stages

	// The numbers of stages that work with MaxStageBytes; 0 where none does.
	Smallest, Largest int
}

// Error says in one line what is wrong and what to do.
func (e *LimitError) Error() string {
	var why, what string
	switch {
	case e.Stages > e.Parts && e.Parts == e.Layers:
		why = fmt.Sprintf("%d stages are more than the model has layers (%d)", e.Stages, e.Layers)
	case e.Stages > e.Parts:
		why = fmt.Sprintf("no cut gives %d stages: the %d layers of the model can be parted into %d at most", e.Stages, e.Layers, e.Parts)
	default:
		why = fmt.Sprintf("one of %d stages needs %s of weights or more, the limit is %s", e.Stages, needs(e.Needed), has(e.MaxStageBytes))
	}
	switch {
	case e.Largest == 0:
		what = fmt.Sprintf("with any number of stages one needs at least %s, so raise the limit to that", needs(e.NeededByAny))
	case e.Smallest == e.Largest:
		what = fmt.Sprintf("ask for %d", e.Largest)
	case e.Smallest == 1:
		what = fmt.Sprintf("ask for %d or fewer", e.Largest)
	default:
		what = fmt.Sprintf("ask for %d to %d", e.Smallest, e.Largest)
	}
	return why + "; " + what
}

// needs writes bytes that are needed, rounded up so that what it says is enough.
func needs(bytes int64) string { return size(bytes, true) }

// has writes bytes that there are, rounded down.
func has(bytes int64) string { return size(bytes, false) }

func size(bytes int64, up bool) string {
	unit, name := int64(1_000), " kB"
	switch {
	case bytes < 10_000:
		return strconv.FormatInt(bytes, 10) + " bytes"
	case bytes >= 1_000_000_000:
		unit, name = 1_000_000_000, " GB"
	case bytes >= 1_000_000:
		unit, name = 1_000_000, " MB"
	}
	hundredths := bytes / (unit / 100)
	if up && bytes%(unit/100) > 0 {
		hundredths++
	}
	return strconv.FormatFloat(float64(hundredths)/100, 'f', -1, 64) + name
}

// balanced finds the borders for n stages with at most limit bytes of weights each, by time and
// weights; nil when there are none.
func (c *chain) balanced(n int, limit int64, lightest bool) []int {
	within := int64(never)
	var borders []int
	if !lightest {
		var slowest int64
		if borders, slowest = c.divide(n, limit); borders == nil {
			return nil
		}
		within = slowest + slowest/slack
	}
	least, _ := c.cheapest(n, limit, func(before int64, i, j int, weights int64) int64 {
		if c.took(i, j) > within {
			return never
		}
		return max(before, weights)
	})
	if least == never {
		return nil
	}
	if has := c.largest(borders); lightest || least < has-has/slack {
		borders, _ = c.divide(n, min(limit, least+least/slack))
	}
	return borders
}

// took is the time of a stage between two places.
func (c *chain) took(i, j int) int64 {
	return c.time[j] - c.time[i] + (c.cross[i]+c.cross[j])*picosecondsPerLinkByte
}

// largest is the most bytes of weights between borders.
func (c *chain) largest(borders []int) (bytes int64) {
	for k := range max(len(borders)-1, 0) {
		from, to := slices.Index(c.at, borders[k]), slices.Index(c.at, borders[k+1])
		for i, weights := range c.ending(to) {
			if i == from {
				bytes = max(bytes, weights)
				break
			}
		}
	}
	return bytes
}

// divide finds the fastest borders for n stages with at most limit bytes of weights
// each, and the time of the slowest stage; nil when there are none.
func (c *chain) divide(n int, limit int64) ([]int, int64) {
	slowest, _ := c.cheapest(n, limit, func(before int64, i, j int, _ int64) int64 { return max(before, c.took(i, j)) })
	if slowest == never {
		return nil, never
	}
	_, borders := c.cheapest(n, limit, func(before int64, i, j int, _ int64) int64 {
		if c.took(i, j) > slowest {
			return never
		}
		return before + c.cross[j]
	})
	return borders, slowest
}

// cheapest finds the cheapest way through the places in n stages, by dynamic
// programming: the best way to a place in k stages is found from the best ways in
// k-1. join is the price of a way that goes on with the stage from place i to
// place j and its weights, given its price so far.
func (c *chain) cheapest(n int, limit int64, join func(before int64, i, j int, weights int64) int64) (price int64, borders []int) {
	end := len(c.at) - 1
	prices := make([][]int64, end+1) // by place and number of stages
	from := make([][]int, end+1)
	for j := range prices {
		prices[j], from[j] = make([]int64, n+1), make([]int, n+1)
		for k := range prices[j] {
			prices[j][k] = never
		}
	}
	prices[0][0] = 0
	for j := 1; j <= end; j++ {
		for i, weights := range c.ending(j) {
			if weights > limit {
				break
			}
			if !c.legal(i, j) {
				continue
			}
			for k := max(1, n-(end-j)); k <= min(n, i+1); k++ {
				if before := prices[i][k-1]; before != never {
					if p := join(before, i, j, weights); p <= prices[j][k] && p != never {
						prices[j][k], from[j][k] = p, i
					}
				}
			}
		}
	}
	borders = make([]int, n+1)
	for k, j := n, end; k >= 0; k-- {
		borders[k] = c.at[j]
		j = from[j][k]
	}
	return prices[end][n], borders
}

// fewest is the smallest number of stages that keep a limit on the bytes of their
// weights, 0 when there is none. Larger numbers keep it as well, up to one for
// every part with a layer, since a part of a stage has no more weights than it.
func (c *chain) fewest(limit int64) int {
	end := len(c.at) - 1
	stages := make([]int, end+1) // to each place; 0 when there is no way
	for j := 1; j <= end; j++ {
		for i, weights := range c.ending(j) {
			if weights > limit {
				break
			}
			if (i == 0 || stages[i] > 0) && c.legal(i, j) && (stages[j] == 0 || stages[i]+1 < stages[j]) {
				stages[j] = stages[i] + 1
			}
		}
	}
	return stages[end]
}

// needed is the smallest limit on a stage's weights with which n stages are
// possible; n must not be more than there are parts.
func (c *chain) needed(n int) int64 {
	low, high := int64(0), c.ended[len(c.at)-1]
	for low < high {
		limit := low + (high-low)/2
		if k := c.fewest(limit); k > 0 && k <= n {
			high = limit
		} else {
			low = limit + 1
		}
	}
	return high
}
