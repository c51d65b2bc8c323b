// Package task opens what a bundle's model does with texts, and says what a front's clients
// can send for it and what they get: labels, entities or vectors. The forms are those of
// Hugging Face's inference API, text-embeddings-inference and OpenAI, so that their clients
// work as they are.
//
// It knows JSON and statuses, and no more of HTTP; nor what computes.
package task

import (
	"cmp"
	"errors"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/classify"
	"github.com/distinfer/distinfer/runtime/embed"
	"github.com/distinfer/distinfer/runtime/feed"
	"github.com/distinfer/distinfer/runtime/pipeline"
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
	name, err := Decide(Described{
		Outputs: b.Outputs, Architecture: files.Config.Architecture(),
		Vocabulary: files.Config.VocabularySize(), Labels: len(files.Config.Labels()),
	})
	if err != nil {
		err = cmp.Or(part(b), err)
	}
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

// part fails for a model that does not read texts by itself, whatever its task: one that reads
// what an encoder gives, pictures or sound.
func part(b *bundle.Bundle) error {
	_, err := feed.New(b.Inputs, feed.Model{PadID: -1})
	var input *feed.Error
	if errors.As(err, new(*feed.NoIDsError)) || errors.As(err, &input) && (input.Cause == feed.Decoder || input.Cause == feed.OtherKind) {
		return err
	}
	return nil
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

// A Summary is what a bundle's model answers to texts.
type Summary struct {
	Task      string   // its name
	Labels    []string // by id; nil for embeddings
	Dimension int      // of embeddings; 0 when it is not known
	MaxTokens int      // of a text; longer ones are cut
	Warning   string   // what the operator should know of the model's files; "" is nothing
}

// Inspect finds out what the bundle's model answers to texts. It fails as Open does.
func Inspect(b *bundle.Bundle) (Summary, error) {
	t, err := Open(b, nil, textmodel.Limits{})
	if err != nil {
		return Summary{}, err
	}
	s := Summary{Task: t.Name(), Warning: t.Warning()}
	s.MaxTokens, _ = t.Model().Tokenizer().MaxLength()
	switch t := t.(type) {
	case Classification:
		s.Labels = t.Labels()
	case Entities:
		s.Labels = t.Tagger.Labels()
	case Embeddings:
		s.Dimension = t.Embedder.Dimension()
	}
	return s, nil
}
