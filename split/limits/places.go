package limits

import (
	"context"
	"fmt"
	"maps"
	"math"
	"path/filepath"
	"slices"

	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/split/engine"
	"github.com/distinfer/distinfer/split/generate"
	"github.com/distinfer/distinfer/split/graph"
)

// places compute those of a lookup from the model's inputs.
type places struct {
	lookup
	inputs  []string       // of the model
	shaped  []string       // other values; only their shapes count
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
