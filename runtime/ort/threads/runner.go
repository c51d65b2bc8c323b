package threads

/*
#include "runner.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"syscall"
	"unsafe"
)

// A runner is a thread that runs models while the goroutine that asked waits for a byte in
// a pipe. A call into C that takes milliseconds is not free for Go: its monitor looks
// every 20 µs whether it is over, on processors that have better things to do.
type runner struct {
	c          *C.Runner
	done, tell *os.File // the ends of the pipe
}

func newRunner(nice, cpu int) (*runner, error) {
	done, tell, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make a pipe: %w", err)
	}
	r := &runner{done: done, tell: tell}
	if r.c = C.runner_new(C.int(tell.Fd()), C.int(nice), C.int(cpu)); r.c == nil {
		return nil, errors.Join(errors.New("there is no memory for another thread"), done.Close(), tell.Close())
	}
	return r, nil
}

func (r *runner) free() {
	C.runner_free(r.c)
	_ = r.done.Close()
	_ = r.tell.Close()
}

// anyProcessor is for a thread that the system may run on any.
const anyProcessor = -1

// Runners are the threads that call Run for one session, as many as it has runs at a time.
type Runners struct {
	pool            *Pool // nil when the session has intra-op threads of its own
	anywhere, first Lane
}

// NewRunners makes the runners of a session with the given nice value, from 0 to 19 as
// in nice(1). pool is nil when the session has intra-op threads of its own.
func NewRunners(c Calls, pool *Pool, nice int) *Runners {
	first := anyProcessor
	if pool != nil {
		first = pool.first
	}
	return &Runners{
		pool:     pool,
		anywhere: Lane{run: c.Run, nice: nice, cpu: anyProcessor},
		first:    Lane{run: c.Run, nice: nice, cpu: first},
	}
}

// Begin decides how many intra-op threads take part in a run that begins, and returns
// the runners that are to call it. The caller calls End when the run is over.
func (rs *Runners) Begin() *Lane {
	if rs.pool != nil && rs.pool.begin() {
		return &rs.first
	}
	return &rs.anywhere
}

// End is called when a run is over.
func (rs *Runners) End() {
	if rs.pool != nil {
		rs.pool.end()
	}
}

// Close ends the threads. None of them runs anything.
func (rs *Runners) Close() {
	rs.anywhere.free()
	rs.first.free()
}

// A Lane is the runners of a session that are kept on the same processor, or on none.
type Lane struct {
	run       unsafe.Pointer // OrtApi::Run
	nice, cpu int

	mu   sync.Mutex
	idle []*runner
}

func (l *Lane) take() (*runner, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.idle); n > 0 {
		r := l.idle[n-1] // the one whose caches are warm
		l.idle = l.idle[:n-1]
		return r, nil
	}
	return newRunner(l.nice, l.cpu)
}

func (l *Lane) give(r *runner) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.idle = append(l.idle, r)
}

func (l *Lane) free() {
	for _, r := range l.idle {
		r.free()
	}
	l.idle = nil
}

// A Call is the arguments of OrtApi::Run: names are strings of C's, the others are the
// library's objects. Outputs that are nil are made by the run and owned by the caller.
type Call struct {
	Session, Options unsafe.Pointer
	InNames, In      []unsafe.Pointer
	OutNames, Out    []unsafe.Pointer
}

// Run calls a runner's Run and waits for it. It returns the OrtStatus that came of it,
// which the caller owns. An error says that the run did not come to its end.
func (l *Lane) Run(c Call) (status unsafe.Pointer, err error) {
	r, err := l.take()
	if err != nil {
		return nil, err
	}
	var pins runtime.Pinner
	pinned := func(list []unsafe.Pointer) *unsafe.Pointer {
		p := unsafe.SliceData(list)
		if p != nil {
			pins.Pin(p)
		}
		return p
	}
	C.runner_start(r.c, C.Run{
		function: l.run, session: c.Session, options: c.Options,
		in_names: pinned(c.InNames), in: pinned(c.In), ins: C.size_t(len(c.In)),
		out_names: pinned(c.OutNames), out: pinned(c.Out), outs: C.size_t(len(c.Out)),
	})
	var over [1]byte
	if _, err := r.done.Read(over[:]); err != nil {
		// Nothing can be said of the thread any more, and it writes to what is pinned.
		panic(fmt.Sprintf("wait for a run: %v", err))
	}
	if sig := syscall.Signal(over[0]); sig != 0 {
		Keep(pins) // by the intra-op threads, which may compute on
		kept.Lock()
		kept.runners = append(kept.runners, r)
		kept.Unlock()
		return nil, faultOf(sig)
	}
	pins.Unpin()
	status = C.runner_status(r.c)
	l.give(r)
	return status, nil
}
