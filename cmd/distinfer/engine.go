package main

import (
	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/ort"
	"github.com/distinfer/distinfer/runtime/pipeline"
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

// openStages loads every stage of a bundle, to compute with one thread each.
func openStages(library *ort.Library, b *bundle.Bundle) (chain pipeline.Chain, done func(), err error) {
	var sessions []*ort.Session
	done = func() {
		for _, session := range sessions {
			_ = session.Close()
		}
	}
	for rank := range b.Stages {
		session, link, err := openStage(library, b, rank, ort.Options{Threads: 1})
		if err != nil {
			done()
			return nil, nil, err
		}
		sessions, chain = append(sessions, session), append(chain, link)
	}
	return chain, done, nil
}
