package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-retryablehttp"
	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/classify"
	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/runtime/ort"
	"github.com/distinfer/distinfer/runtime/pipeline"
	"github.com/distinfer/distinfer/runtime/text"
	"github.com/distinfer/distinfer/server/batch"
	"github.com/distinfer/distinfer/server/front"
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
			if p.ask, p.task, err = front.asker(cmd.Context()); err != nil {
				return err
			}
		} else {
			var done func()
			if p.ask, p.task, done, err = s.localAsker(); err != nil {
				return err
			}
			defer done()
		}
		if p.task && p.text {
			return usageError{errors.New("--output text is for labels; the model's task is another, whose answers are JSON lines: leave it out, or say json")}
		}
		return p.run(cmd.Context(), &in, file)
	}
	return cmd
}

// localAsker loads every stage of the bundle into this process. It computes as many
// batches at a time as there are threads, since threads that work on one batch wait
// for each other. task reports that the model does not label texts.
func (s *settings) localAsker() (ask asker, task bool, done func(), err error) {
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
	texts, err := openTask(b, chain, s.limits())
	if err != nil {
		done()
		return nil, false, nil, err
	}
	batcher := s.batcher(b, batch.Config{Model: texts.Model, MaxTexts: chunk, MaxWait: time.Hour, Begin: s.threads()})
	if other := texts.served(b.Model.Name); other != nil {
		return taskAsker(batcher, other), true, done, nil
	}
	return labeller{batcher, texts.classifier}.replies, false, done, nil
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

// A prediction labels a stream of texts chunk by chunk.
type prediction struct {
	s    *settings
	ask  asker
	task bool // the model does not label texts
	text bool // --output asks for text
	w    *bufio.Writer
	errs io.Writer
	bar  *progressbar.ProgressBar

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
	var answers []reply
	if len(texts) > 0 {
		var err error
		if answers, err = p.answers(ctx, texts); err != nil {
			return err
		}
	}
	for _, l := range p.lines {
		a := reply{Answer: classify.Answer{Err: l.err}}
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
func (p *prediction) answers(ctx context.Context, texts []string) ([]reply, error) {
	answers, err := p.ask(ctx, texts)
	switch code := errcode.Of(err); {
	case err == nil || ctx.Err() != nil || code != errcode.Invalid && code != errcode.TooLarge && code != errcode.Internal && !errcode.Deadly(err):
		return answers, err
	case len(texts) == 1:
		return []reply{{Answer: classify.Answer{Err: err}}}, nil
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

func (p *prediction) write(line int, a reply) error {
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
	switch {
	case a.other != nil:
		return e.Encode(a.other)
	case p.task:
		return e.Encode(front.LineProblem{Error: a.Err.Error(), Line: line})
	case p.s.Output == "json":
		o := outcome{Line: line, Truncated: a.Truncated}
		if a.Err != nil {
			o.Error = a.Err.Error()
		} else {
			o.Result, o.Scores = &a.Results[0], map[string]float64{}
			for _, r := range a.Results {
				o.Scores[r.Label] = r.Score
			}
		}
		return e.Encode(o)
	}
	if a.Err != nil {
		_, err := fmt.Fprintln(p.w, "-\t-")
		return err
	}
	_, err := fmt.Fprintf(p.w, "%s\t%.6f\n", a.Results[0].Label, a.Results[0].Score)
	return err
}

// A remote asks a front over HTTP. It tries again when the front is overloaded
// or cannot reach a stage, for as long as the front asks to wait.
type remote struct {
	access
	client *retryablehttp.Client
}

func newRemote(a access) *remote {
	client := retryablehttp.NewClient()
	client.Logger = nil
	client.RetryWaitMin = 100 * time.Millisecond
	client.RetryWaitMax = 5 * time.Second
	client.RetryMax = 5
	client.CheckRetry = func(ctx context.Context, response *http.Response, err error) (bool, error) {
		if response != nil && response.StatusCode == http.StatusInternalServerError {
			return false, nil // a bug does not go away
		}
		return retryablehttp.DefaultRetryPolicy(ctx, response, err)
	}
	client.ErrorHandler = retryablehttp.PassthroughErrorHandler
	if a.authorities != nil {
		client.HTTPClient.Transport = &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{RootCAs: a.authorities}, ForceAttemptHTTP2: true}
	}
	if a.token != "" {
		// It is for this front only, and not for where that may send us to.
		client.HTTPClient.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	}
	return &remote{access: a, client: client}
}

// asker asks the front what it answers texts with, and then texts. task reports that it does
// not label them.
func (r *remote) asker(ctx context.Context) (ask asker, task bool, err error) {
	data, _, err := r.answer(ctx, http.MethodGet, "/status", nil)
	if err != nil {
		return nil, false, err
	}
	var status struct {
		Task   string `json:"task"`
		NoText string `json:"no_text"`
	}
	switch err := json.Unmarshal(data, &status); {
	case err != nil || status.Task == "" && status.NoText == "":
		return nil, false, errcode.Errorf(errcode.Unavailable, "%s/status does not tell a task, as a front's does; is it the URL of one?", r.url)
	case status.Task == "":
		return nil, false, errcode.Errorf(errcode.Unavailable, "the front at %s answers no texts: %s", r.url, status.NoText)
	case status.Task == labelling:
		return r.labels, false, nil
	}
	return r.others, true, nil
}

// labels has texts labelled.
func (r *remote) labels(ctx context.Context, texts []string) ([]reply, error) {
	replies := make([]reply, len(texts))
	return replies, r.predict(ctx, texts, replies, func(i int, raw json.RawMessage) error {
		if err := json.Unmarshal(raw, &replies[i].Results); err != nil {
			return err
		}
		if len(replies[i].Results) == 0 {
			return errors.New("there is no label")
		}
		return nil
	})
}

// others has texts answered as the front's task does, which is passed on as it is.
func (r *remote) others(ctx context.Context, texts []string) ([]reply, error) {
	replies := make([]reply, len(texts))
	return replies, r.predict(ctx, texts, replies, func(i int, raw json.RawMessage) error {
		replies[i].other = raw
		return nil
	})
}

// predict asks about texts, notes which of them were cut, and has the answer to each read.
func (r *remote) predict(ctx context.Context, texts []string, replies []reply, read func(i int, raw json.RawMessage) error) error {
	body, err := json.Marshal(map[string]any{"inputs": texts})
	if err != nil {
		return err
	}
	data, header, err := r.answer(ctx, http.MethodPost, "/predict", body)
	if err != nil {
		return err
	}
	for place := range strings.SplitSeq(header.Get(front.TruncatedHeader), ",") {
		if i, err := strconv.Atoi(strings.TrimSpace(place)); err == nil && i >= 0 && i < len(replies) {
			replies[i].Truncated = true
		}
	}
	var results []json.RawMessage
	if err = json.Unmarshal(data, &results); err == nil && len(results) != len(texts) {
		return errcode.Errorf(errcode.Unavailable, "the front answered %d texts of %d", len(results), len(texts))
	}
	for i := 0; err == nil && i < len(results); i++ {
		err = read(i, results[i])
	}
	if err != nil {
		return errcode.Errorf(errcode.Unavailable, "%s/predict did not answer as a front does: %w", r.url, err)
	}
	return nil
}

// answer is what the front answers at a path, with which header; body is JSON, or nil.
func (r *remote) answer(ctx context.Context, method, path string, body []byte) ([]byte, http.Header, error) {
	url := r.url + path
	request, err := retryablehttp.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return nil, nil, errcode.Errorf(errcode.Unavailable, "--front: %w", err)
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if r.token != "" {
		request.Header.Set("Authorization", "Bearer "+r.token)
	}
	response, err := r.client.Do(request)
	if err != nil {
		return nil, nil, errcode.Errorf(errcode.Unavailable, "ask the front: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, nil, errcode.Errorf(errcode.Unavailable, "read the front's answer: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		return nil, nil, refusal(url, response, data)
	}
	return data, response.Header, nil
}

// refusal is the error that the front answered with.
func refusal(url string, response *http.Response, data []byte) error {
	var problem struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(data, &problem) != nil || problem.Error == "" {
		return errcode.Errorf(errcode.Unavailable, "%s answered %s, and not as a front does; is it the URL of one?", url, response.Status)
	}
	code := errcode.Unavailable
	switch response.StatusCode {
	case http.StatusBadRequest:
		code = errcode.Invalid
	case http.StatusInternalServerError:
		code = errcode.Internal
	case http.StatusRequestEntityTooLarge:
		code = errcode.TooLarge
	case http.StatusUnprocessableEntity:
		code = errcode.Quarantined
	case http.StatusUnauthorized:
		problem.Error = "it wants a token that it knows; name a file that holds one with --token-file"
	}
	return errcode.Errorf(code, "the front at %s answered %s: %s", url, response.Status, problem.Error)
}
