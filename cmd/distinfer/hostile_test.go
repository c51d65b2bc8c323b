package main_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/ort"
	"github.com/distinfer/distinfer/runtime/ort/orttest"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/split/onnxfile/onnxtest"
)

// vector is a value of n floats.
func vector(name string, n int64) tensor.Spec {
	return tensor.Spec{Name: name, DType: tensor.Float32, Dims: []tensor.Dim{tensor.Fixed(n)}}
}

// handmade writes a bundle of one stage as somebody would who wants to harm: its
// manifest agrees with its files, whatever is in these. With data nil the stage
// has no file of external data.
func handmade(t *testing.T, model, data []byte) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "stages")
	w, err := bundle.Create(dir, false)
	if err != nil {
		t.Fatal(err)
	}
	file := func(name string, content []byte) bundle.File {
		f, err := w.WriteFile(name, func(to io.Writer) error {
			_, err := to.Write(content)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	in, out := []tensor.Spec{vector("x", 4)}, []tensor.Spec{vector("y", 4)}
	s := bundle.Stage{File: file("stage-0.onnx", model), Inputs: in, Outputs: out}
	if data != nil {
		f := file("stage-0.data", data)
		s.Data = &f
	}
	m := &bundle.Manifest{Format: bundle.Format, Model: bundle.Model{Name: "handmade"}, Inputs: in, Outputs: out, Stages: []bundle.Stage{s}}
	if err := errors.Join(w.WriteManifest(m), w.Commit()); err != nil {
		t.Fatal(err)
	}
	return dir
}

// adder is a model that adds "w" to its input; weights makes "w".
func adder(weights func(g *onnxtest.Graph)) []byte {
	var g onnxtest.Graph
	g.Input("x", int64(tensor.Float32), 4)
	weights(&g)
	g.Node("Add", []string{"x", "w"}, []string{"y"})
	g.Output("y", int64(tensor.Float32), 4)
	return g.Model()
}

func external(location string, offset, length int64) []byte {
	return adder(func(g *onnxtest.Graph) { g.External("w", int64(tensor.Float32), []int64{4}, location, offset, length) })
}

// A bundle that was made to harm is refused before ONNX Runtime sees it, by every
// command that loads stages, with one line that says what is wrong with it.
func TestAHostileBundleIsRefused(t *testing.T) {
	t.Parallel()
	sixteen := make([]byte, 16)
	elsewhere := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(elsewhere, sixteen, 0o600); err != nil {
		t.Fatal(err)
	}
	good := handmade(t, external("stage-0.data", 0, 16), sixteen)
	stage(t, good, 0) // it is served: what follows is refused for what is wrong with it

	constant := func(location string) []byte {
		var w onnxtest.Graph
		w.External("", int64(tensor.Float32), []int64{4}, location, 0, 16)
		return adder(func(g *onnxtest.Graph) { g.Node("Constant", nil, []string{"w"}, w.Tensor("value")) })
	}
	for _, c := range []struct {
		what        string
		model, data []byte
		change      func(dir string) error // of what is on the disk
		says        string
	}{
		{"data at an absolute path", external(elsewhere, 0, 16), sixteen, nil, `tensor "w": its data is in the file "` + elsewhere + `"`},
		{"data up the way", external("../secret", 0, 16), sixteen, nil, `"../secret"`},
		{"data in a file that the manifest does not name", external("other.data", 0, 16), sixteen, func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "other.data"), sixteen, 0o600)
		}, `"other.data"; the model's data may be in "stage-0.data" only`},
		{"data behind a hard link beside the stage", external("linked", 0, 16), nil, func(dir string) error {
			return os.Link(elsewhere, filepath.Join(dir, "linked"))
		}, `"linked", but the model should need no other file`},
		{"data in an attribute", constant("../secret"), sixteen, nil, `"../secret"`},
		{"data in memory", external("*/_ORT_MEM_ADDR_/*", 4096, 16), nil, nil, "_ORT_MEM_ADDR_"},
		{"the manifest as data", external("manifest.json", 0, 16), nil, nil, `"manifest.json"`},
		{"data beyond the end of its file", external("stage-0.data", 4096, 16), sixteen, nil, "stage-0.onnx"},
		{"data before the start of its file", adder(func(g *onnxtest.Graph) {
			entry := func(key, value string) onnxtest.Message { return onnxtest.Message{}.Text(1, key).Text(2, value) }
			g.Raw(5, onnxtest.Message{}.Int(1, 4).Int(2, 1).Text(8, "w").Embed(13, entry("location", "stage-0.data")).Embed(13, entry("offset", "-4096")).Int(14, 1))
		}), sixteen, nil, "stage-0.onnx"},
		{"a linked data file", external("stage-0.data", 0, 16), sixteen, func(dir string) error {
			path := filepath.Join(dir, "stage-0.data")
			return errors.Join(os.Remove(path), os.Symlink(elsewhere, path))
		}, "symbolic link"},
		{"a hard-linked data file", external("stage-0.data", 0, 16), sixteen, func(dir string) error {
			path := filepath.Join(dir, "stage-0.data")
			return errors.Join(os.Remove(path), os.Link(elsewhere, path))
		}, "hard link"},
		{"a pipe as a stage", external("stage-0.data", 0, 16), sixteen, func(dir string) error {
			path := filepath.Join(dir, "stage-0.onnx")
			return errors.Join(os.Remove(path), unix.Mkfifo(path, 0o600))
		}, "not a regular file"},
		{"a pipe as data", external("stage-0.data", 0, 16), sixteen, func(dir string) error {
			path := filepath.Join(dir, "stage-0.data")
			return errors.Join(os.Remove(path), unix.Mkfifo(path, 0o600))
		}, "not a regular file"},
		{"a file without end", external("stage-0.data", 0, 16), sixteen, func(dir string) error {
			return os.Truncate(filepath.Join(dir, "stage-0.data"), 1<<40)
		}, "it has 1099511627776 bytes, the manifest says 16"},
		{"no model", []byte("hello, this is text\n"), nil, nil, "protobuf"},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			dir := handmade(t, c.model, c.data)
			if c.change != nil {
				if err := c.change(dir); err != nil {
					t.Fatal(err)
				}
			}
			for _, args := range [][]string{{"serve-stage", "--rank", "0", "--listen", "localhost:0"}, {"verify"}} {
				r := run(t, dir, "", append(args, "--bundle", dir)...)
				if r.code != 1 || !strings.Contains(r.stderr, c.says) || strings.Count(r.stderr, "\n") != 1 {
					t.Errorf("%s: exit code %d: %s", args[0], r.code, r.stderr)
				}
			}
		})
	}
}

