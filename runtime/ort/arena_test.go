package ort_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/runtime/ort"
	"github.com/distinfer/distinfer/runtime/ort/orttest"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/split/onnxfile/onnxtest"
)

// filled opens a model that sums as many ones as its input says: what it takes is in
// the input's values and not in its shape.
func filled(t *testing.T, library *ort.Library, o ort.Options) *ort.Session {
	t.Helper()
	var g onnxtest.Graph
	g.Input("shape", 7, 1)
	g.Node("ConstantOfShape", []string{"shape"}, []string{"zeros"})
	g.Node("Cos", []string{"zeros"}, []string{"ones"})
	g.Node("ReduceSum", []string{"ones"}, []string{"y"}, onnxtest.IntAttr("keepdims", 0))
	g.Output("y", 1)
	path := filepath.Join(t.TempDir(), "model.onnx")
	if err := os.WriteFile(path, g.Model(), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := library.Open(path, []tensor.Spec{orttest.Spec("shape", tensor.Int64, tensor.Fixed(1))}, []tensor.Spec{orttest.Spec("y", tensor.Float32)}, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func fill(s *ort.Session, n int64) (float32, error) {
	out, err := s.Run(context.Background(), tensor.Bag{"shape": tensor.Of([]int64{1}, []int64{n})})
	if err != nil {
		return 0, err
	}
	v, err := tensor.As[float32](out["y"])
	return v[0], err
}

//nolint:paralleltest // a process has one arena
func TestARunThatNeedsMoreThanItsArenaFails(t *testing.T) {
	library := orttest.Library(t)
	a, err := library.NewArena(64 << 20)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = a.Close() }()
	if _, err := library.NewArena(1 << 20); err == nil {
		t.Error("there are two arenas")
	}
	s := filled(t, library, ort.Options{Threads: 1, Arena: a})
	for _, n := range []int64{1 << 30, 1 << 40, 1 << 62} { // 4 GB and more
		_, err = fill(s, n)
		if !ort.IsMemory(err) || errcode.Of(err) != errcode.TooLarge || strings.Contains(err.Error(), "/onnxruntime") {
			t.Errorf("%d: %v", n, err)
		}
	}
	before := resident(t)
	var work sync.WaitGroup
	for range 4 { // others are as they were
		work.Go(func() {
			for range 20 {
				if sum, err := fill(s, 1<<20); err != nil || sum != 1<<20 {
					t.Errorf("%v, %v", sum, err)
				}
				_, _ = fill(s, 1<<30)
			}
		})
	}
	work.Wait()
	if grown := resident(t) - before; grown > 80<<20 {
		t.Errorf("it took %d bytes more", grown)
	}
	if peak, err := a.Peak(); err != nil || peak > a.Max() {
		t.Errorf("%d of %d, %v", peak, a.Max(), err)
	}
}

//nolint:paralleltest // a process has one arena
func TestAnArenaGivesMemoryBack(t *testing.T) {
	library := orttest.Library(t)
	a, err := library.NewArena(512 << 20)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = a.Close() }()
	s := filled(t, library, ort.Options{Threads: 1, Arena: a})
	for n := int64(1 << 10); n <= 1<<25; n *= 2 { // fragments
		if _, err := fill(s, n); err != nil {
			t.Fatal(n, err)
		}
	}
	held, err := a.Held()
	if err != nil || held < 256<<20 {
		t.Fatalf("%d, %v", held, err)
	}
	before := resident(t)
	if err := a.Shrink(); err != nil {
		t.Fatal(err)
	}
	if held, err := a.Held(); err != nil || held > 8<<20 {
		t.Errorf("%d are still held, %v", held, err)
	}
	if back := before - resident(t); back < 200<<20 {
		t.Errorf("only %d bytes came back", back)
	}
	if inUse, err := a.InUse(); err != nil || inUse > 1<<20 {
		t.Errorf("%d are in use, %v", inUse, err)
	}
}
