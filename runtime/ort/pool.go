package ort

/*
#include "gate.h"
#include "place.h"
*/
import "C"

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"sync"

	binding "github.com/yalue/onnxruntime_go"

	"github.com/distinfer/distinfer/runtime/tensor"
)

// A Pool is threads that help those that call Run of the sessions that were opened
// with it. A lone run has the help of all. As many runs as there are processors have
// none: a thread that waits for a helper's part of an operator spins, and the helper
// would need the processor of another run. Between runs the helpers sleep.
//
// How many help is decided when a run begins, not when one ends: where many callers
// are at work, the next run is about to begin.
//
// The threads are ONNX Runtime's own, which all sessions of a process can share. It
// cannot be told how many of them a run may use, so those that are not to help are
// kept busy with nothing: they sleep in a gate, which is the only node of a model
// that the pool runs all the time.
type Pool struct {
	size    int // threads of the library that could help
	helpers int // those of them that may
	gate    *C.Gate
	session *Session      // of the gate
	changed chan struct{} // has one when park has yet to see what keep is now
	parked  chan struct{} // closed when park is over
	first   int           // processor of a run that all help, or anyProcessor

	mu     sync.Mutex
	allow  int
	runs   int // under way
	keep   int // helpers that are to sleep
	closed bool
}

// gateModel is an ONNX model of one node, which is a gate. Its input and its output
// hold nothing. gate_test.go builds it.
//
//go:embed gate.onnx
var gateModel []byte

var (
	gateInput  = tensor.Spec{Name: "x", DType: tensor.Int64, Dims: []tensor.Dim{tensor.Named("n")}}
	gateOutput = tensor.Spec{Name: "y", DType: tensor.Int64, Dims: []tensor.Dim{tensor.Named("n")}}
)

// NewPool makes a pool of helpers; there are at most one fewer than the processors
// that this process could use when the library was loaded. With none, each run is
// computed by its caller alone. A process has one pool at a time.
func (l *Library) NewPool(helpers int) (*Pool, error) {
	if helpers < 0 {
		return nil, fmt.Errorf("a pool of %d helpers; it can have 0 or more", helpers)
	}
	process.Lock()
	defer process.Unlock()
	if process.pooled {
		return nil, errors.New("this process has a pool already, and ONNX Runtime has only one set of threads to share")
	}
	size := l.api.threads - 1
	p := &Pool{size: size, helpers: min(helpers, size), allow: helpers, keep: size, first: anyProcessor}
	if p.helpers > 0 {
		if err := p.start(l); err != nil {
			return nil, fmt.Errorf("make a pool of threads: %w", err)
		}
	}
	process.pooled = true
	return p, nil
}

func (p *Pool) start(l *Library) error {
	if p.gate = C.gate_new(l.api.c); p.gate == nil {
		return errors.New("no memory")
	}
	if cpus := p.processors(); cpus != nil {
		p.first = int(cpus[0])
		C.gate_place(p.gate, &cpus[1], C.size_t(len(cpus)-1))
	}
	var err error
	p.session, err = l.open("the gate", []tensor.Spec{gateInput}, []tensor.Spec{gateOutput}, Options{Pool: p},
		func(in, out []string, o *binding.SessionOptions) (*binding.DynamicAdvancedSession, error) {
			h, err := handle(o, "o")
			if err == nil {
				err = l.api.check(C.gate_add(p.gate, h))
			}
			if err != nil {
				return nil, err
			}
			return binding.NewDynamicAdvancedSessionWithONNXData(gateModel, in, out, o)
		})
	if err == nil {
		p.session.pool = nil // its runs need no help
		if err = p.wait(); err != nil {
			err = errors.Join(err, p.session.Close())
		}
	}
	if err != nil {
		C.gate_free(p.gate)
		return err
	}
	p.changed, p.parked = make(chan struct{}, 1), make(chan struct{})
	p.changed <- struct{}{}
	go p.park()
	return nil
}

// processors are those that this process may use, when there is one for each thread of
// a run that all help. Each is then kept on one of its own: woken together, two may else
// be put on one processor, and the one that runs there spins until the other has had its
// turn, which the system gives it milliseconds later.
func (p *Pool) processors() []C.int {
	if p.helpers < p.size {
		return nil
	}
	cpus := make([]C.int, p.size+1)
	if n := C.place_list(&cpus[0], C.size_t(len(cpus))); int(n) < len(cpus) {
		return nil
	}
	return cpus
}

// wait keeps helpers, and the caller, in the gate until it is opened.
func (p *Pool) wait() error {
	_, err := p.session.Run(context.Background(), tensor.Bag{gateInput.Name: tensor.Of([]int64{0}, []int64{})})
	return err
}

// park keeps the helpers that are to sleep in the gate, until the pool is closed.
func (p *Pool) park() {
	defer close(p.parked)
	for range p.changed {
		p.mu.Lock()
		if p.closed {
			p.mu.Unlock()
			return
		}
		C.gate_shut(p.gate, C.size_t(p.keep))
		p.mu.Unlock()
		// When it fails, for want of memory, all help until the next change: that
		// is slow, but not wrong.
		_ = p.wait()
	}
}

// Allow says that at most n helpers take part in runs from now on, even if there are
// more processors than runs. It does not wait: a helper that is in the midst of an
// operator ends its part of it, and one that is to sleep may take another part before
// it does.
func (p *Pool) Allow(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.allow = n
	p.decide()
}

// begin and end are called around each run. begin reports whether it is one that each
// thread has a processor for, and belongs on the first.
func (p *Pool) begin() (onFirst bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.runs++
	p.decide()
	return p.keep == 0 && p.first != anyProcessor
}

func (p *Pool) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.runs--; p.runs == 0 {
		p.decide()
	}
}

// decide has as many helpers sleep as are not to help the runs under way.
func (p *Pool) decide() {
	keep := p.size
	if p.runs > 0 {
		keep -= max(0, min(p.allow, p.helpers+1-p.runs))
	}
	before := p.keep
	if keep == before || p.closed || p.gate == nil {
		return
	}
	p.keep = keep
	if keep < before {
		C.gate_lower(p.gate, C.size_t(keep))
	} else {
		p.shutAgain()
	}
}

// shutAgain has park see what is wanted now.
func (p *Pool) shutAgain() {
	C.gate_open(p.gate)
	select {
	case p.changed <- struct{}{}:
	default: // it has yet to see the change before
	}
}

// Close ends the pool. The sessions that were opened with it must be closed before.
func (p *Pool) Close() error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil
	}
	p.closed = true
	if p.gate != nil {
		p.shutAgain()
	}
	p.mu.Unlock()
	var err error
	if p.gate != nil && !lost() {
		<-p.parked
		err = p.session.Close()
		C.gate_free(p.gate)
	}
	process.Lock()
	defer process.Unlock()
	process.pooled = false
	return err
}
