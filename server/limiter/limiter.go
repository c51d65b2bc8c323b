// Package limiter decides who is admitted: how much is in use at once, and who waits for it.
//
// A weight is whatever the caller counts in: requests, or bytes. The package knows neither
// what is admitted nor for whom.
package limiter

import (
	"context"
	"sync/atomic"

	"golang.org/x/sync/semaphore"

	"github.com/distinfer/distinfer/runtime/errcode"
)

// A Limiter bounds the weight in use at once, and how many may wait for it, first in
// first out: a heavy waiter is not overtaken by light ones. It is safe for concurrent use.
type Limiter struct {
	capacity, maxWaiting int64

	free    *semaphore.Weighted
	inUse   atomic.Int64
	waiting atomic.Int64
}

// New makes a Limiter of a capacity, for which at most maxWaiting callers wait.
func New(capacity, maxWaiting int64) *Limiter {
	return &Limiter{capacity: capacity, maxWaiting: maxWaiting, free: semaphore.NewWeighted(capacity)}
}

// TryAcquire acquires a weight if that is possible without waiting and without overtaking
// those who wait.
func (l *Limiter) TryAcquire(n int64) bool {
	if n < 0 {
		panic("limiter: negative weight")
	}
	if !l.free.TryAcquire(n) {
		return false
	}
	l.inUse.Add(n)
	return true
}

// Acquire acquires a weight, and waits for it. It fails with a errcode.Overloaded at once when
// too many wait or n is more than the capacity, and with the context's error when ctx ends,
// which gives up the place among those who wait.
func (l *Limiter) Acquire(ctx context.Context, n int64) error {
	if l.TryAcquire(n) {
		return nil
	}
	if n > l.capacity { // it would wait for ever
		return errcode.Errorf(errcode.Overloaded, "%d is more than the %d that may be in use at once", n, l.capacity)
	}
	defer l.waiting.Add(-1)
	if l.waiting.Add(1) > l.maxWaiting {
		return errcode.Errorf(errcode.Overloaded, "%d of %d are in use, and as many wait as may; try again in a moment", l.InUse(), l.capacity)
	}
	if err := l.free.Acquire(ctx, n); err != nil {
		return err
	}
	l.inUse.Add(n)
	return nil
}

// Release gives back a weight that was acquired, or a part of it.
func (l *Limiter) Release(n int64) {
	l.inUse.Add(-n) // before anybody else can add to it
	l.free.Release(n)
}

// Capacity is the weight that may be in use at once.
func (l *Limiter) Capacity() int64 { return l.capacity }

// InUse is the weight in use.
func (l *Limiter) InUse() int64 { return l.inUse.Load() }

// Waiting is how many callers wait.
func (l *Limiter) Waiting() int64 { return min(l.waiting.Load(), l.maxWaiting) }
