package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/runtime/ort"
	"github.com/distinfer/distinfer/runtime/pipeline"
	"github.com/distinfer/distinfer/runtime/text"
	"github.com/distinfer/distinfer/server/batch"
	"github.com/distinfer/distinfer/server/front"
	"github.com/distinfer/distinfer/server/task"
)

// chunk and chunkBytes bound the texts that are classified at a time: enough to
// sort them by length, and a body of moderate size for a front.
const (
	chunk      = 256
	chunkBytes = 1 << 20
)

func newPredict() *cobra.Command {
	var in input
	var remote remoteFlags
	cmd := &cobra.Command{
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
	}
	in.addFlags(cmd.Flags())
	remote.add(cmd.Flags())
	addTextFlags(cmd.Flags())
	new(threadsOptions).AddFlags(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		s, err := load(cmd)
		if err != nil {
			return err
		}
		if remote.front != "" {
			err = refuse(cmd, "with --front, which computes", "bundle", "threads", "onnxruntime", "max-tokens", "truncation")
		} else {
			err = refuse(cmd, "without --front", "insecure")
		}
		if err != nil {
			return err
		}
		file, err := in.open(args, cmd.InOrStdin())
		if err != nil {
			return err
		}
		defer func() { _ = file.Close() }()
		front, err := remote.open(s)
		if err != nil {
			return err
		}
		p := &prediction{s: s, text: cmd.Flags().Changed("output") && s.Output != "json", w: bufio.NewWriter(cmd.OutOrStdout()), errs: cmd.ErrOrStderr()}
		if front != nil {
			for _, name := range []string{"max-tokens", "truncation"} {
				if cmd.Flags().Changed(name) {
					return usageError{fmt.Errorf("--%s is the front's own; start it with that, or leave --front out", name)}
				}
			}
			if p.ask, p.other, err = remoteAsker(cmd.Context(), front); err != nil {
				return err
			}
		} else {
			var done func()
			if p.ask, p.other, done, err = s.localAsker(); err != nil {
				return err
			}
			defer done()
		}
		if p.other && p.text {
			return usageError{errors.New("--output text is for labels; the model's task is another, whose answers are JSON lines: leave it out, or say json")}
		}
		return p.run(cmd.Context(), &in, file)
	}
	return cmd
}

// localAsker loads every stage of the bundle into this process. It computes as many
// batches at a time as there are threads, since threads that work on one batch wait
// for each other. other reports that the model does not label texts.
func (s *settings) localAsker() (ask asker, other bool, done func(), err error) {
	b, err := bundle.Open(s.Bundle)
	if err != nil {
		return nil, false, nil, err
	}
	library, err := s.library()
	if err != nil {
		return nil, false, nil, err
	}
	chain, closeStages, err := openStages(library, b)
	if err != nil {
		return nil, false, nil, errors.Join(err, library.Close())
	}
	done = func() {
		closeStages()
		_ = library.Close()
	}
	t, err := task.Open(b, chain, s.limits())
	if err != nil {
		done()
		return nil, false, nil, err
	}
	texts := s.texts(b, t, batch.Config{MaxTexts: chunk, MaxWait: time.Hour, Begin: s.threads()})
	_, labels := texts.Task.(front.Labeller)
	return texts.Ask, !labels, done, nil
}

// openStages loads every stage of a bundle, to compute with one thread each.
func openStages(library *ort.Library, b *bundle.Bundle) (chain pipeline.Chain, done func(), err error) {
	var sessions []*ort.Session
	done = func() {
		for _, session := range sessions {
			_ = session.Close()
		}
	}
	for rank := range b.Stages {
		session, link, err := openStage(library, b, rank, ort.Options{Threads: 1})
		if err != nil {
			done()
			return nil, nil, err
		}
		sessions, chain = append(sessions, session), append(chain, link)
	}
	return chain, done, nil
}

// An asker answers texts, one reply each.
type asker func(ctx context.Context, texts []string) ([]front.Reply, error)

// A prediction labels a stream of texts chunk by chunk.
type prediction struct {
	s     *settings
	ask   asker
	other bool // the model does not label texts
	text  bool // --output asks for text
	w     *bufio.Writer
	errs  io.Writer
	bar   *progressbar.ProgressBar

	lines     []textLine
	bytes     int // of the texts in lines
	done, bad int
	cut       int // texts that the model has not read all of
}

