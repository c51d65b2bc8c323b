package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/distinfer/distinfer/cmd/settings"
	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/text"
	"github.com/distinfer/distinfer/runtime/textmodel"
	"github.com/distinfer/distinfer/server/bulk"
)

type tokenizeOptions struct {
	bundleOptions
	outputOptions
	inputOptions
	Tokenizer string
}

func (o *tokenizeOptions) AddFlags(f *pflag.FlagSet) {
	o.bundleOptions.AddFlags(f)
	o.outputOptions.AddFlags(f)
	o.inputOptions.AddFlags(f)
	f.StringVar(&o.Tokenizer, "tokenizer", "", "tokenizer.json `file` to use instead of the bundle's")
	settings.OnlyFlags(f, "tokenizer")
}

func newTokenize() *cobra.Command {
	var o tokenizeOptions
	return settings.Command(&o, &cobra.Command{
		Use:   "tokenize [FILE]",
		Short: "Show the token ids and tokens of texts",
		Long: `Show what the bundle's tokenizer.json makes of texts, exactly as the file says and
as Hugging Face's tokenizers answer, truncation and padding included.

The input is read as by "predict". The output is one line a text: the tokens and
the ids, parted by a tab, or with -o json an object. A line without a text is
reported with its number and gets an empty line (in JSON: an "error"), and the
exit code is 1.`,
		Example: `  echo 'a lovely film' | distinfer tokenize
  distinfer tokenize reviews.txt -o json
  distinfer tokenize --tokenizer models/sst2-minilm/tokenizer.json reviews.txt`,
		Args: arguments(true, "FILE"),
	}, func(cmd *cobra.Command, args []string) error {
		if o.Tokenizer != "" {
			if err := settings.Refuse(cmd, "with --tokenizer", "bundle"); err != nil {
				return err
			}
		}
		t, err := o.tokenizer()
		if err != nil {
			return err
		}
		in, err := o.open(args, cmd.InOrStdin())
		if err != nil {
			return err
		}
		defer in.Close()
		err = bulk.Tokenize(cmd.Context(), in.File, t, o.Output, cmd.OutOrStdout(), cmd.ErrOrStderr())
		in.say(cmd)
		return err
	})
}

// tokenizer loads the tokenizer.
func (o *tokenizeOptions) tokenizer() (*text.Tokenizer, error) {
	if o.Tokenizer == "" {
		b, err := bundle.Open(o.Bundle)
		if err != nil {
			return nil, err
		}
		return textmodel.Tokenizer(b)
	}
	f, err := os.Open(o.Tokenizer)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	t, err := text.LoadTokenizer(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.Tokenizer, err)
	}
	return t, nil
}
