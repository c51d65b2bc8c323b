package node_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"

	"github.com/distinfer/distinfer/runtime/ort"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/server/cluster"
	"github.com/distinfer/distinfer/server/node"
	"github.com/distinfer/distinfer/split"
	"github.com/distinfer/distinfer/split/engine"
)

// A stage and a front in one program. A model of several stages has each in a process of its own,
// on a machine of its own.
func Example() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	library := filepath.Join("..", "..", ort.SetupDir, "libonnxruntime.so")
	folder, err := splitModel(ctx, library)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = os.RemoveAll(folder) }()
	options := node.Options{Bundle: filepath.Join(folder, "stages"), Log: slog.New(slog.DiscardHandler)}

	s, err := node.OpenStage(ctx, node.StageOptions{Options: options, Rank: 0, Listen: "localhost:0", ONNXRuntime: library})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()
	go func() { _ = s.Serve(ctx) }()
	options.Stages = cluster.Addresses{{s.Addr().String()}}
	f, err := node.OpenFront(ctx, node.FrontOptions{Options: options, Listen: "localhost:0"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer f.Close()
	go func() { _ = f.Serve(ctx) }()

	response, err := http.Get(f.URL() + "/?text=an+awful+waste+of+time")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = response.Body.Close() }()
	label, _ := io.ReadAll(response.Body)
	fmt.Print(string(label))
	// Output: negative
}

// What the commands say of flags, a program reads from types.
func ExampleInsecureError() {
	_, err := node.OpenFront(context.Background(), node.FrontOptions{Listen: "0.0.0.0:8008"})
	fmt.Println(err)

	_, err = cluster.Addresses{{"192.0.2.1:2222"}}.ForStages(2)
	fmt.Println(err)
	// Output:
	// listening on 0.0.0.0:8008 without encryption: others on the network could read it, change it and use it
	// the bundle has 2 stages, but the list of addresses names 1
}

// splitModel does what `distinfer split` does.
func splitModel(ctx context.Context, library string) (folder string, err error) {
	l, err := ort.Load(library)
	if err != nil {
		return "", err
	}
	defer func() { _ = l.Close() }()
	if folder, err = os.MkdirTemp("", "example"); err != nil {
		return "", err
	}
	model := filepath.Join("..", "..", "models", "seed-rnn", "model.onnx")
	_, err = split.Split(ctx, model, onnxRuntime{l}, split.Options{Out: filepath.Join(folder, "stages"), Stages: 1})
	return folder, err
}

// onnxRuntime has package split compute with ONNX Runtime.
type onnxRuntime struct{ *ort.Library }

func (r onnxRuntime) Open(path string, inputs, outputs []tensor.Spec) (engine.Session, error) {
	return r.Library.Open(path, inputs, outputs, ort.Options{})
}

func (r onnxRuntime) OpenPlain(path string, inputs, outputs []tensor.Spec) (engine.Session, error) {
	return r.Library.Open(path, inputs, outputs, ort.Options{Plain: true})
}
