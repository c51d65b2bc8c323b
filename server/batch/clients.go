package batch

import (
	"context"

	"github.com/distinfer/distinfer/runtime/errcode"
)

type clientKey struct{}

// WithClient has the texts of a call count for a client. Those without one are one client's.
func WithClient(ctx context.Context, name string) context.Context {
	return context.WithValue(ctx, clientKey{}, name)
}

func clientOf(ctx context.Context) string {
	name, _ := ctx.Value(clientKey{}).(string)
	return name
}

// mostPushedOut is how many calls at most give way to one.
const mostPushedOut = 64

// pushOut has one call give way to n texts of a client for which there is no room: the latest, of
// those of which no text is computed, of the client that has the most texts waiting, if that has
// more than the other would have. It reports whether one did. The lock is held.
//
// This is not package limiter's: what a call waits for is not a weight but the time until
// its answer.
func (b *Batcher) pushOut(client string, n int) bool {
	waiting := map[string]int{}
	latest := map[string]*call{}
	for c, texts := range b.queue.calls {
		name := clientOf(c.ctx)
		waiting[name] += texts
		if last := latest[name]; len(c.runs) == 0 && (last == nil || c.entered.After(last.entered)) {
			latest[name] = c
		}
	}
	var victim *call
	most := waiting[client] + n
	for name, texts := range waiting {
		if name != client && texts > most && latest[name] != nil {
			victim, most = latest[name], texts
		}
	}
	if victim == nil {
		return false
	}
	b.listener.Rejected(QueueFull)
	b.end(victim, &RefusedError{errcode.Errorf(errcode.Overloaded, "too many texts are waiting, and other clients have fewer; try again in a moment"), b.pace.time()})
	return true
}
