package task_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/classify/classifytest"
	"github.com/distinfer/distinfer/runtime/pipeline"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/runtime/textmodel"
	"github.com/distinfer/distinfer/server/task"
	"github.com/distinfer/distinfer/server/task/tasktest"
)

// perToken answers each token with as many numbers, which follow from its id.
type perToken struct {
	output string
	width  int64
}

func (p perToken) Run(_ context.Context, in tensor.Bag) (tensor.Bag, error) {
	ids, err := tensor.As[int64](in["input_ids"])
	if err != nil {
		return nil, err
	}
	var out []float32
	for _, id := range ids {
		for k := range p.width {
			out = append(out, float32((id*31+k*17)%13)/8)
		}
	}
	shape := in["input_ids"].Shape
	return tensor.Bag{p.output: tensor.Of([]int64{shape[0], shape[1], p.width}, out)}, nil
}

func open(t *testing.T, config, output string, width int64, runner pipeline.Runner) task.Task {
	t.Helper()
	dims := []tensor.Dim{classifytest.Batch, classifytest.Sequence, tensor.Fixed(width)}
	b := classifytest.Model{
		Tokenizer: classifytest.TokenizerJSON, Config: config, Inputs: classifytest.BERTInputs,
		Outputs: []tensor.Spec{classifytest.Spec(output, tensor.Float32, dims...)},
	}.Bundle(t)
	opened, err := task.Open(b, runner, textmodel.Limits{MaxTokens: 3})
	if err != nil {
		t.Fatal(err)
	}
	return opened
}

// suite is what all tasks are tested with: their model reads three words.
func suite(opened task.Task) tasktest.Suite {
	return tasktest.Suite{Task: opened, Texts: []string{"w1 w2", "w3", "w5 w0 w7"}, Long: "w1 w2 w3 w4", Bad: " "}
}

func TestClassificationIsATask(t *testing.T) {
	t.Parallel()
	b := classifytest.Usual.Bundle(t)
	opened, err := task.Open(b, &classifytest.Sums{}, textmodel.Limits{MaxTokens: 3})
	if err != nil {
		t.Fatal(err)
	}
	tasktest.Run(t, suite(opened))
}

func TestEntitiesAreATask(t *testing.T) {
	t.Parallel()
	s := suite(open(t, `{"architectures": ["BertForTokenClassification"], "id2label": {"0": "O", "1": "B-A", "2": "I-A"}}`, "logits", 3, perToken{"logits", 3}))
	s.Single = true
	tasktest.Run(t, s)
}

func TestEmbeddingsAreATask(t *testing.T) {
	t.Parallel()
	s := suite(open(t, `{"architectures": ["BertModel"]}`, "last_hidden_state", 4, perToken{"last_hidden_state", 4}))
	s.Field = map[string]string{"/v1/embeddings": "input"}
	s.List = map[string]func(*testing.T, []byte) []json.RawMessage{"/v1/embeddings": func(t *testing.T, body []byte) (all []json.RawMessage) {
		var list struct {
			Data []struct {
				Index     int
				Embedding json.RawMessage
			}
		}
		if err := json.Unmarshal(body, &list); err != nil {
			t.Fatal(err)
		}
		for i, one := range list.Data {
			if one.Index != i {
				t.Errorf("embedding %d has the index %d", i, one.Index)
			}
			all = append(all, one.Embedding)
		}
		return all
	}}
	tasktest.Run(t, s)
}

func TestABundleWithoutTextFilesHasNoTask(t *testing.T) {
	t.Parallel()
	b := classifytest.Model{Inputs: classifytest.BERTInputs, Outputs: classifytest.TwoLogits}.Bundle(t)
	if opened, err := task.Open(b, nil, textmodel.Limits{}); opened != nil || !isNoFile(err) {
		t.Errorf("%v, %v", opened, err)
	}
	if m, err := task.Answered(b); m != nil || !isNoFile(err) {
		t.Errorf("%v, %v", m, err)
	}
}

func isNoFile(err error) bool { return errors.Is(err, bundle.ErrNoFile) }
