package node

import (
	"context"
	"time"
)

// tellReadiness has probes hear when the front has started, and that it is ready once all stages
// could be used. From then on it stays ready: while a stage restarts, requests wait here, and
// another front could do no better.
func (f *Front) tellReadiness(ctx context.Context, m *model) {
	if f.health == nil {
		return
	}
	f.health.Started()
	go func() {
		if m.wait(ctx) == nil {
			f.health.Ready()
		}
	}()
}

// leaveFirst is a context that ends ShutdownDelay after ctx. In between the front is not ready and
// asks clients to close their connections, but answers: whoever sends requests here needs a while
// to learn that this front ends.
func (f *Front) leaveFirst(ctx context.Context) (context.Context, context.CancelFunc) {
	left, end := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		defer end()
		if f.health != nil {
			f.health.Leave()
		}
		delay := f.options.ShutdownDelay
		if delay <= 0 {
			return
		}
		f.server.Leave()
		f.options.Log.Info("front ends soon", "answers_for", delay)
		select {
		case <-time.After(delay):
		case <-left.Done():
		}
	})
	return left, func() {
		stop()
		end()
	}
}
