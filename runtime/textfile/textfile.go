// Package textfile reads texts from files as people have them: one text a line, tables of
// comma- or tab-separated values, and lines of JSON.
//
// It knows files; not what the texts are for.
package textfile

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
)

// byteOrderMark is what some programs put before UTF-8; it belongs to no text.
const byteOrderMark = "\ufeff"

// maxLine bounds one line of input, in bytes.
const maxLine = 64 << 20

// A Format is how texts stand in a file.
type Format string

// The formats.
const (
	Lines Format = "lines" // a text a line
	CSV   Format = "csv"   // as RFC 4180 has it; the first line names the columns
	TSV   Format = "tsv"   // without quoting; the first line names the columns
	JSONL Format = "jsonl" // a line is a string, or an object with the text in a field
)

// Formats are all of them.
func Formats() []Format { return []Format{Lines, CSV, TSV, JSONL} }

// FormatOf is the format of a file by the ending of its name, Lines by default.
func FormatOf(name string) Format {
	switch strings.ToLower(filepath.Ext(name)) {
	case ".csv":
		return CSV
	case ".tsv":
		return TSV
	case ".jsonl", ".ndjson":
		return JSONL
	}
	return Lines
}

// A Line is one that may hold a text.
type Line struct {
	Number int // in the file, from 1 on
	Text   string
	Err    error // why it has none
}

// A Reader reads files of a format.
type Reader struct {
	Format Format
	// Column names the column of a table, or the field of objects, with the text. It may be ""
	// for a table of one column, and is "text" by default for objects.
	Column string
}

// A ColumnError is about a table that has not the column, or has several when none is named.
type ColumnError struct {
	Column string // "" when none is named
	Has    []string
}

func (e *ColumnError) Error() string {
	has := strings.Join(e.Has, ", ")
	if e.Column == "" {
		return fmt.Sprintf("the input has %d columns (%s), and it is not said which holds the text", len(e.Has), has)
	}
	return fmt.Sprintf("the input has no column %q; it has %s", e.Column, has)
}

// Read calls each for every line, in order, until each fails. What is wrong with one line is
// in the Line; an error is returned only when no line can follow.
func (in Reader) Read(r io.Reader, each func(Line) error) error {
	lines := bufio.NewReader(r) // a small buffer, since what is read moves the progress bar
	if mark, err := lines.Peek(len(byteOrderMark)); err == nil && string(mark) == byteOrderMark {
		_, _ = lines.Discard(len(byteOrderMark)) // it was peeked at
	}
	switch in.Format {
	case CSV:
		return in.csv(lines, each)
	case TSV:
		return in.tsv(lines, each)
	case JSONL:
		return eachLine(lines, func(n int, line string) error {
			text, err := in.field(line)
			return each(Line{n, text, err})
		})
	}
	return eachLine(lines, func(n int, line string) error { return each(Line{n, line, nil}) })
}

// All reads all texts but empty ones, of which there must be one. It fails at the first line
// that cannot be read.
func (in Reader) All(r io.Reader) ([]string, error) {
	var texts []string
	err := in.Read(r, func(l Line) error {
		if l.Err != nil {
			return fmt.Errorf("line %d: %w", l.Number, l.Err)
		}
		if l.Text != "" {
			texts = append(texts, l.Text)
		}
		return nil
	})
	if err == nil && len(texts) == 0 {
		err = errors.New("there is no text")
	}
	return texts, err
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
func (in Reader) tsv(r *bufio.Reader, each func(Line) error) error {
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
func (in Reader) csv(r *bufio.Reader, each func(Line) error) error {
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
			err = each(Line{Number: bad.StartLine, Err: bad.Err})
		case err == nil:
			n, _ := rows.FieldPos(0)
			err = each(cell(n, cells, column))
		}
		if err != nil {
			return err
		}
	}
}

func cell(n int, cells []string, column int) Line {
	if column >= len(cells) {
		return Line{Number: n, Err: fmt.Errorf("there are %d columns, and the text should be in column %d", len(cells), column+1)}
	}
	return Line{Number: n, Text: cells[column]}
}

func (in Reader) columnOf(head []string) (int, error) {
	if in.Column == "" && len(head) == 1 {
		return 0, nil
	}
	i := slices.Index(head, in.Column)
	if in.Column == "" || i < 0 {
		return 0, &ColumnError{in.Column, head}
	}
	return i, nil
}

// field takes the text out of a line of JSON: a string, or an object with the
// text in the field "text" or that of Column.
func (in Reader) field(line string) (string, error) {
	name := in.Column
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
