// Package classify reads the logits of texts as labels and their scores.
//
// It does not know what computes them; package textmodel does. It knows nothing of
// HTTP.
package classify

import (
	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/pipeline"
	"github.com/distinfer/distinfer/runtime/text"
	"github.com/distinfer/distinfer/runtime/textmodel"
)

// A Classifier is a model with what its answers mean. It is safe for concurrent use.
type Classifier struct {
	*textmodel.Model
	config *text.Config
}

// Open makes a classifier of a bundle and a Runner that computes the bundle's model. It
// fails with bundle.ErrNoFile when a text file is missing, and as New does.
func Open(b *bundle.Bundle, runner pipeline.Runner) (*Classifier, error) {
	files, err := textmodel.Read(b)
	if err != nil {
		return nil, err
	}
	return New(b, files, runner)
}

// New makes a classifier of a bundle's text files and a Runner that computes the bundle's
// model. It fails when the model's inputs and outputs are not those of a text classifier.
func New(b *bundle.Bundle, files textmodel.Files, runner pipeline.Runner) (*Classifier, error) {
	output, err := textmodel.Logits(b.Outputs, 2, len(files.Config.Labels()))
	if err != nil {
		return nil, err
	}
	m, err := textmodel.New(b, files, runner, output)
	if err != nil {
		return nil, err
	}
	return &Classifier{m, files.Config}, nil
}

// Labels are the labels by id.
func (c *Classifier) Labels() []string { return c.config.Labels() }

// Answered is the Model, with answers of all numbers that a text may have: its logits, and the
// scores of every function.
func (c *Classifier) Answered() *textmodel.Model {
	return c.Reduced(func(a textmodel.Answer) textmodel.Answer {
		logits := a.Values
		for _, by := range []text.Function{text.Softmax, text.Sigmoid} {
			results, err := c.config.Results(logits, by)
			if err != nil {
				a.Err = err
				return a
			}
			for _, r := range results {
				a.Values = append(a.Values, float32(r.Score))
			}
		}
		return a
	})
}

// Results reads the model's answer to a text, with scores of a function.
func (c *Classifier) Results(a textmodel.Answer, by text.Function) ([]text.Result, error) {
	if a.Err != nil {
		return nil, a.Err
	}
	return c.config.Results(a.Values, by)
}
