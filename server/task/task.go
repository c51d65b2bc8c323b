// Package task opens what a bundle's model does with texts, and says what a front's clients
// can send for it and what they get: labels, entities or vectors. The forms are those of
// Hugging Face's inference API, text-embeddings-inference and OpenAI, so that their clients
// work as they are.
//
// It knows JSON and statuses, and no more of HTTP; nor what computes.
package task

import (
	"fmt"
	"strings"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/classify"
	"github.com/distinfer/distinfer/runtime/embed"
	"github.com/distinfer/distinfer/runtime/pipeline"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/runtime/textmodel"
	"github.com/distinfer/distinfer/runtime/tokenclass"
	"github.com/distinfer/distinfer/server/front"
)

// A Task is a front's, with the model whose answers it reads. It is safe for concurrent use.
type Task interface {
	front.Task
	// Model is to compute texts with.
	Model() *textmodel.Model
	// Answered is the model with answers of all numbers that a client can get of a text, to
	// compare them.
	Answered() *textmodel.Model
	// Warning is what the operator should know of the model's files; "" is nothing.
	Warning() string
}

// Open finds out what the bundle's model does with texts. It fails with bundle.ErrNoFile
// when a text file is missing. The runner computes the bundle's model.
func Open(b *bundle.Bundle, runner pipeline.Runner, limits textmodel.Limits) (Task, error) {
	files, err := textmodel.Read(b)
	if err != nil {
		return nil, err
	}
	files.Limits = limits
	name, err := nameOf(b.Outputs, files.Config.Architecture())
	if err != nil {
		return nil, err
	}
	switch name {
	case Entities{}.Name():
		t, err := tokenclass.New(b, files, runner)
		return Entities{t}, err
	case Embeddings{}.Name():
		e, err := embed.New(b, files, runner)
		return Embeddings{e, b.Model.Name}, err
	}
	c, err := classify.New(b, files, runner)
	return Classification{c}, err
}

// Answered is the model of a bundle's Task without a runner, with answers of all numbers that
// a client can get.
func Answered(b *bundle.Bundle) (*textmodel.Model, error) {
	t, err := Open(b, nil, textmodel.Limits{})
	if err != nil {
		return nil, err
	}
	return t.Answered(), nil
}

// nameOf tells the task by what the model gives and by the first of the architectures
// in config.json, which may be "". Outputs count for more: a model that was trained for
// something else may have been exported for its vectors.
func nameOf(outputs []tensor.Spec, architecture string) (string, error) {
	logits, hasLogits := tensor.Find(outputs, "logits")
	for _, name := range []string{"sentence_embedding", "last_hidden_state", "token_embeddings"} {
		if _, ok := tensor.Find(outputs, name); ok && !hasLogits {
			return Embeddings{}.Name(), nil
		}
	}
	_, purpose, isFor := strings.Cut(architecture, "For")
	switch {
	case purpose == "SequenceClassification":
		return Classification{}.Name(), nil
	case purpose == "TokenClassification":
		return Entities{}.Name(), nil
	case isFor:
		return "", fmt.Errorf("config.json names the architecture %s, and the model's outputs are %s; what can be served are …ForSequenceClassification, …ForTokenClassification, and models with an output last_hidden_state or sentence_embedding", architecture, list(outputs))
	}
	if !hasLogits {
		if len(outputs) != 1 {
			return "", fmt.Errorf("the model's outputs are %s, by which its task cannot be told; name its class under architectures in config.json, such as BertForSequenceClassification, and split the model again", list(outputs))
		}
		logits = outputs[0]
	}
	switch {
	case !hasLogits && architecture != "" && len(logits.Dims) == 3:
		return Embeddings{}.Name(), nil
	case len(logits.Dims) == 3:
		return Entities{}.Name(), nil
	}
	return Classification{}.Name(), nil
}

func list(outputs []tensor.Spec) string {
	var list []string
	for _, o := range outputs {
		list = append(list, o.String())
	}
	return strings.Join(list, ", ")
}
