// Package limits finds what a model's own tables allow of its inputs: which ids they have, and how
// many positions. It cuts what computes the places in the tables out of the graph and runs it at
// the borders.
//
// It does not know what the limits are for, nor how a model is cut.
package limits

import (
	"context"
	"fmt"
	"os"

	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/split/engine"
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

	places []*places        // the lookups that can be computed
	shapes *types.Inference // that says which sizes operators take; nil when it cannot
	taken  map[int64]bool
}
