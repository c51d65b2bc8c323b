package main

import (
	"github.com/distinfer/distinfer/runtime/ort"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/split/engine"
)

// ortEngine is ONNX Runtime as an engine.Engine.
type ortEngine struct {
	library *ort.Library
	threads int
}

func (e ortEngine) Types(path string) ([]tensor.Spec, error) { return e.library.Types(path) }

func (e ortEngine) Open(path string, inputs, outputs []tensor.Spec) (engine.Session, error) {
	return e.library.Open(path, inputs, outputs, ort.Options{Threads: e.threads})
}

// OpenPlain implements engine.Engine.
func (e ortEngine) OpenPlain(path string, inputs, outputs []tensor.Spec) (engine.Session, error) {
	return e.library.Open(path, inputs, outputs, ort.Options{Threads: e.threads, Plain: true})
}
