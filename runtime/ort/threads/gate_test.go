package threads

import (
	"bytes"
	"flag"
	"os"
	"testing"

	"github.com/distinfer/distinfer/split/onnxfile/onnxtest"
)

var update = flag.Bool("update", false, "write gate.onnx again")

// buildGate is the model of a gate.
func buildGate() []byte {
	var g onnxtest.Graph
	g.Input("x", 7, "n")
	g.Call("distinfer", "Gate", []string{"x"}, []string{"y"})
	g.Output("y", 7, nil)
	return g.Model().Embed(8, onnxtest.Message{}.Text(1, "distinfer").Int(2, 1))
}

func TestTheGateIsTheOneBuiltHere(t *testing.T) {
	t.Parallel()
	if *update {
		if err := os.WriteFile("gate.onnx", buildGate(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if !bytes.Equal(gateModel, buildGate()) {
		t.Error("gate.onnx is another; write it with `go test ./runtime/ort/threads -update`")
	}
}
