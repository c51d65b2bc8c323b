package ort

import (
	"unsafe"

	binding "github.com/yalue/onnxruntime_go"

	"github.com/distinfer/distinfer/runtime/ort/threads"
	"github.com/distinfer/distinfer/runtime/tensor"
)

// share has sessions that are opened with the options use the environment's threads.
func share(a api, o *binding.SessionOptions) error {
	h, err := handle(o, "o")
	if err != nil {
		return err
	}
	return a.shareThreads(h)
}

// A Pool is the intra-op threads that sessions share.
type Pool = threads.Pool

// NewPool makes a pool of intra-op threads; there is at most one fewer than the
// processors that this process could use when the library was loaded. With none, each
// run is computed by its caller alone. A process has one pool at a time.
func (l *Library) NewPool(intraOp int) (*Pool, error) {
	return threads.NewPool(l.api.calls(), l.api.threads-1, intraOp, l.openGate)
}

// openGate opens the model of one node whose operator is the pool's gate.
func (l *Library) openGate(model []byte, operator unsafe.Pointer, input, output tensor.Spec) (threads.Session, error) {
	var release func()
	s, err := l.open("the gate", []tensor.Spec{input}, []tensor.Spec{output}, Options{Threads: 1},
		func(in, out []string, o *binding.SessionOptions) (*binding.DynamicAdvancedSession, error) {
			h, err := handle(o, "o")
			if err == nil {
				err = l.api.shareThreads(h)
			}
			if err == nil {
				release, err = l.api.addOperator(h, operator)
			}
			if err != nil {
				return nil, err
			}
			return binding.NewDynamicAdvancedSessionWithONNXData(model, in, out, o)
		})
	if err != nil {
		if release != nil {
			release()
		}
		return nil, err
	}
	s.closed = release
	return s, nil
}
