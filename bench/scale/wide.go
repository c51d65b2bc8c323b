package scale

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"

	"github.com/distinfer/distinfer/split/onnxfile/onnxtest"
)

// The model that writeWide makes: wideLayers matrices of 9 MB.
const (
	wideLayers = 24
	wideWidth  = 1536
	wideTokens = 30522 // of the tokenizer that is used
)

const (
	float32Type = 1
	int64Type   = 7
)

// writeWide makes a text model of 226 MB of layers, with the tokenizer and the
// labels of another. What it answers means nothing.
func writeWide(dir, like string) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	for _, name := range []string{"tokenizer.json", "config.json"} {
		data, err := os.ReadFile(filepath.Join(like, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), data, 0o600)
		}
		if err != nil {
			return err
		}
	}
	random := rand.New(rand.NewPCG(wideWidth, wideLayers))
	var g onnxtest.Graph
	weights := func(name string, dims ...int64) {
		values := make([]float32, dims[0]*dims[1])
		for i := range values {
			values[i] = (random.Float32() - 0.5) / 32 // keeps what comes out about as large as what goes in
		}
		g.Floats(name, dims, values)
	}
	g.Input("input_ids", int64Type, "batch", "sequence")
	// A small table that is widened, so that most of the weights are layers.
	const narrow = 16
	weights("table", wideTokens, narrow)
	weights("widen", narrow, wideWidth)
	g.Node("Gather", []string{"table", "input_ids"}, []string{"embedded"})
	g.Node("MatMul", []string{"embedded", "widen"}, []string{"layer.0"})
	last := "layer.0"
	for i := range wideLayers {
		n := func(part string) string { return fmt.Sprintf("layer.%d.%s", i, part) }
		weights(n("weight"), wideWidth, wideWidth)
		g.Node("MatMul", []string{last, n("weight")}, []string{n("product")})
		g.Node("Tanh", []string{n("product")}, []string{n("active")})
		next := fmt.Sprintf("layer.%d", i+1)
		g.Node("Add", []string{last, n("active")}, []string{next})
		last = next
	}
	axis := onnxtest.Message{}.Text(1, "axes").Int(8, 1).Int(20, 7) // a list of integers
	g.Node("ReduceMax", []string{last}, []string{"pooled"}, axis, onnxtest.IntAttr("keepdims", 0))
	weights("classify", wideWidth, 2)
	g.Node("MatMul", []string{"pooled", "classify"}, []string{"logits"})
	g.Output("logits", float32Type, "batch", 2)
	return os.WriteFile(filepath.Join(dir, "model.onnx"), g.Model(), 0o600)
}
