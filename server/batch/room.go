package batch

import (
	"sort"
	"time"

	"github.com/distinfer/distinfer/runtime/tensor"
)

// A Memory says what fits into the memory of what computes.
type Memory interface {
	// Fits reports whether there is memory for some runs of these sizes at once.
	Fits(sizes tensor.Sizes, runs int) bool
	// Check is why a run of these sizes would never be computed; nil where it would.
	Check(sizes tensor.Sizes) error
}

// A room knows how many texts of a length fit into memory as one batch, beside the other runs
// that a stage computes at once. A batch that does not fit would be halved until it does, each
// time after it was sent.
type room struct {
	sizes  func(rows, length int) tensor.Sizes
	memory Memory
	atOnce func() int

	rows map[int]int // by length, as far as it was asked
	at   time.Time   // when that was renewed
}

// remembersFor is how long the answers of a Memory count. Stages report what they have left every
// few seconds.
const remembersFor = time.Second

func newRoom(sizes func(rows, length int) tensor.Sizes, m Memory, atOnce func() int) *room {
	return &room{sizes: sizes, memory: m, atOnce: atOnce, rows: map[int]int{}}
}

// renew has what fits asked for again if that was long ago.
func (r *room) renew(now time.Time) {
	if now.Sub(r.at) > remembersFor {
		r.at = now
		clear(r.rows)
	}
}

// most is how many texts of a length, up to a limit and at least one, fit into a batch.
func (r *room) most(limit, length int) int {
	if r.memory == nil {
		return limit
	}
	if n, known := r.rows[length]; known {
		return n
	}
	// The first number of rows beyond one that does not fit.
	n := max(1, 1+sort.Search(limit-1, func(i int) bool { return !r.memory.Fits(r.sizes(i+2, length), r.atOnce()) }))
	r.rows[length] = n
	return n
}
