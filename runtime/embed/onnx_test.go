package embed

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/distinfer/distinfer/runtime/classify/classifytest"
	"github.com/distinfer/distinfer/runtime/ort"
	"github.com/distinfer/distinfer/runtime/ort/orttest"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/runtime/testkit"
)

// packed are float32 numbers, little-endian, as base64.
type packed []float32

func (p *packed) UnmarshalText(text []byte) error {
	data, err := base64.StdEncoding.DecodeString(string(text))
	if err != nil {
		return err
	}
	*p = make(packed, len(data)/4)
	_, err = binary.Decode(data, binary.LittleEndian, *p)
	return err
}

// The expectations are those of Python's sentence-transformers; scripts/task-oracle writes
// them.
func TestEmbeddingsOfABERTAreThoseOfSentenceTransformers(t *testing.T) {
	t.Parallel()
	folder := filepath.Join(testkit.Root(t), "models", "testdata", "tasks")
	read := func(name string) []byte {
		data, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	var want struct {
		Awkward    []string
		Embeddings map[string]packed
	}
	r, err := gzip.NewReader(bytes.NewReader(read("expected.json.gz")))
	if err == nil {
		err = json.NewDecoder(r).Decode(&want)
	}
	if err != nil {
		t.Fatal(err)
	}
	if len(want.Embeddings) <= len(poolings) || len(want.Awkward) < 20 {
		t.Fatalf("%d poolings and %d texts", len(want.Embeddings), len(want.Awkward))
	}
	m := classifytest.Model{
		Tokenizer: string(read("tokenizer.json")), Config: string(read("embed/config.json")), Inputs: classifytest.BERTInputs,
		Outputs: []tensor.Spec{classifytest.Spec("last_hidden_state", tensor.Float32, classifytest.Batch, classifytest.Sequence, tensor.Fixed(32))},
	}
	session, err := orttest.Library(t).OpenBytes("embed", read("embed/model.onnx"), m.Inputs, m.Outputs, ort.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = session.Close() })
	for name, numbers := range want.Embeddings {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config, err := json.Marshal(map[string]any{"pooling_mode": strings.Split(name, ",")})
			if err != nil {
				t.Fatal(err)
			}
			m := m
			m.Files = pooling(string(config))
			e := embedder(t, m, session)
			width := 32 * len(strings.Split(name, ","))
			vectors := slices.Collect(slices.Chunk([]float32(numbers), width))
			vectors = vectors[len(vectors)-len(want.Awkward):] // which come last
			for i, a := range compute(t, e, want.Awkward...) {
				got, err := e.Vector(a)
				if err != nil || len(got) != width {
					t.Fatalf("%q: %d numbers, %v", want.Awkward[i], len(got), err)
				}
				for k, w := range vectors[i] {
					if d := math.Abs(float64(got[k] - w)); !(d <= 2e-5*max(1, math.Abs(float64(w)))) {
						t.Fatalf("%q: number %d is %g, want %g", want.Awkward[i], k, got[k], w)
					}
				}
			}
		})
	}
}
