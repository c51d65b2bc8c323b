package stage

import (
	"context"
	"time"

	"github.com/distinfer/distinfer/runtime/errcode"
)

// damageTime is how long a stage that cannot be trusted any more has to refuse the calls
// that wait.
const damageTime = 500 * time.Millisecond

// damaged is an error once what the stage computes cannot be trusted: a refusal, since
// another replica may do what was asked.
func (s *Server) damaged() error {
	if s.config.Damaged == nil {
		return nil
	}
	why := s.config.Damaged()
	if why == nil {
		return nil
	}
	s.breaks.Do(func() { close(s.broken) })
	return &refusal{errcode.Errorf(errcode.Unavailable, "stage %d at %s ends: %w", s.config.Rank, s.address, why)}
}

// doubtful is how many runs a model has to refuse for their inputs, and none other be
// computed, until it is doubted itself.
const doubtful = 32

// prove takes note of how a run of the model ended. That the inputs are at fault is true of a
// model that computes others; of one that never did the operator is to know.
func (s *Server) prove(ctx context.Context, err error) {
	switch {
	case s.proven.Load():
	case err == nil:
		s.proven.Store(true)
	case errcode.Of(err) == errcode.Invalid && s.refused.Add(1) == doubtful:
		s.config.Log.WarnContext(ctx, "the model has computed nothing yet; either it was only sent what it cannot compute, or it cannot compute at all: try it with `distinfer verify`",
			"runs", doubtful, "error", err)
	}
}
