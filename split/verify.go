package split

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/pipeline"
	"github.com/distinfer/distinfer/runtime/tensor"
)

// A Verification says how far the stages, run one after the other, are from the
// whole model.
type Verification struct {
	Runs        int     `json:"runs"` // on generated inputs of different sizes
	MaxAbsolute float64 `json:"max_absolute_difference"`
	MaxRelative float64 `json:"max_relative_difference"` // of values larger than 1e-3
}

// Tolerance is how much a value may differ, as a share of the largest magnitude
// in its tensor or of 1, whichever is more. Fusions that a cut prevents change
// the order of float operations, nothing else.
const Tolerance = 1e-4

// halfTolerance is the same for tensors of 16-bit floats.
const halfTolerance = 1e-2

// verify runs the whole model and the bundle's stages on the same inputs.
func (g *graph) verify(ctx context.Context, e Engine, path string, b *bundle.Bundle) (_ *Verification, err error) {
	var sessions []Session
	defer func() {
		for _, s := range sessions {
			err = errors.Join(err, s.Close())
		}
	}()
	whole, err := e.Open(path, b.Inputs, b.Outputs)
	if err != nil {
		return nil, fmt.Errorf("cannot verify: %w", err)
	}
	sessions = append(sessions, whole)
	var chain pipeline.Chain
	for rank, s := range b.Stages {
		stagePath, err := b.StagePath(rank)
		if err != nil {
			return nil, err
		}
		session, err := e.Open(stagePath, s.Inputs, s.Outputs)
		if err != nil {
			return nil, fmt.Errorf("stage %d does not load: %w", rank, err)
		}
		sessions = append(sessions, session)
		chain = append(chain, pipeline.Stage{Runner: session, Inputs: tensor.Names(s.Inputs), Forward: s.Forward})
	}

	v := &Verification{}
	var refused error
	for i, sizes := range g.trials() {
		in, err := g.generate(b.Inputs, sizes, uint64(i))
		if err != nil {
			return nil, fmt.Errorf("cannot verify: %w; split with --no-verify", err)
		}
		want, err := whole.Run(ctx, in)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			refused = fmt.Errorf("at sizes %v: %w", sizes, err)
			continue // a size that the model itself does not take
		}
		got, err := chain.Run(ctx, in)
		if err != nil {
			return nil, fmt.Errorf("the split is wrong: the whole model runs at sizes %v, but %w", sizes, err)
		}
		for _, name := range g.outputs {
			if err := v.compare(want[name], got[name]); err != nil {
				return nil, fmt.Errorf("the split is wrong: output %q at sizes %v: %w", name, sizes, err)
			}
		}
		v.Runs++
	}
	if v.Runs == 0 {
		return nil, fmt.Errorf("cannot verify: the whole model runs on none of the generated inputs (%w); split with --no-verify and check it on inputs of your own", refused)
	}
	return v, nil
}

// trials are the sizes that inputs are generated at: single items, odd ones,
// and the sizes in between.
func (g *graph) trials() []tensor.Sizes {
	dims, leading := dimNames(g.inputs)
	batch, other := []int64{1, 2, 3, 1, 5}, []int64{1, 7, 16, 33, 12}
	if len(dims) == 0 {
		return []tensor.Sizes{{}, {}}
	}
	var trials []tensor.Sizes
	for i := range batch {
		sizes := tensor.Sizes{}
		for _, n := range dims {
			sizes[n] = other[i]
			if leading[n] {
				sizes[n] = batch[i]
			}
		}
		trials = append(trials, sizes)
	}
	// Some models take only large sizes, such as images.
	large := tensor.Sizes{}
	for _, n := range dims {
		large[n] = 64
		if leading[n] {
			large[n] = 2
		}
	}
	return append(trials, large)
}

// maxGenerated bounds the elements of a generated input, whose size the model
// file decides.
const maxGenerated = 1 << 26

// generate makes inputs: floats between -1 and 1, indices of rows that exist
// where an input looks up a table, and otherwise, for integers and booleans,
// ones followed by zeros, as in the mask of a padded batch. The same seed gives
// the same inputs.
func (g *graph) generate(specs []tensor.Spec, sizes tensor.Sizes, seed uint64) (tensor.Bag, error) {
	random := rand.New(rand.NewPCG(seed, 2018))
	bag := tensor.Bag{}
	for _, spec := range specs {
		shape, ok := spec.Resolve(sizes)
		if !ok {
			return nil, fmt.Errorf("the shape of input %s is unknown", spec)
		}
		n, err := tensor.Elements(shape)
		if err == nil && n > maxGenerated {
			err = fmt.Errorf("%d elements are more than are generated", n)
		}
		if err != nil {
			return nil, fmt.Errorf("input %s: %w", spec, err)
		}
		rows := int64(2)
		if r, ok := g.tableRows(spec.Name); ok {
			rows = max(r, 1)
		}
		t := tensor.Tensor{DType: spec.DType, Shape: shape}
		if spec.DType == tensor.String {
			for range n {
				t.Strs = append(t.Strs, fmt.Sprintf("text %d", random.IntN(10)))
			}
			bag[spec.Name] = t
			continue
		}
		if t, err = tensor.New(spec.DType, shape); err != nil {
			return nil, fmt.Errorf("input %s: %w", spec, err)
		}
		integer := func() int64 { return random.Int64N(rows) }
		if rows == 2 {
			width := int64(1)
			if len(shape) > 0 {
				width = max(shape[len(shape)-1], 1)
			}
			i, ones := int64(0), int64(0)
			integer = func() int64 {
				if i%width == 0 {
					ones = 1 + random.Int64N(width)
				}
				i++
				if (i-1)%width < ones {
					return 1
				}
				return 0
			}
		}
		if err := fill(t, integer, func() float64 { return 2*random.Float64() - 1 }); err != nil {
			return nil, fmt.Errorf("input %s: %w", spec, err)
		}
		bag[spec.Name] = t
	}
	return bag, nil
}

