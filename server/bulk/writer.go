package bulk

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/distinfer/distinfer/runtime/text"
	"github.com/distinfer/distinfer/server/front"
)

// The forms of output. Text and JSON are for labels; Lines are for other answers, as a front
// answers a stream.
const (
	Text  = "text"
	JSON  = "json"
	Lines = "lines"
)

// A Writer writes replies, a line each, and counts them.
type Writer struct {
	form       string
	w          *bufio.Writer
	errs       io.Writer
	lines, bad int
	cut        int // texts that the model has not read all of
}

// NewWriter makes a Writer in the given form. What is wrong with lines goes to errs.
func NewWriter(form string, w, errs io.Writer) *Writer {
	return &Writer{form: form, w: bufio.NewWriter(w), errs: errs}
}

// An outcome is a line of JSON output.
type outcome struct {
	Line int `json:"line"`
	*text.Result
	Scores    map[string]float64 `json:"scores,omitempty"`
	Truncated bool               `json:"truncated,omitempty"` // the model has not read all of the text
	Error     string             `json:"error,omitempty"`
}

// Write writes a chunk.
func (p *Writer) Write(lines []Line) error {
	for _, l := range lines {
		if err := p.line(l.Number, l.Reply); err != nil {
			return err
		}
	}
	return p.w.Flush()
}

func (p *Writer) line(line int, r front.Reply) error {
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
	case p.form == Lines && r.Err != nil:
		return p.json(front.LineProblem{Error: r.Err.Error(), Line: line})
	case p.form == Lines:
		return p.json(r.Answer)
	case p.form == JSON:
		o := outcome{Line: line, Truncated: r.Truncated}
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
