package main

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
	"github.com/distinfer/distinfer/server/task"
)

// labelling is the task of a classifier, as Hugging Face names it.
const labelling = "text-classification"

// A textTask is what a bundle's model does with texts: one of the three is set.
type textTask struct {
	*textmodel.Model
	classifier *classify.Classifier
	tagger     *tokenclass.Tagger
	embedder   *embed.Embedder
}

// openTask finds out what the bundle's model does with texts. It fails with
// bundle.ErrNoFile when a text file is missing.
func openTask(b *bundle.Bundle, runner pipeline.Runner, limits textmodel.Limits) (textTask, error) {
	files, err := textmodel.Read(b)
	if err != nil {
		return textTask{}, err
	}
	files.Limits = limits
	name, err := taskOf(b.Outputs, files.Config.Architecture())
	if err != nil {
		return textTask{}, err
	}
	switch name {
	case "token-classification":
		t, err := tokenclass.New(b, files, runner)
		if err != nil {
			return textTask{}, err
		}
		return textTask{Model: t.Model, tagger: t}, nil
	case "feature-extraction":
		e, err := embed.New(b, files, runner)
		if err != nil {
			return textTask{}, err
		}
		return textTask{Model: e.Model, embedder: e}, nil
	}
	c, err := classify.New(b, files, runner)
	if err != nil {
		return textTask{}, err
	}
	return textTask{Model: c.Model, classifier: c}, nil
}

// answered opens a bundle's model with answers of all numbers that may be told of a text, to
// compare them.
func answered(b *bundle.Bundle) (*textmodel.Model, error) {
	t, err := openTask(b, nil, textmodel.Limits{})
	switch {
	case err != nil:
		return nil, err
	case t.tagger != nil:
		return t.tagger.Answered(), nil
	case t.embedder != nil:
		return t.embedder.Answered(), nil
	}
	return t.classifier.Answered(), nil
}

// taskOf tells the task by what the model gives and by the first of the architectures
// in config.json, which may be "". Outputs count for more: a model that was trained for
// something else may have been exported for its vectors.
func taskOf(outputs []tensor.Spec, architecture string) (string, error) {
	_, hasLogits := tensor.Find(outputs, "logits")
	for _, name := range []string{"sentence_embedding", "last_hidden_state", "token_embeddings"} {
		if _, ok := tensor.Find(outputs, name); ok && !hasLogits {
			return "feature-extraction", nil
		}
	}
	_, purpose, isFor := strings.Cut(architecture, "For")
	switch {
	case purpose == "SequenceClassification":
		return labelling, nil
	case purpose == "TokenClassification":
		return "token-classification", nil
	case isFor:
		return "", fmt.Errorf("config.json names the architecture %s, and the model's outputs are %s; what can be served are …ForSequenceClassification, …ForTokenClassification, and models with an output last_hidden_state or sentence_embedding", architecture, named(outputs))
	}
	logits := outputs
	if found, ok := tensor.Find(outputs, "logits"); ok {
		logits = []tensor.Spec{found}
	}
	if len(logits) != 1 {
		return "", fmt.Errorf("the model's outputs are %s, by which its task cannot be told; name its class under architectures in config.json, such as BertForSequenceClassification, and split the model again", named(outputs))
	}
	switch {
	case !hasLogits && architecture != "" && len(logits[0].Dims) == 3:
		return "feature-extraction", nil
	case len(logits[0].Dims) == 3:
		return "token-classification", nil
	}
	return labelling, nil
}

func named(outputs []tensor.Spec) string {
	var list []string
	for _, o := range outputs {
		list = append(list, o.String())
	}
	return strings.Join(list, ", ")
}

// served is the task as a front serves it; nil for a classifier, which it knows itself.
func (t textTask) served(model string) front.Task {
	switch {
	case t.tagger != nil:
		return task.Entities{Tagger: t.tagger}
	case t.embedder != nil:
		return task.Embeddings{Embedder: t.embedder, Model: model}
	}
	return nil
}

// taskName is what a front's model does with texts.
func taskName(m front.Model) string {
	switch {
	case m.Batcher == nil:
		return "none"
	case m.Task == nil:
		return labelling
	}
	return m.Task.Name()
}
