package textmodel

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/text"
)

// Files are what a bundle holds for models that read texts.
type Files struct {
	Tokenizer       *text.Tokenizer // as its file says
	Config          *text.Config
	TokenizerConfig *text.TokenizerConfig // nil when there is none
	// Tokens is the same with the tokens of special_tokens_map.json; nil when there is neither.
	Tokens *text.TokenizerConfig

	// Length is the most tokens of a text by a file of the model's task, which counts for
	// more than tokenizer_config.json and tokenizer.json; 0 is for no such file.
	Length int
	// Left, by such a file, has texts that are too long lose their beginning; nil is for no such file.
	Left   *bool
	Limits Limits
}

// Read reads the text files of a bundle. It fails with bundle.ErrNoFile when one is
// missing.
func Read(b *bundle.Bundle) (Files, error) {
	tokenizer, err := Tokenizer(b)
	if err != nil {
		return Files{}, err
	}
	files := Files{Tokenizer: tokenizer}
	if files.Config, err = load(b, bundle.ConfigName, text.LoadConfig); err != nil {
		return Files{}, err
	}
	files.TokenizerConfig, err = load(b, bundle.TokenizerConfigName, text.LoadTokenizerConfig)
	if err != nil && !errors.Is(err, bundle.ErrNoFile) {
		return files, err
	}
	files.Tokens, err = load(b, bundle.SpecialTokensName, files.TokenizerConfig.WithSpecialTokens)
	if errors.Is(err, bundle.ErrNoFile) {
		files.Tokens, err = files.TokenizerConfig, nil
	}
	return files, err
}

// Tokenizer loads the bundle's tokenizer, as its file says.
func Tokenizer(b *bundle.Bundle) (*text.Tokenizer, error) {
	return load(b, bundle.TokenizerName, text.LoadTokenizer)
}

// load reads a file of the bundle.
func load[T any](b *bundle.Bundle, name string, read func(io.Reader) (T, error)) (t T, err error) {
	data, err := b.ReadFile(name)
	if err != nil {
		return t, err
	}
	if t, err = read(bytes.NewReader(data)); err != nil {
		return t, fmt.Errorf("%s: %w", b, err)
	}
	return t, nil
}
