package front

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/runtime/textfile"
	"github.com/distinfer/distinfer/server/httpx"
)

const (
	// fileBodies is how many bodies of the usual size one file may be. It takes its memory from that
	// of all bodies.
	fileBodies = 8

	// maxRows is the most rows of a file that are answered.
	maxRows = 100_000
)

// A fileRow is a line of the answer to a file: first what the file was found to be, then its rows,
// and at the end what it was found to be again, or why no row can follow.
type fileRow struct {
	Line  int       `json:"line,omitempty"`
	Cells []string  `json:"cells,omitempty"`
	Error string    `json:"error,omitempty"`
	About *fileKind `json:"about,omitempty"`
	End   bool      `json:"end,omitempty"`
}

// A fileKind is what a file was found to be.
type fileKind struct {
	As        string   `json:"as"` // in words
	Format    string   `json:"format"`
	Encoding  string   `json:"encoding"`
	Delimiter string   `json:"delimiter"`
	Header    bool     `json:"header"`
	Mark      bool     `json:"mark"`
	Columns   []string `json:"columns"`
	Column    int      `json:"column"` // -1 when no rule says which holds the texts
}

// MaxFile is the largest file that is read, in bytes.
func (c Config) MaxFile() int64 { return fileBodies * c.MaxBody }

// rows answers POST /rows: the rows of a file, as predict reads it. The page shows them and sends
// their texts to be answered. All of the file is received before the first row is answered, since
// browsers do not read while they send.
func (f *Front) rows(w http.ResponseWriter, r *http.Request) {
	options, err := fileOptions(r.URL.RawQuery)
	if err != nil {
		httpx.Fail(w, err)
		return
	}
	held := f.receive(w, r)
	defer held.Release()
	held.Allow(f.config.MaxFile())
	body, err := held.Read(r)
	if err != nil {
		httpx.Fail(w, err)
		return
	}
	options.MaxExpanded = f.config.MaxFile()
	file, err := textfile.Open(bytes.NewReader(body), options)
	if err != nil {
		httpx.Fail(w, errcode.Errorf(errcode.Invalid, "%w", err))
		return
	}
	httpx.SetHeaders(w.Header(), httpx.TypeLines)
	w.WriteHeader(http.StatusOK)
	writeRows(r.Context(), w, file)
}

// fileOptions reads how a file is to be read.
func fileOptions(query string) (textfile.Options, error) {
	o := textfile.Options{Show: true}
	values, err := url.ParseQuery(query)
	if err != nil {
		return o, errcode.Errorf(errcode.Invalid, "the query cannot be read: %w", err)
	}
	for name, given := range values {
		value := given[0]
		switch {
		case len(given) > 1:
			return o, errcode.Errorf(errcode.Invalid, "%.40q is given twice", name)
		case value == "" && name != "name" && name != "column":
			return o, errcode.Errorf(errcode.Invalid, "%.40q is empty; leave it out to have it found", name)
		case name == "name":
			o.Name = value
		case name == "format":
			o.Format = textfile.Format(value)
		case name == "column":
			o.Column = value
		case name == "encoding":
			o.Encoding = value
		case name == "delimiter":
			o.Delimiter = value
		case name == "header":
			o.Header = textfile.Header(value)
		default:
			return o, errcode.Errorf(errcode.Invalid, "%.40q is not known; known are column, delimiter, encoding, format, header and name", name)
		}
	}
	return o, nil
}

var errTooManyRows = fmt.Errorf("there are more than %d rows; use `distinfer predict` for more", maxRows)

// writeRows writes what a file is and its rows.
func writeRows(ctx context.Context, w http.ResponseWriter, file *textfile.File) {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	if e.Encode(fileRow{About: kindOf(file)}) != nil {
		return
	}
	rows := 0
	err := file.Read(func(row textfile.Row) error {
		if rows++; rows > maxRows {
			return errTooManyRows
		}
		out := fileRow{Line: row.Line, Cells: row.Cells}
		if row.Err != nil {
			out.Error = row.Err.Error()
		}
		return errors.Join(e.Encode(out), ctx.Err())
	})
	last := fileRow{About: kindOf(file), End: true}
	if err != nil {
		last.Error = err.Error()
		httpx.Note(w, err)
	}
	_ = e.Encode(last) // its client may have left
}

func kindOf(file *textfile.File) *fileKind {
	a := file.About()
	return &fileKind{
		As: a.String(), Format: string(a.Format), Encoding: a.Encoding, Delimiter: a.Delimiter, Header: a.Header, Mark: a.Mark, Columns: a.Columns, Column: a.Column,
	}
}