// What the check relies on: ONNX Runtime itself opens what a model names, even a
// hard link to a file of somebody else's, and goes by a file's name for its format.
func TestWhyABundleIsCheckedBeforeItIsLoaded(t *testing.T) {
	t.Parallel()
	library := orttest.Library(t)
	dir := t.TempDir()
	secret := filepath.Join(t.TempDir(), "secret")
	open := func(name string, model []byte) error {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, model, 0o600); err != nil {
			t.Fatal(err)
		}
		session, err := library.Open(path, []tensor.Spec{vector("x", 4)}, []tensor.Spec{vector("y", 4)}, ort.Options{Threads: 1})
		if err == nil {
			err = session.Close()
		}
		return err
	}
	if err := errors.Join(os.WriteFile(secret, make([]byte, 16), 0o600), os.Link(secret, filepath.Join(dir, "linked"))); err != nil {
		t.Fatal(err)
	}
	if err := open("model.onnx", external("linked", 0, 16)); err != nil {
		t.Errorf("ONNX Runtime refuses hard links now: %v", err)
	}
	if err := open("model.ort", external("linked", 0, 16)); err == nil {
		t.Error("ONNX Runtime takes a file named .ort for an ONNX model now")
	} else if !strings.Contains(strings.ToLower(fmt.Sprint(err)), "ort") {
		t.Error(err)
	}
}
