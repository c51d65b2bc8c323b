// Package supervisor keeps child processes running: it starts them, restarts them when they die
// or hang, and leaves none behind.
//
// It does not know what the processes do.
package supervisor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// A Child is a process to keep running.
type Child struct {
	Name string
	// Command makes the command of a new start.
	Command func() *exec.Cmd
	// Ready returns nil while the process of the last Command works. It is called until it
	// first does, and from time to time afterwards, never at the same time as Command. If it
	// wraps an error of the operating system, the child could not be probed.
	Ready func(context.Context) error
}

// ErrOther is wrapped by the error of Ready if another process answers instead of the child.
var ErrOther = errors.New("another process answers")

// A Supervisor keeps a group of child processes running.
type Supervisor struct {
	log      *slog.Logger
	children []Child

	times    Times
	stop     func()
	done     sync.WaitGroup
	launcher Launcher
}

const (
	pollEvery = 25 * time.Millisecond
	// A child that lived for healthyAfter is restarted without a longer delay.
	healthyAfter = 10 * time.Second
	// firstProbe is how long a child may take to answer the first probe.
	firstProbe = time.Second
)

// Times are how long children may take.
type Times struct {
	Stop time.Duration // from SIGTERM until they are killed
	Hang time.Duration // without an answer, once they were ready, until they are killed
}

// Start starts the children and waits until all are ready. It fails, with none
// left running, when one of them ends before. The children live until Stop.
func Start(ctx context.Context, log *slog.Logger, times Times, children []Child) (*Supervisor, error) {
	own, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s := &Supervisor{log: log, children: children, times: times, launcher: NewLauncher()}
	s.stop = sync.OnceFunc(func() {
		cancel()
		s.done.Wait()
		close(s.launcher)
	})

	ready := make(chan error, len(children))
	for _, c := range children {
		s.done.Add(1)
		go func() {
			defer s.done.Done()
			s.keep(own, c, ready)
		}()
	}
	for range children {
		select {
		case err := <-ready:
			if err != nil {
				s.Stop()
				return nil, err
			}
		case <-ctx.Done():
			s.Stop()
			return nil, ctx.Err()
		}
	}
	return s, nil
}

// Stop stops all children, kills the ones that do not end in time, and returns when all have
// ended.
func (s *Supervisor) Stop() { s.stop() }

// keep runs a child until ctx ends. The outcome of the first start goes to
// ready.
func (s *Supervisor) keep(ctx context.Context, c Child, ready chan<- error) {
	first := true
	delay := backoff.NewExponentialBackOff()
	delay.InitialInterval, delay.MaxInterval = 50*time.Millisecond, 5*time.Second
	for {
		started := time.Now()
		err := s.once(ctx, c, func() {
			if first {
				ready <- nil
				first = false
			} else {
				s.log.Info("started again", "child", c.Name, "took", time.Since(started).Round(time.Millisecond))
			}
		})
		if ctx.Err() != nil {
			return
		}
		if first {
			ready <- fmt.Errorf("%s did not start: %w", c.Name, err)
			return
		}
		if time.Since(started) > healthyAfter {
			delay.Reset()
		}
		wait := delay.NextBackOff()
		s.log.Warn("child ended, starting it again", "child", c.Name, "error", err, "in", wait.Round(time.Millisecond))
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
	}
}

// once runs a child to its end, which ctx brings about.
func (s *Supervisor) once(ctx context.Context, c Child, ready func()) error {
	cmd := c.Command()
	if err := s.launcher.Start(cmd); err != nil {
		return err
	}
	var outcome error
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		outcome = cmd.Wait()
	}()

	watching, done := context.WithCancel(ctx)
	w := &watch{log: s.log, child: c, hang: s.times.Hang, ready: ready}
	hung := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() {
		if w.run(watching) {
			close(hung)
		}
	})
	defer watch.Wait()
	defer done()
	select {
	case <-ended:
		if outcome == nil {
			outcome = errors.New("it ended by itself")
		}
		done()
		watch.Wait()
		if errors.Is(w.last, ErrOther) {
			outcome = fmt.Errorf("%w, and %w", outcome, w.last)
		}
		return outcome
	case <-hung:
		_ = cmd.Process.Kill()
		<-ended
		return fmt.Errorf("it did not answer for %s and was killed", s.times.Hang)
	case <-ctx.Done():
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(s.times.Stop):
			_ = cmd.Process.Kill()
			<-ended
		}
		return ctx.Err()
	}
}
