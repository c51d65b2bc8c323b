package ort

import (
	"bytes"
	"flag"
	"os"
	"testing"

	"github.com/distinfer/distinfer/split/onnxfile/onnxtest"
)

var update = flag.Bool("update", false, "write shrink.onnx again")

// buildShrink is the model that an Arena shrinks with.
func buildShrink() []byte {
	var g onnxtest.Graph
	g.Input("x", 1, 1)
	g.Node("Identity", []string{"x"}, []string{"y"})
	g.Output("y", 1, 1)
	return g.Model()
}

func TestTheShrinkingModelIsTheOneBuiltHere(t *testing.T) {
	t.Parallel()
	if *update {
		if err := os.WriteFile("shrink.onnx", buildShrink(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if !bytes.Equal(shrinkModel, buildShrink()) {
		t.Error("shrink.onnx is another; write it with `go test ./runtime/ort -update`")
	}
}
