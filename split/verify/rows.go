package verify

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/feed"
	"github.com/distinfer/distinfer/runtime/pipeline"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/split/onnxfile"
	"github.com/distinfer/distinfer/split/rows"
)

// rowsTest makes the test that finds which texts may be computed together.
func rowsTest(b *bundle.Bundle, paths []string, open rows.Open, judges bool) (*rows.Test, error) {
	ids, err := outliers(b, paths)
	if err != nil {
		return nil, err
	}
	return rows.New(b, open, ids, judges)
}

// maxScanned bounds the table that is looked through for outliers, in bytes.
const maxScanned = 1 << 29

// outliers are the ids of tokens with the largest numbers in the table they are looked up
// in: where a model takes something of the whole batch, such as a scale, they change it.
func outliers(b *bundle.Bundle, paths []string) (ids []int64, err error) {
	limit, ok := b.Limits.Of(feed.IDs(b.Inputs))
	if !ok {
		return nil, nil
	}
	for _, path := range paths {
		file, err := onnxfile.Open(path)
		if err != nil {
			return nil, err
		}
		for _, t := range file.Graph.Initializers {
			if !strings.HasPrefix(limit.Table, t.Name+" ") || t.DType != tensor.Float32 || len(t.Dims) != 2 || t.Dims[0] != limit.Max+1 || t.Bytes() > maxScanned {
				continue
			}
			ids = largest(t.RawData(), t.Dims[1])
		}
		if err := file.Close(); err != nil || ids != nil {
			return ids, err
		}
	}
	return nil, nil
}

// largest are the two rows of float32 with the largest magnitudes.
func largest(data []byte, width int64) []int64 {
	var ids [2]int64
	var most [2]float32
	row := int(4 * width)
	for at := 0; row > 0 && at+row <= len(data); at += row {
		top := float32(0)
		for i := at; i < at+row; i += 4 {
			x := math.Float32frombits(binary.LittleEndian.Uint32(data[i:]) &^ (1 << 31))
			if x > top {
				top = x
			}
		}
		switch id := int64(at / row); {
		case top > most[0]:
			ids, most = [2]int64{id, ids[0]}, [2]float32{top, most[0]}
		case top > most[1]:
			ids[1], most[1] = id, top
		}
	}
	if most[1] == 0 {
		return nil
	}
	return ids[:]
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
	if v.rows == nil || !v.rows.Judges() {
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
