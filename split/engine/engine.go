// Package engine is what cutting a model needs of a runtime: to ask for types, and to run.
//
// It knows no runtime. Whoever has one implements Engine.
package engine

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/distinfer/distinfer/runtime/pipeline"
	"github.com/distinfer/distinfer/runtime/tensor"
)

// An Engine is a runtime that reads models.
type Engine interface {
	// Types infers the element types and dimensions of the graph outputs of the
	// model at path. A value that is no dense tensor has DType Undefined. One of
	// unknown rank may be reported like a scalar.
	Types(path string) ([]tensor.Spec, error)
	// Open loads the model at path.
	Open(path string, inputs, outputs []tensor.Spec) (Session, error)
	// OpenPlain loads it without optimising the graph: every node is computed by itself, so
	// that the same nodes round alike whatever is around them.
	OpenPlain(path string, inputs, outputs []tensor.Spec) (Session, error)
}

// A Session is a loaded model.
type Session interface {
	pipeline.Runner
	io.Closer
}

// DefaultRunTime is how long a run of a model may take when a limit is not named.
const DefaultRunTime = time.Minute

// A SlowError is of a run that did not end in time: of a loop without an end, or of a model
// that is large for its machine.
type SlowError struct{ Limit time.Duration }

// Error implements error.
func (e *SlowError) Error() string {
	return fmt.Sprintf("a run did not end within %s, as with a loop that has no end; if it needs longer, allow it more time", e.Limit.Round(time.Millisecond))
}

// timed bounds the runs of an Engine's models. The time of runs that did not end counts for all:
// later runs get the rest of the limit, or a multiple of the longest run that ended.
type timed struct {
	Engine
	limit time.Duration

	mu      sync.Mutex
	lost    time.Duration // by runs that did not end
	longest time.Duration // of a run that ended
}

// WithRunTime bounds the runs of an engine; 0 is the usual limit.
func WithRunTime(e Engine, limit time.Duration) Engine {
	if limit == 0 {
		limit = DefaultRunTime
	}
	return &timed{Engine: e, limit: limit}
}

// longFactor is how many times as long as the longest run another may take, whatever is left.
const longFactor = 4

func (t *timed) left() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	return max(t.limit-t.lost, min(t.limit, longFactor*t.longest+time.Second))
}

// Open implements Engine.
func (t *timed) Open(path string, inputs, outputs []tensor.Spec) (Session, error) {
	return t.timed(t.Engine.Open(path, inputs, outputs))
}

// OpenPlain implements Engine.
func (t *timed) OpenPlain(path string, inputs, outputs []tensor.Spec) (Session, error) {
	return t.timed(t.Engine.OpenPlain(path, inputs, outputs))
}

func (t *timed) timed(s Session, err error) (Session, error) {
	if err != nil {
		return nil, err
	}
	return &timedSession{s, t}, nil
}

type timedSession struct {
	Session
	of *timed
}

// Run implements pipeline.Runner.
func (s *timedSession) Run(ctx context.Context, in tensor.Bag) (tensor.Bag, error) {
	limit := s.of.left()
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	began := time.Now()
	out, err := s.Session.Run(limited, in)
	took := time.Since(began)
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	switch {
	case err == nil:
		s.of.longest = max(s.of.longest, took)
	case limited.Err() != nil && ctx.Err() == nil:
		s.of.lost += took
		return nil, &SlowError{limit}
	}
	return out, err
}
