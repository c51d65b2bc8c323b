// Package limits finds what a model's own tables allow of its inputs: which ids they have, and how
// many positions. It cuts what computes the places in the tables out of the graph and runs it at
// the borders.
//
// It does not know what the limits are for, nor how a model is cut.
package limits

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"

	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/split/engine"
	"github.com/distinfer/distinfer/split/generate"
	"github.com/distinfer/distinfer/split/graph"
	"github.com/distinfer/distinfer/split/onnxfile"
	"github.com/distinfer/distinfer/split/types"
)

// Find finds the limits of a model's inputs; nil when there are none. What computes the places in the tables is cut out of the graph, which
// costs next to nothing, and run at the borders: a limit is noted where the graph itself was
// seen to leave a table just beyond it, and not just before. What cannot be found out so
// is found by the run that fails.
func Find(ctx context.Context, g *graph.Graph, v *types.Values, e engine.Engine, data *onnxfile.DataFolder, reference tensor.Sizes) (*tensor.Limits, error) {
	f := &finder{g: g, v: v, engine: e, data: data, reference: reference, limits: &tensor.Limits{}}
	f.lookups = f.findLookups()
	if len(f.lookups) == 0 {
		return nil, nil
	}
	var err error
	if f.dir, err = os.MkdirTemp("", "distinfer-limits-"); err != nil {
		return nil, fmt.Errorf("make a temporary folder: %w; choose another place with TMPDIR", err)
	}
	defer func() { _ = os.RemoveAll(f.dir) }()
	defer f.close()
	f.open()
	f.findValues(ctx)
	f.findSizes(ctx)
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if len(f.limits.Values) == 0 && len(f.limits.Sizes) == 0 && f.limits.Tokens == 0 {
		return nil, nil
	}
	return f.limits, nil
}

// A lookup is a use of a table whose rows are known.
type lookup struct {
	at    string // the value with the places; "" when they are those of the sequence
	table string
	min   int64 // of the places that there are
	rows  int64
}

// tables are the operators that fail for a place that a table does not have, and whether a
// negative one counts from the end. The places themselves are in uses.
var tables = map[string]bool{
	"Gather": true, "GatherElements": true, "com.microsoft.GatherBlockQuantized": true,
	"RotaryEmbedding": false, "com.microsoft.RotaryEmbedding": false, "com.microsoft.EmbedLayerNormalization": false,
}

// implied are the operators that look up every place of the sequence without being told
// them, by the input with the table, unless the input with the places is there.
var implied = map[string]struct{ table, unless int }{
	"com.microsoft.EmbedLayerNormalization": {3, 8},
	"com.microsoft.RotaryEmbedding":         {2, -1},
	"com.microsoft.GroupQueryAttention":     {7, -1},
}

// A finder finds limits.
type finder struct {
	g         *graph.Graph
	v         *types.Values
	engine    engine.Engine
	data      *onnxfile.DataFolder
	reference tensor.Sizes
	dir       string
	lookups   []lookup
	limits    *tensor.Limits

	places []*places        // of the lookups, those that can be computed
	shapes *types.Inference // that says which sizes operators take; nil when it cannot
	taken  map[int64]bool
}

func (f *finder) findLookups() (list []lookup) {
	add := func(l lookup) {
		if !slices.ContainsFunc(list, func(o lookup) bool { return o.at == l.at && o.min == l.min && o.rows == l.rows }) {
			list = append(list, l)
		}
	}
	for i, n := range f.g.Nodes {
		if f.g.Roles[i] == graph.Constant {
			continue
		}
		name := n.FullName()
		if t, is := implied[name]; is && t.table < len(n.Inputs) && (t.unless < 0 || t.unless >= len(n.Inputs) || n.Inputs[t.unless] == "") {
			if rows, known := f.fixed(n.Inputs[t.table], 0); known {
				add(lookup{"", n.Inputs[t.table], 0, rows})
			}
		}
		negative, looksUp := tables[name]
		if !looksUp {
			continue
		}
		for k, at := range n.Inputs {
			data, axis, ok := generate.PlacesIn(n, k)
			if !ok || at == "" || data >= len(n.Inputs) || f.g.IsConstant(at) {
				continue
			}
			rows, known := f.fixed(n.Inputs[data], axis)
			if !known || rows == 0 {
				continue
			}
			l := lookup{at, n.Inputs[data], 0, rows}
			if negative {
				l.min = -rows
			}
			add(l)
		}
	}
	return list
}