func (p *prediction) run(ctx context.Context, in *input, file io.Reader) error {
	counted := file
	if term.IsTerminal(int(os.Stderr.Fd())) {
		p.bar = newBar(file, p.errs)
		reader := progressbar.NewReader(file, p.bar)
		counted = &reader
	}
	err := in.texts(counted, func(l textLine) error {
		p.lines = append(p.lines, l)
		if p.bytes += len(l.text); len(p.lines) < chunk && p.bytes < chunkBytes {
			return nil
		}
		return p.flush(ctx)
	})
	if err == nil {
		err = p.flush(ctx)
	}
	if p.bar != nil {
		_ = p.bar.Finish()
	}
	if p.cut > 0 {
		fmt.Fprintf(p.errs, "%d of %d texts were cut to what the model reads\n", p.cut, p.done)
	}
	if err == nil && p.bad > 0 {
		err = fmt.Errorf("%d of %d lines could not be labelled", p.bad, p.done)
	}
	return errors.Join(err, p.w.Flush())
}

// newBar counts the bytes of a file, or without an end those of a stream.
func newBar(file io.Reader, w io.Writer) *progressbar.ProgressBar {
	total := int64(-1)
	if f, ok := file.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
			total = info.Size()
		}
	}
	return progressbar.NewOptions64(total, progressbar.OptionSetWriter(w), progressbar.OptionSetDescription("labelling"),
		progressbar.OptionShowBytes(true), progressbar.OptionClearOnFinish(), progressbar.OptionThrottle(100*time.Millisecond))
}

// flush labels the lines gathered so far and writes them out.
func (p *prediction) flush(ctx context.Context) error {
	var texts []string
	for i := range p.lines {
		l := &p.lines[i]
		if l.err == nil && l.text == "" {
			l.err = errors.New("the text is empty")
		}
		if l.err == nil {
			texts = append(texts, l.text)
		}
	}
	var answers []front.Reply
	if len(texts) > 0 {
		var err error
		if answers, err = p.answers(ctx, texts); err != nil {
			return err
		}
	}
	for _, l := range p.lines {
		a := front.Reply{Err: l.err}
		if l.err == nil {
			a, answers = answers[0], answers[1:]
		}
		if err := p.write(l.number, a); err != nil {
			return err
		}
	}
	p.lines, p.bytes = p.lines[:0], 0
	return p.w.Flush()
}

// answers asks about texts. When that fails because of what they are, they are
// halved until the text that it fails for stands alone, and gets the error.
func (p *prediction) answers(ctx context.Context, texts []string) ([]front.Reply, error) {
	answers, err := p.ask(ctx, texts)
	switch code := errcode.Of(err); {
	case err == nil || ctx.Err() != nil || code != errcode.Invalid && code != errcode.TooLarge && code != errcode.Internal && !errcode.Deadly(err):
		return answers, err
	case len(texts) == 1:
		return []front.Reply{{Err: err}}, nil
	}
	half := len(texts) / 2
	first, err := p.answers(ctx, texts[:half])
	if err != nil {
		return nil, err
	}
	second, err := p.answers(ctx, texts[half:])
	return append(first, second...), err
}

// An outcome is a line of JSON output.
type outcome struct {
	Line int `json:"line"`
	*text.Result
	Scores    map[string]float64 `json:"scores,omitempty"`
	Truncated bool               `json:"truncated,omitempty"` // the model has not read all of the text
	Error     string             `json:"error,omitempty"`
}

func (p *prediction) write(line int, a front.Reply) error {
	p.done++
	if a.Truncated {
		p.cut++
	}
	if a.Err != nil {
		p.bad++
		fmt.Fprintf(p.errs, "line %d: %v\n", line, a.Err)
	}
	e := json.NewEncoder(p.w)
	e.SetEscapeHTML(false)
	results, _ := a.Answer.([]text.Result)
	switch {
	case p.other && a.Err != nil:
		return e.Encode(front.LineProblem{Error: a.Err.Error(), Line: line})
	case p.other:
		return e.Encode(a.Answer)
	case p.s.Output == "json":
		o := outcome{Line: line, Truncated: a.Truncated}
		if a.Err != nil {
			o.Error = a.Err.Error()
		} else {
			o.Result, o.Scores = &results[0], map[string]float64{}
			for _, r := range results {
				o.Scores[r.Label] = r.Score
			}
		}
		return e.Encode(o)
	}
	if a.Err != nil {
		_, err := fmt.Fprintln(p.w, "-\t-")
		return err
	}
	_, err := fmt.Fprintf(p.w, "%s\t%.6f\n", results[0].Label, results[0].Score)
	return err
}
