package main

import (
	"github.com/distinfer/distinfer/runtime/ort"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/split"
)

// engine gives ONNX Runtime to package split.
type engine struct {
	library *ort.Library
	threads int
}

func (e engine) Types(path string) ([]tensor.Spec, error) { return e.library.Types(path) }

func (e engine) Open(path string, inputs, outputs []tensor.Spec) (split.Session, error) {
	return e.library.Open(path, inputs, outputs, ort.Options{Threads: e.threads})
}
