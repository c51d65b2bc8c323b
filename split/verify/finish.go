package verify

import (
	"context"
	"errors"
	"fmt"

	"github.com/distinfer/distinfer/runtime/tensor"
)

// finish compares what came out of the last stage.
func (v *verifier) finish(ctx context.Context) error {
	var doubts []doubt
	for _, r := range v.runs {
		for i := range v.Outputs {
			d := &v.Outputs[i]
			got := r.at[d.Name]
			if want, ok := r.whole[d.Name]; ok {
				v.Against = AgainstWhole
				if err := v.asWhole(d, want, got); err != nil {
					err = fmt.Errorf("the split is wrong: output %q on %s: %w", d.Name, r.name, err)
					var far *farError
					if !errors.As(err, &far) {
						return err
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
					return fmt.Errorf("output %q of %s is not as expected%s: %w", d.Name, r.name, also, err)
				}
			}
			v.MaxAbsolute = max(v.MaxAbsolute, d.MaxAbsolute)
			v.MaxRelative = max(v.MaxRelative, d.MaxRelative)
		}
		switch {
		case r.from > 0:
			continue // it did not go through all stages
		case r.given:
			v.Given = append(v.Given, r.name)
		default:
			v.Sizes = append(v.Sizes, r.sizes)
		}
		v.Runs++
	}
	return v.settle(ctx, doubts)
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
