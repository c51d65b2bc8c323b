// Package enginetest gives tests of cutting the real ONNX Runtime, and models to cut.
package enginetest

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/distinfer/distinfer/runtime/ort"
	"github.com/distinfer/distinfer/runtime/ort/orttest"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/runtime/testkit"
	"github.com/distinfer/distinfer/split/engine"
)

type library struct{ *ort.Library }

// Open implements engine.Engine.
func (l library) Open(path string, inputs, outputs []tensor.Spec) (engine.Session, error) {
	return l.Library.Open(path, inputs, outputs, ort.Options{Threads: 1})
}

// OpenPlain implements engine.Engine.
func (l library) OpenPlain(path string, inputs, outputs []tensor.Spec) (engine.Session, error) {
	return l.Library.Open(path, inputs, outputs, ort.Options{Threads: 1, Plain: true})
}

// New is ONNX Runtime with one thread.
func New(t testing.TB) engine.Engine { return library{orttest.Library(t)} }

// Model is the path of one of the repository's models.
func Model(t testing.TB, name string) string {
	return filepath.Join(testkit.Root(t), "models", name, "model.onnx")
}

// Write writes a model into a folder of its own.
func Write(t testing.TB, model []byte) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "model.onnx")
	if err := os.WriteFile(path, model, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
