package node_test

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/distinfer/distinfer/runtime/ort/orttest"
	"github.com/distinfer/distinfer/server/cluster"
	"github.com/distinfer/distinfer/server/node"
	"github.com/distinfer/distinfer/server/task"
	"github.com/distinfer/distinfer/split"
)

// zooExpected is what a zip of models/testdata/zoo says about the export in it. Answers are as
// scripts/zoo/reference.py gives them: scores by label, or vectors.
type zooExpected struct {
	File      string
	Tolerance float64
	Requests  []json.RawMessage
	Answers   []json.RawMessage
}

// A small part of `make zoo`: exports as optimum and sentence-transformers leave them, with the
// answers of the Python originals.
func TestExportsAnswerAsThePythonOriginals(t *testing.T) {
	t.Parallel()
	zips, err := filepath.Glob(filepath.Join(orttest.Root(t), "models", "testdata", "zoo", "*.zip"))
	if err != nil || len(zips) == 0 {
		t.Fatal("no exports", err)
	}
	for _, path := range zips {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".zip"), func(t *testing.T) {
			t.Parallel()
			folder, expected := unpackExport(t, path)
			url := serveExport(t, filepath.Join(folder, expected.File))
			var wait sync.WaitGroup
			for i, request := range expected.Requests {
				wait.Go(func() {
					got, err := postJSON(url+"/predict", request)
					if err != nil {
						t.Error(err)
						return
					}
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

// serveExport splits a model into two stages and serves it in this process.
func serveExport(t *testing.T, model string) (url string) {
	t.Helper()
	const stages = 2
	out := filepath.Join(t.TempDir(), "stages")
	o := split.Options{Out: out, Stages: stages, Texts: task.Answered}
	if _, err := split.Split(t.Context(), model, onnxRuntime{orttest.Library(t)}, o); err != nil {
		t.Fatal(err)
	}
	options := node.Options{Bundle: out, Stages: make(cluster.Addresses, stages), Log: slog.New(slog.DiscardHandler)}
	for i := range options.Stages {
		options.Stages[i] = []string{"localhost:1"}
	}
	for rank := stages - 1; rank >= 0; rank-- { // each connects to those behind it
		s, err := node.OpenStage(t.Context(), node.StageOptions{Options: options, Rank: rank, Listen: "localhost:0", ONNXRuntime: orttest.Path(t)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		go func() { _ = s.Serve(t.Context()) }()
		options.Stages[rank] = []string{s.Addr().String()}
	}
	f, err := node.OpenFront(t.Context(), node.FrontOptions{Options: options, Listen: "localhost:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	go func() { _ = f.Serve(t.Context()) }()
	return f.URL()
}

func postJSON(url string, body []byte) ([]byte, error) {
	response, err := http.Post(url, "application/json", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", response.Status, answer)
	}
	return answer, err
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
