package batch

import (
	"context"

	"github.com/distinfer/distinfer/runtime/errcode"
)

type clientKey struct{}

// WithClient names the client that the texts of a call count for. Calls without a name count
// for one client.
func WithClient(ctx context.Context, name string) context.Context {
	return context.WithValue(ctx, clientKey{}, name)
}

func clientOf(ctx context.Context) string {
	name, _ := ctx.Value(clientKey{}).(string)
	return name
}

// mostPushedOut is the most calls that give way to one.
const mostPushedOut = 64

// pushOut refuses one waiting call so that n texts of a client fit: the latest call without a
// text in flight of the client with the most texts waiting, if that has more than client would
// have. It reports whether it did. The lock is held.
//
// Package limiter does not fit here: a call waits for the time until its answer, not for a weight.
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
