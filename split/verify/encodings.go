package verify

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/distinfer/distinfer/runtime/encoding"
	"github.com/distinfer/distinfer/runtime/pipeline"
	"github.com/distinfer/distinfer/runtime/text"
	"github.com/distinfer/distinfer/runtime/textfile"
)

// An EncodingReport says what each encoding of activations changes about the labels of texts.
type EncodingReport struct {
	Texts     int              `json:"texts"`
	Encodings []EncodingEffect `json:"encodings"`
}

// An EncodingEffect is what one encoding changes, compared with float32.
type EncodingEffect struct {
	Encoding encoding.Encoding `json:"encoding"`
	Flips    int               `json:"flips"` // texts that get another label
	// How far the scores of a text move: at most, and in the mean over the texts.
	LargestMove  float64   `json:"largest_move"`
	MeanMove     float64   `json:"mean_move"`
	BytesPerText []float64 `json:"bytes_per_text"` // over each cut
}

// Labels are the labels of a text with their scores, the best first, or why there are none.
type Labels struct {
	Results []text.Result
	Err     error
}

// A Labeler labels texts. It must not compute them together: which texts meet in a batch is
// chance, and moves scores too.
type Labeler func(ctx context.Context, texts []string) ([]Labels, error)

// encodingChunk is how many texts are labelled at a time.
const encodingChunk = 256

// CompareEncodings labels the texts of a file with every encoding between the stages. open makes
// a Labeler of what computes.
func CompareEncodings(ctx context.Context, stages pipeline.Chain, open func(pipeline.Runner) (Labeler, error), file *textfile.File) (*EncodingReport, error) {
	var sides []*encodingSide
	for _, e := range encoding.Encodings() {
		chain := encoding.NewChain(stages, e)
		label, err := open(chain)
		if err != nil {
			return nil, err
		}
		sides = append(sides, &encodingSide{chain, label, EncodingEffect{Encoding: e}})
	}
	report := &EncodingReport{}
	var lines []textfile.Row
	flush := func() error {
		report.Texts += len(lines)
		err := compareLines(ctx, sides, lines)
		lines = lines[:0]
		return err
	}
	err := file.Read(func(l textfile.Row) error {
		switch {
		case l.Err != nil:
			return fmt.Errorf("line %d: %w", l.Line, l.Err)
		case l.Text == "":
			return fmt.Errorf("line %d: the text is empty", l.Line)
		}
		if lines = append(lines, l); len(lines) < encodingChunk {
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
		return nil, err
	}
	for _, s := range sides {
		s.MeanMove /= float64(report.Texts)
		for _, n := range s.chain.Crossed() {
			s.BytesPerText = append(s.BytesPerText, float64(n)/float64(report.Texts))
		}
		report.Encodings = append(report.Encodings, s.EncodingEffect)
	}
	return report, nil
}

// An encodingSide labels texts with one encoding. Meanwhile MeanMove is the sum.
type encodingSide struct {
	chain *encoding.Chain
	label Labeler
	EncodingEffect
}

// compareLines labels texts on every side, and compares each side with the first.
func compareLines(ctx context.Context, sides []*encodingSide, lines []textfile.Row) error {
	if len(lines) == 0 {
		return nil
	}
	texts := make([]string, len(lines))
	for i, l := range lines {
		texts[i] = l.Text
	}
	var plain []Labels
	for k, s := range sides {
		labels, err := s.label(ctx, texts)
		if err != nil {
			return fmt.Errorf("with %s between the stages: %w", s.Encoding, err)
		}
		if k == 0 {
			plain = labels
		}
		for i, l := range labels {
			if l.Err != nil {
				return fmt.Errorf("line %d, with %s between the stages: %w", lines[i].Line, s.Encoding, l.Err)
			}
			s.add(plain[i].Results, l.Results)
		}
	}
	return nil
}

// add compares the labels of a text with those of float32.
func (e *EncodingEffect) add(plain, labels []text.Result) {
	if labels[0].Label != plain[0].Label {
		e.Flips++
	}
	scores := make(map[string]float64, len(plain))
	for _, r := range plain {
		scores[r.Label] = r.Score
	}
	move := 0.0
	for _, r := range labels {
		move = max(move, math.Abs(r.Score-scores[r.Label]))
	}
	e.LargestMove = max(e.LargestMove, move)
	e.MeanMove += move
}
