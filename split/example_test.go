package split_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/distinfer/distinfer/runtime/ort"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/split"
	"github.com/distinfer/distinfer/split/engine"
)

// A runtime is ONNX Runtime, as package split needs it.
type runtime struct{ *ort.Library }

func (r runtime) Open(path string, inputs, outputs []tensor.Spec) (engine.Session, error) {
	return r.Library.Open(path, inputs, outputs, ort.Options{})
}

func (r runtime) OpenPlain(path string, inputs, outputs []tensor.Spec) (engine.Session, error) {
	return r.Library.Open(path, inputs, outputs, ort.Options{Plain: true})
}

// A program cuts a model into two stages and compares them with the whole.
func Example() {
	root := ".."
	library, err := ort.Load(filepath.Join(root, ort.SetupDir, "libonnxruntime.so"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = library.Close() }()
	dir, err := os.MkdirTemp("", "split-example-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = os.RemoveAll(dir) }()

	model := filepath.Join(root, "models", "sst2-minilm", "model.onnx")
	report, err := split.Split(context.Background(), model, runtime{library}, split.Options{
		Stages: 2, Out: filepath.Join(dir, "stages"), Verify: true,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	for rank, s := range report.Manifest.Stages {
		fmt.Printf("stage %d: %d nodes\n", rank, s.Nodes)
	}
	fmt.Printf("compared with the %s on %d inputs\n", report.Verification.Against, report.Verification.Runs)
	// Output:
	// stage 0: 132 nodes
	// stage 1: 133 nodes
	// compared with the whole model on 7 inputs
}
