package split

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/distinfer/distinfer/split/enginetest"
	"github.com/distinfer/distinfer/split/onnxfile/onnxtest"
)

func littleEndian(values ...float32) []byte {
	var b bytes.Buffer
	_ = binary.Write(&b, binary.LittleEndian, values) // to memory
	return b.Bytes()
}

// externalModel is a model whose weights are in two other files: large ones that
// a runtime may map, one of them used by two layers, and a small one.
func externalModel(t *testing.T) (path string) {
	t.Helper()
	const n = 160 // n × n floats are more than 64 kB
	weights := make([]float32, 2*n*n)
	for i := range weights {
		weights[i] = float32(math.Sin(float64(i))) / n
	}
	var g onnxtest.Graph
	g.Input("x", 1, "batch", n)
	g.External("w0", 1, []int64{n, n}, "weights.bin", 0, 4*n*n)
	g.External("w1", 1, []int64{n, n}, "weights.bin", 4*n*n, -1)
	g.External("bias", 1, []int64{n}, "deep/bias.bin", 8, 4*n)
	g.Node("MatMul", []string{"x", "w0"}, []string{"h0"})
	g.Node("MatMul", []string{"h0", "w1"}, []string{"h1"})
	g.Node("Add", []string{"h1", "bias"}, []string{"h2"})
	g.Node("MatMul", []string{"h2", "w0"}, []string{"y"})
	g.Output("y", 1, "batch", n)
	path = enginetest.Write(t, g.Model())
	dir := filepath.Dir(path)
	if err := errors.Join(
		os.WriteFile(filepath.Join(dir, "weights.bin"), littleEndian(weights...), 0o600),
		os.Mkdir(filepath.Join(dir, "deep"), 0o755),
		os.WriteFile(filepath.Join(dir, "deep", "bias.bin"), littleEndian(weights[:n+2]...), 0o600),
	); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestExternalDataGoesBesideTheStageThatNeedsIt(t *testing.T) {
	t.Parallel()
	e := enginetest.New(t)
	path := externalModel(t)
	for n := 1; n <= 3; n++ {
		report, b := split(t, e, path, n)
		if v := report.Verification; v.Runs == 0 || v.MaxAbsolute > 1e-5 {
			t.Errorf("%d stages: %+v", n, v)
		}
		if again, _ := split(t, e, path, n); again.Bundle != report.Bundle {
			t.Errorf("%d stages: the same model gave two different bundles", n)
		}
		for rank, s := range b.Stages {
			if s.Data == nil || s.Data.Bytes < 4*160*160 {
				t.Fatalf("stage %d of %d: external data %+v", rank, n, s.Data)
			}
			if s.Bytes > 64<<10 {
				t.Errorf("stage %d of %d holds its weights itself: %d bytes", rank, n, s.Bytes)
			}
		}
		// Data that changed is noticed.
		last := len(b.Stages) - 1
		file := filepath.Join(b.Dir, b.Stages[last].Data.Name)
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		data[len(data)/2] ^= 1
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := b.StagePath(last); err == nil || !strings.Contains(err.Error(), "mixed files") {
			t.Errorf("changed data: %v", err)
		}
	}
}

func TestExternalDataIsReadInsideTheModelsFolderOnly(t *testing.T) {
	t.Parallel()
	e := enginetest.New(t)
	secret := filepath.Join(t.TempDir(), "secret.bin")
	nine := littleEndian(make([]float32, 9)...)
	if err := os.WriteFile(secret, nine, 0o600); err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		location       string
		offset, length int64
		prepare        func(dir string) error
		says           string
	}{
		"an absolute path": {secret, 0, 36, nil, "outside of the model's folder"},
		"a way up":         {"../secret.bin", 0, 36, nil, "outside of the model's folder"},
		"a hidden way up":  {"a/../../secret.bin", 0, 36, nil, "outside of the model's folder"},
		"a missing file":   {"w.bin", 0, 36, nil, "w.bin is missing"},
		"a symbolic link":  {"w.bin", 0, 36, func(dir string) error { return os.Symlink(secret, filepath.Join(dir, "w.bin")) }, "symbolic link"},
		"a linked folder": {"d/secret.bin", 0, 36, func(dir string) error {
			return os.Symlink(filepath.Dir(secret), filepath.Join(dir, "d"))
		}, "symbolic link"},
		"a hard link": {"w.bin", 0, 36, func(dir string) error { return os.Link(secret, filepath.Join(dir, "w.bin")) }, "hard link"},
		"a folder":    {"w.bin", 0, 36, func(dir string) error { return os.Mkdir(filepath.Join(dir, "w.bin"), 0o755) }, "not a regular file"},
		"a short file": {"w.bin", 0, 36, func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "w.bin"), nine[:35], 0o600)
		}, "w.bin has 35 bytes, and 36 are to be there from byte 0 on"},
		"an offset beyond the end": {"w.bin", math.MaxInt64, -1, func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "w.bin"), nine, 0o600)
		}, "w.bin has 36 bytes, and 36 are to be there from byte 9223372036854775807 on"},
		"another length": {"w.bin", 0, 35, func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "w.bin"), nine, 0o600)
		}, "needs 36 bytes"},
	} {
		var g onnxtest.Graph
		g.Input("x", 1, "batch", 3)
		g.External("w", 1, []int64{3, 3}, c.location, c.offset, c.length)
		g.Node("MatMul", []string{"x", "w"}, []string{"y"})
		g.Output("y", 1, "batch", 3)
		path := enginetest.Write(t, g.Model())
		if c.prepare != nil {
			if err := c.prepare(filepath.Dir(path)); err != nil {
				t.Fatal(err)
			}
		}
		out := filepath.Join(t.TempDir(), "stages")
		_, err := Split(context.Background(), path, e, Options{Stages: 1, Out: out, Verify: true})
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", what, err)
		}
		if left, _ := os.ReadDir(filepath.Dir(out)); len(left) != 0 {
			t.Errorf("%s: left behind: %v", what, left)
		}
	}
}

