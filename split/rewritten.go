package split

import (
	"fmt"
	"slices"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/split/graph"
	"github.com/distinfer/distinfer/split/onnxfile"
	"github.com/distinfer/distinfer/split/rewrite"
	"github.com/distinfer/distinfer/split/types"
)

// mostRewritings bounds how often a graph is rewritten: once for each position that is read.
const mostRewritings = 4

// A reading is a graph with the types of its values.
type reading struct {
	g         *graph.Graph
	v         *types.Values
	reference tensor.Sizes
}

// read reads the model's graph, and leaves out of it what its answer does not need.
func (c *cutter) read() (r *reading, done []bundle.Rewriting, err error) {
	if r, err = c.infer(c.source); err != nil || !c.o.Optimize {
		return r, nil, err
	}
	for len(done) < mostRewritings {
		made, s := rewrite.Positions(rewrite.Model{Graph: r.g, Values: r.v, Data: c.data})
		if made == nil {
			break
		}
		next := c.replaces(r, made)
		if next == nil {
			break // what there was before counts
		}
		c.source, r = made, next
		done = append(done, bundle.Rewriting{Position: s.Index, Nodes: s.Nodes, Products: s.Heavy})
	}
	return r, done, nil
}

// replaces reads a model that was made of another. It is nil when that is no model, or has other
// outputs.
func (c *cutter) replaces(before *reading, made *onnxfile.Model) *reading {
	r, err := c.infer(made)
	if err != nil || !sameForm(before.v.List(before.g.Outputs), r.v.List(r.g.Outputs)) {
		return nil
	}
	return r
}

// rewritten reports whether something is left out of what is cut.
func (c *cutter) rewritten() bool { return c.source != &c.file.Model }

// asItIs has the model cut as it is in its file.
func (c *cutter) asItIs() { c.source, c.o.Optimize = &c.file.Model, false }

// An unverifiedError is of stages that do not give what the model does.
type unverifiedError struct{ err error }

func (e *unverifiedError) Error() string { return e.err.Error() }

// Unwrap returns the reason.
func (e *unverifiedError) Unwrap() error { return e.err }

func sameForm(a, b []tensor.Spec) bool {
	return slices.EqualFunc(a, b, func(a, b tensor.Spec) bool { return fmt.Sprint(a) == fmt.Sprint(b) })
}

func (c *cutter) infer(m *onnxfile.Model) (*reading, error) {
	g, err := graph.New(m)
	if err != nil {
		return nil, err
	}
	references, err := types.References(g, c.o.Dims)
	if err != nil {
		return nil, err
	}
	v, reference, err := types.Infer(g, c.engine, c.data, references)
	return &reading{g, v, reference}, err
}
