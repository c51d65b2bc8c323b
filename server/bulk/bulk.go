// Package bulk has the texts of a file answered, in chunks that are worth sorting into batches,
// or tokenized, and writes what there is of each.
//
// It does not know what answers.
package bulk

import (
	"context"
	"errors"
	"io"

	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/runtime/textfile"
	"github.com/distinfer/distinfer/server/front"
)

// Chunk is the most texts answered at a time, and chunkBytes the bytes after which there are no more:
// enough to sort them by length, and a body of moderate size for a front.
const (
	Chunk      = 256
	chunkBytes = 1 << 20
)

// An Answerer answers texts, a Reply each. An error is about all of them.
type Answerer func(ctx context.Context, texts []string) ([]front.Reply, error)

// A Line is one of a file with the Reply to its text, or with why there is none.
type Line struct {
	Number int // from 1 on
	front.Reply
}

// Answer reads lines and gives each them with their replies, chunk by chunk and in order, until
// each fails. It returns an error when no further line can be answered.
func Answer(ctx context.Context, in textfile.Reader, file io.Reader, answer Answerer, each func([]Line) error) error {
	var lines []textfile.Line
	bytes := 0
	flush := func() error {
		err := answerChunk(ctx, lines, answer, each)
		lines, bytes = lines[:0], 0
		return err
	}
	err := in.Read(file, func(l textfile.Line) error {
		lines = append(lines, l)
		if bytes += len(l.Text); len(lines) < Chunk && bytes < chunkBytes {
			return nil
		}
		return flush()
	})
	if err != nil {
		return err
	}
	return flush()
}

// answerChunk answers a chunk.
func answerChunk(ctx context.Context, lines []textfile.Line, answer Answerer, each func([]Line) error) error {
	var texts []string
	for i := range lines {
		l := &lines[i]
		if l.Err == nil && l.Text == "" {
			l.Err = errors.New("the text is empty")
		}
		if l.Err == nil {
			texts = append(texts, l.Text)
		}
	}
	var replies []front.Reply
	if len(texts) > 0 {
		var err error
		if replies, err = halve(ctx, texts, answer); err != nil {
			return err
		}
	}
	answered := make([]Line, len(lines))
	for i, l := range lines {
		answered[i] = Line{l.Number, front.Reply{Err: l.Err}}
		if l.Err == nil {
			answered[i].Reply, replies = replies[0], replies[1:]
		}
	}
	return each(answered)
}

// halve answers texts. When that fails because of what they are, it halves them until the text
// that it fails for stands alone, and gets the error.
func halve(ctx context.Context, texts []string, answer Answerer) ([]front.Reply, error) {
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
	return append(first, second...), err
}