// fixed is the size of a value along an axis, if that is the same in every run.
func (f *finder) fixed(name string, axis int64) (int64, bool) {
	spec, known := f.v.Specs[name]
	if axis < 0 {
		axis += int64(len(spec.Dims))
	}
	if !known || name == "" || axis < 0 || axis >= int64(len(spec.Dims)) || !spec.Dims[axis].IsFixed() {
		return 0, false
	}
	return spec.Dims[axis].Size, true
}

// places compute those of a lookup from the model's inputs.
type places struct {
	lookup
	inputs  []string       // of the model
	shaped  []string       // other values, of which the shape counts only
	square  bool           // a value on the way may have the square of the sequence
	session engine.Session // nil when the places are an input
}

const (
	maxPlaces    = 64       // lookups that are looked at
	maxConstants = 16 << 20 // bytes of weights that places are computed from
	maxElements  = 1 << 20  // that are computed at a time
	maxSequence  = 1 << 17  // that is tried
	maxSquare    = 1 << 9   // that is tried where a value has the square of it
	maxShapes    = 1 << 12  // that operators are asked about: what they make of it may have the square
	shapeNodes   = 360      // of the graph that are asked: those of the first layers, and the others are alike
)

// placeOps are the operators that places in tables are computed with, beside cheap ones.
var placeOps = map[string]bool{
	"Constant": true, "Clip": true, "Log": true, "Exp": true, "Round": true, "NonZero": true,
	"GatherElements": true, "GatherND": true, "ArgMax": true, "ArgMin": true, "CastLike": true,
}

// open makes sessions that compute places. What cannot be computed by itself is left out.
func (f *finder) open() {
	for _, l := range f.lookups {
		if len(f.places) == maxPlaces {
			return
		}
		switch {
		case l.at == "":
			f.places = append(f.places, &places{lookup: l})
		case f.g.Producer[l.at] == graph.FromInput:
			f.places = append(f.places, &places{lookup: l, inputs: []string{l.at}})
		default:
			if p, err := f.compute(l); err == nil && p != nil {
				f.places = append(f.places, p)
			}
		}
	}
}

func (f *finder) close() {
	for _, p := range f.places {
		if p.session != nil {
			_ = p.session.Close()
		}
	}
	if f.shapes != nil {
		f.shapes.Close()
	}
}

// compute opens what computes the places of a lookup; nil when that is more than places are.
func (f *finder) compute(l lookup) (*places, error) {
	p := &places{lookup: l}
	nodes, weights := map[int]bool{}, map[int]bool{}
	var bytes int64
	ok := true
	var want func(name string, shape bool)
	want = func(name string, shape bool) {
		i := f.g.Producer[name]
		switch {
		case !ok || slices.Contains(p.inputs, name) || slices.Contains(p.shaped, name) || i >= 0 && nodes[i]:
		case i == graph.FromInput:
			p.inputs = append(p.inputs, name)
		case i == graph.FromInitializer:
			w := f.g.Initializer[name]
			if !weights[w] {
				weights[w] = true
				bytes += f.g.Model.Graph.Initializers[w].Bytes()
			}
			ok = bytes <= maxConstants
		case f.ofPlaces(i):
			nodes[i] = true
			for _, out := range f.g.Nodes[i].Outputs {
				p.square = p.square || f.isSquare(out)
			}
			for _, dep := range f.g.Deps[i] {
				want(dep, graph.ShapeOnly(f.g.Nodes[i].OpType))
			}
		case shape:
			p.shaped = append(p.shaped, name)
		default:
			ok = false
		}
	}
	want(l.at, false)
	if !ok {
		return nil, nil
	}
	inputs := slices.Concat(p.inputs, p.shaped)
	sub := f.v.Subgraph(slices.Sorted(maps.Keys(nodes)), slices.Sorted(maps.Keys(weights)), inputs, []string{l.at})
	sub.Data = "places.data"
	laid, err := f.g.Model.Part(sub)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(f.dir, "places.onnx")
	if err := laid.WriteTemp(path, sub.Data, f.data); err != nil {
		return nil, err
	}
	var specs []tensor.Spec
	for _, name := range inputs {
		specs = append(specs, f.v.Specs[name])
	}
	p.session, err = f.engine.Open(path, specs, []tensor.Spec{{Name: l.at, DType: f.v.Specs[l.at].DType, AnyRank: true}})
	return p, err
}

