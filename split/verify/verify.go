// Package verify runs a bundle: it compares what the stages answer, one after the other, with the
// whole model or with expected outputs, finds out which texts may be computed together, and
// says what an encoding of activations changes.
//
// It does not know how a model is cut, and knows a runtime only as an Engine.
package verify

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/pipeline"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/split/engine"
	"github.com/distinfer/distinfer/split/generate"
	"github.com/distinfer/distinfer/split/inputs"
	"github.com/distinfer/distinfer/split/onnxfile"
	"github.com/distinfer/distinfer/split/rows"
)

// What the results of the stages were compared with.
const (
	AgainstWhole    = "whole model"
	AgainstExpected = "expected outputs"
	AgainstNothing  = "nothing"
)

// A Result says what was found out about a bundle by running it, and what
// was not.
type Result struct {
	Runs        int            `json:"runs"`            // of all stages, one after the other
	StagesRun   int            `json:"stages_run"`      // stages that ran at all
	Against     string         `json:"against"`         // AgainstWhole, AgainstExpected or AgainstNothing
	Sizes       []tensor.Sizes `json:"sizes"`           // of the runs on generated inputs
	Given       []string       `json:"given,omitempty"` // the inputs of the other runs
	MaxAbsolute float64        `json:"max_absolute_difference"`
	MaxRelative float64        `json:"max_relative_difference"` // of values larger than 1e-3
	Outputs     []Difference   `json:"outputs"`
	// Unverified are sentences that say what was not verified, and why.
	Unverified []string `json:"unverified,omitempty"`
	// Rows is what was found out about texts in one batch; nil when the model reads none, or
	// the bundle lets none be computed together.
	Rows *rows.Finding `json:"rows,omitempty"`
	// Extra are the names of what lies in the bundle's folder and is no part of it.
	Extra []string `json:"extra,omitempty"`
}

// Options say what to verify a bundle with.
type Options struct {
	Model     string   // the file of the whole model, or "" to compare with nothing
	Inputs    []string // files and folders of inputs to run on besides generated ones; see package inputs
	Tolerance float64  // of all outputs of floats; 0 is the usual one of each type
	// Memory bounds what is loaded at a time, in bytes; 0 is no bound.
	Memory int64
	// RunTime is how long a run of the model or of a stage may take; 0 is engine.DefaultRunTime.
	RunTime time.Duration
	// Texts opens the model's texts, to see whether those that the bundle lets be computed
	// together may be; nil leaves that out.
	Texts rows.Open
}

// Verify checks that the files of a bundle are those that its manifest speaks of,
// that every stage loads, and that the stages, one after the other, give what the
// whole model gives, or the outputs that come with the inputs. It fails when
// something is wrong; what could not be found out is said in the Result.
//
// No two models are loaded at a time: first the whole runs on all inputs, then
// each stage does, so that this takes no more memory than the whole alone.
func Verify(ctx context.Context, e engine.Engine, b *bundle.Bundle, o Options) (*Result, error) {
	e = engine.WithRunTime(e, o.RunTime)
	if o.Model != "" {
		if err := sameModel(o.Model, b.Model); err != nil {
			return nil, err
		}
	}
	extra, err := b.Check()
	if err != nil {
		return nil, err
	}
	var paths []string
	for rank, s := range b.Stages {
		path, data := filepath.Join(b.Dir, s.Name), ""
		if s.Data != nil {
			data = s.Data.Name
		}
		if err := onnxfile.CheckExternal(path, data); err != nil {
			return nil, fmt.Errorf("stage %d of bundle %s: %w", rank, b.Dir, err)
		}
		paths = append(paths, path)
	}
	var together *rows.Test
	if o.Texts != nil && b.Rows != nil && b.Rows.Independent {
		if together, err = rowsTest(b, paths, o.Texts); err != nil {
			return nil, err
		}
	}
	v, err := verify(ctx, e, b, paths, o, together)
	if err != nil {
		return nil, err
	}
	v.Extra = extra
	return v, nil
}

// Stages does what Verify does for a bundle whose files are known to be right, such as one that was
// just written. The engine bounds the time of its runs. When the manifest does not say which
// texts may be computed together, Rows of the Result does.
func Stages(ctx context.Context, e engine.Engine, b *bundle.Bundle, o Options) (*Result, error) {
	paths, test, err := written(b, o)
	if err != nil {
		return nil, err
	}
	return verify(ctx, e, b, paths, o, test)
}

