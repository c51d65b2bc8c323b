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

// read reads the model's graph, with the types of its values, and leaves out of it what its answer
// does not need.
func (c *cutter) read() (g *graph.Graph, v *types.Values, reference tensor.Sizes, done []bundle.Rewriting, err error) {
	if g, v, reference, err = c.infer(c.source); err != nil || !c.o.Optimize {
		return g, v, reference, nil, err
	}
	for len(done) < mostRewritings {
		made, s := rewrite.Positions(rewrite.Model{Graph: g, Values: v, Data: c.data})
		if made == nil {
			break
		}
		g2, v2, reference2, err := c.infer(made)
		if err != nil || !sameForm(v.List(g.Outputs), v2.List(g2.Outputs)) {
			break // the model as it is counts
		}
		c.source, g, v, reference = made, g2, v2, reference2
		done = append(done, bundle.Rewriting{Position: s.Index, Nodes: s.Nodes, Products: s.Heavy})
	}
	return g, v, reference, done, nil
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

func (c *cutter) infer(m *onnxfile.Model) (*graph.Graph, *types.Values, tensor.Sizes, error) {
	g, err := graph.New(m)
	if err != nil {
		return nil, nil, nil, err
	}
	references, err := types.References(g, c.o.Dims)
	if err != nil {
		return nil, nil, nil, err
	}
	v, reference, err := types.Infer(g, c.engine, c.data, references)
	return g, v, reference, err
}
