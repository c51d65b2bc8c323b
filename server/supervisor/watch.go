package supervisor

import (
	"context"
	"errors"
	"log/slog"
	"syscall"
	"time"
)

// A watch probes one process. It distinguishes a process that hangs from probes that this
// process could not send, or whose answers it was too late to read.
type watch struct {
	log   *slog.Logger
	child Child
	hang  time.Duration
	ready func() // called once, when it first is

	last error // that Ready returned

	unprobed time.Time // since when it could not be probed; zero if it can be
	logged   time.Time // when that was logged last
}

// run probes until ctx ends. It returns true once the process, after it was ready, has not
// answered for too long.
func (w *watch) run(ctx context.Context) (hung bool) {
	every, limit := pollEvery, firstProbe
	var well time.Time // when it was last known to be
	for {
		select {
		case <-ctx.Done():
			return false
		case <-time.After(every):
		}
		probed := time.Now()
		late, err := w.probe(ctx, limit)
		now := time.Now()
		switch {
		case ctx.Err() != nil:
			return false
		case err == nil && well.IsZero():
			w.ready()
			// A probe waits as long as the child may hang: an answer that is late because the
			// whole machine is busy still counts.
			every, limit = min(time.Second, w.hang/4), w.hang
			well = now
		case err == nil:
			well = now
			w.unprobed = time.Time{}
		case well.IsZero():
			if now.Sub(probed) >= limit {
				limit = min(2*limit, w.hang) // the whole machine may be busy
			}
		case isLocal(err) || late > max(w.hang/lateShare, lateLeast):
			w.report(now, well, late, err)
			well = now
		case now.Sub(well) > w.hang:
			return true
		}
		w.last = err
	}
}

// This process may be late by 1/lateShare of the time a child may hang, at least lateLeast. A
// probe runs some ten goroutines one after the other, and each may be that late.
const (
	lateShare = 20
	lateLeast = 500 * time.Millisecond
)

// probe calls Ready once, and returns how late this process's own goroutines were meanwhile.
func (w *watch) probe(ctx context.Context, limit time.Duration) (late time.Duration, err error) {
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

// report logs that the child could not be probed: at once, and then once per time that a child
// may hang.
func (w *watch) report(now, well time.Time, late time.Duration, err error) {
	if w.unprobed.IsZero() {
		w.unprobed, w.logged = well, time.Time{}
	}
	if now.Sub(w.logged) < w.hang {
		return
	}
	w.logged = now
	w.log.Warn("cannot probe a child, so it keeps running", "child", w.child.Name,
		"for", max(0, now.Sub(w.unprobed)).Truncate(w.hang), "late", late.Round(time.Millisecond), "error", err)
}

// isLocal reports whether an error means that this process could not probe, for lack of the
// system's resources. It says nothing about the child.
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
