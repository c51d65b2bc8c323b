// Package bulk has the texts of a file answered, in chunks that are worth sorting into batches,
// or tokenized, and writes what there is of each.
//
// It does not know what answers.
package bulk

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/runtime/textfile"
	"github.com/distinfer/distinfer/runtime/textmodel"
	"github.com/distinfer/distinfer/server/front"
)

// Chunk is the most texts answered at a time, and chunkBytes the bytes after which there are no more:
// enough to sort them by length, and a body of moderate size for a front.
const (
	Chunk      = 256
	chunkBytes = 1 << 20

	// idle is how long nothing may come before what is there is answered: a pipe may be slow.
	idle = 20 * time.Millisecond
)

// An Answerer answers texts, a Reply each. An error is about all of them.
type Answerer func(ctx context.Context, texts []textmodel.Input) ([]front.Reply, error)

// A Line is a row of a file with the Reply to its text, or with why there is none.
type Line struct {
	textfile.Row
	front.Reply
}

var errStopped = errors.New("nobody wants further rows")

// Answer reads rows and gives each them with their replies, chunk by chunk and in order, until
// each fails. What a pipe has sent is answered before it sends more. It returns an error when no
// further row can be answered.
func Answer(ctx context.Context, file *textfile.File, answer Answerer, each func([]Line) error) error {
	rows, failed, stop := make(chan textfile.Row), make(chan error, 1), make(chan struct{})
	defer close(stop)
	go func() {
		defer close(rows)
		failed <- file.Read(func(row textfile.Row) error {
			select {
			case rows <- row:
				return nil
			case <-stop:
				return errStopped
			}
		})
	}()
	for more := true; more; {
		var chunk []textfile.Row
		if chunk, more = gather(ctx, rows); len(chunk) > 0 {
			if err := answerChunk(ctx, chunk, answer, each); err != nil {
				return err
			}
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return <-failed
}

// gather waits for a row, and takes those that come along with it. more reports whether others
// may follow.
func gather(ctx context.Context, rows <-chan textfile.Row) (chunk []textfile.Row, more bool) {
	var pause <-chan time.Time
	for bytes := 0; len(chunk) < Chunk && bytes < chunkBytes; {
		select {
		case row, ok := <-rows:
			if !ok {
				return chunk, false
			}
			chunk, bytes = append(chunk, row), bytes+len(row.Text)
			if pause == nil {
				pause = time.After(idle)
			}
		case <-pause:
			return chunk, true
		case <-ctx.Done():
			return nil, false
		}
	}
	return chunk, true
}

// answerChunk answers a chunk.
func answerChunk(ctx context.Context, rows []textfile.Row, answer Answerer, each func([]Line) error) error {
	lines := make([]Line, len(rows))
	var texts []textmodel.Input
	for i, row := range rows {
		switch {
		case row.Err == nil && (row.Text == "" || row.Pair != nil && *row.Pair == ""):
			row.Err = errors.New("the text is empty")
		case row.Err == nil:
			texts = append(texts, textmodel.Input{Text: row.Text, Pair: row.Pair})
		}
		lines[i] = Line{row, front.Reply{Err: row.Err}}
	}
	var replies []front.Reply
	if len(texts) > 0 {
		var err error
		if replies, err = halve(ctx, texts, answer); err != nil {
			return err
		}
	}
	for i := range lines {
		if lines[i].Row.Err == nil {
			lines[i].Reply, replies = replies[0], replies[1:]
		}
	}
	return each(lines)
}

// halve answers texts. When that fails because of what they are, it halves them until the text
// that it fails for stands alone, and gets the error.
func halve(ctx context.Context, texts []textmodel.Input, answer Answerer) ([]front.Reply, error) {
	replies, err := answer(ctx, texts)
	switch code := errcode.Of(err); {
	case err == nil || ctx.Err() != nil || code != errcode.Invalid && code != errcode.TooLarge && code != errcode.Internal && !errcode.Deadly(err):
		return replies, err
	case len(texts) == 1:
		return []front.Reply{{Err: err}}, nil
	}
	half := len(texts) / 2
	first, err := halve(ctx, texts[:half], answer)
	if err != nil {
		return nil, err
	}
	second, err := halve(ctx, texts[half:], answer)
	return slices.Concat(first, second), err
}
