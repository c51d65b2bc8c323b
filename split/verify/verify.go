// Package verify runs a bundle: it compares what the stages answer, one after the other, with the
// whole model or with expected outputs, finds out which texts may be computed together, and
// says what an encoding of activations changes.
//
// It does not know how a model is cut, and knows a runtime only as an Engine.
package verify

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/split/engine"
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
	Runs        int            `json:"runs"`            // of all stages, one after the other, on inputs that are no texts
	StagesRun   int            `json:"stages_run"`      // stages that ran at all
	Against     string         `json:"against"`         // AgainstWhole, AgainstExpected or AgainstNothing
	Sizes       []tensor.Sizes `json:"sizes"`           // of the runs on generated inputs
	Given       []string       `json:"given,omitempty"` // the inputs of the other runs
	Texts       *Texts         `json:"texts,omitempty"` // runs on texts; nil: there are none
	MaxAbsolute float64        `json:"max_absolute_difference"`
	MaxRelative float64        `json:"max_relative_difference"` // of values larger than 1e-3
	Outputs     []Difference   `json:"outputs"`
	Kinds       []KindOfRuns   `json:"kinds,omitempty"` // the same by what was compared
	// Amplified is how differences beyond the tolerance are known to be rounding; nil: there are none.
	Amplified *Amplified `json:"amplified,omitempty"`
	// Unverified are sentences that say what was not verified, and why.
	Unverified []string `json:"unverified,omitempty"`
	// Rows is what was found out about texts in one batch; nil when the model reads none, or
	// the bundle lets none be computed together.
	Rows *rows.Finding `json:"rows,omitempty"`
	// Extra are the names of what lies in the bundle's folder and is no part of it.
	Extra []string `json:"extra,omitempty"`
}

// Texts are the texts that stages ran on.
type Texts struct {
	Alone   int `json:"alone"`          // texts, each by itself
	Batches int `json:"batches"`        // of several of them, as a front makes them
	Longest int `json:"longest"`        // tokens of the longest
	Most    int `json:"most,omitempty"` // tokens that the model reads; 0: not known
}

// A KindOfRuns are the largest differences of runs of one kind.
type KindOfRuns struct {
	Kind        string  `json:"kind"` // texts, batches, generated or given
	Runs        int     `json:"runs"`
	MaxAbsolute float64 `json:"max_absolute_difference"`
	MaxRelative float64 `json:"max_relative_difference"`
}

// The kinds of runs.
const (
	ofTexts     = "texts"
	ofBatches   = "batches"
	ofGenerated = "generated"
	ofGiven     = "given"
)

// Options say what to verify a bundle with.
type Options struct {
	Model     string   // the file of the whole model, or "" to compare with nothing
	Inputs    []string // files and folders of inputs to run on besides generated ones; see package inputs
	Tolerance float64  // of all outputs of floats; 0 is the usual one of each type
	// Memory bounds what is loaded at a time, in bytes; 0 is no bound.
	Memory int64
	// RunTime is how long a run of the model or of a stage may take; 0 is engine.DefaultRunTime.
	RunTime time.Duration
	// Texts opens the model's texts, to run on them, and to see whether texts that the bundle lets
	// be computed together may be; nil leaves that out.
	Texts rows.Open
}

// Verify checks that the files of a bundle match its manifest, that every stage loads, and that the stages, one after the other, give what the
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
	if o.Texts != nil && b.Rows != nil {
		// A bundle that lets nothing be computed together may read no texts.
		if together, err = rowsTest(b, paths, o.Texts, b.Rows.Independent); err != nil && b.Rows.Independent {
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
	if err != nil || test == nil || !test.Judges() {
		return nil, err
	}
	v := &verifier{e: e, b: b, paths: paths, o: o, rows: test}
	for rank := range b.Stages {
		if err := v.runRows(ctx, rank); err != nil {
			return nil, err
		}
	}
	if err := test.Unanswered(); err != nil {
		return nil, err
	}
	found := test.Found()
	return &found, nil
}

// written gives the paths of a bundle's stages, and the test of its texts.
func written(b *bundle.Bundle, o Options) (paths []string, test *rows.Test, err error) {
	for rank := range b.Stages {
		path, err := b.StagePath(rank)
		if err != nil {
			return nil, nil, err
		}
		paths = append(paths, path)
	}
	if o.Texts != nil {
		test, _ = rowsTest(b, paths, o.Texts, b.Rows == nil) // it fails for a model that reads no texts
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
