package threads_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/distinfer/distinfer/runtime/ort"
	"github.com/distinfer/distinfer/runtime/ort/orttest"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/runtime/testkit"
)

func openSentences(b *testing.B, o ort.Options) *ort.Session {
	b.Helper()
	dims := []tensor.Dim{tensor.Named("batch"), tensor.Named("sequence")}
	s, err := orttest.Library(b).Open(filepath.Join(testkit.Root(b), "models", "sst2-minilm", "model.onnx"),
		[]tensor.Spec{orttest.Spec("input_ids", tensor.Int64, dims...), orttest.Spec("attention_mask", tensor.Int64, dims...)},
		[]tensor.Spec{orttest.Spec("logits", tensor.Float32, tensor.Named("batch"), tensor.Fixed(2))}, o)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	return s
}

func sentences(rows int) tensor.Bag {
	const length = 25
	ids, mask := make([]int64, rows*length), make([]int64, rows*length)
	for i := range ids {
		ids[i], mask[i] = int64(1000+37*i%20000), 1
	}
	shape := []int64{int64(rows), length}
	return tensor.Bag{"input_ids": tensor.Of(shape, ids), "attention_mask": tensor.Of(shape, mask)}
}

// BenchmarkPool compares sessions that have threads of their own with those of a
// pool. The forms take turns, so that what else the machine does disturbs all alike.
// Run it with -benchtime=1x.
func BenchmarkPool(b *testing.B) {
	processors := runtime.GOMAXPROCS(0)
	p := newPool(b, processors-1)
	one, all := openSentences(b, ort.Options{Threads: 1}), openSentences(b, ort.Options{Threads: processors})
	pooled := openSentences(b, ort.Options{Pool: p})
	forms := []struct {
		name  string
		s     *ort.Session
		allow int
	}{
		{"1 thread", one, 0},
		{fmt.Sprintf("%d threads", processors), all, 0},
		{"pool", pooled, processors - 1},
		{"pool, Allow(0)", pooled, 0},
	}
	const rounds = 5
	for b.Loop() {
		for _, work := range []struct{ callers, rows, runs int }{
			{1, 1, 20}, {1, 8, 4}, {processors, 8, 4}, {processors, 1, 20},
		} {
			in := sentences(work.rows)
			rates := make([][]float64, len(forms))
			for r := range rounds {
				for i := range forms {
					i = (i + r) % len(forms)
					p.Allow(forms[i].allow)
					started := time.Now()
					var wg sync.WaitGroup
					for range work.callers {
						wg.Go(func() {
							for range work.runs {
								if _, err := forms[i].s.Run(b.Context(), in); err != nil {
									b.Error(err)
								}
							}
						})
					}
					wg.Wait()
					rates[i] = append(rates[i], float64(work.callers*work.rows*work.runs)/time.Since(started).Seconds())
				}
			}
			for i, form := range forms {
				slices.Sort(rates[i])
				middle, best := rates[i][rounds/2], rates[i][rounds-1]
				ms := 1000 * float64(work.callers*work.rows)
				_, _ = fmt.Fprintf(os.Stderr, "%d callers x %d sentences, %-15s median %6.1f/s, a run %6.2f ms; best %6.1f/s, %6.2f ms\n",
					work.callers, work.rows, form.name, middle, ms/middle, best, ms/best)
			}
		}
	}
}

// BenchmarkAllow is what Allow costs its caller when it changes something: the pool
// is one that has a run in flight.
func BenchmarkAllow(b *testing.B) {
	p := newPool(b, 1)
	s := product(b, 4, ort.Options{Pool: p})
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				orttest.Run(b, s, rows(2000))
			}
		}
	})
	for i := 0; b.Loop(); i++ {
		p.Allow(i & 1)
	}
	close(done)
	wg.Wait()
}
