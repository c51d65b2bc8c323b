package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"text/tabwriter"
	"time"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/encoding"
	"github.com/distinfer/distinfer/runtime/ort"
	"github.com/distinfer/distinfer/runtime/text"
	"github.com/distinfer/distinfer/runtime/textfile"
	"github.com/distinfer/distinfer/runtime/textmodel"
	"github.com/distinfer/distinfer/server/batch"
	"github.com/distinfer/distinfer/server/bulk"
	"github.com/distinfer/distinfer/server/front"
	"github.com/distinfer/distinfer/server/node"
	"github.com/distinfer/distinfer/server/task"
)

// A wireReport says what each encoding between stages changes about the answers to
// some texts.
type wireReport struct {
	Texts     int          `json:"texts"`
	Encodings []wireEffect `json:"encodings"`
}

// A wireEffect is what one encoding changes, beside float32.
type wireEffect struct {
	Encoding encoding.Encoding `json:"encoding"`
	Flips    int               `json:"flips"` // texts that get another label
	// How far a score moves: that of a text which moves furthest, at most and in the
	// mean over the texts.
	LargestMove  float64   `json:"largest_move"`
	MeanMove     float64   `json:"mean_move"`
	BytesPerText []float64 `json:"bytes_per_text"` // over each cut
}

// compareWires labels the texts of a file with every encoding between the stages of a
// bundle.
func (s *settings) compareWires(ctx context.Context, library *ort.Library, b *bundle.Bundle, in *inputOptions, path string, stdin io.Reader) (*wireReport, error) {
	if len(b.Stages) == 1 {
		return nil, errors.New("--texts: the bundle has one stage, so nothing goes from stage to stage; split the model into more to compare encodings")
	}
	file, reader, err := in.open([]string{path}, stdin)
	if err != nil {
		return nil, fmt.Errorf("--texts: %w", err)
	}
	defer func() { _ = file.Close() }()
	stages, done, err := node.OpenChain(library, b)
	if err != nil {
		return nil, err
	}
	defer done()
	var sides []wireSide
	for _, e := range encoding.Encodings() {
		chain := encoding.NewChain(stages, e)
		t, err := task.Open(b, chain, textmodel.Limits{})
		if err != nil {
			return nil, fmt.Errorf("--texts: %w", err)
		}
		if _, ok := t.(front.Labeller); !ok {
			return nil, fmt.Errorf("--texts: encodings are compared by the labels they give, and the model's task is %s", t.Name())
		}
		// Each text by itself: how texts come together is chance, and moves scores too.
		alone := batch.New(batch.Config{Model: t.Model(), MaxTexts: bulk.Chunk, MaxWait: time.Hour, Begin: s.threads(), Alone: true, Log: s.logger()})
		sides = append(sides, wireSide{chain, front.Texts{Task: t, Batcher: alone}, wireEffect{Encoding: e}})
	}
	report := &wireReport{}
	var lines []textfile.Line
	flush := func() error {
		report.Texts += len(lines)
		defer func() { lines = lines[:0] }()
		return compareChunk(ctx, sides, lines)
	}
	err = reader.Read(file, func(l textfile.Line) error {
		switch {
		case l.Err != nil:
			return fmt.Errorf("line %d: %w", l.Number, l.Err)
		case l.Text == "":
			return fmt.Errorf("line %d: the text is empty", l.Number)
		}
		if lines = append(lines, l); len(lines) < bulk.Chunk {
			return nil
		}
		return flush()
	})
	if err == nil {
		err = flush()
	}
	if err == nil && report.Texts == 0 {
		err = errors.New("it has no texts")
	}
	if err != nil {
		return nil, fmt.Errorf("--texts: %s: %w", path, err)
	}
	for _, side := range sides {
		side.MeanMove /= float64(report.Texts)
		for _, n := range side.chain.Crossed() {
			side.BytesPerText = append(side.BytesPerText, float64(n)/float64(report.Texts))
		}
		report.Encodings = append(report.Encodings, side.wireEffect)
	}
	return report, nil
}

// A wireSide labels texts with one encoding, and notes what differs. MeanMove is the
// sum while it does.
type wireSide struct {
	chain *encoding.Chain
	texts front.Texts
	wireEffect
}

// compareChunk labels texts on every side, and compares each with the first.
func compareChunk(ctx context.Context, sides []wireSide, lines []textfile.Line) error {
	if len(lines) == 0 {
		return nil
	}
	texts := make([]string, len(lines))
	for i, l := range lines {
		texts[i] = l.Text
	}
	var plain []front.Reply
	for k := range sides {
		answers, err := sides[k].texts.Answer(ctx, texts)
		if err != nil {
			return fmt.Errorf("with %s between the stages: %w", sides[k].Encoding, err)
		}
		if k == 0 {
			plain = answers
		}
		for i, a := range answers {
			if a.Err != nil {
				return fmt.Errorf("line %d, with %s between the stages: %w", lines[i].Number, sides[k].Encoding, a.Err)
			}
			sides[k].note(plain[i].Answer.([]text.Result), a.Answer.([]text.Result))
		}
	}
	return nil
}

// note compares an answer with that of float32.
func (e *wireEffect) note(plain, answer []text.Result) {
	if answer[0].Label != plain[0].Label {
		e.Flips++
	}
	scores := make(map[string]float64, len(plain))
	for _, r := range plain {
		scores[r.Label] = r.Score
	}
	move := 0.0
	for _, r := range answer {
		move = max(move, math.Abs(r.Score-scores[r.Label]))
	}
	e.LargestMove = max(e.LargestMove, move)
	e.MeanMove += move
}

// print writes the report for people; there may be none.
func (r *wireReport) print(w io.Writer) error {
	if r == nil {
		return nil
	}
	fmt.Fprintf(w, "\nwith each encoding between the stages (--activation-dtype), on %d texts:\n\n", r.Texts)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprint(t, "encoding\tlabels that flip\ta score moves\tin the mean")
	for rank := range r.Encodings[0].BytesPerText {
		fmt.Fprintf(t, "\tbehind stage %d", rank)
	}
	for _, e := range r.Encodings {
		fmt.Fprintf(t, "\n%s\t%d (%.2f %%)\tup to %.6f\t%.6f", e.Encoding, e.Flips, 100*float64(e.Flips)/float64(r.Texts), e.LargestMove, e.MeanMove)
		for i, n := range e.BytesPerText {
			fmt.Fprintf(t, "\t%s a text (%.0f %%)", size(int64(n)), 100*n/max(r.Encodings[0].BytesPerText[i], 1))
		}
	}
	fmt.Fprintln(t)
	return t.Flush()
}
