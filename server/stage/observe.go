package stage

import (
	"context"
	"time"

	"github.com/distinfer/distinfer/runtime/pipeline"
)

// A Listener is called when something happens in a Server. Each function may be nil and must
// return at once.
type Listener struct {
	// RunEnded is called for each run that ended, with the run's context.
	RunEnded func(context.Context, Run)
}

// Tee returns a Listener without nil functions that calls each of the listeners in turn.
func Tee(listeners ...Listener) Listener {
	return Listener{RunEnded: func(ctx context.Context, r Run) {
		for _, l := range listeners {
			if l.RunEnded != nil {
				l.RunEnded(ctx, r)
			}
		}
	}}
}

// A Run is one that ended at a stage.
type Run struct {
	Began  time.Time
	Timing pipeline.Timing
	In     int64 // bytes of the tensors that came, as they are in memory
	Out    int64 // bytes of the outputs; 0 if there are none
	Err    error
}

// observed runs a run and reports it to the listener.
func (s *Server) observed(ctx context.Context, in *request) (*response, error) {
	var r Run
	out, err := s.run(ctx, in, &r)
	r.Err = err
	s.listener.RunEnded(ctx, r)
	return out, err
}

// Stats are what a Server is and does at a moment.
type Stats struct {
	Rank, Threads int   // as in Config
	InFlight      int   // runs that wait, are computed, or are with a later stage
	Running       int   // runs that are computed
	Waiting       int   // runs that wait for their turn
	InFlightBytes int64 // of the tensors of the runs in flight
}

// Stats is what the Server does now.
func (s *Server) Stats() Stats {
	return Stats{
		Rank: s.config.Rank, Threads: s.config.Threads,
		InFlight: int(s.inFlight.InUse()), Running: int(s.slots.InUse()), Waiting: int(s.slots.Waiting()), InFlightBytes: s.bytes.InUse(),
	}
}
