package split

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/pipeline"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/split/rows"
)

// findRows makes the test by itself, for a bundle that is not verified.
func findRows(ctx context.Context, e Engine, b *bundle.Bundle, paths []string, memory int64, test *rows.Test) error {
	v := &verifier{e: e, b: b, paths: paths, o: VerifyOptions{Memory: memory}, rows: test}
	for rank := range b.Stages {
		if err := v.runRows(ctx, rank); err != nil {
			return err
		}
	}
	return nil
}

// runRows has the texts alone computed by a stage.
func (v *verifier) runRows(ctx context.Context, rank int) (err error) {
	s := v.b.Stages[rank]
	if need, ok := v.stageFits(s); !ok {
		v.breakRows(rank, need)
		return nil
	}
	session, err := v.e.Open(v.paths[rank], s.Inputs, s.Outputs)
	if err != nil {
		v.rows.Break(fmt.Sprintf("stage %d does not load", rank))
		return nil
	}
	defer func() { err = errors.Join(err, session.Close()) }()
	return v.rows.Through(ctx, pipeline.Stage{Runner: session, Inputs: tensor.Names(s.Inputs), Forward: s.Forward})
}

func (v *verifier) breakRows(rank int, need int64) {
	if v.rows != nil {
		v.rows.Break(fmt.Sprintf("loading stage %d takes about %s of memory, and %s can be had", rank, megabytes(need), megabytes(v.o.Memory)))
	}
}

// finishRows fails when a bundle lets texts be computed together that change each other's
// answers.
func (v *verifier) finishRows() error {
	if v.rows == nil {
		return nil
	}
	found := v.rows.Found()
	v.Rows = &found
	said := v.b.Rows
	if said == nil {
		return nil // it is about to be
	}
	if found.Texts == 0 {
		v.skip("Which texts may be computed together was %s.", found.Reason)
		return nil
	}
	if said.Independent && !found.Independent || slices.ContainsFunc(said.Padding, func(side string) bool { return !slices.Contains(found.Padding, side) }) {
		return fmt.Errorf("the bundle lets be computed together %s, but %s; split the model again", said.Together(), found.Reason)
	}
	return nil
}
