package embed

import (
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/classify/classifytest"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/runtime/textmodel"
)

// hidden is the model of modules.py: vectors that follow from the ids.
var hidden answers = func(ids, mask, shape []int64) tensor.Bag {
	var v []float32
	for i, id := range ids {
		x := float64(id)
		if mask[i] == 0 {
			v = append(v, 1e3, 1e3, 1e3, 1e3)
		} else {
			v = append(v, float32(x/20), float32(id*7%11)/11-0.5, float32(math.Sin(x)), float32(1/(x+1)))
		}
	}
	return tensor.Bag{"last_hidden_state": tensor.Of([]int64{shape[0], shape[1], 4}, v)}
}

// The expectations are those of Python's sentence-transformers; scripts/task-oracle/modules.py
// writes them. MODULES names another file of it.
func TestModulesAndPromptsAreThoseOfSentenceTransformers(t *testing.T) {
	t.Parallel()
	path := filepath.Join("testdata", "modules.json.gz")
	if other := os.Getenv("MODULES"); other != "" {
		path = other
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	var file struct {
		Texts  []string
		Prompt string
		Cases  []struct {
			Files   map[string]json.RawMessage
			Answers map[string][][]float64 // by prompt_name
			Given   [][]float64            // with Prompt
		}
	}
	r, err := gzip.NewReader(f)
	if err == nil {
		err = json.NewDecoder(r).Decode(&file)
	}
	if err != nil {
		t.Fatal(err)
	}
	if len(file.Cases) < 40 {
		t.Errorf("only %d cases", len(file.Cases))
	}
	for i, c := range file.Cases {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			m := classifytest.Usual
			m.Outputs = []tensor.Spec{classifytest.Spec("last_hidden_state", tensor.Float32, classifytest.Batch, classifytest.Sequence, tensor.Fixed(4))}
			m.Files = map[string]string{}
			for name, content := range c.Files {
				switch {
				case name == bundle.TokenizerName:
					m.Tokenizer = string(content)
				case name == bundle.ConfigName:
					m.Config = string(content)
				case strings.HasSuffix(name, ".safetensors"):
					data, err := base64.StdEncoding.DecodeString(strings.Trim(string(content), `"`))
					if err != nil {
						t.Fatal(err)
					}
					m.Files[name] = string(data)
				default:
					m.Files[name] = string(content)
				}
			}
			e := embedder(t, m, hidden)
			for name, want := range c.Answers {
				prompt, err := e.Prompt(name)
				if err != nil {
					t.Fatal(err)
				}
				compareEmbeddings(t, e, "prompt "+name, prompt, file.Texts, want)
			}
			prompt, err := e.Given(file.Prompt)
			if err != nil {
				t.Fatal(err)
			}
			compareEmbeddings(t, e, "prompt given", prompt, file.Texts, c.Given)
		})
	}
}

func compareEmbeddings(t *testing.T, e *Embedder, what string, prompt Prompt, texts []string, want [][]float64) {
	t.Helper()
	var encoded []textmodel.Text
	for _, text := range texts {
		one, err := e.Encode(textmodel.Input{Text: prompt.Text + text, Skip: prompt.Skip})
		if err != nil {
			t.Fatal(err)
		}
		encoded = append(encoded, one)
	}
	computed, _, err := e.Compute(t.Context(), encoded)
	if err != nil {
		t.Fatal(err)
	}
	for i, a := range computed {
		got, err := e.Vector(a)
		if err != nil || len(got) != len(want[i]) || e.Dimension() != len(got) {
			t.Errorf("%s, text %d: %d numbers of %d, %v; want %d", what, i, len(got), e.Dimension(), err, len(want[i]))
			continue
		}
		for k, w := range want[i] {
			if d := math.Abs(float64(got[k]) - w); !(d <= 1e-5*max(1, math.Abs(w))) {
				t.Errorf("%s, text %d: %v, want %v", what, i, got, want[i])
				break
			}
		}
	}
}