// Rows finds out which texts may be computed together, for a bundle whose manifest does not say.
// It is nil for a model that reads no texts.
func Rows(ctx context.Context, e engine.Engine, b *bundle.Bundle, o Options) (*rows.Finding, error) {
	paths, test, err := written(b, o)
	if err != nil || test == nil {
		return nil, err
	}
	v := &verifier{e: e, b: b, paths: paths, o: o, rows: test}
	for rank := range b.Stages {
		if err := v.runRows(ctx, rank); err != nil {
			return nil, err
		}
	}
	found := test.Found()
	return &found, nil
}

// written gives the paths of a bundle's stages, and the test of its texts, if it needs one.
func written(b *bundle.Bundle, o Options) (paths []string, test *rows.Test, err error) {
	for rank := range b.Stages {
		path, err := b.StagePath(rank)
		if err != nil {
			return nil, nil, err
		}
		paths = append(paths, path)
	}
	if b.Rows == nil && o.Texts != nil {
		test, _ = rowsTest(b, paths, o.Texts) // it fails for a model that reads no texts
	}
	return paths, test, nil
}

// sameModel fails unless a bundle was made from the model file at path.
func sameModel(path string, m bundle.Model) error {
	file, err := onnxfile.Open(path)
	if err != nil {
		return err
	}
	got := file.SHA256()
	if err := file.Close(); err != nil {
		return err
	}
	if got != m.SHA256 {
		return fmt.Errorf("the bundle was not made from %s: that has sha256 %s, the model of the bundle (%s) has %s", path, got, m.Name, m.SHA256)
	}
	return nil
}

// A run is one set of inputs on its way through the stages.
type run struct {
	name  string // for messages
	from  int    // the stage it began at
	sizes tensor.Sizes
	given bool       // by the user: it has to work
	at    tensor.Bag // what the next stage is given; nil once it cannot go on
	whole tensor.Bag // what the whole model answers, or nil
	want  tensor.Bag // what the user expects, or nil
}

// A verifier is one verification.
type verifier struct {
	*Result
	e     engine.Engine
	b     *bundle.Bundle
	paths []string // of the stages' files, checked
	o     Options
	g     *generate.Generator
	rows  *rows.Test // nil: not to be made
	runs  []*run
	kept  int64 // bytes of the runs

	// restless are the outputs that the whole model gives other values for when it
	// is run again; true where even the shape is another.
	restless map[string]bool
}

func verify(ctx context.Context, e engine.Engine, b *bundle.Bundle, paths []string, o Options, together *rows.Test) (*Result, error) {
	v := &verifier{Result: &Result{Against: AgainstNothing, Sizes: []tensor.Sizes{}}, e: e, b: b, paths: paths, o: o, rows: together, restless: map[string]bool{}}
	for _, spec := range b.Outputs {
		v.Outputs = append(v.Outputs, Difference{Name: spec.Name})
	}
	sets, err := inputs.Read(o.Inputs, b.Inputs, b.Outputs)
	if err != nil {
		return nil, err
	}
	for _, s := range sets {
		sizes, err := tensor.MatchAll(b.Inputs, s.In)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.Name, err)
		}
		v.runs = append(v.runs, &run{name: s.Name, sizes: sizes, given: true, at: s.In, want: s.Want})
	}
	if v.g, err = readGenerator(b, paths); err != nil {
		return nil, err
	}
	compared, err := v.runWhole(ctx)
	if err != nil {
		return nil, err
	}
	for rank := range b.Stages {
		if err := v.runStage(ctx, rank, compared); err != nil {
			return nil, err
		}
	}
	if err := v.finish(); err != nil {
		return nil, err
	}
	return v.Result, v.finishRows()
}

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

// loadOverhead is what a session takes beside its weights, in bytes.
const loadOverhead = 64 << 20

// fits reports whether a model can be loaded, and what it needs: its weights as
// they are stored, and once as float32, which ONNX Runtime may make of them. (For
// 400 MB of float32 the peak was 1.2 times the weights, for as many weights as
// float16, cast in the graph, 3.2 times.)
func (v *verifier) fits(parameters, bytes int64) (need int64, ok bool) {
	need = bytes + 4*parameters + loadOverhead
	return need, v.o.Memory == 0 || need <= v.o.Memory
}

// stageFits is fits for a stage.
func (v *verifier) stageFits(s bundle.Stage) (need int64, ok bool) {
	return v.fits(s.Parameters, max(s.ParameterBytes, s.Bytes))
}

