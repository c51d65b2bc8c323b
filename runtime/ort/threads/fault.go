package threads

/*
#include "fault.h"
*/
import "C"

import (
	"fmt"
	"runtime"
	"sync"
	"syscall"

	"github.com/distinfer/distinfer/runtime/errcode"
)

var watch sync.Once

// Watch has signals that a run gets for what it computes end that run instead of the
// process. It has no effect but on Linux.
func Watch() { watch.Do(func() { C.fault_watch() }) }

// Damaged is nil while what is computed can be trusted; then it says which signal a run
// got.
func Damaged() error {
	sig := syscall.Signal(C.fault_damage())
	if sig == 0 {
		return nil
	}
	return fmt.Errorf("ONNX Runtime got %s while it computed an input, after which its answers cannot be trusted", signalNames[sig])
}

var signalNames = map[syscall.Signal]string{
	syscall.SIGFPE: "SIGFPE (a division of integers that has no result)", syscall.SIGSEGV: "SIGSEGV", syscall.SIGBUS: "SIGBUS",
	syscall.SIGILL: "SIGILL", syscall.SIGABRT: "SIGABRT",
}

func faultOf(sig syscall.Signal) error {
	return errcode.Errorf(errcode.Fatal, "ONNX Runtime got %s while it computed this input; send another, or mend the model", signalNames[sig])
}

// kept is what threads may use that were lost, or helped one that was.
var kept struct {
	sync.Mutex
	pins    []runtime.Pinner
	runners []*runner
}

// Keep keeps memory pinned that a lost run, whose error is a errcode.Fatal, may still use.
func Keep(pins runtime.Pinner) {
	kept.Lock()
	defer kept.Unlock()
	kept.pins = append(kept.pins, pins)
}

// Lost reports whether a thread was lost: then nothing that threads may use is freed.
func Lost() bool {
	kept.Lock()
	defer kept.Unlock()
	return len(kept.pins) > 0
}
