package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/distinfer/distinfer/cmd/settings"
	"github.com/distinfer/distinfer/runtime/textfile"
)

// inputOptions say how to read texts from a file, where the rules of package textfile are wrong.
type inputOptions struct{ Format, Column, Encoding, Delimiter, Header string }

// inputFlags are the flags of inputOptions.
var inputFlags = []string{"format", "column", "encoding", "delimiter", "header"}

func (o *inputOptions) AddFlags(f *pflag.FlagSet) {
	var formats []string
	for _, format := range textfile.Formats() {
		formats = append(formats, string(format))
	}
	settings.Choice(f, &o.Format, "format", "", "", "`format` of the input: lines, csv, tsv, jsonl or json (default: by the file's ending, else by its first line)", formats...)
	f.StringVar(&o.Column, "column", "", "`name` of the column of a table, or field of objects, that holds the text (default: the only one, or the only one called text, review or the like)")
	f.StringVar(&o.Encoding, "encoding", "", "`encoding` of the input, such as windows-1251 or gbk (default: UTF-8, UTF-16 or Windows-1252, found by rule)")
	f.StringVar(&o.Delimiter, "delimiter", "", "`character` that parts the cells of a table, or comma, semicolon, tab or bar (default: by the first line)")
	settings.Choice(f, &o.Header, "header", "", "", "whether the first row of a table names the columns: `yes or no` (default: by its look)", "yes", "no")
	settings.OnlyFlags(f, inputFlags...)
}

// isSet reports whether there is an option.
func (o *inputOptions) isSet() bool { return *o != inputOptions{} }

// withoutFile is the error of options without the file that they are for.
func withoutFile() error {
	return usageError{errors.New("--format, --column, --encoding, --delimiter and --header say how to read texts; name their file with --texts")}
}

// settle makes options of package textfile.
func (o *inputOptions) settle(name string) (textfile.Options, error) {
	delimiters := map[string]string{"comma": ",", "semicolon": ";", "tab": "\t", `\t`: "\t", "bar": "|", "pipe": "|"}
	delimiter, ok := delimiters[o.Delimiter]
	if !ok {
		delimiter = o.Delimiter
	}
	if name == "-" {
		name = ""
	}
	table := o.Format == "" || o.Format == string(textfile.CSV) || o.Format == string(textfile.TSV)
	switch {
	case len([]rune(delimiter)) > 1 || strings.ContainsAny(delimiter, "\"\r\n"):
		return textfile.Options{}, usageError{fmt.Errorf("--delimiter is %q; it can be one character, or comma, semicolon, tab or bar", o.Delimiter)}
	case o.Column != "" && o.Format == string(textfile.Lines):
		return textfile.Options{}, usageError{errors.New("--column is for tables and JSON, and --format lines has none")}
	case (delimiter != "" || o.Header != "") && !table:
		return textfile.Options{}, usageError{fmt.Errorf("--delimiter and --header are for tables, and --format is %s", o.Format)}
	}
	return textfile.Options{
		Name: name, Format: textfile.Format(o.Format), Column: o.Column, Encoding: o.Encoding, Delimiter: delimiter, Header: textfile.Header(o.Header),
	}, nil
}

// An input is a file of texts, or standard input.
type input struct {
	*textfile.File
	name string
	file io.ReadCloser
	end  func() // of its progress bar

	said string // what was said of it
}

func (in *input) Close() {
	in.end()
	_ = in.file.Close()
}

// open opens the file that the first argument names, or standard input for "-" and without one.
func (o *inputOptions) open(args []string, stdin io.Reader) (*input, error) {
	return o.openWith("", false, args, stdin)
}

// openWith opens with a column of second texts, and a progress bar.
func (o *inputOptions) openWith(pair string, progress bool, args []string, stdin io.Reader) (_ *input, err error) {
	in := &input{name: "-", file: io.NopCloser(stdin), end: func() {}}
	if len(args) > 0 {
		in.name = args[0]
	}
	options, err := o.settle(in.name)
	if err != nil {
		return nil, err
	}
	options.Pair = pair
	if in.name != "-" {
		if in.file, err = os.Open(in.name); err != nil {
			return nil, err
		}
	}
	var from io.Reader = in.file
	if progress {
		from, in.end = reading(in.file)
	}
	if in.File, err = textfile.Open(from, options); err != nil {
		in.Close()
		return nil, in.failed(err)
	}
	return in, nil
}

// failed is an error with the file's name.
func (in *input) failed(err error) error {
	if err == nil {
		return nil
	}
	name := in.name
	if name == "-" {
		name = "standard input"
	}
	return fmt.Errorf("%s: %w", name, err)
}

// say says on standard error what the file is read as, if that is not what its name says, and
// again when more is known.
func (in *input) say(cmd *cobra.Command) {
	about := in.About()
	if said := about.String(); !about.IsPlain() && said != in.said {
		in.said = said
		name := in.name
		if name == "-" {
			name = "standard input"
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "%s is read as %s\n", name, said)
	}
}
