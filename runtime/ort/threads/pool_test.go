package threads_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/distinfer/distinfer/runtime/ort"
	"github.com/distinfer/distinfer/runtime/ort/orttest"
	"github.com/distinfer/distinfer/runtime/ort/threads"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/split/onnxfile/onnxtest"
)

// The tests of this file are not parallel: a process has one pool.

func newPool(t testing.TB, intraOp int) *threads.Pool {
	t.Helper()
	p, err := orttest.Library(t).NewPool(intraOp)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// product is a model of work that can be shared: it multiplies x, which has width
// columns, by a matrix, layers times.
func product(t testing.TB, layers int, o ort.Options) *ort.Session {
	t.Helper()
	var g onnxtest.Graph
	g.Input("x", 1, "n", width)
	weights := make([]float32, width*width)
	for i := range weights {
		weights[i] = float32(i%7-3) / width
	}
	g.Floats("w", []int64{width, width}, weights)
	from := "x"
	for i := range layers {
		to := fmt.Sprintf("y%d", i)
		g.Node("MatMul", []string{from, "w"}, []string{to})
		from = to
	}
	g.Output(from, 1, "n", width)
	s, err := orttest.Library(t).OpenBytes("product", g.Model(),
		[]tensor.Spec{orttest.Spec("x", tensor.Float32, tensor.Named("n"), tensor.Fixed(width))},
		[]tensor.Spec{orttest.Spec(from, tensor.Float32, tensor.Named("n"), tensor.Fixed(width))}, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

const width = 256

func rows(n int) tensor.Bag {
	x := make([]float32, n*width)
	for i := range x {
		x[i] = float32(i%11 - 5)
	}
	return tensor.Bag{"x": tensor.Of([]int64{int64(n), width}, x)}
}

func TestRunsOfAPoolAnswerAsOthersDo(t *testing.T) {
	const layers = 4
	want := orttest.Run(t, product(t, layers, ort.Options{Threads: 1}), rows(50))
	for _, intraOp := range []int{0, 1, runtime.GOMAXPROCS(0) + 5} {
		t.Run(strconv.Itoa(intraOp), func(t *testing.T) {
			p := newPool(t, intraOp)
			sessions := []*ort.Session{product(t, layers, ort.Options{Pool: p}), product(t, layers, ort.Options{Pool: p})}
			seconds := time.Second
			if testing.Short() {
				seconds /= 10
			}
			ctx, cancel := context.WithTimeout(t.Context(), seconds)
			defer cancel()
			var wg sync.WaitGroup
			wg.Go(func() {
				for ctx.Err() == nil {
					p.Allow(rand.IntN(4) - 1)
					time.Sleep(time.Duration(rand.IntN(300)) * time.Microsecond)
				}
			})
			for i := range 2 * runtime.GOMAXPROCS(0) {
				wg.Go(func() {
					for n := 0; ctx.Err() == nil; n++ {
						// Some runs are stopped in their midst.
						one, stop := context.WithTimeout(ctx, time.Hour)
						if n%4 == 3 {
							one, stop = context.WithTimeout(ctx, time.Duration(rand.IntN(1000))*time.Microsecond)
						}
						got, err := sessions[i%2].Run(one, rows(50))
						stop()
						switch {
						case errors.Is(err, context.DeadlineExceeded):
						case err != nil:
							t.Error(err)
							return
						case !slices.Equal(got["y3"].Data, want["y3"].Data):
							t.Error("another answer than that of a session with threads of its own")
							return
						}
					}
				})
			}
			wg.Wait()
		})
	}
}

// cpu is the time that the threads of this process have computed, by their ids.
func cpu(t *testing.T) map[string]time.Duration {
	t.Helper()
	files, err := filepath.Glob("/proc/self/task/*/schedstat")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Skip("the system does not tell what threads compute")
	}
	times := map[string]time.Duration{}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			continue // it has ended
		}
		on, _, _ := strings.Cut(string(data), " ")
		ns, err := strconv.ParseInt(on, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		times[filepath.Base(filepath.Dir(f))] = time.Duration(ns)
	}
	return times
}

// help is what the second busiest thread computes while f runs, as a share of what
// the busiest does, which is the one that runs the model.
func help(t *testing.T, f func()) float64 {
	t.Helper()
	before := cpu(t)
	f()
	var busiest, next time.Duration
	for id, d := range cpu(t) {
		d -= before[id]
		next = max(next, min(busiest, d))
		busiest = max(busiest, d)
	}
	return float64(next) / float64(busiest)
}

func TestALoneRunHasTheIntraOpThreadsThatAreAllowed(t *testing.T) {
	if runtime.GOMAXPROCS(0) < 2 {
		t.Skip("there is one processor")
	}
	p := newPool(t, 1)
	s := product(t, 8, ort.Options{Pool: p})
	in := rows(500)
	work := func() {
		for range 20 {
			orttest.Run(t, s, in)
		}
	}
	work()
	if got := help(t, work); got < 0.2 {
		t.Errorf("intra-op threads computed %.2f of what the caller did", got)
	}
	p.Allow(0)
	if got := help(t, work); got > 0.15 {
		t.Errorf("intra-op threads that are not allowed computed %.2f of what the caller did", got)
	}
	p.Allow(1)
	if got := help(t, work); got < 0.2 {
		t.Errorf("intra-op threads that are allowed again computed %.2f of what the caller did", got)
	}
}

func TestIntraOpThreadsSleepBetweenRuns(t *testing.T) {
	p := newPool(t, runtime.GOMAXPROCS(0)-1)
	s := product(t, 1, ort.Options{Pool: p})
	orttest.Run(t, s, rows(2000))
	const idle = 200 * time.Millisecond
	var computed time.Duration
	for range 50 { // they need a processor to go to sleep
		before := cpu(t)
		time.Sleep(idle)
		computed = 0
		for id, d := range cpu(t) {
			computed += d - before[id]
		}
		if computed < idle/4 {
			return
		}
	}
	t.Errorf("the threads computed for %s in %s, long after a run", computed, idle)
}

func TestPoolsLeaveNoThreadsBehind(t *testing.T) {
	library := orttest.Library(t)
	cycle := func() {
		p, err := library.NewPool(1)
		if err != nil {
			t.Fatal(err)
		}
		p.Allow(rand.IntN(2))
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		p.Allow(1) // of no effect
	}
	for range 20 {
		cycle()
	}
	before := len(cpu(t))
	for range 1000 {
		cycle()
	}
	if after := len(cpu(t)); after > before+5 {
		t.Errorf("%d threads, then %d", before, after)
	}
}

func TestAProcessHasOnePool(t *testing.T) {
	library := orttest.Library(t)
	p, err := library.NewPool(1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := library.NewPool(1); err == nil || !strings.Contains(err.Error(), "has a pool already") {
		t.Errorf("a second pool: %v", err)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := library.NewPool(-1); err == nil || !strings.Contains(err.Error(), "-1 intra-op threads") {
		t.Errorf("a pool of -1 intra-op threads: %v", err)
	}
	newPool(t, 1) // there is room for another again
}

// Layers of this kind hold on to intra-op threads for many loops.
func TestARecurrentLayerNeedsNoHelp(t *testing.T) {
	const hidden = 128
	var g onnxtest.Graph
	g.Input("x", 1, "time", "batch", width)
	ones := func(n int) []float32 {
		list := make([]float32, n)
		for i := range list {
			list[i] = 0.01
		}
		return list
	}
	g.Floats("w", []int64{2, 4 * hidden, width}, ones(2*4*hidden*width))
	g.Floats("r", []int64{2, 4 * hidden, hidden}, ones(2*4*hidden*hidden))
	g.Node("LSTM", []string{"x", "w", "r"}, []string{"y"}, onnxtest.IntAttr("hidden_size", hidden), onnxtest.Message{}.Text(1, "direction").Text(4, "bidirectional").Int(20, 3))
	g.Output("y", 1, "time", 2, "batch", hidden)
	dims := []tensor.Dim{tensor.Named("time"), tensor.Named("batch"), tensor.Fixed(width)}
	p := newPool(t, 1)
	s, err := orttest.Library(t).OpenBytes("lstm", g.Model(), []tensor.Spec{orttest.Spec("x", tensor.Float32, dims...)},
		[]tensor.Spec{orttest.Spec("y", tensor.Float32, tensor.Named("time"), tensor.Fixed(2), tensor.Named("batch"), tensor.Fixed(hidden))}, ort.Options{Pool: p})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	in := tensor.Bag{"x": tensor.Of([]int64{20, 8, width}, ones(20*8*width))}
	want := orttest.Run(t, s, in)
	p.Allow(0)
	var wg sync.WaitGroup
	for range 2 * runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for range 5 {
				if got, err := s.Run(t.Context(), in); err != nil || !slices.Equal(got["y"].Data, want["y"].Data) {
					t.Errorf("another answer without help (%v)", err)
				}
			}
		})
	}
	wg.Wait()
}
