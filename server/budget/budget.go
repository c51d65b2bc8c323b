// Package budget keeps the runs of a stage within its memory: what a run is estimated to
// take is acquired before it begins, and one that could never have it is refused.
//
// It knows tensors and estimates, but neither the runtime nor the callers.
package budget

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"

	"github.com/dustin/go-humanize"

	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/runtime/memory"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/server/limiter"
)

// Config says what there is and what runs take of it.
type Config struct {
	// Inputs are those of the stage, and Estimate what a run takes by the sizes of their
	// dimensions. Without an estimate, a run counts as its part of what there is.
	Inputs   []tensor.Spec
	Estimate memory.Estimate

	// Bytes is what all runs together may take, and Runs how many are computed at once.
	Bytes int64
	Runs  int

	// Peak returns the most that runs have taken until now, in bytes. Where that is more than
	// what was estimated, estimates are raised from then on. It may be nil.
	Peak func() (int64, error)

	// IsMemory reports whether a run failed for want of memory, and Reclaim gives back
	// what is not in use, before such a run is tried again.
	IsMemory func(error) bool
	Reclaim  func() error
}

// A Budget is the memory of a stage's runs. It is safe for concurrent use.
type Budget struct {
	config  Config
	limiter *limiter.Limiter

	mu    sync.Mutex
	peak  int64   // the last that Peak returned
	scale float64 // of estimates, 1 or more
}

// New makes a Budget.
func New(c Config) *Budget {
	c.Bytes, c.Runs = max(c.Bytes, 1), max(c.Runs, 1)
	return &Budget{config: c, limiter: limiter.New(c.Bytes, int64(c.Runs)), scale: 1}
}

// Bytes is what all runs together may take, as estimates have it: less than there is, when
// they turned out to be too low.
func (b *Budget) Bytes() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return int64(float64(b.config.Bytes) / b.scale)
}

// learn raises the estimates when runs took more in all than was estimated.
func (b *Budget) learn(estimated int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	// One that is far from the peak cannot have raised it.
	if b.config.Peak == nil || float64(estimated) < float64(b.peak)/mostScale {
		return
	}
	peak, err := b.config.Peak()
	if err != nil || peak <= b.peak {
		return
	}
	b.peak = peak
	b.scale = min(max(b.scale, float64(peak)/float64(max(estimated, leastLearnt))), mostScale)
}

// Estimates are raised at most by the factor mostScale, and by no run that is estimated
// to take less than leastLearnt bytes.
const (
	mostScale   = 16
	leastLearnt = 4 << 20
)

// InUse is what the runs in flight are estimated to take, in bytes.
func (b *Budget) InUse() int64 { return b.limiter.InUse() }

// Acquire waits for the memory of a run of the given inputs. It fails with a
// errcode.TooLarge if the run needs more than there is in all.
func (b *Budget) Acquire(ctx context.Context, in tensor.Bag) (*Grant, error) {
	need, err := b.need(in)
	if err != nil {
		return nil, err
	}
	if err := b.limiter.Acquire(ctx, need); err != nil {
		return nil, err
	}
	return &Grant{b, need, len(b.config.Estimate) > 0}, nil
}

func (b *Budget) need(in tensor.Bag) (int64, error) {
	part := max(b.config.Bytes/int64(b.config.Runs), 1)
	sizes, err := tensor.MatchAll(b.config.Inputs, in)
	if err != nil {
		return 1, nil //nolint:nilerr // what computes refuses it, with the reason
	}
	need, known := Estimated(b.config.Estimate, sizes)
	if !known {
		return part, nil
	}
	b.mu.Lock()
	scale := b.scale
	b.mu.Unlock()
	if scaled := float64(need) * scale; scaled > float64(b.config.Bytes) {
		return 0, Refuse(int64(min(scaled, math.MaxInt64/2)), b.config.Bytes, sizes, b.config.Estimate)
	}
	return int64(float64(need) * scale), nil
}

