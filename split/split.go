// Package split cuts an ONNX model into stages that give, run one after the
// other, exactly what the whole model gives.
//
// The work goes graph → plan → extract → verify: the graph is read at the level
// of the wire format (package onnxfile), priced with the shapes that ONNX
// Runtime infers from a weightless skeleton, divided by dynamic programming,
// copied out range by range, and run against the whole model.
//
// The package knows ONNX Runtime only by the engine.Engine it is given, and knows
// nothing of gRPC or HTTP.
package split

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"time"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/split/engine"
	"github.com/distinfer/distinfer/split/limits"
	"github.com/distinfer/distinfer/split/modelfolder"
	"github.com/distinfer/distinfer/split/onnxfile"
	"github.com/distinfer/distinfer/split/plan"
	"github.com/distinfer/distinfer/split/rows"
	"github.com/distinfer/distinfer/split/verify"
)

// Options say how to split.
type Options struct {
	// Stages is the number of stages. It is left 0 with one of At, Layers and
	// Machines, which say where to cut in other ways.
	Stages int
	// At are names of values or nodes to cut behind.
	At []string
	// Layers asks for one stage a layer.
	Layers bool
	// Machines asks for what is best on these machines.
	Machines []plan.Machine
	// Profile measures what layers cost on this machine, instead of estimating it.
	Profile bool
	// MaxStageBytes bounds the weights of a stage as they are stored, in bytes,
	// unless it is 0. With More, there are more than Stages when it needs them.
	MaxStageBytes int64
	More          bool
	// Lightest asks for the stage with the most weights to have as few as can be, and then for
	// speed, instead of the other way round.
	Lightest bool

	Out    string // the bundle's folder
	Force  bool   // replace a bundle that stands there
	Verify bool   // run the stages against the whole model
	// Inputs and Memory are those of verify.Options.
	Inputs []string
	Memory int64
	// RunTime is how long a run of the model or of a part may take; 0 is engine.DefaultRunTime.
	RunTime time.Duration
	// File is the model's among several in a folder; "" is the first in the order of package
	// modelfolder.
	File string
	// Name is the model's; "" is that of its folder.
	Name string
	// Inspect finds out what the model of a bundle that is not written yet answers to texts. The
	// split fails where that fails. nil leaves it out.
	Inspect func(*bundle.Bundle) (Served, error)
	// Optimize leaves out of the graph what its answer does not need; see package rewrite.
	Optimize bool
	// NoTexts makes a bundle of any model that answers tensors only.
	NoTexts bool
	// Texts opens the model's texts, to find out which may be computed together, also
	// without Verify; nil leaves that out, so that none will be.
	Texts  rows.Open
	DryRun bool // plan only, write nothing
	// Progress, unless it is nil, is called while the stages are written, with the bytes of weights
	// that are done and all of them.
	Progress func(done, total int64)
	// Dims are sizes of named dimensions at which costs are estimated, instead of
	// 1 for a batch and 128 for others.
	Dims map[string]int64
}

// A Report says what a split did.
type Report struct {
	Out          string           `json:"out,omitempty"`    // empty for a plan only
	Bundle       bundle.ID        `json:"bundle,omitempty"` // its ID
	Model        string           `json:"model"`            // the path of its file
	Others       []string         `json:"others,omitempty"` // that lie in the given folder too
	Texts        *Texts           `json:"texts"`
	Manifest     *bundle.Manifest `json:"manifest"`
	Alternatives []Alternative    `json:"alternatives,omitempty"` // that were compared for given machines
	Verification *verify.Result   `json:"verification,omitempty"` // nil when not asked for
	// Rows is what was found out about texts in one batch; nil for a model that reads none,
	// and for one whose operators tell.
	Rows *rows.Finding `json:"rows,omitempty"`

	// NotRewritten says why the model was cut as it is, though there was something to leave out of it:
	// how its stages failed without that.
	NotRewritten string `json:"not_rewritten,omitempty"`

	drawing drawing
	files   []modelfolder.File
}

func (o Options) check() error {
	ways := 0
	for _, given := range []bool{o.Stages != 0, len(o.At) > 0, o.Layers, o.Machines != nil} {
		if given {
			ways++
		}
	}
	switch {
	case o.Stages < 0 || ways == 0:
		return fmt.Errorf("%d stages cannot be; ask for 1 or more", o.Stages)
	case ways > 1:
		return errors.New("options Stages, At, Layers and Machines say where to cut in different ways; give one of them")
	case o.MaxStageBytes < 0:
		return fmt.Errorf("stages of %d bytes cannot be; ask for 1 or more, or 0 for no bound", o.MaxStageBytes)
	}
	return nil
}

// Split cuts the model at path, a file or a folder, and writes a bundle.
func Split(ctx context.Context, path string, e engine.Engine, o Options) (report *Report, err error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	if o.Name != "" {
		if err := modelfolder.CheckName(o.Name); err != nil {
			return nil, err
		}
	}
	c, err := openCutter(path, e, o)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	report, err = c.cut(ctx)
	var unverified *unverifiedError
	if errors.As(err, &unverified) && c.rewritten() && ctx.Err() == nil {
		c.asItIs()
		if report, err = c.cut(ctx); err == nil {
			report.NotRewritten = unverified.err.Error()
		}
	}
	return report, err
}

// cut plans and writes.
func (c *cutter) cut(ctx context.Context) (report *Report, err error) {
	if report, err = c.plan(ctx); err != nil {
		return nil, fmt.Errorf("%s: %w", c.model.Path, err)
	}
	report.Model, report.Others = c.model.Path, c.model.Others
	if !c.o.DryRun {
		err = c.write(ctx, report)
	}
	report.Manifest.Model.SHA256 = c.hash()
	if err != nil {
		return nil, err
	}
	return report, nil
}

