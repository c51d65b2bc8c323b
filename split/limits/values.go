package limits

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/distinfer/distinfer/runtime/tensor"
)

// findValues finds which values an input may have: those whose places there are.
func (f *finder) findValues(ctx context.Context) {
	for _, spec := range f.g.Inputs {
		lowest, highest, integer := spec.DType.Integers()
		if !integer {
			continue
		}
		limit := tensor.ValueLimit{Input: spec.Name, Min: lowest, Max: highest}
		for _, p := range f.places {
			if !slices.Contains(p.inputs, spec.Name) {
				continue
			}
			from, to, ok := f.values(ctx, p, spec, lowest, highest)
			if ok && (from > limit.Min || to < limit.Max) {
				limit.Min, limit.Max = max(from, limit.Min), min(to, limit.Max)
				limit.Table = fmt.Sprintf("%s (%d rows)", p.table, p.rows)
			}
		}
		if limit.Table != "" && limit.Min <= limit.Max {
			f.limits.Values = append(f.limits.Values, limit)
		}
	}
}

// values gives the values of an input that have a place. The others were seen to have none,
// wherever in the input they stand.
func (f *finder) values(ctx context.Context, p *places, spec tensor.Spec, lowest, highest int64) (from, to int64, ok bool) {
	sizes := f.sizesAt(2, 3)
	shape, known := spec.Resolve(sizes)
	if !known {
		return 0, 0, false
	}
	elements, err := tensor.Elements(shape)
	if err != nil || elements == 0 {
		return 0, 0, false
	}
	run := func(v, other, only int64) (least, greatest int64, err error) {
		return f.run(ctx, p, sizes, func(input string, i int64) int64 {
			switch {
			case input != spec.Name:
				return 1
			case only >= 0 && i != only:
				return other
			}
			return v
		})
	}
	// A value is within the type, and inside the table or not; what cannot be computed is neither.
	inside := func(v int64) bool {
		least, greatest, err := run(v, 0, -1)
		return err == nil && least >= p.min && greatest < p.rows
	}
	outside := func(v, other, only int64) bool {
		least, greatest, err := run(v, other, only)
		return err == nil && (least < p.min || greatest >= p.rows)
	}
	least, greatest, err := run(0, 0, -1)
	if err != nil {
		return 0, 0, false
	}
	// If places are values that were shifted.
	from, to = p.min-least, p.rows-1-greatest
	if from > to || !inside(to) || !inside(from) {
		return 0, 0, false
	}
	everywhere := func(v int64) bool {
		for only := range min(elements, maxPlaces) {
			if !outside(v, to, only) {
				return false
			}
		}
		return outside(v, to, -1)
	}
	if to >= highest {
		to = highest
	} else if !everywhere(to+1) || !everywhere(min(2*to+7, highest)) || !everywhere(min(math.MaxInt32, highest)) {
		return 0, 0, false
	}
	if from <= lowest || !everywhere(from-1) || !everywhere(max(2*from-7, lowest)) {
		from = lowest
	}
	return from, to, true
}
