package node_test

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/ort/orttest"
	"github.com/distinfer/distinfer/runtime/testkit"
	"github.com/distinfer/distinfer/runtime/textmodel"
	"github.com/distinfer/distinfer/server/front"
	"github.com/distinfer/distinfer/server/node"
	"github.com/distinfer/distinfer/server/task"
	"github.com/distinfer/distinfer/split"
)

// zooExpected is what a zip of models/testdata/zoo says about the export in it. Answers are as
// scripts/zoo/reference.py gives them: scores by label, or vectors.
type zooExpected struct {
	Tolerance float64
	Requests  []json.RawMessage
	Answers   []json.RawMessage
}

// A small part of `make zoo`: exports as optimum and sentence-transformers leave them, with the
// answers of the Python originals.
func TestExportsAnswerAsThePythonOriginals(t *testing.T) {
	t.Parallel()
	zips, err := filepath.Glob(filepath.Join(testkit.Root(t), "models", "testdata", "zoo", "*.zip"))
	if err != nil || len(zips) == 0 {
		t.Fatal("no exports", err)
	}
	for _, path := range zips {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".zip"), func(t *testing.T) {
			t.Parallel()
			folder, expected := unpackExport(t, path)
			handler := openExport(t, folder)
			var wait sync.WaitGroup
			for i, request := range expected.Requests {
				wait.Go(func() {
					w := httptest.NewRecorder()
					handler.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/predict", bytes.NewReader(request)))
					got := w.Body.Bytes()
					if d := answersApart(t, expected.Answers[i], got); d > expected.Tolerance {
						t.Errorf("%s: %s instead of %s, apart by %.2g", request, got, expected.Answers[i], d)
					}
				})
			}
			wait.Wait()
		})
	}
}

// unpackExport returns a folder with the files of a zip, and what is expected of them.
func unpackExport(t *testing.T, path string) (folder string, expected zooExpected) {
	t.Helper()
	folder = filepath.Join(t.TempDir(), strings.TrimSuffix(filepath.Base(path), ".zip"))
	z, err := zip.OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = z.Close() }()
	if err := os.CopyFS(folder, z); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(folder, "expected.json"))
	if err == nil {
		err = json.Unmarshal(data, &expected)
	}
	if err != nil {
		t.Fatal(err)
	}
	return folder, expected
}

// openExport splits a model into two stages, and opens a front with both in this process.
func openExport(t *testing.T, folder string) http.Handler {
	t.Helper()
	library, log := orttest.Library(t), slog.New(slog.DiscardHandler)
	out := filepath.Join(t.TempDir(), "stages")
	o := split.Options{Out: out, Stages: 2, Texts: task.Answered}
	if _, err := split.Split(t.Context(), folder, onnxRuntime{library}, o); err != nil {
		t.Fatal(err)
	}
	b, err := bundle.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	texts, done, err := node.OpenTexts(library, b, textmodel.Limits{}, 2, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(done)
	f := front.New(front.Config{MaxBody: 1 << 20, Timeout: time.Minute, Log: log}, front.Model{Texts: texts})
	t.Cleanup(f.Close)
	return f
}

// answersApart is the largest difference of two answers; want is of the form of references, got
// of the HTTP interface.
func answersApart(t *testing.T, want, got []byte) (most float64) {
	var scores map[string]float64
	if json.Unmarshal(want, &scores) == nil {
		var labels [][]struct {
			Label string
			Score float64
		}
		if err := json.Unmarshal(got, &labels); err != nil || len(labels) != 1 || len(labels[0]) != len(scores) {
			t.Errorf("%s instead of %s", got, want)
			return 0
		}
		for _, l := range labels[0] {
			s, ok := scores[l.Label]
			if !ok {
				t.Errorf("%s instead of %s", got, want)
			}
			most = max(most, math.Abs(s-l.Score))
		}
		return most
	}
	var vector []float64
	var vectors [][]float64
	if err := json.Unmarshal(got, &vectors); err != nil || json.Unmarshal(want, &vector) != nil || len(vectors) != 1 || len(vectors[0]) != len(vector) {
		t.Errorf("%s instead of %s", got, want)
		return 0
	}
	for i, v := range vector {
		most = max(most, math.Abs(v-vectors[0][i])/max(1, math.Abs(v)))
	}
	return most
}
