package limits

import (
	"context"
	"errors"
	"slices"

	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/split/graph"
	"github.com/distinfer/distinfer/split/types"
)

// sizesAt are the sizes of the inputs' dimensions for rows of some length.
func (f *finder) sizesAt(rows, length int64) tensor.Sizes {
	sizes := tensor.Sizes{}
	names, leading := graph.DimNames(f.g.Inputs)
	sequence := f.sequence()
	for _, name := range names {
		switch {
		case slices.Contains(sequence, name):
			sizes[name] = length
		case leading[name]:
			sizes[name] = rows
		default:
			sizes[name] = max(f.reference[name], 1)
		}
	}
	return sizes
}

// sequence are the dimensions that are as long as a text: the second of inputs of integers.
func (f *finder) sequence() (dims []string) {
	_, leading := graph.DimNames(f.g.Inputs)
	for _, s := range f.g.Inputs {
		if _, _, integer := s.DType.Integers(); integer && len(s.Dims) == 2 && s.Dims[1].Name != "" && !leading[s.Dims[1].Name] && !slices.Contains(dims, s.Dims[1].Name) {
			dims = append(dims, s.Dims[1].Name)
		}
	}
	return dims
}

// usualValues are what an input is filled with to see how long a text may be: one of
// them is padding, and another is not.
var usualValues = []int64{0, 1, 2, 3}

// findSizes finds how long a text may be.
func (f *finder) findSizes(ctx context.Context) {
	sequence := f.sequence()
	if len(sequence) == 0 {
		return
	}
	f.openShapes()
	// What fails for short texts says nothing of long ones.
	f.places = slices.DeleteFunc(f.places, func(p *places) bool {
		failed := f.fails(ctx, p, 2, usualValues[2]) && f.fails(ctx, p, 2, usualValues[0])
		if failed && p.session != nil {
			_ = p.session.Close()
		}
		return failed
	})
	leaves := func(n, filledWith int64) bool {
		return slices.ContainsFunc(f.places, func(p *places) bool { return f.fails(ctx, p, n, filledWith) })
	}
	never := func(n int64) bool { // whatever it is filled with
		return !slices.ContainsFunc(usualValues, func(v int64) bool { return !leaves(n, v) }) || !f.takes(n)
	}
	notAll := func(n int64) bool {
		return slices.ContainsFunc(usualValues, func(v int64) bool { return leaves(n, v) }) || !f.takes(n)
	}
	if n, ok := f.longest(never); ok {
		f.limits.Sizes = append(f.limits.Sizes, tensor.SizeLimit{Dims: sequence, Max: n})
	}
	if n, ok := f.longest(notAll); ok {
		f.limits.Tokens = n
	}
}

// longest is the greatest length before the ones that fail, if there is one.
func (f *finder) longest(fails func(int64) bool) (int64, bool) {
	good := f.guess(fails)
	if good == 0 {
		good = search(fails)
	}
	// Some models take multiples of a length only.
	if good < 2 || !fails(2*good) || fails(good-1) || fails((good+1)/2) {
		return 0, false
	}
	return good, true
}

// guess tries as many as a table of positions has rows, but for those that some models leave
// free before their positions; 0 when it is none of these. To search takes more questions.
func (f *finder) guess(fails func(int64) bool) int64 {
	for _, p := range f.places {
		if p.at != "" && p.session == nil {
			continue // of what is in the input, not of where it is
		}
		for _, n := range []int64{p.rows, p.rows - 2, p.rows - 1} {
			if n > 1 && n < maxShapes && fails(n+1) && !fails(n) {
				return n
			}
		}
	}
	return 0
}

// search halves between a length that does not fail and one that does; 0 when there are none.
func search(fails func(int64) bool) int64 {
	good, bad := int64(1), int64(maxShapes)
	if fails(good) {
		return 0
	}
	for ; !fails(bad); bad *= 2 {
		if bad >= maxSequence {
			return 0
		}
		good = bad
	}
	for bad-good > 1 {
		if middle := good + (bad-good)/2; fails(middle) {
			bad = middle
		} else {
			good = middle
		}
	}
	return good
}

// fails reports whether a row of some length, filled with a value, leaves the table.
func (f *finder) fails(ctx context.Context, p *places, length, value int64) bool {
	if p.at == "" {
		return length > p.rows
	}
	if p.square && length > maxSquare {
		return false
	}
	least, greatest, err := f.run(ctx, p, f.sizesAt(1, length), func(input string, _ int64) int64 {
		limit, known := f.limits.Of(input)
		if !known {
			return 1 // a mask
		}
		return min(max(value, limit.Min), limit.Max)
	})
	switch {
	case errors.Is(err, errTooMany):
		return false
	case err != nil:
		return true
	}
	return least < p.min || greatest >= p.rows
}

// openShapes makes it possible to ask which sizes operators take, if they take small ones.
func (f *finder) openShapes() {
	q, err := types.NewInference(f.g, f.engine, f.data)
	if err != nil {
		return
	}
	f.shapes, f.taken = q, map[int64]bool{}
	if !f.takes(2) {
		q.Close()
		f.shapes = nil
	}
}

// takes reports whether the operators take rows of some length.
func (f *finder) takes(length int64) bool {
	if f.shapes == nil || length > maxShapes {
		return true
	}
	taken, known := f.taken[length]
	if !known {
		taken = f.shapes.Accepts(f.sizesAt(1, length), shapeNodes)
		f.taken[length] = taken
	}
	return taken
}
