package verify

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/distinfer/distinfer/runtime/tensor"
)

// finish compares what came out of the last stage.
func (v *verifier) finish(ctx context.Context) error {
	var doubts []doubt
	for _, r := range slices.Concat(v.runs, v.texts()) {
		if r.failed != nil && r.whole != nil {
			return fmt.Errorf("the split is wrong: the whole model runs on %s, but stage %d: %w", r.name, r.stage, r.failed)
		}
		if r.failed != nil {
			continue
		}
		found, err := v.compareRun(r)
		if err != nil {
			return err
		}
		if doubts = append(doubts, found...); r.from == 0 { // else it did not go through all stages
			v.count(r)
		}
	}
	v.finishTexts()
	if err := v.settle(ctx, doubts); err != nil || v.rows == nil {
		return err
	}
	return v.rows.Unanswered()
}

// compareRun compares the outputs of a run. Floats that are too far from the whole model's are doubts.
func (v *verifier) compareRun(r *run) (doubts []doubt, err error) {
	for i := range v.Outputs {
		d := Difference{Name: v.Outputs[i].Name}
		got := r.at[d.Name]
		if want, ok := r.whole[d.Name]; ok {
			v.Against = AgainstWhole
			if err := v.asWhole(&d, want, got); err != nil {
				err = fmt.Errorf("the split is wrong: output %q on %s: %w", d.Name, r.name, err)
				var far *farError
				if !errors.As(err, &far) {
					return nil, err
				}
				doubts = append(doubts, doubt{run: r, output: i, share: far.share, err: err})
			}
		}
		if want, ok := r.want[d.Name]; ok {
			if v.Against == AgainstNothing {
				v.Against = AgainstExpected
			}
			if err := d.compare(want, got, v.o.Tolerance); err != nil {
				also := ""
				if v.Against == AgainstWhole {
					also = " (and in the whole model, which gives the same)"
				}
				return nil, fmt.Errorf("output %q of %s is not as expected%s: %w", d.Name, r.name, also, err)
			}
		}
		v.add(i, r.kind, d)
	}
	return doubts, nil
}

// add takes note of how far an output of a run is from what it should be.
func (v *verifier) add(output int, kind string, d Difference) {
	o := &v.Outputs[output]
	o.Compared = o.Compared || d.Compared
	o.MaxAbsolute, o.MaxRelative = max(o.MaxAbsolute, d.MaxAbsolute), max(o.MaxRelative, d.MaxRelative)
	v.MaxAbsolute, v.MaxRelative = max(v.MaxAbsolute, d.MaxAbsolute), max(v.MaxRelative, d.MaxRelative)
	if k := v.kind(kind); d.Compared {
		k.MaxAbsolute, k.MaxRelative = max(k.MaxAbsolute, d.MaxAbsolute), max(k.MaxRelative, d.MaxRelative)
	}
}

// count counts a run that went through all stages.
func (v *verifier) count(r *run) {
	v.kind(r.kind).Runs++
	switch r.kind {
	case ofTexts, ofBatches:
		return
	case ofGiven:
		v.Given = append(v.Given, r.name)
	default:
		v.Sizes = append(v.Sizes, r.sizes)
	}
	v.Runs++
}

func (v *verifier) kind(name string) *KindOfRuns {
	i := slices.IndexFunc(v.Kinds, func(k KindOfRuns) bool { return k.Kind == name })
	if i < 0 {
		i = len(v.Kinds)
		v.Kinds = append(v.Kinds, KindOfRuns{Kind: name})
	}
	return &v.Kinds[i]
}

// asWhole compares an output with the whole model's, as far as that gives the same
// every time.
func (v *verifier) asWhole(d *Difference, want, got tensor.Tensor) error {
	shapeToo, restless := v.restless[d.Name]
	switch {
	case !restless:
		return d.compare(want, got, v.tolerance(want.DType))
	case shapeToo && want.DType == got.DType && len(want.Shape) == len(got.Shape):
		return nil
	}
	return sameForm(want, got)
}

// tolerance is that of an output. In a model that computes with short floats, ONNX
// Runtime keeps what it can longer, and a cut rounds it: the tolerance is that of
// the shortest floats that cross one.
func (v *verifier) tolerance(d tensor.DType) float64 {
	if v.o.Tolerance != 0 {
		return v.o.Tolerance
	}
	tolerance := usualTolerance(d)
	for _, s := range v.b.Stages[:len(v.b.Stages)-1] {
		for _, spec := range s.Outputs {
			tolerance = max(tolerance, usualTolerance(spec.DType))
		}
	}
	return tolerance
}
