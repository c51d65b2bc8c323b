package split

import (
	"fmt"
	"io"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/feed"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/split/modelfolder"
)

// Served is what a model answers to texts.
type Served struct {
	Task      string   `json:"task"`
	Labels    []string `json:"labels,omitempty"`    // by id
	Dimension int      `json:"dimension,omitempty"` // of embeddings; 0 when it is not known
	MaxTokens int      `json:"max_tokens"`          // of a text; longer ones are cut
	Warning   string   `json:"warning,omitempty"`   // what the operator should know of the model's files
}

// Texts says whether texts are answered, and what the model's files are.
type Texts struct {
	*Served          // nil when only tensors are answered
	Files   []string `json:"files,omitempty"` // the paths of those that the bundle has
	// WhyNot says why only tensors are answered.
	WhyNot string `json:"why_not,omitempty"`
}

// A TextsError says why the texts of a model, which is one that reads texts, could not be answered.
type TextsError struct{ Err error }

func (e *TextsError) Error() string { return "its texts could not be answered: " + e.Err.Error() }

// Unwrap returns the reason.
func (e *TextsError) Unwrap() error { return e.Err }

// texts finds out what the model answers to texts, and which files a bundle needs for that. It fails
// with a *TextsError when a model that reads texts could not answer any.
func (c *cutter) texts(m *bundle.Manifest) (*Texts, []modelfolder.File, error) {
	if c.o.NoTexts {
		return &Texts{WhyNot: "it was asked for"}, nil, nil
	}
	found, err := c.model.Texts()
	if err != nil {
		return nil, nil, err
	}
	_, reads := tensor.Find(m.Inputs, "input_ids")
	reads = reads || feed.IDs(m.Inputs) != ""
	missing := found.Missing()
	switch {
	case missing != nil && (found.Bare() || !reads && !found.HasTokenizer()):
		return &Texts{WhyNot: missing.Error()}, nil, nil
	case missing != nil:
		return nil, nil, &TextsError{missing}
	}
	t := &Texts{}
	for _, f := range found.Files {
		t.Files = append(t.Files, f.From)
	}
	if c.o.Inspect != nil {
		served, err := c.o.Inspect(bundle.Preview(m, c.model.Root(), found.Data()))
		if err != nil {
			return nil, nil, &TextsError{err}
		}
		t.Served = &served
	}
	return t, found.Files, nil
}

// writeTexts writes text files into a bundle.
func writeTexts(w *bundle.Writer, files []modelfolder.File) ([]bundle.File, error) {
	var written []bundle.File
	for _, f := range files {
		file, err := w.WriteFile(f.Name, func(to io.Writer) error {
			_, err := to.Write(f.Data)
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.From, err)
		}
		written = append(written, file)
	}
	return written, nil
}