// In the cache of a Hub, a model and its data are links into the folder of blobs.
func TestExternalDataInAHubsCacheIsRead(t *testing.T) {
	t.Parallel()
	e := enginetest.New(t)
	var g onnxtest.Graph
	g.Input("x", 1, "batch", 3)
	g.External("w", 1, []int64{3, 3}, "w.bin", 0, 36)
	g.Node("MatMul", []string{"x", "w"}, []string{"y"})
	g.Output("y", 1, "batch", 3)
	model := enginetest.Write(t, g.Model())
	for what, c := range map[string]struct {
		at, link string
		prepare  func(repository string) error
		says     string
	}{
		"beside the model":     {".", "../../blobs/b0b", nil, ""},
		"in onnx/":             {"onnx", "../../../blobs/b0b", nil, ""},
		"another repository's": {".", "../../../models--b--c/blobs/b0b", nil, "symbolic link"},
		"beside the blobs":     {".", "../../secret", nil, "symbolic link"},
		"below the blobs":      {".", "../../blobs/d/b0b", nil, "symbolic link"},
		"a link that goes out": {".", "../../blobs/second", nil, "escapes"},
		"a way out":            {".", "/etc/passwd", nil, "symbolic link"},
		"blobs elsewhere": {".", "../../blobs/b0b", func(repository string) error {
			blobs, other := filepath.Join(repository, "blobs"), filepath.Join(filepath.Dir(repository), "other")
			return errors.Join(os.Rename(blobs, other), os.Symlink(other, blobs))
		}, "escapes"},
		"a missing one": {".", "../../blobs/none", nil, "no such file"},
	} {
		repository := filepath.Join(t.TempDir(), "models--a--b")
		blobs, snapshot := filepath.Join(repository, "blobs"), filepath.Join(repository, "snapshots", "abc", c.at)
		nine := littleEndian(make([]float32, 9)...)
		err := errors.Join(os.MkdirAll(filepath.Join(blobs, "d"), 0o755), os.MkdirAll(snapshot, 0o755),
			os.WriteFile(filepath.Join(blobs, "b0b"), nine, 0o600), os.WriteFile(filepath.Join(blobs, "d", "b0b"), nine, 0o600), os.WriteFile(filepath.Join(repository, "secret"), nine, 0o600),
			os.Symlink("/etc/passwd", filepath.Join(blobs, "second")), os.Symlink(c.link, filepath.Join(snapshot, "w.bin")), os.Symlink(model, filepath.Join(snapshot, "model.onnx")))
		if err == nil && c.prepare != nil {
			err = c.prepare(repository)
		}
		if err != nil {
			t.Fatal(err)
		}
		r, err := Split(context.Background(), filepath.Join(snapshot, "model.onnx"), e, Options{Stages: 1, Out: filepath.Join(t.TempDir(), "stages"), Verify: true})
		if c.says == "" && (err != nil || r.Verification.Runs == 0) || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: %v, want %q", what, err, c.says)
		}
	}
}

