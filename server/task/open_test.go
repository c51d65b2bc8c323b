package task

import (
	"strings"
	"testing"

	"github.com/distinfer/distinfer/runtime/tensor"
)

func TestTheTaskFollowsFromOutputsAndArchitecture(t *testing.T) {
	t.Parallel()
	spec := func(name string, rank int) tensor.Spec {
		s := tensor.Spec{Name: name, DType: tensor.Float32}
		for range rank {
			s.Dims = append(s.Dims, tensor.Named("n"))
		}
		return s
	}
	for name, c := range map[string]struct {
		outputs      []tensor.Spec
		architecture string
		want, err    string
	}{
		"a classifier":                      {[]tensor.Spec{spec("logits", 2)}, "BertForSequenceClassification", "text-classification", ""},
		"without a config":                  {[]tensor.Spec{spec("logits", 2)}, "", "text-classification", ""},
		"logits for each token":             {[]tensor.Spec{spec("logits", 3)}, "", "token-classification", ""},
		"a tagger":                          {[]tensor.Spec{spec("logits", 3)}, "RobertaForTokenClassification", "token-classification", ""},
		"a base model":                      {[]tensor.Spec{spec("last_hidden_state", 3)}, "BertModel", "feature-extraction", ""},
		"a base model of another output":    {[]tensor.Spec{spec("out", 3)}, "BertModel", "feature-extraction", ""},
		"pooled":                            {[]tensor.Spec{spec("token_embeddings", 3), spec("sentence_embedding", 2)}, "", "feature-extraction", ""},
		"trained to label, but for vectors": {[]tensor.Spec{spec("last_hidden_state", 3)}, "BertForSequenceClassification", "feature-extraction", ""},
		"another head":                      {[]tensor.Spec{spec("logits", 3)}, "BertForMaskedLM", "", "BertForMaskedLM"},
		"nothing to go by":                  {[]tensor.Spec{spec("a", 2), spec("b", 2)}, "", "", "cannot be told"},
	} {
		got, err := nameOf(c.outputs, c.architecture)
		if got != c.want || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}
