package memory

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"slices"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/ort"
	"github.com/distinfer/distinfer/runtime/tensor"
)

// A measurement is what a run of a stage was estimated to take and what it took, in bytes.
type measurement struct {
	rank                int
	sizes               tensor.Sizes
	estimated, measured int64
	known               bool
}

// A shape is the size of the leading dimension of the inputs, and of all others.
type shape struct{ rows, others int64 }

// measure runs each stage of a bundle at shapes, each time in an arena of its own: its
// peak is never forgotten.
func measure(ctx context.Context, library *ort.Library, dir string, shapes []shape) ([]measurement, error) {
	b, err := bundle.Open(dir)
	if err != nil {
		return nil, err
	}
	var list []measurement
	for _, sh := range shapes {
		sizes := tensor.Sizes{}
		for _, in := range b.Inputs {
			for i, d := range in.Dims {
				if d.Name == "" {
					continue
				}
				if _, known := sizes[d.Name]; !known {
					sizes[d.Name] = sh.others
					if i == 0 {
						sizes[d.Name] = sh.rows
					}
				}
			}
		}
		in, err := ones(b.Inputs, sizes)
		if err != nil {
			return nil, err
		}
		for rank, s := range b.Stages {
			m := measurement{rank: rank, sizes: sizes}
			m.estimated, m.known = s.Activations.At(sizes)
			if in, m.measured, err = once(ctx, library, filepath.Join(dir, s.Name), s, in); err != nil {
				return nil, fmt.Errorf("stage %d at %v: %w", rank, sizes, err)
			}
			list = append(list, m)
		}
	}
	return list, nil
}

// once runs a stage in an arena of its own, and tells how much more was in use than before.
func once(ctx context.Context, library *ort.Library, path string, s bundle.Stage, in tensor.Bag) (next tensor.Bag, took int64, err error) {
	arena, err := library.NewArena(1 << 40)
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = arena.Close() }()
	session, err := library.Open(path, s.Inputs, s.Outputs, ort.Options{Threads: 1, Arena: arena})
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = session.Close() }()
	before, err := arena.InUse()
	if err != nil {
		return nil, 0, err
	}
	loading, err := arena.Peak()
	if err != nil {
		return nil, 0, err
	}
	next, err = session.Run(ctx, in)
	if err != nil {
		return nil, 0, err
	}
	for _, name := range s.Forward {
		next[name] = in[name]
	}
	peak, err := arena.Peak()
	if err != nil {
		return nil, 0, err
	}
	if peak == loading { // loading took more
		return next, 0, nil
	}
	return next, peak - before, nil
}

// ones are inputs that hold nothing but ones.
func ones(specs []tensor.Spec, sizes tensor.Sizes) (tensor.Bag, error) {
	bag := tensor.Bag{}
	for _, s := range specs {
		dims, ok := s.Resolve(sizes)
		if !ok {
			return nil, fmt.Errorf("the size of input %s is not known", s)
		}
		n, err := tensor.Elements(dims)
		if err != nil {
			return nil, err
		}
		switch s.DType {
		case tensor.Int64:
			bag[s.Name] = tensor.Of(dims, slices.Repeat([]int64{1}, int(n)))
		case tensor.Int32:
			bag[s.Name] = tensor.Of(dims, slices.Repeat([]int32{1}, int(n)))
		case tensor.Float32:
			bag[s.Name] = tensor.Of(dims, slices.Repeat([]float32{1}, int(n)))
		default:
			return nil, fmt.Errorf("inputs of type %s are not made here", s.DType)
		}
	}
	return bag, nil
}

func printMeasurements(w io.Writer, what string, list []measurement) {
	for _, m := range list {
		ratio := "-"
		if m.measured > 0 && m.known {
			ratio = fmt.Sprintf("%.2f", float64(m.estimated)/float64(m.measured))
		}
		fmt.Fprintf(w, "%-28s stage %d %v estimated %8.1f MB  measured %8.1f MB  ratio %s\n", what, m.rank, fmt.Sprint(m.sizes), float64(m.estimated)/1e6, float64(m.measured)/1e6, ratio)
	}
}
