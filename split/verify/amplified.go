package verify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/pipeline"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/split/engine"
)

// An Amplified says how differences beyond the tolerance are known to be rounding that the model
// amplifies, and not a wrong split. Differences are shares of the largest magnitude in an output,
// or of 1.
type Amplified struct {
	Output     string  `json:"output"`     // the one that differs most
	Difference float64 `json:"difference"` // of the stages from the whole model
	// Own is how far the whole model is from itself when the values at the cuts change by Change, a
	// share of each, or when it is computed without graph optimisations.
	Own    float64 `json:"own_difference"`
	Change float64 `json:"change"`
	// Plain is how far the stages are from the whole model when both are computed without graph
	// optimisations, so that they round alike.
	Plain float64 `json:"plain_difference"`
	Runs  int     `json:"runs"` // whose difference was beyond the tolerance
}

// A doubt is a difference beyond the tolerance.
type doubt struct {
	run    *run
	output int
	share  float64
	err    error
}

const (
	// settled is how many runs, those of the largest differences, are computed again.
	settled = 4
	// changes is how often the values at the cuts of a run are changed. In a small encoder
	// quantised dynamically, one change in four was amplified.
	changes = 12
	// change is the share of a float32 by which it is changed: some units in its last place, as
	// another order of additions changes it.
	change = 1e-6
	// margin is how many times as large as the model's own difference another may be: differences
	// come in steps of quantisation, and not all runs are measured.
	margin = 4
	// plainShare is the share of a tolerance within which nodes are that round alike.
	plainShare = 1.0 / 100
	// longestSettling bounds the time of it all.
	longestSettling = 10 * time.Minute
)

// settle tells rounding that the model amplifies from a wrong split. Without graph optimisations
// the stages compute the very nodes of the whole: they have to give the same, unless floats shorter
// than float32 are rounded at a cut. Then the stages are the whole model, and what a small change
// of the values at their cuts does to their outputs is what it does to the whole model's. That has
// to be of the size of the differences.
func (v *verifier) settle(ctx context.Context, doubts []doubt) error {
	if len(doubts) == 0 {
		return nil
	}
	slices.SortStableFunc(doubts, func(a, b doubt) int { return cmp.Compare(b.share, a.share) })
	if v.o.Tolerance != 0 || math.IsInf(doubts[0].share, 1) {
		return doubts[0].err
	}
	limited, cancel := context.WithTimeout(ctx, longestSettling)
	defer cancel()
	s := &settling{v: v, own: make([]float64, len(v.Outputs)), plain: make([]float64, len(v.Outputs))}
	for _, d := range doubts {
		if len(s.runs) < settled && !slices.ContainsFunc(s.runs, func(r *settledRun) bool { return r.run == d.run }) {
			s.runs = append(s.runs, &settledRun{run: d.run})
		}
	}
	err := s.measure(limited)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case limited.Err() != nil:
		return fmt.Errorf("%w; whether the model amplifies rounding so much was not found out within %s", doubts[0].err, longestSettling)
	case err != nil:
		return fmt.Errorf("%w; %w", doubts[0].err, err)
	}
	for _, d := range doubts {
		if own := s.own[d.output]; d.share > margin*own {
			return fmt.Errorf("%w, a difference of %.1e; changes of %.0e at the cuts change the whole model's output by %.1e only", d.err, d.share, change, own)
		}
	}
	most := doubts[0]
	v.Amplified = &Amplified{Output: v.Outputs[most.output].Name, Difference: most.share, Own: s.own[most.output], Change: change, Plain: s.plain[most.output]}
	for i, d := range doubts {
		if !slices.ContainsFunc(doubts[:i], func(other doubt) bool { return other.run == d.run }) {
			v.Amplified.Runs++
		}
	}
	return nil
}

// A settling measures how much a model amplifies.
type settling struct {
	v     *verifier
	runs  []*settledRun
	own   []float64 // by output: how far the whole model is from itself
	plain []float64 // by output: how far the plain stages are from the plain whole
}

// A settledRun is a run that is computed without graph optimisations.
type settledRun struct {
	*run
	plain  tensor.Bag   // the whole model's answer
	passed []tensor.Bag // through the stages: as it is, and changed at the cuts
}

