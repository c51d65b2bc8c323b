package peers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/classify"
	"github.com/distinfer/distinfer/runtime/ort"
	"github.com/distinfer/distinfer/runtime/pipeline"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/runtime/text"
	"github.com/distinfer/distinfer/runtime/textmodel"
)

// A ceiling is what ONNX Runtime alone makes of the texts, in this process, with
// nothing to serve: all were tokenised before.
type ceiling struct {
	library    *ort.Library
	b          *bundle.Bundle
	path       string
	processors int
	single     []tensor.Bag // of each text, in the order of the texts
	right      map[string]string
}

// A form is one arrangement of threads and batches.
type form struct {
	sessions, threads, piece int
}

func (f form) String() string {
	return fmt.Sprintf("%d × %d threads, pieces of %d", f.sessions, f.threads, f.piece)
}

// wholeSet is the concurrency from which on the ceiling may sort all texts, and
// not only as many as there are requests at a time.
const wholeSet = 128

// The forms are tried this often, each at least for so long and on so many texts.
const (
	tries    = 2
	tryTime  = time.Second / 2
	tryTexts = 256
)

// newCeiling tokenises the texts and has the unsplit model answer each by itself.
func newCeiling(ctx context.Context, library *ort.Library, dir string, texts []string, processors int) (c *ceiling, err error) {
	b, err := bundle.Open(dir)
	if err != nil {
		return nil, err
	}
	path, err := b.StagePath(0)
	if err != nil {
		return nil, err
	}
	c = &ceiling{library: library, b: b, path: path, processors: processors, right: map[string]string{}}
	sessions, done, err := c.open(form{sessions: 1, threads: processors})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, done()) }()
	recorded := &recorder{Runner: sessions[0]}
	classifier, err := classify.Open(b, recorded)
	if err != nil {
		return nil, err
	}
	for _, sentence := range texts {
		answer, err := single(ctx, classifier, sentence)
		if err != nil {
			return nil, fmt.Errorf("%.60q: %w", sentence, err)
		}
		c.right[sentence] = answer[0].Label
		c.single = append(c.single, recorded.last)
	}
	return c, nil
}

func single(ctx context.Context, c *classify.Classifier, sentence string) ([]text.Result, error) {
	encoded, err := c.Encode(textmodel.Input{Text: sentence})
	if err != nil {
		return nil, err
	}
	answers, _, err := c.Compute(ctx, []textmodel.Text{encoded})
	if err != nil {
		return nil, err
	}
	return c.Results(answers[0], text.ByConfig)
}

// A recorder is a Runner that keeps what it was last given.
type recorder struct {
	pipeline.Runner
	last tensor.Bag
}

func (r *recorder) Run(ctx context.Context, in tensor.Bag) (tensor.Bag, error) {
	r.last = in
	return r.Runner.Run(ctx, in)
}

func (c *ceiling) open(f form) (sessions []*ort.Session, done func() error, err error) {
	done = func() (err error) {
		for _, s := range sessions {
			err = errors.Join(err, s.Close())
		}
		return err
	}
	for range f.sessions {
		s, err := c.library.Open(c.path, c.b.Inputs, c.b.Outputs, ort.Options{Threads: f.threads})
		if err != nil {
			return nil, nil, errors.Join(err, done())
		}
		sessions = append(sessions, s)
	}
	return sessions, done, nil
}

// forms are the arrangements to try for so many requests at a time.
func (c *ceiling) forms(concurrency int) []form {
	if concurrency == 1 {
		return []form{{1, c.processors, 1}}
	}
	pieces := []int{4, 8, 16, 32}
	if concurrency >= wholeSet {
		pieces = pieces[1:]
	}
	var forms []form
	for _, piece := range pieces {
		if piece <= concurrency {
			forms = append(forms, form{1, c.processors, piece})
			if c.processors > 1 {
				forms = append(forms, form{c.processors, 1, piece})
			}
		}
	}
	if len(forms) == 0 { // there are fewer texts at hand than the smallest piece has
		forms = []form{{1, c.processors, concurrency}}
	}
	return forms
}