// isSquare reports whether a value may have the square of the sequence: whether more than one
// of its dimensions is neither the rows nor fixed.
func (f *finder) isSquare(name string) bool {
	spec, known := f.v.Specs[name]
	if !known || spec.AnyRank {
		return known
	}
	_, leading := graph.DimNames(f.g.Inputs)
	long := 0
	for _, d := range spec.Dims {
		if !d.IsFixed() && !leading[d.Name] {
			long++
		}
	}
	return long > 1
}

// ofPlaces reports whether a node may be one that computes places: not one of a layer.
func (f *finder) ofPlaces(i int) bool {
	n := f.g.Nodes[i]
	if !n.Standard() || n.Bodies > 0 || graph.Random(n.OpType) || !graph.CheapOp(n.OpType) && !placeOps[n.OpType] {
		return false
	}
	switch f.v.Specs[n.Outputs[0]].DType {
	case tensor.Float32, tensor.Float16, tensor.BFloat16, tensor.Float64:
		return n.OpType != "Gather" // an embedding, not a place
	}
	return true
}

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

// run gives the least and the greatest place, when inputs are as made.
func (f *finder) run(ctx context.Context, p *places, sizes tensor.Sizes, made func(input string, i int64) int64) (least, greatest int64, err error) {
	in := tensor.Bag{}
	for _, name := range slices.Concat(p.inputs, p.shaped) {
		spec := f.v.Specs[name]
		shape, known := spec.Resolve(sizes)
		if !known {
			return 0, 0, fmt.Errorf("the shape of %s is not known", spec)
		}
		n, err := tensor.Elements(shape)
		if err != nil || n > maxElements {
			return 0, 0, errTooMany
		}
		x, err := tensor.New(spec.DType, shape)
		if err != nil {
			return 0, 0, err
		}
		if slices.Contains(p.inputs, name) {
			integer := func(i int64) int64 { return made(name, i) }
			if err := generate.Fill(x, integer, func(i int64) float64 { return float64(integer(i)) }); err != nil {
				return 0, 0, err
			}
		}
		in[name] = x
	}
	out := in
	if p.session != nil {
		if out, err = p.session.Run(ctx, in); err != nil {
			return 0, 0, err
		}
	}
	at := out[p.at]
	least, greatest = math.MaxInt64, math.MinInt64
	n, err := tensor.Elements(at.Shape)
	if err != nil || n > maxElements {
		return 0, 0, errTooMany
	}
	err = integers(at, func(v int64) { least, greatest = min(least, v), max(greatest, v) })
	return least, greatest, err
}

var errTooMany = fmt.Errorf("these are more than %d elements", maxElements)

// integers goes through the elements of a tensor of integers.
func integers(t tensor.Tensor, each func(int64)) error {
	switch t.DType {
	case tensor.Int64:
		return eachOf[int64](t, each)
	case tensor.Int32:
		return eachOf[int32](t, each)
	}
	return fmt.Errorf("places are %s", t.DType)
}

func eachOf[T int32 | int64](t tensor.Tensor, each func(int64)) error {
	values, err := tensor.As[T](t)
	for _, v := range values {
		each(int64(v))
	}
	return err
}

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

// longest is the greatest length before those that fail, if there is one.
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
