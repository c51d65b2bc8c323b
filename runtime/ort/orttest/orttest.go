// Package orttest gives tests the real ONNX Runtime.
package orttest

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/distinfer/distinfer/runtime/ort"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/runtime/testkit"
)

// Library loads the library that `make setup` fetched, or that
// DISTINFER_ONNXRUNTIME names, until the test is over.
func Library(t testing.TB) *ort.Library {
	t.Helper()
	library, err := ort.Load(Path(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = library.Close() })
	return library
}

// Path is the library's file.
func Path(t testing.TB) string {
	t.Helper()
	if path := os.Getenv("DISTINFER_ONNXRUNTIME"); path != "" {
		return path
	}
	return filepath.Join(testkit.Root(t), ort.SetupDir, "libonnxruntime.so")
}

// Spec is what an input or output is.
func Spec(name string, d tensor.DType, dims ...tensor.Dim) tensor.Spec {
	return tensor.Spec{Name: name, DType: d, Dims: dims}
}

// Run is what a session answers.
func Run(t testing.TB, s *ort.Session, in tensor.Bag) tensor.Bag {
	t.Helper()
	out, err := s.Run(context.Background(), in)
	if err != nil {
		t.Fatal(err)
	}
	return out
}
