package classify

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/classify/classifytest"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/runtime/text"
	"github.com/distinfer/distinfer/runtime/textmodel"
)

// A scored is what a library answers: labels with scores, the best first.
type scored struct {
	label string
	score float64
}

func (s *scored) UnmarshalJSON(data []byte) error {
	return json.Unmarshal(data, &[]any{&s.label, &s.score})
}

// chosen are the cases in which versions differ, with the one that is followed.
var chosen = map[string]string{
	"num_labels that says otherwise":     "transformers 4.57.6", // 5 forgets the names
	"single_label_classification of one": "transformers 4.57.6", // 5 refuses it
	"an unknown problem_type":            "transformers 4.57.6", // which refuses it
}

// The expectations are those of transformers' pipeline and of sentence-transformers' CrossEncoder;
// scripts/task-oracle/scores.py writes them.
func TestLabelsAndScoresAreThoseOfPython(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile(filepath.Join("testdata", "scores.json"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Logits []float32
		Cases  map[string]struct {
			Files   map[string]string
			Logits  int
			Answers map[string][]scored  // of the pipeline, by version; null is refused
			Scores  map[string][]float64 // of the CrossEncoder, by version
		}
	}
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Cases) < 50 {
		t.Errorf("only %d cases", len(file.Cases))
	}
	for name, c := range file.Cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := classifytest.Usual
			m.Config, m.Files = c.Files[bundle.ConfigName], map[string]string{}
			for name, content := range c.Files {
				if name != bundle.ConfigName {
					m.Files[name] = content
				}
			}
			m.Outputs = []tensor.Spec{classifytest.Spec("logits", tensor.Float32, classifytest.Batch, tensor.Fixed(int64(c.Logits)))}
			var got []text.Result
			opened, err := Open(m.Bundle(t), nil)
			if err == nil {
				got, err = opened.Results(textmodel.Answer{Values: file.Logits[:c.Logits]}, text.ByConfig)
			}
			for version, want := range c.Answers {
				if v, differ := chosen[name]; !differ || v == version {
					compareScored(t, version, got, err, want)
				}
			}
			for version, scores := range c.Scores {
				compareScores(t, version, got, err, scores, opened)
			}
		})
	}
}

func compareScored(t *testing.T, version string, got []text.Result, err error, want []scored) {
	t.Helper()
	if want == nil {
		if err == nil {
			t.Errorf("%s refuses it; got %v", version, got)
		}
		return
	}
	if err != nil || len(got) != len(want) {
		t.Fatalf("%v, %v; %s: %v", got, err, version, want)
	}
	for i, w := range want {
		if got[i].Label != w.label || !(math.Abs(got[i].Score-w.score) <= 1e-6) {
			t.Errorf("%v; %s: %v", got, version, want)
		}
	}
}

// compareScores compares with scores by label.
func compareScores(t *testing.T, version string, got []text.Result, err error, want []float64, c *Classifier) {
	t.Helper()
	if err != nil || len(got) != len(want) {
		t.Fatalf("%v, %v; %s: %v", got, err, version, want)
	}
	for i, label := range c.Labels() {
		for _, r := range got {
			if r.Label == label && !(math.Abs(r.Score-want[i]) <= 1e-6) {
				t.Errorf("%v; %s: %v", got, version, want)
			}
		}
	}
}

func TestCrossEncodersThatDoMoreAreRefused(t *testing.T) {
	t.Parallel()
	for want, files := range map[string]map[string]string{
		`config_sentence_transformers.json: must be an object`: {bundle.PromptsName: `[]`},
		`default_prompt_name is "query"; prompts of a CrossEncoder are not supported`: {
			bundle.PromptsName: `{"model_type": "CrossEncoder", "prompts": {"query": "x"}, "default_prompt_name": "query"}`},
		`activation_fn: "torch.nn.modules.activation.PReLU" is not supported`: {
			bundle.PromptsName: `{"model_type": "CrossEncoder", "activation_fn": "torch.nn.modules.activation.PReLU"}`},
		`sentence_bert_config.json: modality_config has message`: {
			bundle.PromptsName: `{"model_type": "CrossEncoder"}`, bundle.SentenceConfigName: `{"modality_config": {"message": {}}}`},
	} {
		m := classifytest.Usual
		m.Files = files
		if _, err := Open(m.Bundle(t), nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
