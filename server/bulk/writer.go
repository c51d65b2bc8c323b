package bulk

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/distinfer/distinfer/runtime/text"
	"github.com/distinfer/distinfer/runtime/textfile"
	"github.com/distinfer/distinfer/server/front"
)

// The forms of output. Text and JSON are for labels; Lines are for other answers, as a front
// answers a stream. CSV and TSV have the columns of the input, and the answer in further ones.
const (
	Text  = "text"
	JSON  = "json"
	Lines = "lines"
	CSV   = "csv"
	TSV   = "tsv"
)

// Output says how to write replies.
type Output struct {
	Form string
	// Keep writes the input beside the answer in JSON and Lines.
	Keep bool
	// About says what the input is.
	About func() textfile.About
	// Answer names the column for answers that are no labels, such as "entities".
	Answer string
}

// A Writer writes replies, a line each, and counts them.
type Writer struct {
	Output
	w          *bufio.Writer
	table      *table
	errs       io.Writer
	lines, bad int
	cut        int // texts that the model has not read all of
}

// NewWriter makes a Writer. What is wrong with lines goes to errs.
func NewWriter(o Output, w, errs io.Writer) *Writer {
	p := &Writer{Output: o, w: bufio.NewWriter(w), errs: errs}
	if o.Form == CSV || o.Form == TSV {
		p.table = newTable(o, p.w)
	}
	return p
}

// An outcome is a line of JSON output.
type outcome struct {
	Line int `json:"line"`
	*text.Result
	Scores    map[string]float64 `json:"scores,omitempty"`
	Truncated bool               `json:"truncated,omitempty"` // the model has not read all of the text
	Error     string             `json:"error,omitempty"`
	Input     any                `json:"input,omitempty"`
}

// kept is an answer of Lines with its input.
type kept struct {
	Line   int    `json:"line"`
	Answer any    `json:"answer,omitempty"`
	Error  string `json:"error,omitempty"`
	Input  any    `json:"input"`
}

// Write writes a chunk.
func (p *Writer) Write(lines []Line) error {
	for _, l := range lines {
		if err := p.line(l); err != nil {
			return err
		}
	}
	if p.table != nil {
		if err := p.table.flush(); err != nil {
			return err
		}
	}
	return p.w.Flush()
}

func (p *Writer) line(l Line) error {
	line, r := l.Line, l.Reply
	p.lines++
	if r.Truncated {
		p.cut++
	}
	if r.Err != nil {
		p.bad++
		fmt.Fprintf(p.errs, "line %d: %v\n", line, r.Err)
	}
	results, _ := r.Answer.([]text.Result)
	switch {
	case p.table != nil:
		return p.table.write(l)
	case p.Form == Lines && p.Keep:
		k := kept{Line: line, Answer: r.Answer, Input: p.input(l)}
		if r.Err != nil {
			k.Answer, k.Error = nil, r.Err.Error()
		}
		return p.json(k)
	case p.Form == Lines && r.Err != nil:
		return p.json(front.LineProblem{Error: r.Err.Error(), Line: line})
	case p.Form == Lines:
		return p.json(r.Answer)
	case p.Form == JSON:
		o := outcome{Line: line, Truncated: r.Truncated}
		if p.Keep {
			o.Input = p.input(l)
		}
		if r.Err != nil {
			o.Error = r.Err.Error()
			return p.json(o)
		}
		o.Result, o.Scores = &results[0], map[string]float64{}
		for _, r := range results {
			o.Scores[r.Label] = r.Score
		}
		return p.json(o)
	case r.Err != nil:
		_, err := fmt.Fprintln(p.w, "-\t-")
		return err
	}
	_, err := fmt.Fprintf(p.w, "%s\t%.6f\n", results[0].Label, results[0].Score)
	return err
}

// input is a row of the input as JSON: an object as it was, the cells of a table by their columns,
// else the text.
func (p *Writer) input(l Line) any {
	about := p.About()
	switch {
	case l.Object != nil:
		return json.RawMessage(l.Object)
	case about.Delimiter == "":
		return l.Text
	}
	cells := make(map[string]string, len(about.Columns))
	for i, name := range about.Columns[:min(len(about.Columns), len(l.Cells))] {
		cells[name] = l.Cells[i]
	}
	return cells
}

func (p *Writer) json(v any) error {
	e := json.NewEncoder(p.w)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// Finish writes what is left, and says which texts were cut or not answered. failed is why there
// are no further ones, or nil.
func (p *Writer) Finish(failed error) error {
	if p.cut > 0 {
		fmt.Fprintf(p.errs, "%d of %d texts were cut to what the model reads\n", p.cut, p.lines)
	}
	if failed == nil && p.bad > 0 {
		failed = fmt.Errorf("%d of %d lines could not be labelled", p.bad, p.lines)
	}
	return errors.Join(failed, p.w.Flush())
}
