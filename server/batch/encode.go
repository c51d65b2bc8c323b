package batch

import (
	"context"
	"time"

	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/runtime/textmodel"
	"github.com/distinfer/distinfer/server/limiter"
)

// Tokenizing takes memory by the bytes of a text: little if it stops once the model's tokens
// are there, and up to a hundred times the text if it cannot, as for one endless word. So these
// bound the bytes that are tokenized at once, over all callers. Small texts have a limit of
// their own, and do not wait for large ones.
const (
	smallText     = 64 << 10 // bytes; others are large
	smallAtOnce   = 4 << 20
	largeAtOnce   = 4 << 20 // a larger one is tokenized alone
	encodingAgain = 100 * time.Millisecond
)

// encoders bound the bytes that are tokenized at once.
type encoders struct{ small, large *limiter.Limiter }

func newEncoders(maxTexts int) encoders {
	return encoders{limiter.New(smallAtOnce, int64(maxTexts)), limiter.New(largeAtOnce, int64(maxTexts))}
}

// encode tokenizes an input once there is capacity. What is wrong with the input is in wrong;
// err is a RefusedError if too many wait, or the error of ctx.
func (e encoders) encode(ctx context.Context, m *textmodel.Model, in textmodel.Input) (t textmodel.Text, wrong, err error) {
	bytes := len(in.Text)
	if in.Pair != nil {
		bytes += len(*in.Pair)
	}
	l := e.small
	if bytes > smallText {
		l = e.large
	}
	n := min(int64(bytes), l.Capacity())
	if err := l.Acquire(ctx, n); err != nil {
		if errcode.Of(err) == errcode.Overloaded {
			err = &RefusedError{err, encodingAgain}
		}
		return t, nil, err
	}
	defer l.Release(n)
	t, wrong = m.Encode(in)
	return t, wrong, nil
}