// A cutter is one model that is cut.
type cutter struct {
	model  *modelfolder.Model
	engine engine.Engine
	o      Options
	file   *onnxfile.File
	data   *onnxfile.DataFolder
	hash   func() string // of the file; waits until it is computed
	// source is what is cut: the file's model, or what was made of it.
	source *onnxfile.Model
}

func openCutter(path string, e engine.Engine, o Options) (*cutter, error) {
	model, err := modelfolder.Find(path, o.File)
	if err != nil {
		return nil, err
	}
	if o.Name != "" {
		model.Name = o.Name
	}
	file, err := onnxfile.Open(model.Path)
	if err != nil {
		return nil, err
	}
	data, err := onnxfile.OpenDataFolder(filepath.Dir(model.Path))
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	hashed := make(chan string)
	c := &cutter{model, engine.WithRunTime(e, o.RunTime), o, file, data, sync.OnceValue(func() string { return <-hashed }), &file.Model}
	go func() { hashed <- file.SHA256() }()
	return c, nil
}

func (c *cutter) close() error {
	c.hash() // it reads the file
	return errors.Join(c.data.Close(), c.file.Close())
}

// plan divides the model.
func (c *cutter) plan(ctx context.Context) (*Report, error) {
	read, rewritten, err := c.read()
	if err != nil {
		return nil, err
	}
	g, v, reference := read.g, read.v, read.reference
	planner := newPlanner(g, v)
	cuts := planner.cuts()
	if c.o.Profile {
		if cuts, err = planner.measure(ctx, c.engine, c.data, reference, cuts); err != nil {
			return nil, err
		}
	}
	parts, alternatives, err := planner.choose(cuts, c.o)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	manifest := planner.manifest(c.model.Name, c.file, reference, parts)
	manifest.Rewritten = rewritten
	if manifest.Limits, err = limits.Find(ctx, g, v, c.engine, c.data, reference); err != nil {
		return nil, err
	}
	texts, files, err := c.texts(manifest)
	if err != nil {
		return nil, err
	}
	return &Report{Manifest: manifest, Texts: texts, Alternatives: alternatives, drawing: drawing{planner, parts}, files: files}, nil
}

// write writes the bundle and verifies it.
func (c *cutter) write(ctx context.Context, r *Report) (err error) {
	w, err := bundle.Create(c.o.Out, c.o.Force)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Abort()) }()
	w.Progress = c.progress(r.Manifest)
	for rank, part := range r.drawing.parts {
		if err := c.writeStage(w, rank, part, &r.Manifest.Stages[rank]); err != nil {
			return err
		}
	}
	if r.Manifest.Files, err = writeTexts(w, r.files); err != nil {
		return err
	}
	r.Manifest.Model.SHA256 = c.hash()
	written, err := finish(w, r.Manifest)
	if err != nil {
		return err
	}
	if err := c.verify(ctx, r, written); err != nil {
		return fmt.Errorf("%s: %w", c.model.Path, &unverifiedError{err})
	}
	if r.Rows != nil {
		r.Manifest.Rows = &r.Rows.Rows
		if written, err = finish(w, r.Manifest); err != nil {
			return err
		}
	}
	r.Out, r.Bundle = c.o.Out, written.ID
	return w.Commit()
}

// progress adds up what is written of the stages.
func (c *cutter) progress(m *bundle.Manifest) func(n int64) {
	if c.o.Progress == nil {
		return nil
	}
	var done, total int64
	for _, s := range m.Stages {
		total += s.ParameterBytes
	}
	return func(n int64) {
		done = min(done+n, total)
		c.o.Progress(done, total)
	}
}

func (c *cutter) writeStage(w *bundle.Writer, rank int, part part, s *bundle.Stage) error {
	part.sub.Data = fmt.Sprintf("stage-%d.data", rank)
	laid, err := c.source.Part(part.sub)
	if err != nil {
		return fmt.Errorf("%s: stage %d: %w", c.model.Path, rank, err)
	}
	if laid.HasData() {
		f, err := w.WriteFile(part.sub.Data, func(to io.Writer) error { return laid.WriteData(to, c.data) })
		if err != nil {
			return err
		}
		s.Data = &f
	}
	s.File, err = w.WriteFile(s.Name, laid.WriteModel)
	return err
}

// finish writes the manifest, which makes the folder a bundle.
func finish(w *bundle.Writer, m *bundle.Manifest) (*bundle.Bundle, error) {
	if err := w.WriteManifest(m); err != nil {
		return nil, err
	}
	return bundle.Open(w.Dir())
}

// verify runs the stages of a bundle that was just written.
func (c *cutter) verify(ctx context.Context, r *Report, b *bundle.Bundle) (err error) {
	defer func() {
		if unanswered, ok := errors.AsType[*rows.UnansweredError](err); ok {
			err = &TextsError{unanswered}
		}
	}()
	o := verify.Options{Model: c.model.Path, Inputs: c.o.Inputs, Memory: c.o.Memory, Texts: c.o.Texts}
	if !c.o.Verify {
		r.Rows, err = verify.Rows(ctx, c.engine, b, o)
		return err
	}
	if r.Verification, err = verify.Stages(ctx, c.engine, b, o); err != nil {
		return err
	}
	r.Rows, r.Verification.Rows = r.Verification.Rows, nil
	return nil
}