// batches puts the texts into batches as a form has them: so many at hand are
// sorted by length and cut into pieces.
func (c *ceiling) batches(concurrency, piece int) ([]tensor.Bag, error) {
	atHand := concurrency
	if concurrency >= wholeSet {
		atHand = len(c.single)
	}
	var batches []tensor.Bag
	for group := range slices.Chunk(c.single, atHand) {
		sorted := slices.SortedStableFunc(slices.Values(group), func(a, b tensor.Bag) int { return int(length(a) - length(b)) })
		for some := range slices.Chunk(sorted, piece) {
			bag, err := stack(some)
			if err != nil {
				return nil, err
			}
			batches = append(batches, bag)
		}
	}
	return batches, nil
}

func length(b tensor.Bag) int64 { return b["input_ids"].Shape[1] }

// stack makes one batch of the inputs of single texts, filled up with zeros on the
// right. Which id fills changes neither the time nor, where there is a mask, the
// answer; without a mask all texts have one length.
func stack(bags []tensor.Bag) (tensor.Bag, error) {
	longest := int64(0)
	for _, b := range bags {
		longest = max(longest, length(b))
	}
	stacked := tensor.Bag{}
	for name, first := range bags[0] {
		t, err := tensor.New(first.DType, []int64{int64(len(bags)), longest})
		if err != nil {
			return nil, err
		}
		row := len(t.Data) / len(bags)
		for i, b := range bags {
			copy(t.Data[i*row:], b[name].Data)
		}
		stacked[name] = t
	}
	return stacked, nil
}

// best tries the forms on some of the texts, in turn, and returns the fastest.
func (c *ceiling) best(ctx context.Context, concurrency int) (form, error) {
	forms := c.forms(concurrency)
	if len(forms) == 1 {
		return forms[0], nil
	}
	some := *c
	some.single = c.single[:min(len(c.single), tryTexts)]
	rates := make([]float64, len(forms))
	for range tries {
		for i, f := range forms {
			figure, err := some.measure(ctx, concurrency, f, tryTime)
			if err != nil {
				return form{}, err
			}
			rates[i] = max(rates[i], figure.Rate)
		}
	}
	return forms[slices.Index(rates, slices.Max(rates))], nil
}

// measure runs the texts over and over, and every pass wholly, since batches of
// long texts take longer. The sessions of a form take the next batch whenever they
// are free, so that none waits for another at the end of those at hand.
func (c *ceiling) measure(ctx context.Context, concurrency int, f form, least time.Duration) (result figure, err error) {
	batches, err := c.batches(concurrency, f.piece)
	if err != nil {
		return figure{}, err
	}
	sessions, done, err := c.open(f)
	if err != nil {
		return figure{}, err
	}
	defer func() { err = errors.Join(err, done()) }()
	for _, s := range sessions { // the first runs are slower
		for _, b := range batches[:min(len(batches), 4)] {
			if _, err := s.Run(ctx, b); err != nil {
				return figure{}, err
			}
		}
	}
	var times []float64
	passes := 0
	began := time.Now()
	for passes == 0 || time.Since(began) < least {
		took, err := pass(ctx, sessions, batches)
		if err != nil {
			return figure{}, err
		}
		times = append(times, took...)
		passes++
	}
	result = figure{Rate: float64(passes*len(c.single)) / time.Since(began).Seconds(), Right: 1}
	if concurrency == 1 {
		slices.Sort(times)
		result.P50, result.P99 = times[len(times)/2], times[len(times)*99/100]
	}
	return result, nil
}

// pass runs all batches once, and returns how long each took in milliseconds.
func pass(ctx context.Context, sessions []*ort.Session, batches []tensor.Bag) ([]float64, error) {
	times := make([]float64, len(batches))
	var taken atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	for _, s := range sessions {
		group.Go(func() error {
			for i := taken.Add(1) - 1; i < int64(len(batches)); i = taken.Add(1) - 1 {
				began := time.Now()
				if _, err := s.Run(ctx, batches[i]); err != nil {
					return err
				}
				times[i] = time.Since(began).Seconds() * 1e3
			}
			return nil
		})
	}
	return times, group.Wait()
}
