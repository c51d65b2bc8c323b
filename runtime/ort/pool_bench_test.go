package ort_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/distinfer/distinfer/runtime/ort"
	"github.com/distinfer/distinfer/runtime/ort/orttest"
	"github.com/distinfer/distinfer/runtime/tensor"
)

func sentences(rows, length int64) tensor.Bag {
	ids, mask := make([]int64, rows*length), make([]int64, rows*length)
	for i := range ids {
		ids[i], mask[i] = int64(1000+37*i%20000), 1
	}
	shape := []int64{rows, length}
	return tensor.Bag{"input_ids": tensor.Of(shape, ids), "attention_mask": tensor.Of(shape, mask)}
}

func openSST2(t testing.TB, o ort.Options) *ort.Session {
	t.Helper()
	dims := []tensor.Dim{tensor.Named("batch"), tensor.Named("sequence")}
	s, err := orttest.Library(t).Open(filepath.Join(orttest.Root(t), "models/sst2-minilm/model.onnx"),
		[]tensor.Spec{spec("input_ids", tensor.Int64, dims...), spec("attention_mask", tensor.Int64, dims...)},
		[]tensor.Spec{spec("logits", tensor.Float32, tensor.Named("batch"), tensor.Fixed(2))}, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func newPool(t testing.TB, helpers int) *ort.Pool {
	t.Helper()
	p, err := orttest.Library(t).NewPool(helpers)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

func BenchmarkForms(b *testing.B) {
	for _, form := range []string{"own1", "own2", "pool0", "pool1", "poolswitch"} {
		for _, work := range []struct{ callers, rows int }{{1, 1}, {1, 8}, {2, 8}, {2, 1}} {
			b.Run(fmt.Sprintf("%s/%dx%d", form, work.callers, work.rows), func(b *testing.B) {
				var o ort.Options
				allow := func(int) {}
				switch form {
				case "own1":
					o.Threads = 1
				case "own2":
					o.Threads = 2
				default:
					o.Pool = newPool(b, 1)
					if form != "pool1" {
						o.Pool.Allow(0)
					}
					if form == "poolswitch" {
						allow = o.Pool.Allow
					}
				}
				s := openSST2(b, o)
				in := sentences(int64(work.rows), 25)
				n := 0
				var mu sync.Mutex
				for b.Loop() {
					// a fixed amount of work a step: 8 runs a caller
					var wg sync.WaitGroup
					for range work.callers {
						wg.Go(func() {
							for range 8 {
								allow(1)
								if _, err := s.Run(context.Background(), in); err != nil {
									b.Error(err)
								}
								allow(0)
							}
							mu.Lock()
							n += 8 * work.rows
							mu.Unlock()
						})
					}
					wg.Wait()
				}
				b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "sentences/s")
				b.ReportMetric(b.Elapsed().Seconds()*1000*float64(work.callers*work.rows)/float64(n), "ms/run")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

func BenchmarkAllow(b *testing.B) {
	p := newPool(b, 1)
	for i := 0; b.Loop(); i++ {
		p.Allow(i & 1)
	}
}

var _ = os.Getpid
