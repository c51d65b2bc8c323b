package task

import (
	"errors"
	"strconv"
	"strings"
	"testing"

	"github.com/distinfer/distinfer/runtime/tensor"
)

// described is a model with outputs such as "logits[b,s,30522]".
func described(outputs, architecture string) Described {
	specs := func(s string) []tensor.Spec {
		var list []tensor.Spec
		for one := range strings.FieldsSeq(s) {
			name, dims, _ := strings.Cut(strings.TrimSuffix(one, "]"), "[")
			spec := tensor.Spec{Name: name, DType: tensor.Float32}
			for d := range strings.SplitSeq(dims, ",") {
				dim := tensor.Named(d)
				if n, err := strconv.ParseInt(d, 10, 64); err == nil {
					dim = tensor.Fixed(n)
				}
				spec.Dims = append(spec.Dims, dim)
			}
			list = append(list, spec)
		}
		return list
	}
	return Described{Outputs: specs(outputs), Architecture: architecture, Vocabulary: 1000, Labels: 2}
}

const (
	labels   = "text-classification"
	entities = "token-classification"
	vectors  = "feature-extraction"
)

func TestTheTaskFollowsFromOutputsAndArchitecture(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		d    Described
		want string
	}{
		"a classifier":                      {described("logits[b,2]", "BertForSequenceClassification"), labels},
		"For in a name":                     {described("logits[b,3]", "RoFormerForSequenceClassification"), labels},
		"For in a base model's name":        {described("out[b,s,8]", "RoFormerModel"), vectors},
		"without a config":                  {described("logits[b,2]", ""), labels},
		"logits for each token":             {described("logits[b,s,9]", ""), entities},
		"a tagger":                          {described("logits[b,s,9]", "RobertaForTokenClassification"), entities},
		"a base model":                      {described("last_hidden_state[b,s,8]", "BertModel"), vectors},
		"a base model of another output":    {described("out[b,s,8]", "BertModel"), vectors},
		"pooled":                            {described("token_embeddings[b,s,8] sentence_embedding[b,8]", ""), vectors},
		"trained to label, but for vectors": {described("last_hidden_state[b,s,8]", "BertForSequenceClassification"), vectors},
		"trained to fill in, for vectors":   {described("last_hidden_state[b,s,8]", "BertForMaskedLM"), vectors},
		"trained to write, for vectors":     {described("last_hidden_state[b,s,8]", "Qwen3ForCausalLM"), vectors},
		"an encoder of two parts":           {described("last_hidden_state[b,s,8]", "T5ForConditionalGeneration"), vectors},
		"hidden states beside logits":       {described("logits[b,2] last_hidden_state[b,s,8]", "BertForSequenceClassification"), labels},
		"a width that is not known":         {described("logits[b,n]", "BertForSequenceClassification"), labels},
	} {
		if got, err := Decide(c.d); got != c.want || err != nil {
			t.Errorf("%s: %q, %v", what, got, err)
		}
	}
}

func TestWhatCannotBeServedIsToldApart(t *testing.T) {
	t.Parallel()
	vocabulary := "logits[b,s,1000]"
	for what, c := range map[string]struct {
		d      Described
		reason Reason
		says   string
		task   string // to export for
	}{
		"GPT-2 that writes":              {described(vocabulary, "GPT2LMHeadModel"), OtherTask, "GPT2LMHeadModel, which generates texts", vectors},
		"XLNet that writes":              {described("logits[b,s,v]", "XLNetLMHeadModel"), OtherTask, "generates texts", vectors},
		"FlauBERT with a head":           {described("logits[b,s,v]", "FlaubertWithLMHeadModel"), OtherTask, "generates texts", vectors},
		"GPT-2 with two heads":           {described("logits[b,s,v]", "GPT2DoubleHeadsModel"), OtherTask, "generates texts", vectors},
		"a head of no name":              {described(vocabulary, ""), OtherTask, "each of the 1000 ids", vectors},
		"a head on a base model":         {described(vocabulary, "GPT2Model"), OtherTask, "each of the 1000 ids", vectors},
		"a head under another name":      {described("out[b,s,1000]", "BertModel"), OtherTask, "each of the 1000 ids", vectors},
		"a head of a tagger's class":     {described(vocabulary, "BertForTokenClassification"), OtherTask, "each of the 1000 ids", vectors},
		"filling in":                     {described(vocabulary, "BertForMaskedLM"), OtherTask, "fills in masked tokens", vectors},
		"writing":                        {described(vocabulary, "Qwen3ForCausalLM"), OtherTask, "generates texts", vectors},
		"writing by two parts":           {described(vocabulary, "T5ForConditionalGeneration"), OtherTask, "generates texts", vectors},
		"answers in a passage":           {described("start_logits[b,s] end_logits[b,s]", "BertForQuestionAnswering"), OtherTask, "finds answers", vectors},
		"answers without a config":       {described("start_logits[b,s] end_logits[b,s]", ""), OtherTask, "start_logits", vectors},
		"multiple choice":                {described("logits[b,4]", "BertForMultipleChoice"), OtherTask, "chooses one", vectors},
		"a head that nobody knows":       {described("logits[b,4]", "BertForSomething"), OtherTask, "BertForSomething", vectors},
		"a classifier with token logits": {described("logits[b,s,9]", "BertForSequenceClassification"), WrongTask, "numbers for each token", labels},
		"a tagger with one row":          {described("logits[b,2]", "BertForTokenClassification"), WrongTask, "numbers for a text", entities},
		"a pooler's output alone":        {described("pooler_output[b,n]", "DPRQuestionEncoder"), Unclear, "pooler_output", vectors},
		"hundreds of outputs":            {described("a[b] b[b] c[b] d[b] e[b] f[b]", ""), Unclear, "and 2 more", ""},
		"nothing to go by":               {described("a[b,2] c[b,2]", ""), Unclear, "cannot be told", ""},
	} {
		got, err := Decide(c.d)
		var unservable *UnservableError
		if !errors.As(err, &unservable) || unservable.Reason != c.reason || unservable.Task != c.task || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %q, %+v", what, got, err)
		}
	}
}
