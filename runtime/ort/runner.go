package ort

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

// runners are those of a session that have nothing to do.
type runners struct {
	nice int // of the threads
	cpu  int // that they are kept on, or anyProcessor

	mu   sync.Mutex
	idle []*runner
}

func (rs *runners) take() (*runner, error) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if n := len(rs.idle); n > 0 {
		r := rs.idle[n-1] // the one whose caches are warm
		rs.idle = rs.idle[:n-1]
		return r, nil
	}
	return newRunner(rs.nice, rs.cpu)
}

func (rs *runners) give(r *runner) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	rs.idle = append(rs.idle, r)
}

// free ends the threads. None of them runs anything.
func (rs *runners) free() {
	for _, r := range rs.idle {
		r.free()
	}
	rs.idle = nil
}

// run computes the outputs that are nil, and into the others. Those it made are
// owned by the caller. Its error is a fault of the inputs when the library refused them.
func (rs *runners) run(a api, session, options unsafe.Pointer, inNames names, in []value, outNames names, out []value) error {
	r, err := rs.take()
	if err != nil {
		return err
	}
	defer rs.give(r)
	first := func(list []value) **C.OrtValue { return (**C.OrtValue)(unsafe.Pointer(unsafe.SliceData(list))) }
	var pins runtime.Pinner
	defer pins.Unpin()
	w := C.Run{
		api: a.c, session: session, options: options,
		in_names: unsafe.SliceData(inNames), in: first(in), ins: C.size_t(len(in)),
		out_names: unsafe.SliceData(outNames), out: first(out), outs: C.size_t(len(out)),
	}
	for _, p := range []unsafe.Pointer{unsafe.Pointer(w.in_names), unsafe.Pointer(w.in), unsafe.Pointer(w.out_names), unsafe.Pointer(w.out)} {
		if p != nil {
			pins.Pin(p)
		}
	}
	C.runner_start(r.c, w)
	var over [1]byte
	if _, err := r.done.Read(over[:]); err != nil {
		// Nothing can be said of the thread any more, and it writes to what is pinned.
		panic(fmt.Sprintf("wait for a run: %v", err))
	}
	return failure(a.check(C.runner_status(r.c)))
}
