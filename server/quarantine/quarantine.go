// Package quarantine remembers inputs that ended the processes which computed them, so
// that the same input does not do it again.
//
// An input is known by a keyed hash of its content, which is lost with the process. The
// memory is bounded in number and in time: what ended a process may have been the
// machine's fault after all, or the process may since be another version.
package quarantine

import (
	"encoding/binary"
	"hash/maphash"
	"slices"
	"sync"
	"time"

	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/runtime/tensor"
)

// A Policy holds the times and limits of a List.
type Policy struct {
	// An input is refused for First, the next time it ends a process for twice that, and
	// so on up to Longest.
	First, Longest time.Duration
	// Max is how many inputs are remembered; the oldest make room.
	Max int
}

// DefaultPolicy blames long enough that a client's own repeats are refused, and no longer
// than a bystander could bear if he was blamed for what the machine did.
var DefaultPolicy = Policy{First: time.Minute, Longest: time.Hour, Max: 1024}

// A Key stands for an input.
type Key uint64

// A List is the inputs that are remembered. It is safe for concurrent use.
type List struct {
	policy Policy
	seed   maphash.Seed

	mu    sync.Mutex
	known map[Key]*entry
	order []Key // the oldest first
}

type entry struct {
	why   error
	until time.Time // it is refused
	times int
}

// New makes a list that remembers nothing yet.
func New(p Policy) *List {
	return &List{policy: p, seed: maphash.MakeSeed(), known: map[Key]*entry{}}
}

// Len is how many inputs are remembered. While there are none, no key is needed.
func (l *List) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.known)
}

// Key is the key of what write writes.
func (l *List) Key(write func(h *maphash.Hash)) Key {
	var h maphash.Hash
	h.SetSeed(l.seed)
	write(&h)
	return Key(h.Sum64())
}

// Tensors is the key of a bag of tensors: of their names, types, shapes and elements.
func (l *List) Tensors(in tensor.Bag) Key {
	return l.Key(func(h *maphash.Hash) {
		number := func(n int) {
			var b [8]byte
			binary.LittleEndian.PutUint64(b[:], uint64(n))
			_, _ = h.Write(b[:])
		}
		names := in.Names()
		slices.Sort(names)
		number(len(names))
		for _, name := range names {
			t := in[name]
			number(len(name))
			_, _ = h.WriteString(name)
			number(int(t.DType))
			number(len(t.Shape))
			for _, d := range t.Shape {
				number(int(d))
			}
			number(len(t.Data))
			_, _ = h.Write(t.Data)
			number(len(t.Strs))
			for _, s := range t.Strs {
				number(len(s))
				_, _ = h.WriteString(s)
			}
		}
	})
}

// Add remembers that an input ended a process, and why that is believed.
func (l *List) Add(now time.Time, k Key, why error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.known[k]
	if e == nil {
		for len(l.order) >= l.policy.Max {
			delete(l.known, l.order[0])
			l.order = l.order[1:]
		}
		e = &entry{}
		l.known[k] = e
		l.order = append(l.order, k)
	}
	if now.Before(e.until) {
		return // others that had the same input
	}
	d := l.policy.First << min(e.times, 30)
	if d > l.policy.Longest || d <= 0 {
		d = l.policy.Longest
	}
	e.times++
	e.why, e.until = why, now.Add(d)
}

// Find fails with a errcode.Quarantined while an input is refused. suspect says that it was refused before: it should be computed by itself, and
// is to blame for the first process that ends with it.
func (l *List) Find(now time.Time, k Key) (suspect bool, refused error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.known[k]
	switch {
	case e == nil:
		return false, nil
	case now.Before(e.until):
		return true, errcode.Errorf(errcode.Quarantined, "this input is refused for another %s: %w", max(time.Second, e.until.Sub(now).Round(time.Second)), e.why)
	}
	return true, nil
}
