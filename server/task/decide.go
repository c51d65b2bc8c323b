package task

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/distinfer/distinfer/runtime/tensor"
)

// Described is what a model's task follows from.
type Described struct {
	Outputs      []tensor.Spec
	Architecture string // the first in config.json; "" when it names none
	Vocabulary   int    // ids that the model reads; 0 when config.json does not say
	Labels       int    // that config.json names
}

// A Reason is a kind of model whose texts cannot be answered.
type Reason int

// The reasons of an UnservableError.
const (
	OtherTask Reason = iota // it answers something that has no form here
	WrongTask               // it was exported for something else than config.json says
	Unclear                 // nothing says what it answers
)

// An UnservableError says why the texts of a model cannot be answered.
type UnservableError struct {
	Reason Reason
	Why    string
	// Task is what the model can be exported for, so that it is served; "" is for none.
	Task string
}

func (e *UnservableError) Error() string { return e.Why }

// Decide tells what a model does with texts, by what it gives and by config.json.
// Outputs count for more: a model that was trained for something else may have been exported for
// its vectors. It fails with an *UnservableError.
func Decide(d Described) (string, error) {
	logits, hasLogits := tensor.Find(d.Outputs, "logits")
	for _, name := range []string{"sentence_embedding", "last_hidden_state", "token_embeddings"} {
		if _, ok := tensor.Find(d.Outputs, name); ok && !hasLogits {
			return Embeddings{}.Name(), nil
		}
	}
	if !hasLogits && len(d.Outputs) == 1 {
		logits = d.Outputs[0]
	}
	if err := d.other(logits); err != nil {
		return "", err
	}
	purpose := d.purpose()
	perToken := len(logits.Dims) == 3
	switch {
	case purpose == "SequenceClassification" && perToken:
		return "", d.wrong(logits, "each token", Classification{}.Name())
	case purpose == "SequenceClassification":
		return Classification{}.Name(), nil
	case purpose == "TokenClassification" && len(logits.Dims) == 2:
		return "", d.wrong(logits, "a text", Entities{}.Name())
	case purpose == "TokenClassification":
		return Entities{}.Name(), nil
	case !hasLogits && len(d.Outputs) != 1:
		return "", d.unclear()
	case !hasLogits && logits.Name == "pooler_output":
		return "", &UnservableError{Unclear, "its only output is pooler_output, which is neither labels nor the vectors that embeddings are made of", Embeddings{}.Name()}
	case !hasLogits && d.Architecture != "" && perToken:
		return Embeddings{}.Name(), nil
	case perToken:
		return Entities{}.Name(), nil
	}
	return Classification{}.Name(), nil
}

// purposed is a class that is for something: BertForMaskedLM, and not RoFormerModel.
var purposed = regexp.MustCompile(`^.*For([A-Z].*)$`)

// purpose is what the class in config.json is for, or "".
func (d Described) purpose() string {
	if m := purposed.FindStringSubmatch(d.Architecture); m != nil {
		return m[1]
	}
	return ""
}

// purposes say what models answer that have no form here, by the end of their class.
var purposes = []struct{ class, what string }{
	{"MaskedLM", "fills in masked tokens"},
	{"CausalLM", "generates texts"},
	{"LMHeadModel", "generates texts"},
	{"LMHead", "generates texts"},
	{"DoubleHeadsModel", "generates texts"},
	{"ConditionalGeneration", "generates texts"},
	{"QuestionAnsweringSimple", "finds answers in a passage"},
	{"QuestionAnswering", "finds answers in a passage"},
	{"MultipleChoice", "chooses one of several texts"},
	{"NextSentencePrediction", "tells whether a sentence follows another"},
	{"PreTraining", "was trained on its tokens only"},
}

// other fails when what the model gives has no form here.
func (d Described) other(logits tensor.Spec) error {
	for _, p := range purposes {
		if strings.HasSuffix(d.Architecture, p.class) {
			return &UnservableError{OtherTask, fmt.Sprintf("config.json names %s, which %s, and the model's outputs are %s", d.Architecture, p.what, list(d.Outputs)), Embeddings{}.Name()}
		}
	}
	if purpose := d.purpose(); purpose != "" && purpose != "SequenceClassification" && purpose != "TokenClassification" {
		return &UnservableError{OtherTask, fmt.Sprintf("config.json names %s, and the model's outputs are %s", d.Architecture, list(d.Outputs)), Embeddings{}.Name()}
	}
	if _, ok := tensor.Find(d.Outputs, "start_logits"); ok {
		return &UnservableError{OtherTask, "its output start_logits is that of a model which finds answers in a passage", Embeddings{}.Name()}
	}
	if n := len(logits.Dims); n == 3 && d.Vocabulary > 0 && logits.Dims[2].IsFixed() && logits.Dims[2].Size == int64(d.Vocabulary) && d.Labels != d.Vocabulary {
		return &UnservableError{OtherTask, fmt.Sprintf("its output %s has a number for each of the %d ids of the vocabulary, as models have that generate texts or fill in tokens", logits, d.Vocabulary), Embeddings{}.Name()}
	}
	return nil
}

// wrong says that a model gives something else than its class does.
func (d Described) wrong(logits tensor.Spec, of, task string) error {
	return &UnservableError{WrongTask, fmt.Sprintf("config.json names %s, but the output %s has numbers for %s: it was exported for another task", d.Architecture, logits, of), task}
}

// unclear says that nothing tells the task.
func (d Described) unclear() error {
	return &UnservableError{Reason: Unclear, Why: fmt.Sprintf("its outputs are %s, by which its task cannot be told; name its class under architectures in config.json, such as BertForSequenceClassification", list(d.Outputs))}
}

// list names outputs, of which there may be hundreds.
func list(specs []tensor.Spec) string {
	const most = 4
	var list []string
	for _, s := range specs[:min(most, len(specs))] {
		list = append(list, s.String())
	}
	if n := len(specs) - most; n > 0 {
		list = append(list, fmt.Sprintf("and %d more", n))
	}
	return strings.Join(list, ", ")
}
