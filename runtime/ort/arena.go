package ort

import (
	"context"
	_ "embed"
	"errors"
	"fmt"

	binding "github.com/yalue/onnxruntime_go"

	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/runtime/tensor"
)

// An Arena is the memory of the sessions that were opened with it: weights, and what
// runs compute. It has an upper limit. A run that needs more than what is left fails with
// a MemoryError, and neither the process nor other runs are the worse for it, unless they
// need more as well at that moment.
//
// The memory of inputs and outputs is Go's, and not part of it.
type Arena struct {
	api    api
	max    int64
	shrink *Session
}

// shrinkModel is an ONNX model of one Identity, whose run gives memory back.
// arena_test.go builds it.
//
//go:embed shrink.onnx
var shrinkModel []byte

// NewArena makes an arena of at most max bytes. A process has one arena at a time.
func (l *Library) NewArena(max int64) (*Arena, error) {
	if max <= 0 {
		return nil, fmt.Errorf("an arena of %d bytes; it can have 1 or more", max)
	}
	process.Lock()
	defer process.Unlock()
	if process.arena {
		return nil, errors.New("this process has an arena already, and ONNX Runtime has only one to share")
	}
	if err := l.api.registerArena(max); err != nil {
		return nil, fmt.Errorf("make an arena: %w", err)
	}
	a := &Arena{api: l.api, max: max}
	spec := tensor.Spec{Name: "x", DType: tensor.Float32, Dims: []tensor.Dim{tensor.Fixed(1)}}
	out := spec
	out.Name = "y"
	var err error
	if a.shrink, err = l.OpenBytes("the model that shrinks", shrinkModel, []tensor.Spec{spec}, []tensor.Spec{out}, Options{Threads: 1, Arena: a}); err != nil {
		return nil, errors.Join(fmt.Errorf("make an arena: %w", err), l.api.unregisterArena())
	}
	a.shrink.shrinks = true
	process.arena = true
	return a, nil
}

// Max is the upper limit, in bytes.
func (a *Arena) Max() int64 { return a.max }

// InUse is how many bytes are in use: between runs, those of the weights.
func (a *Arena) InUse() (int64, error) { return a.api.arenaStat(a.shrink.handle, "InUse") }

// Peak is the most that was ever in use, in bytes.
func (a *Arena) Peak() (int64, error) { return a.api.arenaStat(a.shrink.handle, "MaxInUse") }

// Held is how many bytes the arena has taken of the system.
func (a *Arena) Held() (int64, error) { return a.api.arenaStat(a.shrink.handle, "TotalAllocated") }

// Shrink gives the regions that nothing is in back to the system. What is left is less
// fragmented: a large run may fit that did not before.
func (a *Arena) Shrink() error {
	_, err := a.shrink.Run(context.Background(), tensor.Bag{"x": tensor.Of([]int64{1}, []float32{0})})
	return err
}

// Close lets the process make another arena. The sessions that were opened with this one
// keep it until they are closed.
func (a *Arena) Close() error {
	process.Lock()
	defer process.Unlock()
	process.arena = false
	return errors.Join(a.shrink.Close(), a.api.unregisterArena())
}

// use has a session that is opened with the options compute in the arena.
func (a *Arena) use(o *binding.SessionOptions) error {
	return o.AddSessionConfigEntry("session.use_env_allocators", "1")
}

// A MemoryError is a run that needed more memory than there was: a errcode.TooLarge.
type MemoryError struct{ reason string }

// Error says what was wanted.
func (e *MemoryError) Error() string {
	return "there is not enough memory for this much at a time: " + e.reason
}

// Unwrap gives the error its code.
func (e *MemoryError) Unwrap() error { return errTooLarge }

var errTooLarge = errcode.Errorf(errcode.TooLarge, "too large")

// IsMemory reports whether a run failed for want of memory.
func IsMemory(err error) bool { return errors.As(err, new(*MemoryError)) }