func TestExternalDataInBodiesAttributesAndFunctions(t *testing.T) {
	t.Parallel()
	constant := func(offset int64) onnxtest.Message {
		var g onnxtest.Graph
		g.External("", 1, []int64{3}, "w.bin", offset, 12)
		return g.Tensor("value")
	}
	var g, then, otherwise, twice onnxtest.Graph
	g.Input("x", 1, "batch", 3)
	g.Input("flag", 9)
	g.Floats("w0", []int64{3, 3}, floatOf(0.3))
	then.External("w", 1, []int64{3}, "w.bin", 0, 12)
	then.Node("Add", []string{"h0", "w"}, []string{"b"})
	then.Output("b", 1, onnxtest.AnyRank)
	otherwise.Node("Constant", nil, []string{"factor"}, constant(12))
	otherwise.Node("Mul", []string{"h0", "factor"}, []string{"b"})
	otherwise.Output("b", 1, onnxtest.AnyRank)
	twice.Node("Constant", nil, []string{"c"}, constant(24))
	twice.Node("Mul", []string{"a", "c"}, []string{"b"})
	g.Node("MatMul", []string{"x", "w0"}, []string{"h0"})
	g.Node("If", []string{"flag"}, []string{"h1"}, onnxtest.GraphAttr("then_branch", &then), onnxtest.GraphAttr("else_branch", &otherwise))
	g.Node("MatMul", []string{"h1", "w0"}, []string{"h2"})
	g.Call("local", "Twice", []string{"h2"}, []string{"h3"})
	g.Node("Constant", nil, []string{"c"}, constant(0))
	g.Node("Add", []string{"h3", "c"}, []string{"h4"})
	g.Node("MatMul", []string{"h4", "w0"}, []string{"y"})
	g.Output("y", 1, "batch", 3)
	path := enginetest.Write(t, g.Model().WithFunction("local", "Twice", []string{"a"}, []string{"b"}, &twice))
	if err := os.WriteFile(filepath.Join(filepath.Dir(path), "w.bin"), littleEndian(1, 2, 3, 4, 5, 6, 7, 8, 9), 0o600); err != nil {
		t.Fatal(err)
	}
	e := enginetest.New(t)
	for n := 1; n <= 3; n++ {
		report, b := split(t, e, path, n)
		if v := report.Verification; v.Runs == 0 || v.MaxAbsolute > 1e-5 {
			t.Errorf("%d stages: %+v", n, v)
		}
		if first := b.Stages[0].Data; n == 1 && (first == nil || first.Bytes != 2*64+12) {
			t.Errorf("external data of the whole: %+v", first)
		}
	}
}
