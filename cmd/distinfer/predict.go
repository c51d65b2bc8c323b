package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/distinfer/distinfer/cmd/settings"
	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/textfile"
	"github.com/distinfer/distinfer/server/bulk"
	"github.com/distinfer/distinfer/server/node"
	"github.com/distinfer/distinfer/server/task"
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
	Columns []string
	Keep    bool
}

func (o *predictOptions) AddFlags(f *pflag.FlagSet) {
	o.outputOptions.AddFlags(f, bulk.CSV, bulk.TSV)
	f.StringSliceVar(&o.Columns, "columns", nil, "`names` of two columns or fields that hold pairs of texts, such as sentence1,sentence2")
	f.BoolVar(&o.Keep, "keep", false, "with -o json: write the input beside the answer, as \"input\"")
	settings.OnlyFlags(f, "columns", "keep")
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

The input is one text a line, CSV, TSV or JSON (lines or an array), also in .gz or
.zst, in UTF-8, UTF-16 or Windows-1252. What it is read as is found by rules,
which docs/reference/files.md lists, and said on standard error where its name does
not say it; --format, --encoding, --delimiter, --header and --column overrule. What
is no file of texts is refused.

The output is one line a text, in the order of the input: label and score parted by
a tab; with -o json an object; with -o csv or tsv the columns of the input, and the
answer in further ones. A line that cannot be labelled is reported with its number
and gets "-" (in JSON and tables: an "error"); the others are labelled all the same,
and the exit code is 1.

A model that finds entities or embeds texts is answered with JSON lines, as a
front's POST /predict answers lines: a list of entities or a vector for each
text, or {"error": …, "line": …}.`,
		Example: `  echo 'a lovely film' | distinfer predict
  distinfer predict reviews.txt > labels.tsv
  distinfer predict dev.tsv --column sentence -o json
  distinfer predict survey.csv --column comment -o csv > labelled.csv
  distinfer predict pairs.tsv --columns sentence1,sentence2
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
		in, err := o.openInput(args, cmd.InOrStdin())
		if err != nil {
			return err
		}
		defer in.Close()
		answer, name, done, err := o.answerer(cmd.Context())
		if err != nil {
			return err
		}
		defer done()
		form, err := o.form(cmd, name)
		if err != nil {
			return err
		}
		form.About = in.About
		out := bulk.NewWriter(form, cmd.OutOrStdout(), cmd.ErrOrStderr())
		err = bulk.Answer(cmd.Context(), in.File, answer, func(lines []bulk.Line) error {
			in.say(cmd)
			return out.Write(lines)
		})
		in.end()
		return out.Finish(in.failed(err))
	})
}

// openInput opens the file of texts.
func (o *predictOptions) openInput(args []string, stdin io.Reader) (*input, error) {
	how, pair := o.inputOptions, ""
	switch {
	case len(o.Columns) == 0:
	case len(o.Columns) != 2 || o.Columns[0] == "" || o.Columns[1] == "":
		return nil, usageError{fmt.Errorf("--columns is %q; it names two columns, such as sentence1,sentence2", strings.Join(o.Columns, ","))}
	case o.Column != "":
		return nil, usageError{errors.New("--column and --columns cannot both be given: one is for texts, the other for pairs")}
	case o.Format == string(textfile.Lines):
		return nil, usageError{errors.New("--columns is for tables and JSON, and --format lines has none")}
	default:
		how.Column, pair = o.Columns[0], o.Columns[1]
	}
	return how.openWith(pair, true, args, stdin)
}

// columnsOfAnswers name the columns for answers that are no labels.
var columnsOfAnswers = map[string]string{task.Classification{}.Name(): "", task.Entities{}.Name(): "entities", task.Embeddings{}.Name(): "embedding"}

// form says how to write the answers of a task.
func (o *predictOptions) form(cmd *cobra.Command, name string) (bulk.Output, error) {
	form := bulk.Output{Form: o.Output, Keep: o.Keep, Answer: columnsOfAnswers[name]}
	labels := form.Answer == ""
	switch {
	case len(o.Columns) > 0 && !labels:
		return form, usageError{fmt.Errorf("--columns is for pairs of texts, and the model's task, %s, is for single ones", name)}
	case !labels && cmd.Flags().Changed("output") && o.Output == bulk.Text:
		return form, usageError{errors.New("--output text is for labels; the model's task is another, whose answers are JSON lines: leave it out, or say json")}
	case !labels && o.Output != bulk.CSV && o.Output != bulk.TSV:
		form.Form = bulk.Lines
	case o.Keep && o.Output == bulk.Text:
		return form, usageError{errors.New("--keep goes with -o json; -o csv and -o tsv always keep the columns of the input")}
	}
	return form, nil
}

// answerer answers texts through a front or in this process, and names the model's task.
func (o *predictOptions) answerer(ctx context.Context) (answer bulk.Answerer, name string, done func(), err error) {
	c, err := o.remoteOptions.open(o.logger())
	if err != nil {
		return nil, "", nil, err
	}
	if c != nil {
		answer, name, err = node.RemoteTexts(ctx, c)
		return answer, name, func() {}, err
	}
	b, err := bundle.Open(o.Bundle)
	if err != nil {
		return nil, "", nil, err
	}
	library, err := o.library()
	if err != nil {
		return nil, "", nil, err
	}
	texts, closeStages, err := node.OpenTexts(library, b, o.limits(), o.threads(), o.logger())
	if err != nil {
		return nil, "", nil, errors.Join(err, library.Close())
	}
	return texts.AnswerInputs, texts.Task.Name(), func() { closeStages(); _ = library.Close() }, nil
}
