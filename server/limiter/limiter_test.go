package limiter_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/server/limiter"
)

// until waits for a condition that comes about by itself.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !is(); runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatalf("%s does not come about", what)
		}
	}
}

// waiter acquires beside the test, which goes on once it waits.
func waiter(ctx context.Context, t *testing.T, l *limiter.Limiter, n int64) <-chan error {
	t.Helper()
	before := l.Waiting()
	got := make(chan error, 1)
	go func() { got <- l.Acquire(ctx, n) }()
	until(t, "waiting", func() bool { return l.Waiting() == before+1 })
	// It counts as waiting a moment before it has its place in the line.
	time.Sleep(time.Millisecond)
	return got
}

func acquire(t *testing.T, l *limiter.Limiter, n int64) {
	t.Helper()
	if err := l.Acquire(t.Context(), n); err != nil {
		t.Fatal(err)
	}
}

func TestRefusesAtOnce(t *testing.T) {
	t.Parallel()
	l := limiter.New(4, 1)
	if err := l.Acquire(t.Context(), 5); errcode.Of(err) != errcode.Overloaded {
		t.Errorf("more than there is: %v", err)
	}
	acquire(t, l, 4)
	if l.TryAcquire(1) {
		t.Error("acquired what is not free")
	}
	got := waiter(t.Context(), t, l, 1)
	if err := l.Acquire(t.Context(), 1); errcode.Of(err) != errcode.Overloaded {
		t.Errorf("one more than may wait: %v", err)
	}
	l.Release(4)
	if err := <-got; err != nil {
		t.Error(err)
	}
	if l.InUse() != 1 || l.Waiting() != 0 {
		t.Errorf("%d are in use and %d wait, want 1 and 0", l.InUse(), l.Waiting())
	}
}

func TestFirstInFirstOut(t *testing.T) {
	t.Parallel()
	l := limiter.New(4, 8)
	acquire(t, l, 3)
	heavy := waiter(t.Context(), t, l, 4)
	light := waiter(t.Context(), t, l, 1)
	if l.TryAcquire(1) {
		t.Fatal("overtook a waiter")
	}
	l.Release(3)
	if err := <-heavy; err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-light:
		t.Fatalf("more was acquired than there is (%v)", err)
	default:
	}
	l.Release(4)
	if err := <-light; err != nil {
		t.Fatal(err)
	}
}

// A heavy waiter that gives up does not hold up the light ones behind it.
func TestGivingUp(t *testing.T) {
	t.Parallel()
	l := limiter.New(4, 8)
	acquire(t, l, 3)
	ctx, cancel := context.WithCancel(t.Context())
	heavy := waiter(ctx, t, l, 4)
	light := waiter(t.Context(), t, l, 1)
	cancel()
	if err := <-heavy; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if err := <-light; err != nil {
		t.Fatal(err)
	}
	if l.InUse() != 4 || l.Waiting() != 0 {
		t.Errorf("%d are in use and %d wait, want 4 and 0", l.InUse(), l.Waiting())
	}
}

// Whatever many callers do at once, no more is in use than may be, nothing is lost, and
// nobody waits for ever.
func TestManyCallers(t *testing.T) {
	t.Parallel()
	const capacity, maxWaiting, callers, rounds = 16, 12, 24, 400
	l := limiter.New(capacity, maxWaiting)
	var inUse, acquired, refused, gaveUp atomic.Int64
	var work sync.WaitGroup
	for caller := range callers {
		random := rand.New(rand.NewPCG(1, uint64(caller)))
		work.Go(func() {
			for range rounds {
				n := 1 + random.Int64N(capacity)
				ctx, cancel := context.WithCancel(t.Context())
				if random.IntN(4) == 0 {
					time.AfterFunc(time.Duration(random.IntN(200))*time.Microsecond, cancel)
				}
				err := l.Acquire(ctx, n)
				switch {
				case err == nil:
					acquired.Add(1)
					if now := inUse.Add(n); now > capacity {
						t.Errorf("%d are in use, more than %d", now, capacity)
					}
					for range random.IntN(3) {
						runtime.Gosched()
					}
					inUse.Add(-n)
					first := random.Int64N(n + 1) // in two parts
					l.Release(first)
					l.Release(n - first)
				case errors.Is(err, context.Canceled):
					gaveUp.Add(1)
				case errcode.Of(err) == errcode.Overloaded:
					refused.Add(1)
				default:
					t.Error(err)
				}
				cancel()
			}
		})
	}
	work.Wait()
	if l.InUse() != 0 || l.Waiting() != 0 || !l.TryAcquire(capacity) {
		t.Errorf("%d are in use and %d wait when all are done", l.InUse(), l.Waiting())
	}
	if total := acquired.Load() + refused.Load() + gaveUp.Load(); total != callers*rounds || acquired.Load() == 0 {
		t.Errorf("%d acquired, %d refused, %d gave up, of %d", acquired.Load(), refused.Load(), gaveUp.Load(), callers*rounds)
	}
}

func BenchmarkAcquire(b *testing.B) {
	l := limiter.New(16, 64)
	ctx := context.Background()
	for b.Loop() {
		if err := l.Acquire(ctx, 1); err != nil {
			b.Fatal(err)
		}
		l.Release(1)
	}
}
