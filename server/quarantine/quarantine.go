// Package quarantine remembers inputs that ended the processes which computed them, so that
// they are refused for a while.
//
// It stores a keyed hash of an input's content; the key is lost with the process. The number of
// inputs and the time are bounded: the machine may have caused the end, or the process may be
// another version by now.
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
	// An input is refused for First, for twice that the next time it ends a process, and so on
	// up to Longest.
	First, Longest time.Duration
	// Max is how many inputs are remembered; the oldest are forgotten.
	Max int
}

// DefaultPolicy refuses long enough to catch a client's retries, and briefly enough for an input
// that is refused because of what the machine did.
var DefaultPolicy = Policy{First: time.Minute, Longest: time.Hour, Max: 1024}

// A Key stands for an input.
type Key uint64

// A List holds the inputs remembered. It is safe for concurrent use.
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

// New makes an empty List.
func New(p Policy) *List {
	return &List{policy: p, seed: maphash.MakeSeed(), known: map[Key]*entry{}}
}

// Len is how many inputs are remembered. While it is 0, no key is needed.
func (l *List) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.known)
}

// Key returns the key of what write writes.
func (l *List) Key(write func(h *maphash.Hash)) Key {
	var h maphash.Hash
	h.SetSeed(l.seed)
	write(&h)
	return Key(h.Sum64())
}

// Tensors returns the key of a bag of tensors: their names, types, shapes and elements.
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

// Add remembers that an input ended a process, and the evidence.
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
		return // another run with the same input
	}
	d := l.policy.First << min(e.times, 30)
	if d > l.policy.Longest || d <= 0 {
		d = l.policy.Longest
	}
	e.times++
	e.why, e.until = why, now.Add(d)
}

// Find fails with errcode.Quarantined while an input is refused. suspect means that it was
// refused before: it should be computed alone, and is blamed if a process ends with it.
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
