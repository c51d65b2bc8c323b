package cluster

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/distinfer/distinfer/server/supervisor"
)

// Patience is how long a process may take to be ready, and bounds all waits on
// one. It is far more than it takes.
const Patience = time.Minute

const (
	// drainTime is how long a process may take to end after SIGTERM: both kinds
	// allow their requests 30 s.
	drainTime = 40 * time.Second
	pollEvery = 10 * time.Millisecond
	logTail   = 12 // lines
)

// A Process is a program with its arguments. It is run, ended and run again.
type Process struct {
	Name     string
	Command  []string
	Env      []string // nil is that of this process
	Dir      string   // "" is that of this process
	Log      string   // the file that its output is added to
	Launcher supervisor.Launcher
	// Answers returns nil once the program does its work.
	Answers func(context.Context) error
	// Trouble receives what nobody asked for, such as an end by itself.
	Trouble func(string)

	mu  sync.Mutex
	now *lifetime // nil before the first start
}

// A lifetime is one run of a process.
type lifetime struct {
	cmd   *exec.Cmd
	began time.Time
	ended chan struct{} // closed once it is over
	ready chan struct{} // closed once it answers

	mu    sync.Mutex
	since time.Time // when it was ready
	asked bool      // whether its end was asked for
}

// Start runs the program. It does not wait until it is ready.
func (p *Process) Start() error {
	log, err := os.OpenFile(p.Log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()                                                                                        // the child has its own
	l := &lifetime{cmd: exec.Command(p.Command[0], p.Command[1:]...), ended: make(chan struct{}), ready: make(chan struct{})} //nolint:noctx // it ends when its owner says
	l.cmd.Stdout, l.cmd.Stderr = log, log
	l.cmd.Env, l.cmd.Dir = p.Env, p.Dir
	l.began = time.Now()
	if err := p.Launcher.Start(l.cmd); err != nil {
		return fmt.Errorf("start %s: %w", p.Name, err)
	}
	p.mu.Lock()
	p.now = l
	p.mu.Unlock()
	go func() {
		err := l.cmd.Wait()
		close(l.ended)
		if !l.wasAsked() {
			p.Trouble(fmt.Sprintf("%s ended by itself: %v", p.Name, err))
		}
	}()
	go p.watch(l)
	return nil
}

// watch notes when the program is ready.
func (p *Process) watch(l *lifetime) {
	for {
		try, cancel := context.WithTimeout(context.Background(), time.Second)
		err := p.Answers(try)
		cancel()
		if err == nil {
			l.mu.Lock()
			l.since = time.Now()
			l.mu.Unlock()
			close(l.ready)
			return
		}
		select {
		case <-l.ended:
			return
		case <-time.After(pollEvery):
		}
	}
}

func (l *lifetime) ask() {
	l.mu.Lock()
	l.asked = true
	l.mu.Unlock()
}

func (l *lifetime) wasAsked() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.asked
}

func (p *Process) life() *lifetime {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.now
}

// AwaitReady returns when the program does its work.
func (p *Process) AwaitReady(ctx context.Context) error {
	l := p.life()
	select {
	case <-l.ready:
		return nil
	case <-l.ended:
		return fmt.Errorf("%s ended before it was ready: %s", p.Name, p.Said())
	case <-time.After(Patience):
		return fmt.Errorf("%s was not ready after %s: %s", p.Name, Patience, p.Said())
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Said is the end of what the process has logged.
func (p *Process) Said() string {
	log, _ := os.ReadFile(p.Log)
	lines := strings.Split(strings.TrimSpace(string(log)), "\n")
	return strings.Join(lines[max(0, len(lines)-logTail):], "\n")
}

// ReadyAfter is how long the last start took until the program did its work, and 0 while
// it does not.
func (p *Process) ReadyAfter() time.Duration {
	l := p.life()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.since.IsZero() {
		return 0
	}
	return l.since.Sub(l.began)
}

// Ended reports whether the program is over.
func (p *Process) Ended() bool {
	select {
	case <-p.life().ended:
		return true
	default:
		return false
	}
}

// ReadyFor is for how long the program has done its work; 0 if it does not.
func (p *Process) ReadyFor() time.Duration {
	l := p.life()
	if l == nil {
		return 0
	}
	select {
	case <-l.ended:
		return 0
	default:
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.asked || l.since.IsZero() {
		return 0
	}
	return time.Since(l.since)
}

// PID is the process's ID, or 0 before the first start.
func (p *Process) PID() int {
	l := p.life()
	if l == nil {
		return 0
	}
	return l.cmd.Process.Pid
}

// Kill ends the program without giving it a chance, and returns when it is gone.
func (p *Process) Kill() {
	l := p.life()
	if l == nil {
		return
	}
	l.ask()
	_ = l.cmd.Process.Kill() // it fails only when the process is gone
	<-l.ended
}

// Terminate asks the program to end, and returns when it has. It is trouble when the
// program does not end, or not well.
func (p *Process) Terminate() {
	l := p.life()
	if l == nil {
		return
	}
	l.ask()
	_ = l.cmd.Process.Signal(syscall.SIGTERM) // as above
	select {
	case <-l.ended:
		if code := l.cmd.ProcessState.ExitCode(); code != 0 {
			p.Trouble(fmt.Sprintf("%s ended with code %d after SIGTERM", p.Name, code))
		}
	case <-time.After(drainTime):
		p.Trouble(fmt.Sprintf("%s did not end within %s after SIGTERM", p.Name, drainTime))
		p.Kill()
	}
}

// Signal sends a signal that does not end the program.
func (p *Process) Signal(s syscall.Signal) error {
	if err := p.life().cmd.Process.Signal(s); err != nil {
		return fmt.Errorf("send %s to %s: %w", s, p.Name, err)
	}
	return nil
}
