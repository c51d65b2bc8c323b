package ort_test

import (
	"testing"

	"github.com/distinfer/distinfer/runtime/pipeline/pipelinetest"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/split/onnxfile/onnxtest"
)

func TestASessionIsARunner(t *testing.T) {
	t.Parallel()
	var g onnxtest.Graph
	g.Input("x", int64(tensor.Float32), "n")
	g.Input("k", int64(tensor.Int64))
	g.Node("Cast", []string{"k"}, []string{"add"}, onnxtest.IntAttr("to", int64(tensor.Float32)))
	g.Node("Add", []string{"x", "x"}, []string{"twice"})
	g.Node("Add", []string{"twice", "add"}, []string{"y"})
	g.Output("y", int64(tensor.Float32), "n")
	_, suite := pipelinetest.Chain(1)
	suite.Runner = open(t, &g, suite.Inputs, suite.Outputs)
	suite.Endless = nil // TestARunStopsWhenItsContextEnds has one
	pipelinetest.Run(t, suite)
}
