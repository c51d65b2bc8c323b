package verify

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/pipeline"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/split/engine"
	"github.com/distinfer/distinfer/split/generate"
	"github.com/distinfer/distinfer/split/inputs"
	"github.com/distinfer/distinfer/split/rows"
)

// A run is one set of inputs on its way through the stages.
type run struct {
	name  string // for messages
	kind  string
	from  int // the stage it began at
	sizes tensor.Sizes
	given bool       // by the user: it has to work
	in    tensor.Bag // what it began with
	at    tensor.Bag // what the next stage is given; nil once it cannot go on
	whole tensor.Bag // what the whole model answers, or nil
	want  tensor.Bag // what the user expects, or nil

	failed error // why a stage did not run on texts
	stage  int   // the one that did not
	tokens int   // of the longest text
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
	again    int // how often the whole model was run again
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
		v.runs = append(v.runs, &run{name: s.Name, sizes: sizes, kind: ofGiven, given: true, in: s.In, at: s.In, want: s.Want})
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
	if err := v.finish(ctx); err != nil {
		return nil, err
	}
	return v.Result, v.finishRows()
}

// loadOverhead is what a session takes beside its weights, in bytes.
const loadOverhead = 64 << 20

// fits reports whether a model can be loaded, and what it needs: its file, which is read whole, and
// its weights as they are in memory. Those in other files are mapped. (For 400 MB of float32 the
// peak was 1.2 times the weights, for as many weights as float16, cast in the graph, 3.2 times
// what is stored.)
func (v *verifier) fits(loaded, file int64) (need int64, ok bool) {
	need = loaded + file + loadOverhead
	return need, v.o.Memory == 0 || need <= v.o.Memory
}

// stageFits is fits for a stage.
func (v *verifier) stageFits(s bundle.Stage) (need int64, ok bool) {
	return v.fits(s.Loaded(), s.Bytes)
}

// wholeFits is fits for the whole model, which has the weights of all stages.
func (v *verifier) wholeFits() (need int64, ok bool) {
	var loaded, file int64
	for _, s := range v.b.Stages {
		loaded += s.Loaded()
	}
	if info, err := os.Stat(v.o.Model); err == nil { // opening it says what is wrong
		file = info.Size()
	}
	return v.fits(loaded, file)
}

// runWhole runs the whole model on the inputs that were given and on generated
// ones, and keeps what it answers. It reports false when it cannot be run; the
// runs are then made for the first stage alone.
func (v *verifier) runWhole(ctx context.Context) (compared bool, err error) {
	if v.o.Model == "" {
		v.skip("The results were not compared with the whole model, since no model was given.")
		return false, nil
	}
	need, ok := v.wholeFits()
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
		if err := v.runAgain(ctx, whole, r); err != nil {
			return false, err
		}
	}
	if err := v.wholeTexts(ctx, whole); err != nil {
		return false, err
	}
	refused, err := v.generate(ctx, 0, func(in tensor.Bag) (tensor.Bag, error) { return whole.Run(ctx, in) }, v.b.Inputs, func(r *run, out tensor.Bag) error {
		r.whole = out
		return v.runAgain(ctx, whole, r)
	})
	if err != nil {
		return false, err
	}
	if len(v.runs) == 0 && len(v.texts()) == 0 {
		v.skip("Nothing was verified by running, since the whole model takes none of the generated inputs (%v); give some of your own.", refused)
	}
	return true, nil
}

// runAgain runs the whole model once more on the same inputs, to find the outputs
// that no comparison can hold to.
func (v *verifier) runAgain(ctx context.Context, whole engine.Session, r *run) error {
	if v.again++; v.again > 1 && !v.g.Random {
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
		if err := v.declaredTexts(rank, compared); err != nil {
			return err
		}
	}
	arrived := len(v.runs) > 0
	refused, err := v.pass(ctx, rank, link, compared)
	if err != nil {
		return err
	}
	if !compared && (rank == 0 || len(v.runs) == 0) {
		if refused, err = v.startAt(ctx, rank, link, s, refused); err != nil {
			return err
		}
		switch {
		case len(v.runs) == 0 && len(v.texts()) > 0:
		case len(v.runs) == 0:
			v.skip("Stage %d was loaded and not run, since it takes none of the generated inputs (%v).", rank, refused)
		case rank > 0 && arrived:
			v.skip("Stage %d ran on generated inputs, since it did not take what came from the stages before it (%v).", rank, refused)
		}
	}
	if len(v.runs) > 0 || len(v.texts()) > 0 {
		v.StagesRun++
	}
	return nil
}

// pass runs a stage on what arrived there. Runs on generated inputs that it refuses end, unless
// the whole model took them; what it refused last is returned.
func (v *verifier) pass(ctx context.Context, rank int, link pipeline.Stage, compared bool) (refused, err error) {
	for _, r := range v.runs {
		out, err := link.Run(ctx, r.at)
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case err != nil && compared:
			return nil, fmt.Errorf("the split is wrong: the whole model runs on %s, but stage %d: %w", r.name, rank, err)
		case err != nil && r.given:
			return nil, fmt.Errorf("stage %d does not run on %s: %w", rank, r.name, err)
		case err != nil:
			refused = err
			r.at = nil // the model itself may not take it
			continue
		}
		if r.at = out; !compared {
			if err := asDeclared(v.b.Stages[rank], r, out, rank); err != nil {
				return nil, err
			}
		}
	}
	v.runs = slices.DeleteFunc(v.runs, func(r *run) bool { return r.at == nil })
	return refused, nil
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

// skip notes what is not verified, once.
func (v *verifier) skip(format string, args ...any) {
	sentence := strings.Join(strings.Fields(fmt.Sprintf(format, args...)), " ")
	sentence = strings.TrimRight(sentence, ".") + "." // an error may end with one
	if !slices.Contains(v.Unverified, sentence) {
		v.Unverified = append(v.Unverified, sentence)
	}
}

func megabytes(n int64) string { return fmt.Sprintf("%d MB", (n+1<<20-1)>>20) }
