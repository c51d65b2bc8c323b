package front

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/runtime/textmodel"
	"github.com/distinfer/distinfer/server/batch"
)

// More inputs than the batcher takes at a time go to it in pieces. Enough pieces are in flight to
// keep stages busy while the next one is read, and few enough to leave capacity to others.
const (
	piecesAtOnce = 2
	pieces       = 2 * piecesAtOnce // of as much as the batcher takes
)

// TruncatedHeader names the texts that were cut to what the model reads, by their places in the
// request, such as "0, 4". In the trailer of a stream it names lines.
const TruncatedHeader = "X-Truncated"

// pieceSize is how many inputs a piece has.
func pieceSize(b *batch.Batcher) int { return max(1, b.MaxTexts()/pieces) }

// compute makes the model answer inputs, in order and within the time of the request, and sets the
// header Server-Timing. An answer holds what is wrong with its input; an error is about all.
func (f *Front) compute(b *batch.Batcher, w http.ResponseWriter, r *http.Request, inputs []textmodel.Input) ([]textmodel.Answer, error) {
	timeout, err := f.TimeAllowed(w, r)
	if err != nil {
		return nil, err
	}
	noteTexts(w, len(inputs))
	ctx, cancel := context.WithTimeout(f.named(r), timeout)
	defer cancel()
	answers, timing, err := answer(ctx, b, inputs)
	if err != nil {
		// The batch may end by the same deadline, a moment before.
		if r.Context().Err() == nil && (ctx.Err() != nil || errors.Is(err, context.DeadlineExceeded)) {
			return nil, errcode.Errorf(errcode.Deadline, "there was no answer within %s", timeout)
		}
		return nil, err
	}
	w.Header().Set("Server-Timing", serverTiming(timing))
	if cut := textmodel.Truncated(len(answers), func(i int) bool { return answers[i].Tokens.Truncated }); cut != "" {
		w.Header().Set(TruncatedHeader, cut)
	}
	return answers, nil
}

// answer answers inputs, piece by piece where they are more than are taken at a time.
// The timing is that of the piece that was answered last.
func answer(ctx context.Context, b *batch.Batcher, inputs []textmodel.Input) ([]textmodel.Answer, batch.Timing, error) {
	if len(inputs) <= b.MaxTexts() {
		return b.Answer(ctx, inputs)
	}
	answers := make([]textmodel.Answer, len(inputs))
	var mu sync.Mutex
	var last batch.Timing
	work, ctx := errgroup.WithContext(ctx)
	work.SetLimit(piecesAtOnce)
	size := pieceSize(b)
	for from := 0; from < len(inputs) && ctx.Err() == nil; from += size {
		to := min(from+size, len(inputs))
		work.Go(func() error {
			var part []textmodel.Answer
			var timing batch.Timing
			var err error
			if from == 0 { // fails at once when overloaded
				part, timing, err = b.Answer(ctx, inputs[from:to])
			} else {
				part, timing, err = answerOnceAdmitted(ctx, b, inputs[from:to])
			}
			copy(answers[from:to], part)
			mu.Lock()
			defer mu.Unlock()
			last = timing
			return err
		})
	}
	if err := work.Wait(); err != nil {
		return nil, batch.Timing{}, err
	}
	return answers, last, nil
}

// answerOnceAdmitted waits until the batcher admits the inputs, or fails when it will not before
// ctx ends.
func answerOnceAdmitted(ctx context.Context, b *batch.Batcher, inputs []textmodel.Input) ([]textmodel.Answer, batch.Timing, error) {
	for {
		answers, timing, err := b.Answer(ctx, inputs)
		after, refused := batch.IsRefused(err)
		if !refused {
			return answers, timing, err
		}
		after = max(after, 10*time.Millisecond)
		if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < after {
			return nil, timing, err
		}
		select {
		case <-time.After(after):
		case <-ctx.Done():
			return nil, timing, ctx.Err()
		}
	}
}

// serverTiming is the header Server-Timing (W3C): where the time went, in milliseconds, in the
// order of what happened. For each stage it has the way to it and back, the wait for its turn, and
// the computing.
func serverTiming(t batch.Timing) string {
	var b strings.Builder
	metric := func(name string, d time.Duration) {
		if b.Len() > 0 {
			b.WriteString(", ")
		}
		b.WriteString(name)
		b.WriteString(";dur=")
		var digits [32]byte
		b.Write(strconv.AppendFloat(digits[:0], float64(max(d, 0).Microseconds())/1000, 'f', -1, 64))
	}
	metric("tokenize", t.Encoding)
	metric("queue", t.Waiting)
	around := t.Batch // from sending to the stage until its answer was there
	for i, s := range t.Stages {
		name := "stage" + strconv.Itoa(i)
		metric(name+"-network", around-s.Total)
		metric(name+"-wait", s.Waited)
		metric(name+"-compute", s.Computed)
		around = s.Next
	}
	if len(t.Stages) == 0 {
		metric("compute", t.Batch)
	}
	return b.String()
}