func fill(t tensor.Tensor, integer func() int64, float func() float64) error {
	switch t.DType {
	case tensor.Float32:
		return fillWith(t, func() float32 { return float32(float()) })
	case tensor.Float64:
		return fillWith(t, float)
	case tensor.Float16:
		return fillBits(t, func() uint16 { return tensor.ToFloat16(float32(float())) })
	case tensor.BFloat16:
		return fillBits(t, func() uint16 { return uint16(math.Float32bits(float32(float())) >> 16) })
	case tensor.Int8:
		return fillWith(t, func() int8 { return int8(integer()) })
	case tensor.Int16:
		return fillWith(t, func() int16 { return int16(integer()) })
	case tensor.Int32:
		return fillWith(t, func() int32 { return int32(integer()) })
	case tensor.Int64:
		return fillWith(t, integer)
	case tensor.Uint8:
		return fillWith(t, func() uint8 { return uint8(integer()) })
	case tensor.Uint16:
		return fillWith(t, func() uint16 { return uint16(integer()) })
	case tensor.Uint32:
		return fillWith(t, func() uint32 { return uint32(integer()) })
	case tensor.Uint64:
		return fillWith(t, func() uint64 { return uint64(integer()) })
	case tensor.Bool:
		return fillWith(t, func() bool { return integer() == 1 })
	}
	return fmt.Errorf("values of type %s cannot be generated", t.DType)
}

func fillWith[T tensor.Element](t tensor.Tensor, next func() T) error {
	data, err := tensor.As[T](t)
	for i := range data {
		data[i] = next()
	}
	return err
}

func fillBits(t tensor.Tensor, next func() uint16) error {
	t.DType = tensor.Uint16
	return fillWith(t, next)
}

// tableRows is the number of rows of the smallest table that an input's values
// are looked up in, directly or through nodes that keep values as they are.
func (g *graph) tableRows(input string) (rows int64, ok bool) {
	same := map[string]bool{input: true}
	for i, n := range g.nodes {
		switch n.OpType {
		case "Cast", "Identity", "Reshape", "Unsqueeze", "Squeeze", "Flatten", "Transpose":
			if len(n.Inputs) > 0 && same[n.Inputs[0]] && len(n.Outputs) > 0 {
				same[n.Outputs[0]] = true
			}
		case "Gather":
			if len(n.Inputs) < 2 || !same[n.Inputs[1]] {
				continue
			}
			table, found := g.initializer[n.Inputs[0]]
			axis := g.attrInt(i, "axis", 0)
			if !found {
				continue
			}
			dims := g.model.Graph.Initializers[table].Dims
			if axis < 0 {
				axis += int64(len(dims))
			}
			if axis >= 0 && axis < int64(len(dims)) && (!ok || dims[axis] < rows) {
				rows, ok = dims[axis], true
			}
		}
	}
	return rows, ok
}

// compare adds one output to the verification, and fails when it differs by
// more than the tolerance.
func (v *Verification) compare(want, got tensor.Tensor) error {
	if want.DType != got.DType || !slices.Equal(want.Shape, got.Shape) {
		return fmt.Errorf("the whole model gives %s%v, the stages give %s%v", want.DType, want.Shape, got.DType, got.Shape)
	}
	a, tolerance, isFloat := floats(want)
	if !isFloat {
		if string(want.Data) != string(got.Data) || !slices.Equal(want.Strs, got.Strs) {
			return errors.New("the values differ")
		}
		return nil
	}
	b, _, _ := floats(got)
	scale := 1.0
	for _, x := range a {
		if !math.IsInf(x, 0) && !math.IsNaN(x) {
			scale = max(scale, math.Abs(x))
		}
	}
	for i := range a {
		if a[i] == b[i] || math.IsNaN(a[i]) && math.IsNaN(b[i]) {
			continue
		}
		d := math.Abs(a[i] - b[i])
		if !(d <= tolerance*scale) { // also true for a NaN on one side
			return fmt.Errorf("element %d is %g in the whole model and %g in the stages", i, a[i], b[i])
		}
		v.MaxAbsolute = max(v.MaxAbsolute, d)
		if m := math.Abs(a[i]); m > 1e-3 {
			v.MaxRelative = max(v.MaxRelative, d/m)
		}
	}
	return nil
}

// floats widens a tensor of floats; ok is false for other types.
func floats(t tensor.Tensor) (values []float64, tolerance float64, ok bool) {
	if t.DType == tensor.Float64 {
		data, err := tensor.As[float64](t)
		return data, Tolerance, err == nil
	}
	data, err := tensor.Widen(t)
	if err != nil {
		return nil, 0, false
	}
	for _, x := range data {
		values = append(values, float64(x))
	}
	if t.DType == tensor.Float32 {
		return values, Tolerance, true
	}
	return values, halfTolerance, true
}
