package batch

import (
	"context"

	"github.com/distinfer/distinfer/runtime/errcode"
)

// reserve acquires capacity for n texts. It fails if there is none, or if they could not be
// answered in time.
func (b *Batcher) reserve(ctx context.Context, n int) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for pushedOut := 0; ; pushedOut++ {
		why, err := b.admit(ctx, n)
		if err == nil {
			b.busy += n
			return nil
		}
		if pushedOut == mostPushedOut || !b.pushOut(clientOf(ctx), n) {
			b.listener.Rejected(why)
			return err
		}
	}
}

// admit fails if n texts cannot be admitted, and says why. The lock is held.
func (b *Batcher) admit(ctx context.Context, n int) (Reason, error) {
	answered, wait := b.waits(n)
	longest := b.maxWait
	if longest == 0 {
		longest = b.longestWait()
	}
	switch left := timeLeft(ctx); {
	case b.busy+n > b.maxTexts:
		return QueueFull, &RefusedError{errcode.Errorf(errcode.Overloaded, "too many texts are waiting; try again in a moment"), wait / 2}
	case wait > longest:
		return WaitTooLong, &RefusedError{errcode.Errorf(errcode.Overloaded, "the texts that are waiting already take %s; try again in a moment", round(wait)), wait - longest}
	case answered > left:
		return TooLate, &RefusedError{errcode.Errorf(errcode.Overloaded, "an answer would take about %s, and there are %s for it; try again later, allow more time, or send fewer texts at a time", round(answered), round(left)), answered - left}
	}
	return "", nil
}

// leave releases the capacity of n texts.
func (b *Batcher) leave(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.busy -= n
}