// A Grant is memory that was acquired for one run.
type Grant struct {
	budget *Budget
	held   int64
	known  bool // that is what it is estimated to take
}

// Run computes the run. If memory runs out, because its estimate or another's was too low, it
// retries the run once, alone. If that fails too, the error is errcode.TooLarge.
func (g *Grant) Run(ctx context.Context, run func() (tensor.Bag, error)) (tensor.Bag, error) {
	b := g.budget
	beside := b.limiter.InUse()
	out, err := run()
	if g.known {
		b.mu.Lock()
		scale := b.scale
		b.mu.Unlock()
		// Others may have come or gone meanwhile; with as many as there were at either
		// end, the estimate is not raised too far.
		b.learn(int64(float64(max(beside, b.limiter.InUse())) / scale))
	}
	if err == nil || b.config.IsMemory == nil || !b.config.IsMemory(err) {
		return out, err
	}
	g.Release()
	if err := b.limiter.Acquire(ctx, b.config.Bytes); err != nil {
		return nil, err
	}
	g.held = b.config.Bytes
	if b.config.Reclaim != nil {
		if err := b.config.Reclaim(); err != nil {
			return nil, fmt.Errorf("give memory back: %w", err)
		}
	}
	if out, err = run(); err != nil && b.config.IsMemory(err) {
		return nil, errcode.Errorf(errcode.TooLarge, "%w; %s", err, remedy)
	}
	return out, err
}

// Release gives the memory back. It may be called twice.
func (g *Grant) Release() {
	if g.held > 0 {
		g.budget.limiter.Release(g.held)
		g.held = 0
	}
}

// remedy is what to do about a run that is too large.
const remedy = "send fewer or shorter rows at a time, or raise the memory of the stage"

// What an estimate is raised by: an arena is fragmented, and operators have buffers of
// their own.
const (
	shareMore = 8
	bytesMore = 1 << 20
)

// Estimated is what a run of these sizes is taken to need. It is false when that is not known.
func Estimated(e memory.Estimate, sizes tensor.Sizes) (int64, bool) {
	n, known := e.At(sizes)
	if n > math.MaxInt64/2 {
		return math.MaxInt64, known
	}
	return n + n/shareMore + bytesMore, known
}

// Refuse returns the error of a run that needs more bytes than there are. It names the size that
// would fit, as far as the estimate tells.
func Refuse(need, have int64, sizes tensor.Sizes, e memory.Estimate) error {
	var of []string
	for name, n := range sizes {
		of = append(of, fmt.Sprintf("%s=%d", name, n))
	}
	slices.Sort(of)
	what := "of these inputs"
	if len(of) > 0 && len(of) <= 8 {
		what = "of " + strings.Join(of, " ")
	}
	fits := ""
	if name, n := largest(need, have, sizes, e); n > 0 {
		fits = fmt.Sprintf("; %s=%d would fit", name, n)
	}
	return errcode.Errorf(errcode.TooLarge, "a run %s takes about %s of memory, and %s may be taken%s; %s", what, amount(need), amount(have), fits, remedy)
}

// largest is how large the largest dimension, such as the tokens of a text, could be beside the
// others; 0 when that is not known, or nothing fits.
func largest(need, have int64, sizes tensor.Sizes, e memory.Estimate) (name string, n int64) {
	for d, size := range sizes {
		if name == "" || size > sizes[name] || size == sizes[name] && d < name {
			name = d
		}
	}
	own, known := Estimated(e, sizes)
	if !known || own <= 0 || name == "" {
		return name, 0
	}
	scale := max(float64(need)/float64(own), 1)
	low, high := int64(0), sizes[name]-1
	smaller := maps.Clone(sizes)
	for low < high {
		smaller[name] = (low + high + 1) / 2
		if takes, ok := Estimated(e, smaller); ok && float64(takes)*scale <= float64(have) {
			low = smaller[name]
		} else {
			high = smaller[name] - 1
		}
	}
	return name, low
}

func amount(n int64) string { return humanize.Bytes(uint64(max(n, 0))) }
