// Package classify reads the logits of texts as labels and their scores.
//
// It does not know what computes them; package textmodel does. It knows nothing of
// HTTP.
package classify

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/pipeline"
	"github.com/distinfer/distinfer/runtime/strictjson"
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
	config, err := ofCrossEncoder(b, files.Config)
	if err != nil {
		return nil, fmt.Errorf("bundle %s: %w", b.Dir, err)
	}
	return &Classifier{m, config}, nil
}

// ofCrossEncoder has scores made as the file of a CrossEncoder says, which newer versions of
// sentence-transformers write beside config.json and which counts for more. Without the file, and
// with one of another kind of model, the Config stays as it is.
func ofCrossEncoder(b *bundle.Bundle, config *text.Config) (*text.Config, error) {
	o, err := object(b, bundle.PromptsName)
	if err != nil || o == nil {
		return config, err
	}
	kind, _ := o.OptionalText("model_type")
	class, given := o.OptionalText("activation_fn")
	name, _ := o.OptionalText("default_prompt_name")
	switch {
	case o.Err() != nil || kind != "CrossEncoder":
		return config, o.Err()
	case name != "":
		return nil, fmt.Errorf("default_prompt_name is %q; prompts of a CrossEncoder are not supported: set it to null, and put the prompt before the first text of each pair", name)
	case !given:
		return config, asItIs(b)
	}
	if config, err = config.WithActivation(class); err != nil {
		return nil, fmt.Errorf("activation_fn: %w", err)
	}
	return config, asItIs(b)
}

// asItIs refuses a CrossEncoder whose texts are put into a chat template.
func asItIs(b *bundle.Bundle) error {
	o, err := object(b, bundle.SentenceConfigName)
	if err != nil || o == nil {
		return err
	}
	v, ok := o.Optional("modality_config")
	if !ok {
		return nil
	}
	modalities, err := v.Object()
	if err == nil && modalities.Has("message") {
		err = fmt.Errorf("%s: modality_config has message: pairs would be put into the tokenizer's chat template first, which is not done here; save the model with the modality text alone", bundle.SentenceConfigName)
	}
	return err
}

// object reads a file of the bundle; nil is that there is none.
func object(b *bundle.Bundle, name string) (*strictjson.Object, error) {
	data, err := b.ReadFile(name)
	if errors.Is(err, bundle.ErrNoFile) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	file, err := strictjson.PythonFile(bytes.NewReader(data))
	if err == nil {
		var o *strictjson.Object
		if o, err = file.Object(); err == nil {
			return o, nil
		}
	}
	return nil, fmt.Errorf("%s: %w", name, err)
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
