package ort

/*
#include "gate.h"
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

// gateModel is an ONNX model of one node, which is a gate (see gate.h). Its input and
// its output say nothing. pool_test.go builds it.
//
//go:embed gate.onnx
var gateModel []byte

// A Pool lets the sessions that were opened with it share the library's threads,
// which help the threads that call Run.
type Pool struct {
	helpers int
	gate    *C.Gate
	session *Session
	changed chan struct{} // holds one while park has yet to see that keep is another
	parked  chan struct{} // closed when park is over

	mu     sync.Mutex
	keep   int // helpers that are to sleep
	closed bool
	failed error
}

// NewPool ...
func (l *Library) NewPool(helpers int) (*Pool, error) {
	p := &Pool{helpers: helpers}
	if helpers == 0 {
		return p, nil
	}
	if p.gate = C.gate_new(l.api.c); p.gate == nil {
		return nil, errors.New("no memory for a pool of threads")
	}
	specs := []tensor.Spec{{Name: "x", DType: tensor.Int64, Dims: []tensor.Dim{{}}}, {Name: "y", DType: tensor.Int64, Dims: []tensor.Dim{{}}}}
	var err error
	p.session, err = l.open("gate", specs[:1], specs[1:], Options{Pool: p}, func(in, out []string, o *binding.SessionOptions) (*binding.DynamicAdvancedSession, error) {
		h, err := handle(o, "o")
		if err != nil {
			return nil, err
		}
		if err := l.api.check(C.gate_add(p.gate, h)); err != nil {
			return nil, err
		}
		return binding.NewDynamicAdvancedSessionWithONNXData(gateModel, in, out, o)
	})
	if err != nil {
		C.gate_free(p.gate)
		return nil, fmt.Errorf("make a pool of threads: %w", err)
	}
	p.changed, p.parked = make(chan struct{}, 1), make(chan struct{})
	go p.park()
	return p, nil
}

// park keeps as many helpers asleep as are to sleep, until the pool is closed.
func (p *Pool) park() {
	defer close(p.parked)
	x := tensor.Bag{"x": tensor.Of([]int64{0}, []int64{})}
	for range p.changed {
		p.mu.Lock()
		keep, closed := p.keep, p.closed
		if !closed && keep > 0 {
			C.gate_shut(p.gate, C.size_t(keep))
		}
		p.mu.Unlock()
		if closed {
			return
		}
		if keep == 0 {
			continue
		}
		if _, err := p.session.Run(context.Background(), x); err != nil {
			p.mu.Lock()
			p.failed = err
			p.mu.Unlock()
			println(err.Error())
			return
		}
	}
}

// Allow ...
func (p *Pool) Allow(n int) {
	keep := p.helpers - min(max(n, 0), p.helpers)
	p.mu.Lock()
	defer p.mu.Unlock()
	if keep == p.keep || p.closed {
		return
	}
	p.keep = keep
	p.change()
}

// change has park see what is wanted now.
func (p *Pool) change() {
	C.gate_open(p.gate)
	select {
	case p.changed <- struct{}{}:
	default: // it has yet to see what was wanted before
	}
}

// Close ...
func (p *Pool) Close() error {
	if p.helpers == 0 {
		return nil
	}
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil
	}
	p.closed = true
	p.change()
	p.mu.Unlock()
	<-p.parked
	err := p.session.Close()
	C.gate_free(p.gate)
	return err
}
