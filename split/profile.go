package split

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/pipeline"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/split/engine"
	"github.com/distinfer/distinfer/split/generate"
	"github.com/distinfer/distinfer/split/onnxfile"
	"github.com/distinfer/distinfer/split/plan"
	"github.com/distinfer/distinfer/split/types"
)

// A profiler measures what the layers of a model cost on this machine. Each runs as
// a model of its own, so that what ONNX Runtime fuses within a layer is fused, and no
// more than one layer is in memory.
type profiler struct {
	planner   *planner
	engine    engine.Engine
	data      *onnxfile.DataFolder
	reference tensor.Sizes
	dir       string
}

// maxProfiled bounds the models that are measured; of a model with more layers,
// several are measured together.
const maxProfiled = 256

// measure replaces the estimated costs of cuts by measured ones. Between two places
// that were measured they are in proportion to the estimate.
func (p *planner) measure(ctx context.Context, e engine.Engine, data *onnxfile.DataFolder, reference tensor.Sizes, cuts []cut) ([]cut, error) {
	l := p.layout(cuts, false)
	borders, err := l.divide(min(l.parts(), maxProfiled), plan.Limits{})
	if err != nil {
		return nil, err
	}
	parts, err := p.extract(borders)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "distinfer-profile-")
	if err != nil {
		return nil, fmt.Errorf("make a temporary folder: %w; choose another place with TMPDIR", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	profile := &profiler{p, e, data, reference, dir}
	times, err := profile.times(ctx, parts)
	if err != nil {
		return nil, err
	}
	measured := slices.Clone(cuts)
	var before int64
	for k, took := range times {
		from, to := borders[k], borders[k+1]
		for at := from.at + 1; at <= to.at; at++ {
			share := float64(at-from.at) / float64(to.at-from.at)
			if to.cost > from.cost {
				share = float64(cuts[at].cost-from.cost) / float64(to.cost-from.cost)
			}
			measured[at].cost = before + int64(share*float64(took.Nanoseconds())*1000)
		}
		before = measured[to.at].cost
	}
	return measured, nil
}

// times runs the parts one after the other, on generated inputs that the model
// takes.
func (p *profiler) times(ctx context.Context, parts []part) ([]time.Duration, error) {
	g := p.planner.g
	manifest := &bundle.Manifest{Inputs: g.Inputs, Outputs: p.planner.v.List(g.Outputs), Reference: p.reference}
	generator := generate.New(manifest, []*onnxfile.Graph{&g.Model.Graph})
	var refused error
	for _, m := range generator.Manners() {
		in, err := generator.Make(g.Inputs, generate.Trial{Sizes: p.reference, Lead: types.ReferenceBatch, Other: types.ReferenceBatch}, m, 1)
		if err != nil {
			refused = err
			continue
		}
		times, err := p.chain(ctx, parts, in)
		if err == nil || ctx.Err() != nil {
			return times, err
		}
		if refused == nil {
			refused = err
		}
	}
	return nil, fmt.Errorf("cannot measure: the model takes none of the generated inputs of sizes %v (%w); give other sizes, or estimate costs instead", p.reference, refused)
}

func (p *profiler) chain(ctx context.Context, parts []part, in tensor.Bag) ([]time.Duration, error) {
	var times []time.Duration
	for k, part := range parts {
		took, out, err := p.time(ctx, part, in)
		if err != nil {
			return nil, fmt.Errorf("layer %d: %w", k, err)
		}
		times = append(times, took)
		in = out
	}
	return times, nil
}

// How often a layer runs: until the time is over, but not less and not more often
// than this.
const (
	profileTime  = 30 * time.Millisecond
	profileLeast = 5
	profileMost  = 50
)

// time is the least time of a part's runs, after one that does not count: whatever
// else the machine does can only make one longer.
func (p *profiler) time(ctx context.Context, part part, in tensor.Bag) (_ time.Duration, out tensor.Bag, err error) {
	part.sub.Data = "layer.data"
	laid, err := p.planner.g.Model.Part(part.sub)
	if err != nil {
		return 0, nil, err
	}
	path := filepath.Join(p.dir, "layer.onnx")
	if err := laid.WriteTemp(path, part.sub.Data, p.data); err != nil {
		return 0, nil, err
	}
	v := p.planner.v
	session, err := p.engine.Open(path, v.List(part.inputs), v.List(part.outputs))
	if err != nil {
		return 0, nil, err
	}
	defer func() { err = errors.Join(err, session.Close()) }()
	stage := pipeline.Stage{Runner: session, Inputs: part.inputs, Forward: part.forward}
	if out, err = stage.Run(ctx, in); err != nil {
		return 0, nil, err
	}
	least := time.Duration(math.MaxInt64)
	begin := time.Now()
	for runs := 0; runs < profileLeast || runs < profileMost && time.Since(begin) < profileTime; runs++ {
		start := time.Now()
		if _, err := stage.Run(ctx, in); err != nil {
			return 0, nil, err
		}
		least = min(least, time.Since(start))
	}
	return least, out, nil
}