// runWhole runs the whole model on the inputs that were given and on generated
// ones, and keeps what it answers. It reports false when it cannot be run; the
// runs are then made for the first stage alone.
func (v *verifier) runWhole(ctx context.Context) (compared bool, err error) {
	if v.o.Model == "" {
		v.skip("The results were not compared with the whole model, since no model was given.")
		return false, nil
	}
	var parameters, bytes int64
	for _, s := range v.b.Stages {
		parameters += s.Parameters
		bytes += s.ParameterBytes
	}
	need, ok := v.fits(parameters, max(bytes, v.b.Model.Bytes))
	if !ok {
		v.skip("The results were not compared with the whole model: loading it takes about %s of memory, and %s can be had; every stage ran by itself.", megabytes(need), megabytes(v.o.Memory))
		return false, nil
	}
	whole, err := v.e.Open(v.o.Model, v.b.Inputs, v.b.Outputs)
	if err != nil {
		v.skip("The results were not compared with the whole model, which does not load: %v.", err)
		return false, nil
	}
	defer func() { err = errors.Join(err, whole.Close()) }()
	for _, r := range v.runs {
		if r.whole, err = whole.Run(ctx, r.at); err != nil {
			return false, fmt.Errorf("the whole model does not run on %s: %w", r.name, err)
		}
		if err := v.again(ctx, whole, r); err != nil {
			return false, err
		}
	}
	refused, err := v.generate(ctx, 0, func(in tensor.Bag) (tensor.Bag, error) { return whole.Run(ctx, in) }, v.b.Inputs, func(r *run, out tensor.Bag) error {
		r.whole = out
		return v.again(ctx, whole, r)
	})
	if err != nil {
		return false, err
	}
	if len(v.runs) == 0 {
		v.skip("Nothing was verified by running, since the whole model takes none of the generated inputs (%v); give some of your own.", refused)
	}
	return true, nil
}

// again runs the whole model once more on the same inputs, to find the outputs
// that no comparison can hold to.
func (v *verifier) again(ctx context.Context, whole engine.Session, r *run) error {
	if len(v.runs) > 0 && r != v.runs[0] && !v.g.Random {
		return nil // one run tells
	}
	out, err := whole.Run(ctx, r.at)
	if err != nil {
		return fmt.Errorf("the whole model ran on %s once, and does not again: %w", r.name, err)
	}
	for name, x := range r.whole {
		var d Difference
		if d.compare(x, out[name], v.o.Tolerance) != nil {
			v.restless[name] = v.restless[name] || sameForm(x, out[name]) != nil
			v.skip("The values of output %q were not compared, only their type and shape: the whole model itself gives others from run to run.", name)
		}
	}
	return nil
}

