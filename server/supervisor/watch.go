package supervisor

import (
	"context"
	"errors"
	"log/slog"
	"syscall"
	"time"
)

// A watch asks one process whether it is ready, and tells one that hangs from questions
// that this process could not ask or whose answers it was too late to read.
type watch struct {
	log   *slog.Logger
	child Child
	hang  time.Duration
	ready func() // called once, when it first is

	last error // that Ready returned

	unasked time.Time // since when it could not be asked; zero when it can
	told    time.Time // when that was logged last
}

// run asks until ctx ends, and reports true once the process has not answered for too
// long after it was ready.
func (w *watch) run(ctx context.Context) (hung bool) {
	every, limit := pollEvery, firstQuestion
	var well time.Time // when it was last known to be
	for {
		select {
		case <-ctx.Done():
			return false
		case <-time.After(every):
		}
		asked := time.Now()
		late, err := w.ask(ctx, limit)
		now := time.Now()
		switch {
		case ctx.Err() != nil:
			return false
		case err == nil && well.IsZero():
			w.ready()
			// One question waits as long as the child may hang, so that an answer that takes
			// long since all of the machine is busy is still an answer.
			every, limit = min(time.Second, w.hang/4), w.hang
			well = now
		case err == nil:
			well = now
			w.unasked = time.Time{}
		case well.IsZero():
			if now.Sub(asked) >= limit {
				limit = min(2*limit, w.hang) // all of the machine may be busy
			}
		case isLocal(err) || late > max(w.hang/lateShare, lateLeast):
			w.tell(now, well, late, err)
			well = now
		case now.Sub(well) > w.hang:
			return true
		}
		w.last = err
	}
}

// lateShare is the share of the time a child may hang by which this process may be late. A
// question takes some ten goroutines, one after the other, each of which may be that late.
const (
	lateShare = 20
	lateLeast = 500 * time.Millisecond
)

// ask asks once, and tells by how much this process's own goroutines were late meanwhile.
func (w *watch) ask(ctx context.Context, limit time.Duration) (late time.Duration, err error) {
	try, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	stop, lateness := make(chan struct{}), make(chan time.Duration)
	go func() {
		const every = 20 * time.Millisecond
		var most time.Duration
		for next := time.Now().Add(every); ; next = time.Now().Add(every) {
			select {
			case <-time.After(every):
				most = max(most, time.Since(next))
			case <-stop:
				lateness <- max(most, time.Since(next)) // it may be stopped late as well
				return
			}
		}
	}()
	err = w.child.Ready(try)
	close(stop)
	return <-lateness, err
}

// tell logs that the child could not be asked: at once, and then each time that it would have
// been killed had it not answered.
func (w *watch) tell(now, well time.Time, late time.Duration, err error) {
	if w.unasked.IsZero() {
		w.unasked, w.told = well, time.Time{}
	}
	if now.Sub(w.told) < w.hang {
		return
	}
	w.told = now
	w.log.Warn("this process cannot ask whether a child is well, and leaves it alone", "child", w.child.Name,
		"for", max(0, now.Sub(w.unasked)).Truncate(w.hang), "late", late.Round(time.Millisecond), "error", err)
}

// isLocal reports whether an error says that this process could not ask, for lack of what
// the system gives it, and nothing of who was to be asked.
func isLocal(err error) bool {
	for _, e := range []error{
		syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EAGAIN, syscall.EADDRNOTAVAIL,
		syscall.EPERM, syscall.EACCES, syscall.ENETDOWN, syscall.ENETUNREACH,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
