package threads

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
	"unsafe"

	"github.com/distinfer/distinfer/runtime/tensor"
)

// A Pool is intra-op threads that take part in the runs of the sessions opened with it.
// A lone run has all of them. As many runs as there are processors have none: a thread
// that waits for another's part of an operator spins, and that would need the processor
// of another run. Between runs the threads sleep.
//
// How many take part is decided when a run begins, not when one ends: where many callers
// are at work, the next run is about to begin.
type Pool struct {
	size    int // intra-op threads of the library
	intraOp int // those of them that may take part
	gate    *C.Gate
	session Session       // of the gate
	changed chan struct{} // has one when park has yet to see what keep is now
	parked  chan struct{} // closed when park is over
	first   int           // processor of a run that all take part in, or anyProcessor

	mu     sync.Mutex
	allow  int
	runs   int // in flight
	keep   int // intra-op threads that are to sleep
	closed bool
}

// A Session is the gate's model, loaded with the library's own threads to share. Its runs
// take a runner anywhere.
type Session interface {
	Run(ctx context.Context, in tensor.Bag) (tensor.Bag, error)
	Close() error
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

// one holds whether there is a pool.
var one struct {
	sync.Mutex
	taken bool
}

// NewPool makes a pool of the library's size intra-op threads; at most intraOp of them take part
// in runs. open loads a model whose node is an operator of the domain
// "distinfer", an OrtCustomOp. A process has one pool at a time.
func NewPool(c Calls, size, intraOp int, open func(model []byte, operator unsafe.Pointer, in, out tensor.Spec) (Session, error)) (*Pool, error) {
	if intraOp < 0 {
		return nil, fmt.Errorf("a pool of %d intra-op threads; it can have 0 or more", intraOp)
	}
	one.Lock()
	defer one.Unlock()
	if one.taken {
		return nil, errors.New("this process has a pool already, and ONNX Runtime has only one set of threads to share")
	}
	p := &Pool{size: size, intraOp: min(intraOp, size), allow: intraOp, keep: size, first: anyProcessor}
	if p.intraOp > 0 {
		if p.gate = C.gate_new(c.ParallelFor, c.GetOutput); p.gate == nil {
			return nil, errors.New("make a pool of threads: no memory")
		}
		var err error
		if p.session, err = open(gateModel, unsafe.Pointer(p.gate), gateInput, gateOutput); err == nil {
			err = p.start()
		}
		if err != nil {
			C.gate_free(p.gate)
			return nil, fmt.Errorf("make a pool of threads: %w", err)
		}
	}
	one.taken = true
	return p, nil
}

func (p *Pool) start() error {
	if cpus := p.processors(); cpus != nil {
		p.first = int(cpus[0])
		C.gate_place(p.gate, &cpus[1], C.size_t(len(cpus)-1))
	}
	if err := p.wait(); err != nil {
		return errors.Join(err, p.session.Close())
	}
	p.changed, p.parked = make(chan struct{}, 1), make(chan struct{})
	p.changed <- struct{}{}
	go p.park()
	return nil
}

// Size is how many threads compute a lone run, its caller among them.
func (p *Pool) Size() int { return p.intraOp + 1 }

// processors are the processors that this process may use, if there is one for each thread of
// a run that all take part in. Each is then kept on one of its own: woken together, two
// may else be put on one processor, and the one that runs there spins until the other has
// had its turn, which the system gives it milliseconds later.
func (p *Pool) processors() []C.int {
	if p.intraOp < p.size {
		return nil
	}
	cpus := make([]C.int, p.size+1)
	if n := C.place_list(&cpus[0], C.size_t(len(cpus))); int(n) < len(cpus) {
		return nil
	}
	return cpus
}

// wait keeps intra-op threads, and the caller, in the gate until it is opened.
func (p *Pool) wait() error {
	_, err := p.session.Run(context.Background(), tensor.Bag{gateInput.Name: tensor.Of([]int64{0}, []int64{})})
	return err
}

// park keeps the intra-op threads that are to sleep in the gate, until the pool is closed.
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
		// When it fails, for want of memory, all take part until the next change: that
		// is slow, but not wrong.
		_ = p.wait()
	}
}

// Allow lets at most n intra-op threads take part in runs from now on, even if there are
// more processors than runs. It does not wait: a thread that is in the midst of an
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

// decide puts the intra-op threads to sleep that take no part in the runs in flight.
func (p *Pool) decide() {
	keep := p.size
	if p.runs > 0 {
		keep -= max(0, min(p.allow, p.intraOp+1-p.runs))
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
	if p.gate != nil && !Lost() {
		<-p.parked
		err = p.session.Close()
		C.gate_free(p.gate)
	}
	one.Lock()
	defer one.Unlock()
	one.taken = false
	return err
}
