package stage

import (
	"context"
	"crypto/rand"
	"errors"
	"sync/atomic"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/pipeline"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/server/replica"
)

// A hopError is a call that failed between this process and the replica: another
// replica may do better.
type hopError struct {
	error
	refused bool // by the replica, which is well
	loss    replica.Loss
}

func (e hopError) Unwrap() error { return e.error }

// A Pipeline is all the stages of a bundle, as a pipeline.Runner: it calls the
// first stage, and the stages push from one to the next. It watches the replicas
// of all ranks.
type Pipeline struct {
	stages   []*Client
	route    [][]string
	inFlight atomic.Int32 // runs
}

// NewPipeline makes a pipeline over the addresses of every rank of the bundle
// with the given ID.
func NewPipeline(id bundle.ID, addresses [][]string, o Options) (*Pipeline, error) {
	o.name = rand.Text()
	p := &Pipeline{}
	for _, replicas := range addresses[1:] {
		p.route = append(p.route, replica.Subset(o.name, replicas, maxHop))
	}
	for rank, replicas := range addresses {
		c, err := Dial(id, rank, replicas, o)
		if err != nil {
			return nil, errors.Join(err, p.Close())
		}
		p.stages = append(p.stages, c)
	}
	return p, nil
}

// Run implements pipeline.Tracer.
func (p *Pipeline) Run(ctx context.Context, in tensor.Bag) (tensor.Bag, error) {
	out, _, err := p.Trace(ctx, in)
	return out, err
}

// Trace runs the pipeline, and returns where the time went, in rank order.
func (p *Pipeline) Trace(ctx context.Context, in tensor.Bag) (tensor.Bag, []pipeline.Timing, error) {
	if err := check(in); err != nil {
		return nil, nil, err
	}
	n := p.inFlight.Add(1)
	defer p.inFlight.Add(-1)
	out, err := p.stages[0].run(ctx, p.route, int(n), in)
	if err != nil {
		return nil, nil, err
	}
	return out.tensors, out.timings, nil
}

// Ready fails while some rank has no replica that can be used, and says why.
func (p *Pipeline) Ready() error {
	var all []error
	for _, c := range p.stages {
		all = append(all, c.Ready())
	}
	return errors.Join(all...)
}

// Budgets are, of each rank, the bytes that all runs of a replica together may take for
// what they compute: those of the replica with the least, since a run may come to any. 0 is
// without a bound.
func (p *Pipeline) Budgets() []int64 {
	list := make([]int64, len(p.stages))
	for rank, c := range p.stages {
		c.mu.Lock()
		for _, l := range c.links {
			if l.budget > 0 && (list[rank] == 0 || l.budget < list[rank]) {
				list[rank] = l.budget
			}
		}
		c.mu.Unlock()
	}
	return list
}

// Replicas is the state of each replica of each rank.
func (p *Pipeline) Replicas() [][]replica.Status {
	list := make([][]replica.Status, len(p.stages))
	for rank, c := range p.stages {
		list[rank] = c.Replicas()
	}
	return list
}

// Close closes the connections to all stages.
func (p *Pipeline) Close() error {
	for _, c := range p.stages {
		_ = c.Close()
	}
	return nil
}

// isHop reports whether a call failed on its way to a stage or back, and not in
// one. ctx is the call's.
func isHop(ctx context.Context, err error) bool {
	if ctx.Err() != nil {
		return false
	}
	switch status.Code(err) {
	case codes.Unavailable, codes.Canceled, codes.Internal, codes.Unknown, codes.DataLoss:
		return true
	}
	return false
}
