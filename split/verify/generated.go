package verify

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/split/engine"
	"github.com/distinfer/distinfer/split/generate"
	"github.com/distinfer/distinfer/split/onnxfile"
)

// readGenerator reads what the stages do with their inputs.
func readGenerator(b *bundle.Bundle, paths []string) (_ *generate.Generator, err error) {
	var graphs []*onnxfile.Graph
	for _, path := range paths {
		file, errOpen := onnxfile.Open(path)
		if errOpen != nil {
			return nil, errOpen
		}
		defer func() { err = errors.Join(err, file.Close()) }()
		graphs = append(graphs, &file.Graph)
	}
	return generate.New(&b.Manifest, graphs), nil
}

// besideTexts is at how many sizes inputs are generated for a model that also ran on texts: a
// single token, and few odd ones, with ids of the whole table.
const besideTexts = 4

// generate makes inputs of several sizes, each in the first manner that try takes
// and that does not end in NaN alone, and adds a run for each to the others. What
// try refused last is returned.
func (v *verifier) generate(ctx context.Context, from int, try func(tensor.Bag) (tensor.Bag, error), specs []tensor.Spec, add func(*run, tensor.Bag) error) (refused, err error) {
	s := &search{g: v.g, try: try, specs: specs, manners: v.g.Manners()}
	var done []tensor.Sizes
	read := len(v.texts()) > 0
	for i, t := range v.g.Trials() {
		if v.o.Memory > 0 && v.kept > v.o.Memory/4 {
			v.skip("Generated inputs of sizes %v and all later ones were left out, to save memory.", t.Sizes)
			break
		}
		if t.Late && len(v.runs) > 0 || read && (t.Late || i >= besideTexts) {
			continue
		}
		if len(t.Sizes) > 0 && slices.ContainsFunc(done, func(s tensor.Sizes) bool { return maps.Equal(s, t.Sizes) }) {
			continue
		}
		in, out, err := s.at(ctx, t, uint64(i))
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil { // larger ones would be slow too
			v.skip("Generated inputs of sizes %v and all later ones were left out: %v.", t.Sizes, err)
			break
		}
		if in == nil {
			continue
		}
		r := &run{from: from, name: fmt.Sprintf("inputs of sizes %v", t.Sizes), kind: ofGenerated, sizes: t.Sizes, in: in, at: in}
		if err := add(r, out); err != nil {
			return nil, err
		}
		if t.Empty {
			v.skip("Only inputs without elements could be run, where the model leaves sizes unknown.")
		}
		done = append(done, t.Sizes)
		v.runs = append(v.runs, r)
		v.kept += bytesOf(in) + bytesOf(out)
	}
	return s.refused, nil
}

// A search looks for inputs that something takes.
type search struct {
	g       *generate.Generator
	try     func(tensor.Bag) (tensor.Bag, error)
	specs   []tensor.Spec
	manners []generate.Manner // the likeliest first
	refused error             // the reason of the first manner at the sizes tried last
}

// at returns inputs of a trial's sizes and what they give; nil when none are taken. It fails
// when the time is up.
func (s *search) at(ctx context.Context, t generate.Trial, seed uint64) (in, out tensor.Bag, err error) {
	for k, m := range s.manners {
		candidate, err := s.g.Make(s.specs, t, m, seed)
		if err != nil {
			s.refused = err
			continue
		}
		answer, err := s.try(candidate)
		if ctx.Err() != nil {
			return nil, nil, ctx.Err()
		}
		if err != nil {
			if s.refused == nil || k == 0 {
				s.refused = fmt.Errorf("at sizes %v: %w", t.Sizes, err)
			}
			var slow *engine.SlowError
			if errors.As(err, &slow) {
				return nil, nil, err
			}
			continue
		}
		if !allNaN(answer) {
			// What one size takes, the others are likely to take.
			s.manners = append([]generate.Manner{m}, slices.Delete(s.manners, k, k+1)...)
			return candidate, answer, nil
		}
		if in == nil {
			in, out = candidate, answer
		}
	}
	return in, out, nil
}

// allNaN reports whether an output has no number in it, so that comparing it says
// little.
func allNaN(bag tensor.Bag) bool {
	for _, t := range bag {
		values, ok := floats(t)
		if ok && len(values) > 0 && !slices.ContainsFunc(values, func(x float64) bool { return x == x }) {
			return true
		}
	}
	return false
}

func bytesOf(bag tensor.Bag) (n int64) {
	for _, t := range bag {
		n += int64(len(t.Data))
	}
	return n
}
