package main

import (
	"errors"
	"io"
	"os"

	"github.com/spf13/pflag"

	"github.com/distinfer/distinfer/cmd/settings"
	"github.com/distinfer/distinfer/runtime/textfile"
)

// inputOptions say how to read texts from a file.
type inputOptions struct{ Format, Column string }

func (o *inputOptions) AddFlags(f *pflag.FlagSet) {
	var formats []string
	for _, format := range textfile.Formats() {
		formats = append(formats, string(format))
	}
	settings.Choice(f, &o.Format, "format", "", "", "`format` of the input: lines, csv, tsv or jsonl (default: by the file's ending, else lines)", formats...)
	f.StringVar(&o.Column, "column", "", "`name` of the column (csv, tsv; the first line names them) or field (jsonl) that holds the text")
	settings.OnlyFlags(f, "format", "column")
}

// open opens the file that the first argument names, or standard input for "-" and without one.
func (o *inputOptions) open(args []string, stdin io.Reader) (file io.ReadCloser, texts textfile.Reader, err error) {
	name := "-"
	if len(args) > 0 {
		name = args[0]
	}
	texts = textfile.Reader{Format: textfile.Format(o.Format), Column: o.Column}
	if texts.Format == "" {
		texts.Format = textfile.FormatOf(name)
	}
	if o.Column != "" && texts.Format == textfile.Lines {
		return nil, texts, usageError{errors.New("--column goes with csv, tsv and jsonl; say which with --format")}
	}
	if name == "-" {
		return io.NopCloser(stdin), texts, nil
	}
	file, err = os.Open(name)
	return file, texts, err
}
