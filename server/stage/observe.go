package stage

import (
	"context"
	"time"

	"github.com/distinfer/distinfer/runtime/pipeline"
)

// A Run is one that ended at a stage, as its Observe is told of it.
type Run struct {
	Began  time.Time
	Timing pipeline.Timing
	In     int64 // bytes of the tensors that came, as they are in memory
	Out    int64 // bytes of those that were computed; 0 when none were
	Err    error
}

// observed runs a run and tells of it.
func (s *Server) observed(ctx context.Context, in *request) (*response, error) {
	var r Run
	out, err := s.run(ctx, in, &r)
	if s.Observe != nil {
		r.Err = err
		s.Observe(ctx, r)
	}
	return out, err
}

// Stats are what a Server does at a moment.
type Stats struct {
	Here    int   // runs that wait, are computed, or are with a later stage
	Running int   // runs that are computed
	Waiting int   // runs that wait for their turn
	Held    int64 // bytes of tensors of the runs that are here
}

// Stats tells what the Server does.
func (s *Server) Stats() Stats {
	return Stats{int(s.here.InUse()), int(s.slots.InUse()), int(s.slots.Waiting()), s.held.InUse()}
}