// generate makes inputs of several sizes, each in the first manner that try takes
// and that does not end in NaN alone, and adds a run for each to the others. What
// try refused last is returned.
func (v *verifier) generate(ctx context.Context, from int, try func(tensor.Bag) (tensor.Bag, error), specs []tensor.Spec, add func(*run, tensor.Bag) error) (refused, err error) {
	manners := v.g.Manners()
	var done []tensor.Sizes
	for i, t := range v.g.Trials() {
		if v.o.Memory > 0 && v.kept > v.o.Memory/4 {
			v.skip("Generated inputs of sizes %v and of those that follow were left out, to save memory.", t.Sizes)
			break
		}
		if t.Late && len(v.runs) > 0 {
			continue
		}
		if len(t.Sizes) > 0 && slices.ContainsFunc(done, func(s tensor.Sizes) bool { return maps.Equal(s, t.Sizes) }) {
			continue
		}
		var in, out tensor.Bag
		for k, m := range manners {
			candidate, err := v.g.Make(specs, t, m, uint64(i))
			if err != nil {
				refused = err
				continue
			}
			answer, err := try(candidate)
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			if err != nil {
				if refused == nil || k == 0 {
					refused = fmt.Errorf("at sizes %v: %w", t.Sizes, err)
				}
				var slow *engine.SlowError
				if errors.As(err, &slow) { // the others would be too
					v.skip("Generated inputs of sizes %v and of those that follow were left out: %v.", t.Sizes, err)
					return refused, nil
				}
				continue
			}
			sound := !allNaN(answer)
			if in == nil || sound {
				in, out = candidate, answer
			}
			if sound {
				// What one size takes, the others are likely to take.
				manners = append([]generate.Manner{m}, slices.Delete(manners, k, k+1)...)
				break
			}
		}
		if in == nil {
			continue
		}
		r := &run{from: from, name: fmt.Sprintf("inputs of sizes %v", t.Sizes), sizes: t.Sizes, at: in}
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
	return refused, nil
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

// runStage loads a stage, runs it on what the one before it answered, and closes
// it. Where nothing arrives, it is given generated inputs.
func (v *verifier) runStage(ctx context.Context, rank int, compared bool) (err error) {
	s := v.b.Stages[rank]
	if need, ok := v.stageFits(s); !ok && !compared {
		v.breakRows(rank, need)
		v.skip("Stage %d was not loaded: that takes about %s of memory, and %s can be had; what follows it ran on generated inputs.", rank, megabytes(need), megabytes(v.o.Memory))
		v.runs = nil
		return nil
	}
	session, err := v.e.Open(v.paths[rank], s.Inputs, s.Outputs)
	if err != nil {
		return fmt.Errorf("stage %d does not load: %w", rank, err)
	}
	defer func() { err = errors.Join(err, session.Close()) }()
	link := pipeline.Stage{Runner: session, Inputs: tensor.Names(s.Inputs), Forward: s.Forward}
	if v.rows != nil {
		if err := v.rows.Through(ctx, link); err != nil {
			return err
		}
	}
	var refused error
	arrived := len(v.runs) > 0
	for _, r := range v.runs {
		out, err := link.Run(ctx, r.at)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && compared:
			return fmt.Errorf("the split is wrong: the whole model runs on %s, but stage %d: %w", r.name, rank, err)
		case err != nil && r.given:
			return fmt.Errorf("stage %d does not run on %s: %w", rank, r.name, err)
		case err != nil:
			refused = err
			r.at = nil // the model itself may not take it
			continue
		}
		if r.at = out; !compared {
			if err := asDeclared(s, r, out, rank); err != nil {
				return err
			}
		}
	}
	v.runs = slices.DeleteFunc(v.runs, func(r *run) bool { return r.at == nil })
	if !compared && (rank == 0 || len(v.runs) == 0) {
		if refused, err = v.startAt(ctx, rank, link, s, refused); err != nil {
			return err
		}
		switch {
		case len(v.runs) == 0:
			v.skip("Stage %d was loaded and not run, since it takes none of the generated inputs (%v).", rank, refused)
		case rank > 0 && arrived:
			v.skip("Stage %d ran on generated inputs, since it did not take what came from the stages before it (%v).", rank, refused)
		}
	}
	if len(v.runs) > 0 {
		v.StagesRun++
	}
	return nil
}

// startAt begins runs at a stage, on generated values of all that arrives there.
func (v *verifier) startAt(ctx context.Context, rank int, link pipeline.Stage, s bundle.Stage, refused error) (error, error) {
	arriving := slices.DeleteFunc(slices.Clone(v.g.Specs), func(spec tensor.Spec) bool {
		return !slices.Contains(link.Inputs, spec.Name) && !slices.Contains(link.Forward, spec.Name)
	})
	again, err := v.generate(ctx, rank, func(in tensor.Bag) (tensor.Bag, error) { return link.Run(ctx, in) }, arriving, func(r *run, out tensor.Bag) error {
		r.at = out
		return asDeclared(s, r, out, rank)
	})
	if refused == nil {
		refused = again
	}
	return refused, err
}

// asDeclared fails unless a stage gives the types and shapes of the manifest.
func asDeclared(s bundle.Stage, r *run, out tensor.Bag, rank int) error {
	sizes := maps.Clone(r.sizes)
	if sizes == nil {
		sizes = tensor.Sizes{}
	}
	for _, spec := range s.Outputs {
		if err := spec.Match(out[spec.Name], sizes); err != nil {
			return fmt.Errorf("stage %d does not give what the manifest says, on %s: %w", rank, r.name, err)
		}
	}
	return nil
}

// finish compares what came out of the last stage.
func (v *verifier) finish() error {
	for _, r := range v.runs {
		for i := range v.Outputs {
			d := &v.Outputs[i]
			got := r.at[d.Name]
			if want, ok := r.whole[d.Name]; ok {
				v.Against = AgainstWhole
				if err := v.asWhole(d, want, got); err != nil {
					return fmt.Errorf("the split is wrong: output %q on %s: %w", d.Name, r.name, err)
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
	return nil
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

// skip notes what is not verified, once.
func (v *verifier) skip(format string, args ...any) {
	sentence := strings.Join(strings.Fields(fmt.Sprintf(format, args...)), " ")
	sentence = strings.TrimRight(sentence, ".") + "." // an error may end with one
	if !slices.Contains(v.Unverified, sentence) {
		v.Unverified = append(v.Unverified, sentence)
	}
}

func megabytes(n int64) string { return fmt.Sprintf("%d MB", (n+1<<20-1)>>20) }
