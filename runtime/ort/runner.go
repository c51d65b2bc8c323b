package ort

/*
#include "fault.h"
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

	"github.com/distinfer/distinfer/runtime/errcode"
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
	first := func(list []value) **C.OrtValue { return (**C.OrtValue)(unsafe.Pointer(unsafe.SliceData(list))) }
	var pins runtime.Pinner
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
	if sig := syscall.Signal(over[0]); sig != 0 {
		keep(pins) // by the helpers, which may compute on
		kept.Lock()
		kept.runners = append(kept.runners, r)
		kept.Unlock()
		return faultOf(sig)
	}
	pins.Unpin()
	err = failure(a.check(C.runner_status(r.c)))
	rs.give(r)
	return err
}

func watchFaults() { C.fault_watch() }

// kept is what threads may use that were lost, or helped one that was.
var kept struct {
	sync.Mutex
	pins    []runtime.Pinner
	runners []*runner
}

func keep(pins runtime.Pinner) {
	kept.Lock()
	defer kept.Unlock()
	kept.pins = append(kept.pins, pins)
}

// lost reports whether a thread was lost.
func lost() bool {
	kept.Lock()
	defer kept.Unlock()
	return len(kept.pins) > 0
}

var signalNames = map[syscall.Signal]string{
	syscall.SIGFPE: "SIGFPE (a division of integers that has no result)", syscall.SIGSEGV: "SIGSEGV", syscall.SIGBUS: "SIGBUS",
	syscall.SIGILL: "SIGILL", syscall.SIGABRT: "SIGABRT",
}

func faultOf(sig syscall.Signal) error {
	return errcode.Errorf(errcode.Fatal, "ONNX Runtime got %s while it computed this input; send another, or mend the model", signalNames[sig])
}

// Damaged is nil while what is computed can be trusted. Afterwards the process has to end:
// a run got a signal which says that the memory may be damaged, or too many threads were
// lost to such runs.
func (*Library) Damaged() error { return damaged() }

func damaged() error {
	sig := syscall.Signal(C.fault_damage())
	if sig == 0 {
		return nil
	}
	return fmt.Errorf("ONNX Runtime got %s while it computed an input, after which its answers cannot be trusted", signalNames[sig])
}
