// Package classify reads the logits of texts as labels and their scores.
//
// It does not know what computes them; package textmodel does. It knows nothing of
// HTTP.
package classify

import (
	"fmt"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/pipeline"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/runtime/text"
	"github.com/distinfer/distinfer/runtime/textmodel"
)

// A Classifier is a model with what its answers mean. It is safe for concurrent use.
type Classifier struct {
	*textmodel.Model
	config *text.Config
}

// An Answer is what one text gets: all labels by descending score, or why there
// are none.
type Answer struct {
	Results []text.Result
	Err     error
}

// New makes a classifier of a bundle's text files and a Runner that computes
// the bundle's model. It fails with bundle.ErrNoFile when a text file is missing, and
// when the model's inputs and outputs are not those of a text classifier.
func New(b *bundle.Bundle, runner pipeline.Runner) (*Classifier, error) {
	files, err := textmodel.Read(b)
	if err != nil {
		return nil, err
	}
	output, err := logits(b.Outputs, len(files.Config.Labels()))
	if err != nil {
		return nil, err
	}
	m, err := textmodel.New(b, files, runner, output)
	if err != nil {
		return nil, err
	}
	return &Classifier{m, files.Config}, nil
}

// logits finds the output that holds a logit for each label.
func logits(outputs []tensor.Spec, labels int) (string, error) {
	found, ok := tensor.Find(outputs, "logits")
	if !ok {
		if len(outputs) != 1 {
			return "", fmt.Errorf("the model has %d outputs and none is named logits", len(outputs))
		}
		found = outputs[0]
	}
	switch {
	case found.DType != tensor.Float32 && found.DType != tensor.Float16 || len(found.Dims) != 2 && !found.AnyRank:
		return "", fmt.Errorf("the model's output %s should be float32 or float16, of a batch and a logit for each label", found)
	case !found.AnyRank && found.Dims[1].IsFixed() && found.Dims[1].Size != int64(labels):
		return "", fmt.Errorf("the model gives %d logits, but config.json names %d labels", found.Dims[1].Size, labels)
	}
	return found.Name, nil
}

// Labels are the labels by id.
func (c *Classifier) Labels() []string { return c.config.Labels() }

// Results reads the model's answer to a text, with scores of a function.
func (c *Classifier) Results(a textmodel.Answer, by text.Function) ([]text.Result, error) {
	if a.Err != nil {
		return nil, a.Err
	}
	return c.config.Results(a.Values, by)
}

// Answers reads the model's answers to several texts.
func (c *Classifier) Answers(computed []textmodel.Answer) []Answer {
	answers := make([]Answer, len(computed))
	for i, a := range computed {
		answers[i].Results, answers[i].Err = c.Results(a, text.ByConfig)
	}
	return answers
}