// measure fails when the plain stages do not give what the plain whole gives, or when that cannot
// be found out.
func (s *settling) measure(ctx context.Context) error {
	err := s.with(s.v.o.Model, s.v.b.Inputs, s.v.b.Outputs, func(whole engine.Session) (err error) {
		for _, r := range s.runs {
			if r.plain, err = whole.Run(ctx, r.in); err != nil {
				return err
			}
			r.passed = slices.Repeat([]tensor.Bag{r.in}, 1+changes)
		}
		return nil
	})
	for rank := 0; err == nil && rank < len(s.v.b.Stages); rank++ {
		stage := s.v.b.Stages[rank]
		err = s.with(s.v.paths[rank], stage.Inputs, stage.Outputs, func(session engine.Session) error {
			return s.through(ctx, rank, pipeline.Stage{Runner: session, Inputs: tensor.Names(stage.Inputs), Forward: stage.Forward})
		})
	}
	if err != nil {
		return fmt.Errorf("whether that is rounding could not be found out: %w", err)
	}
	return s.judge()
}

// with loads a model without graph optimisations.
func (s *settling) with(path string, inputs, outputs []tensor.Spec, do func(engine.Session) error) error {
	session, err := s.v.e.OpenPlain(path, inputs, outputs)
	if err != nil {
		return err
	}
	return errors.Join(do(session), session.Close())
}

// through has a stage compute all runs, and changes what leaves it but for the first of each.
func (s *settling) through(ctx context.Context, rank int, stage pipeline.Stage) error {
	last := rank == len(s.v.b.Stages)-1
	for n, r := range s.runs {
		for k, in := range r.passed {
			out := r.passed[0] // before the first cut nothing is changed
			if rank > 0 || k == 0 {
				var err error
				if out, err = stage.Run(ctx, in); err != nil {
					return err
				}
			}
			if k > 0 && !last {
				out = changed(out, s.v.b.Stages[rank], n, k)
			}
			r.passed[k] = out
		}
	}
	return nil
}

// changed is what left a stage, with each of its floats a little larger or smaller.
func changed(bag tensor.Bag, of bundle.Stage, seeds ...int) tensor.Bag {
	r := rand.New(rand.NewPCG(uint64(seeds[0]), uint64(seeds[1])))
	out := make(tensor.Bag, len(bag))
	for name, t := range bag {
		out[name] = t
	}
	for _, spec := range of.Outputs {
		t, ok := out[spec.Name]
		if !ok {
			continue
		}
		switch t.DType {
		case tensor.Float32:
			values, _ := tensor.As[float32](t)
			moved := make([]float32, len(values))
			for i, x := range values {
				moved[i] = x * float32(1+change*float64(2*r.IntN(2)-1))
			}
			out[spec.Name] = tensor.Of(t.Shape, moved)
		case tensor.Float16, tensor.BFloat16:
			t.Data = slices.Clone(t.Data)
			for i := 0; i+1 < len(t.Data); i += 2 { // little-endian, as ONNX has it
				if low := t.Data[i]; low > 0 && low < 255 && r.IntN(2) == 0 {
					t.Data[i] = low + uint8(2*r.IntN(2)) - 1 // one step
				}
			}
			out[spec.Name] = t
		}
	}
	return out
}

// judge compares what came out of the last stage.
func (s *settling) judge() error {
	for _, r := range s.runs {
		for i, o := range s.v.Outputs {
			if _, restless := s.v.restless[o.Name]; restless {
				continue
			}
			want := r.plain[o.Name]
			tolerance := s.v.tolerance(want.DType)
			if tolerance == Tolerance {
				tolerance *= plainShare
			}
			share, err := shareOf(want, r.passed[0][o.Name], tolerance)
			if err != nil {
				return fmt.Errorf("it is no rounding, since also without graph optimisations %w", err)
			}
			s.plain[i] = max(s.plain[i], share)
			for _, other := range append([]tensor.Bag{r.whole}, r.passed[1:]...) {
				if share, err = shareOf(want, other[o.Name], math.MaxFloat64); err == nil {
					s.own[i] = max(s.own[i], share)
				}
			}
		}
	}
	return nil
}

// shareOf is how far got is from want, as a share of the largest magnitude in it or of 1. It fails
// when that is more than the tolerance.
func shareOf(want, got tensor.Tensor, tolerance float64) (float64, error) {
	var d Difference
	err := d.compare(want, got, tolerance)
	values, _ := floats(want)
	return d.MaxAbsolute / scale(values), err
}
