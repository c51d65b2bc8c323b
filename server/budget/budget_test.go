package budget

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/runtime/memory"
	"github.com/distinfer/distinfer/runtime/tensor"
)

var (
	errMemory = errcode.Errorf(errcode.TooLarge, "no memory")
	inputs    = []tensor.Spec{{Name: "x", DType: tensor.Float32, Dims: []tensor.Dim{tensor.Named("batch"), tensor.Named("sequence")}}}
	squares   = memory.Estimate{{{Bytes: 1 << 20, Dims: []string{"batch", "sequence", "sequence"}}}}
)

func rows(batch, sequence int64) tensor.Bag {
	return tensor.Bag{"x": tensor.Of([]int64{batch, sequence}, make([]float32, batch*sequence))}
}

func config() Config {
	return Config{Inputs: inputs, Estimate: squares, Bytes: 100 << 20, Runs: 4, IsMemory: func(err error) bool { return errors.Is(err, errMemory) }}
}

func nothing() (tensor.Bag, error) { return nil, nil }

func TestARunThatCouldNeverHaveItsMemoryIsRefused(t *testing.T) {
	t.Parallel()
	b := New(config())
	for _, shape := range [][2]int64{{100, 1}, {1, 10}, {1 << 10, 1 << 10}, {3, 7}} {
		_, err := b.Acquire(t.Context(), rows(shape[0], shape[1]))
		if errcode.Of(err) != errcode.TooLarge || !strings.Contains(err.Error(), "the memory of the stage") || !strings.Contains(err.Error(), "batch=") {
			t.Errorf("%v: %v", shape, err)
		}
	}
	for _, shape := range [][2]int64{{1, 9}, {80, 1}, {2, 6}, {0, 5}} {
		g, err := b.Acquire(t.Context(), rows(shape[0], shape[1]))
		if err != nil {
			t.Fatal(shape, err)
		}
		g.Release()
		g.Release()
	}
	if b.InUse() != 0 {
		t.Error(b.InUse())
	}
}

func TestRunsWaitForTheirMemory(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := New(config())
		var running atomic.Int64
		end := make(chan struct{})
		for range 4 {
			go func() {
				g, err := b.Acquire(t.Context(), rows(40, 1))
				if err != nil {
					t.Error(err)
					return
				}
				defer g.Release()
				running.Add(1)
				<-end
				running.Add(-1)
			}()
		}
		synctest.Wait()
		if running.Load() != 2 {
			t.Errorf("%d at once", running.Load())
		}
		close(end)
		synctest.Wait()
		if b.InUse() != 0 {
			t.Error(b.InUse())
		}
	})
}

func TestARunWithoutMemoryIsTriedOnceMoreAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := config()
		reclaimed := 0
		c.Reclaim = func() error { reclaimed++; return nil }
		b := New(c)
		other, err := b.Acquire(t.Context(), rows(50, 1))
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error)
		go func() {
			g, err := b.Acquire(t.Context(), rows(1, 1))
			if err != nil {
				t.Error(err)
			}
			defer g.Release()
			runs := 0
			_, err = g.Run(t.Context(), func() (tensor.Bag, error) {
				if runs++; runs == 1 {
					return nil, errMemory
				}
				if b.InUse() != b.Bytes() {
					t.Error("it is not alone")
				}
				return nothing()
			})
			ended <- err
		}()
		synctest.Wait() // it waits for the other
		select {
		case err := <-ended:
			t.Fatal("it was not alone", err)
		default:
		}
		other.Release()
		if err := <-ended; err != nil || reclaimed != 1 {
			t.Error(err, reclaimed)
		}
		g, err := b.Acquire(t.Context(), rows(1, 1))
		if err != nil {
			t.Fatal(err)
		}
		runs := 0
		_, err = g.Run(t.Context(), func() (tensor.Bag, error) { runs++; return nil, errMemory })
		g.Release()
		if errcode.Of(err) != errcode.TooLarge || !strings.Contains(err.Error(), "the memory of the stage") || runs != 2 {
			t.Error(err, runs)
		}
		if b.InUse() != 0 {
			t.Error(b.InUse())
		}
	})
}

func TestOtherFailuresAreNotTriedAgain(t *testing.T) {
	t.Parallel()
	b := New(config())
	g, err := b.Acquire(t.Context(), rows(1, 1))
	if err != nil {
		t.Fatal(err)
	}
	defer g.Release()
	runs, failed := 0, errors.New("it fails")
	if _, err := g.Run(t.Context(), func() (tensor.Bag, error) { runs++; return nil, failed }); !errors.Is(err, failed) || runs != 1 {
		t.Error(err, runs)
	}
}

func TestWithoutAnEstimateRunsTakeTheirPart(t *testing.T) {
	t.Parallel()
	c := config()
	c.Estimate = nil
	b := New(c)
	for range 4 {
		if _, err := b.Acquire(t.Context(), rows(1<<10, 1<<10)); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.Acquire(ctx, rows(1, 1)); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestEstimatesThatWereTooLowAreRaised(t *testing.T) {
	t.Parallel()
	peak := int64(0)
	c := config()
	c.Peak = func() (int64, error) { return peak, nil }
	b := New(c)
	compute := func(batch, took int64) error {
		g, err := b.Acquire(t.Context(), rows(batch, 1))
		if err != nil {
			return err
		}
		defer g.Release()
		_, err = g.Run(t.Context(), func() (tensor.Bag, error) {
			peak = max(peak, took)
			return nil, nil
		})
		return err
	}
	if err := compute(50, 50<<20); err != nil || b.Bytes() != 100<<20 {
		t.Error(err, b.Bytes())
	}
	if err := compute(40, 90<<20); err != nil || b.Bytes() > 60<<20 || b.Bytes() < 45<<20 {
		t.Error(err, b.Bytes())
	}
	if err := compute(60, 0); errcode.Of(err) != errcode.TooLarge {
		t.Error(err)
	}
	if err := compute(40, 95<<20); err != nil {
		t.Error(err)
	}
	raised := b.Bytes()
	if err := compute(1, 1); err != nil || b.Bytes() != raised {
		t.Error(err, b.Bytes(), raised)
	}
}
