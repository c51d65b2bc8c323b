// Package textfile reads texts from files as people have them: one text a line, tables whose cells
// are parted by commas, semicolons, tabs or bars, and JSON, in lines or as an array. Files may be
// compressed and in any of the usual encodings.
//
// What a file is follows from documented rules, and [File.About] says what was found. A rule looks
// at no more than the first line, and at each row by itself, so that a pipe is read as a file is.
// Options overrule the rules. What no rule can read is refused; a row that cannot be read has an
// error of its own.
//
// It knows files; not what the texts are for.
package textfile

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"sync"
)

// maxRow bounds a row, in bytes.
const maxRow = 16 << 20

// headBytes is how much of a file is looked at before it is read.
const headBytes = 64 << 10

// A Format is how texts stand in a file.
type Format string

// The formats.
const (
	Lines Format = "lines" // a text a line
	CSV   Format = "csv"   // rows of cells; a quoted cell may hold anything
	TSV   Format = "tsv"   // the same with tabs; a quote that does not close is part of its text
	JSONL Format = "jsonl" // a line is a string, or an object with the text in a field
	JSON  Format = "json"  // an array of such strings and objects
)

// Formats are all of them.
func Formats() []Format { return []Format{Lines, CSV, TSV, JSONL, JSON} }

// Header says whether the first row of a table names the columns.
type Header string

// The headers. HeaderByRule looks at the row.
const (
	HeaderByRule Header = ""
	HeaderYes    Header = "yes"
	HeaderNo     Header = "no"
)

// Options say how to read a file. What they leave out is found by rule.
type Options struct {
	Name      string // of the file; its ending says a format
	Format    Format
	Encoding  string // a name of the WHATWG's, such as "windows-1252"; "utf-16le" for no mark
	Delimiter string // of a table, one character
	Header    Header

	// Column names the column of a table, or the field of objects, that holds the text. By rule it
	// is the only one, or the only one with a name that says so, such as "text" or "review".
	Column string
	// Pair names the column of a second text that goes with the first; "" is none.
	Pair string

	// Show reads all columns also when it does not know which holds the text, or whether the first
	// row is a header: for somebody who looks at the rows and then says it. Rows have no Text then.
	Show bool

	// MaxExpanded bounds a compressed file once it is expanded, in bytes. 0 is no bound but that
	// no file of texts becomes 200 times as large.
	MaxExpanded int64
}

// A Row is one that may hold a text.
type Row struct {
	Line   int // where it begins, from 1 on
	Text   string
	Pair   *string  // the second text, when Options ask for one
	Cells  []string // by About's Columns; values of JSON that are no strings are as in the file
	Object []byte   // the JSON object that it was; nil for others
	Err    error    // why it has no text
}

// A File is a file of texts. Its beginning has been read.
type File struct {
	options Options
	mu      sync.Mutex // what Read finds later on is asked for meanwhile
	about   About
	rows    func(func(Row) error) error
}

// Open reads the beginning of a file. It refuses what no rule reads, a table without the columns
// asked for, and a table of several columns when no rule says which holds the text.
func Open(r io.Reader, o Options) (*File, error) {
	f := &File{options: o, about: About{Column: -1, Pair: -1, Format: o.Format}}
	name := o.Name
	expanded, packed, err := expand(r, o.MaxExpanded)
	if err != nil {
		return nil, err
	}
	if packed != "" {
		f.about.Compression = packed
		name = strings.TrimSuffix(name, filepath.Ext(name))
	}
	lines, err := f.decode(expanded)
	if err != nil {
		return nil, err
	}
	if f.about.Format == "" {
		f.about.Format = f.formatOf(name, lines)
	}
	switch f.about.Format {
	case CSV, TSV:
		return f, f.openTable(lines)
	case JSON, JSONL:
		return f, f.openJSON(lines)
	case Lines:
		f.openLines(lines)
		return f, nil
	}
	return nil, fmt.Errorf("the format %q is not known", f.about.Format)
}

// formatOf finds the format by the ending of a name, else by the first line.
func (f *File) formatOf(name string, lines *lineReader) Format {
	switch strings.ToLower(filepath.Ext(name)) {
	case ".csv":
		return CSV
	case ".tsv", ".tab":
		return TSV
	case ".jsonl", ".ndjson", ".json":
		return JSONL // or JSON, as its first character says
	}
	switch {
	case f.options.Delimiter == "\t":
		return TSV
	case f.options.Delimiter != "" || f.options.Header != HeaderByRule:
		return CSV
	case looksLikeJSON(lines.head()):
		return JSONL
	case f.options.Column != "" || f.options.Pair != "":
		return CSV
	}
	return Lines
}

// About says what was found. Until the last row it says what is known so far.
func (f *File) About() About {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.about
}

// find notes what was found.
func (f *File) find(note func(*About)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	note(&f.about)
}

// Read calls each for every row, in order, until each fails. It is called once, and
// About may be asked meanwhile. What is wrong with
// one row is in the Row; an error is returned only when no row can follow.
func (f *File) Read(each func(Row) error) error { return f.rows(each) }

// All reads all texts but empty ones, of which there must be one. It fails at the first row
// that cannot be read.
func (f *File) All() ([]string, error) {
	var texts []string
	err := f.Read(func(row Row) error {
		if row.Err != nil {
			return fmt.Errorf("line %d: %w", row.Line, row.Err)
		}
		if row.Text != "" {
			texts = append(texts, row.Text)
		}
		return nil
	})
	if err == nil && len(texts) == 0 {
		err = errors.New("there is no text")
	}
	return texts, err
}

// openLines reads a text a line.
func (f *File) openLines(lines *lineReader) {
	f.about.Columns, f.about.Column = []string{"text"}, 0
	f.rows = func(each func(Row) error) error {
		for {
			l, err := lines.next()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			if err := each(Row{Line: l.number, Text: l.text, Cells: []string{l.text}, Err: l.err}); err != nil {
				return err
			}
		}
	}
}

// beginning is what a reader has at first: as much as there is without waiting, but a whole line
// with something in it.
func beginning(r *bufio.Reader) []byte {
	for n := 1; ; n = r.Buffered() + 1 {
		_, err := r.Peek(n)
		head, _ := r.Peek(r.Buffered())
		if err != nil || len(head) >= headBytes || hasContent(head) {
			return head
		}
	}
}

// hasContent reports whether a line is whole in which more stands than a mark and a bracket.
func hasContent(head []byte) bool {
	for _, mark := range marks {
		head = bytes.TrimPrefix(head, []byte(mark))
	}
	i := bytes.IndexFunc(head, func(c rune) bool { return c > ' ' && c != '[' })
	return i >= 0 && bytes.ContainsAny(head[i:], "\n\r")
}
