package main

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// byteOrderMark is what some programs put before UTF-8; it belongs to no text.
const byteOrderMark = "\ufeff"

// maxLine bounds one line of input, in bytes.
const maxLine = 64 << 20

// A textLine is one text to work on.
type textLine struct {
	number int // of the line in the input, from 1
	text   string
	err    error // what is wrong with the line, if it has no text
}

// An input says where texts come from.
type input struct {
	format, column string
}

func (in *input) addFlags(f *pflag.FlagSet) {
	f.StringVar(&in.format, "format", "", "`format` of the input: lines, csv, tsv or jsonl (default: by the file's ending, else lines)")
	f.StringVar(&in.column, "column", "", "`name` of the column (csv, tsv; the first line names them) or field (jsonl) that holds the text")
}

// open opens a file, or standard input for "" and "-".
func (in *input) open(args []string, stdin io.Reader) (io.ReadCloser, error) {
	name := "-"
	if len(args) > 0 {
		name = args[0]
	}
	if in.format == "" {
		in.format = map[string]string{".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl"}[strings.ToLower(filepath.Ext(name))]
	}
	if in.format == "" {
		in.format = "lines"
	}
	if !slices.Contains([]string{"lines", "csv", "tsv", "jsonl"}, in.format) {
		return nil, usageError{fmt.Errorf("--format is %q; it can be lines, csv, tsv or jsonl", in.format)}
	}
	if in.column != "" && in.format == "lines" {
		return nil, usageError{errors.New("--column goes with csv, tsv and jsonl; say which with --format")}
	}
	if name == "-" {
		return io.NopCloser(stdin), nil
	}
	return os.Open(name)
}

// texts calls each for every text, in order, until it fails. What is wrong with
// one line is given to each; an error is returned only when nothing can follow.
func (in *input) texts(r io.Reader, each func(textLine) error) error {
	lines := bufio.NewReader(r) // a small buffer, since what is read moves the progress bar
	if mark, err := lines.Peek(len(byteOrderMark)); err == nil && string(mark) == byteOrderMark {
		_, _ = lines.Discard(len(byteOrderMark)) // it was peeked at
	}
	switch in.format {
	case "csv":
		return in.csv(lines, each)
	case "tsv":
		return in.tsv(lines, each)
	case "jsonl":
		return eachLine(lines, func(n int, line string) error {
			text, err := in.field(line)
			return each(textLine{n, text, err})
		})
	}
	return eachLine(lines, func(n int, line string) error { return each(textLine{n, line, nil}) })
}

// eachLine calls f for every line, without its end.
func eachLine(r *bufio.Reader, f func(n int, line string) error) error {
	for n := 1; ; n++ {
		var line []byte
		for {
			part, err := r.ReadSlice('\n')
			if len(line)+len(part) > maxLine {
				return fmt.Errorf("line %d is longer than %d MB", n, maxLine>>20)
			}
			line = append(line, part...)
			if err == nil {
				break
			}
			if errors.Is(err, bufio.ErrBufferFull) {
				continue
			}
			if !errors.Is(err, io.EOF) {
				return fmt.Errorf("read line %d: %w", n, err)
			}
			if len(line) == 0 {
				return nil
			}
			break
		}
		s := strings.TrimSuffix(string(line), "\n")
		if err := f(n, strings.TrimSuffix(s, "\r")); err != nil {
			return err
		}
	}
}

// tsv reads tab-separated values, which have no quoting.
func (in *input) tsv(r *bufio.Reader, each func(textLine) error) error {
	column := -1
	return eachLine(r, func(n int, line string) error {
		cells := strings.Split(line, "\t")
		if n == 1 {
			var err error
			column, err = in.columnOf(cells)
			return err
		}
		return each(cell(n, cells, column))
	})
}

// csv reads comma-separated values as RFC 4180 has them.
func (in *input) csv(r *bufio.Reader, each func(textLine) error) error {
	rows := csv.NewReader(r)
	rows.FieldsPerRecord = -1
	head, err := rows.Read()
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err != nil {
		return err
	}
	column, err := in.columnOf(head)
	if err != nil {
		return err
	}
	for {
		cells, err := rows.Read()
		var bad *csv.ParseError
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.As(err, &bad):
			err = each(textLine{number: bad.StartLine, err: bad.Err})
		case err == nil:
			n, _ := rows.FieldPos(0)
			err = each(cell(n, cells, column))
		}
		if err != nil {
			return err
		}
	}
}

func cell(n int, cells []string, column int) textLine {
	if column >= len(cells) {
		return textLine{number: n, err: fmt.Errorf("there are %d columns, and the text should be in column %d", len(cells), column+1)}
	}
	return textLine{number: n, text: cells[column]}
}

func (in *input) columnOf(head []string) (int, error) {
	if in.column == "" && len(head) == 1 {
		return 0, nil
	}
	i := slices.Index(head, in.column)
	switch {
	case in.column == "":
		return 0, usageError{fmt.Errorf("the input has %d columns (%s); say with --column which holds the text", len(head), strings.Join(head, ", "))}
	case i < 0:
		return 0, usageError{fmt.Errorf("the input has no column %q; it has %s", in.column, strings.Join(head, ", "))}
	}
	return i, nil
}

// field takes the text out of a line of JSON: a string, or an object with the
// text in the field "text" or that of --column.
func (in *input) field(line string) (string, error) {
	name := in.column
	if name == "" {
		name = "text"
	}
	var text *string
	if json.Unmarshal([]byte(line), &text) == nil && text != nil {
		return *text, nil
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal([]byte(line), &object); err != nil || object == nil {
		return "", errors.New("not a JSON string or object")
	}
	if err := json.Unmarshal(object[name], &text); err != nil || text == nil {
		return "", fmt.Errorf("the object has no string in field %q", name)
	}
	return *text, nil
}
