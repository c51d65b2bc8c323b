package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/distinfer/distinfer/cmd/settings"
	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/server/bulk"
	"github.com/distinfer/distinfer/server/front"
	"github.com/distinfer/distinfer/server/node"
)

type predictOptions struct {
	bundleOptions
	outputOptions
	libraryOptions
	threadsOptions
	logOptions
	textOptions
	inputOptions
	remoteOptions
}

func (o *predictOptions) AddFlags(f *pflag.FlagSet) {
	o.outputOptions.AddFlags(f)
	for _, group := range []settings.Options{&o.bundleOptions, &o.libraryOptions, &o.threadsOptions, &o.logOptions, &o.textOptions, &o.inputOptions, &o.remoteOptions} {
		group.AddFlags(f)
	}
}

func newPredict() *cobra.Command {
	var o predictOptions
	return settings.Command(&o, &cobra.Command{
		Use:   "predict [FILE]",
		Short: "Label, tag or embed the texts of a file or of standard input",
		Long: `Label texts: in this process, with all stages of the bundle loaded, or through a
running front with --front.

The input is one text a line, CSV, TSV or JSON lines; the output is one line a
text, in the order of the input: label and score parted by a tab, or with -o json
an object. A line that cannot be labelled is reported with its number and gets
"-" (in JSON: an "error"); the others are labelled all the same, and the exit
code is 1.

A model that finds entities or embeds texts is answered with JSON lines, as a
front's POST /predict answers lines: a list of entities or a vector for each
text, or {"error": …, "line": …}.`,
		Example: `  echo 'a lovely film' | distinfer predict
  distinfer predict reviews.txt > labels.tsv
  distinfer predict dev.tsv --column sentence -o json
  distinfer predict reviews.jsonl --column review --front http://localhost:8008
  distinfer predict reviews.txt --front https://front.example.org --token-file token.txt --ca ca.pem`,
		Args: arguments(true, "FILE"),
	}, func(cmd *cobra.Command, args []string) error {
		if o.Front != "" {
			if err := settings.Refuse(cmd, "with --front, which computes", "bundle", "threads", "onnxruntime", "max-tokens", "truncation"); err != nil {
				return err
			}
		} else if err := settings.Refuse(cmd, "without --front", "insecure"); err != nil {
			return err
		}
		file, texts, err := o.inputOptions.open(args, cmd.InOrStdin())
		if err != nil {
			return err
		}
		defer func() { _ = file.Close() }()
		answer, labels, done, err := o.answerer(cmd.Context())
		if err != nil {
			return err
		}
		defer done()
		if !labels && cmd.Flags().Changed("output") && o.Output != "json" {
			return usageError{errors.New("--output text is for labels; the model's task is another, whose answers are JSON lines: leave it out, or say json")}
		}
		form := o.Output
		if !labels {
			form = bulk.Lines
		}
		out := bulk.NewWriter(form, cmd.OutOrStdout(), cmd.ErrOrStderr())
		counted, end := reading(file)
		err = bulk.Answer(cmd.Context(), texts, counted, answer, out.Write)
		end()
		return out.Finish(err)
	})
}

// answerer answers texts through a front or in this process. labels reports that the answers are labels.
func (o *predictOptions) answerer(ctx context.Context) (answer bulk.Answerer, labels bool, done func(), err error) {
	c, err := o.remoteOptions.open(o.logger())
	if err != nil {
		return nil, false, nil, err
	}
	if c != nil {
		answer, labels, err = node.RemoteTexts(ctx, c)
		return answer, labels, func() {}, err
	}
	b, err := bundle.Open(o.Bundle)
	if err != nil {
		return nil, false, nil, err
	}
	library, err := o.library()
	if err != nil {
		return nil, false, nil, err
	}
	texts, closeStages, err := node.OpenTexts(library, b, o.limits(), o.threads(), o.logger())
	if err != nil {
		return nil, false, nil, errors.Join(err, library.Close())
	}
	_, labels = texts.Task.(front.Labeller)
	return texts.Answer, labels, func() { closeStages(); _ = library.Close() }, nil
}
