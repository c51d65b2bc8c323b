//go:build linux && amd64

package threads_test

import (
	"context"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/runtime/ort"
	"github.com/distinfer/distinfer/runtime/ort/orttest"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/split/onnxfile/onnxtest"
)

// quotient is a model that computes op of the integers x and y, for which the processor has
// an instruction that traps.
func quotient(t *testing.T, op string, dtype tensor.DType, o ort.Options) *ort.Session {
	t.Helper()
	var g onnxtest.Graph
	g.Input("x", int64(dtype), "n")
	g.Input("y", int64(dtype), "n")
	g.Node(op, []string{"x", "y"}, []string{"z"})
	g.Output("z", int64(dtype), "n")
	n := tensor.Named("n")
	s, err := orttest.Library(t).OpenBytes("quotient", g.Model(), []tensor.Spec{orttest.Spec("x", dtype, n), orttest.Spec("y", dtype, n)}, []tensor.Spec{orttest.Spec("z", dtype, n)}, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func pair[T tensor.Element](x, y T) tensor.Bag {
	return tensor.Bag{"x": tensor.Of([]int64{1}, []T{x}), "y": tensor.Of([]int64{1}, []T{y})}
}

func wantFatal(t *testing.T, err error, signal string) {
	t.Helper()
	if errcode.Of(err) != errcode.Fatal || !strings.Contains(err.Error(), signal) {
		t.Errorf("got %v, want a fatal error by %s", err, signal)
	}
}

// isChild reports whether this is the process that a test starts for itself, since what it
// does is of consequence for others. In the first process it runs the other, and fails
// as that does.
func isChild(t *testing.T) bool {
	t.Helper()
	const variable = "DISTINFER_TEST_CHILD"
	if os.Getenv(variable) != "" {
		return true
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe, "-test.run", "^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), variable+"=1")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("%v:\n%s", err, out)
	}
	return false
}

// A division without a result has the processor trap. That ends no other run.
func TestADivisionWithoutAResultEndsItsRunAlone(t *testing.T) {
	t.Parallel()
	if !isChild(t) {
		return
	}
	s := quotient(t, "Div", tensor.Int64, ort.Options{Threads: 1})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var work sync.WaitGroup
	for range 4 {
		work.Go(func() {
			for i := int64(1); i < 200; i++ {
				out, err := s.Run(ctx, pair(6*i, i))
				if err != nil {
					t.Error(err)
				} else if got, _ := tensor.As[int64](out["z"]); !slices.Equal(got, []int64{6}) {
					t.Errorf("6·%d / %d = %d", i, i, got)
				}
			}
		})
	}
	_, err := s.Run(ctx, pair[int64](math.MinInt64, -1))
	wantFatal(t, err, "SIGFPE")
	_, err = quotient(t, "Div", tensor.Int32, ort.Options{Threads: 1}).Run(context.Background(), pair[int32](math.MinInt32, -1))
	wantFatal(t, err, "SIGFPE")
	work.Wait()
	if err := orttest.Library(t).Damaged(); err != nil {
		t.Error(err)
	}
	for range 6 {
		_, err = s.Run(ctx, pair[int64](math.MinInt64, -1))
		wantFatal(t, err, "SIGFPE")
	}
	if orttest.Library(t).Damaged() == nil {
		t.Error("threads may be lost without end")
	}
}

// The trap may be in the part that a helper computes.
func TestATrapOfAnIntraOpThreadEndsTheRunItHelps(t *testing.T) {
	t.Parallel()
	if !isChild(t) {
		return
	}
	const n = 4 << 20
	s := quotient(t, "Div", tensor.Int64, ort.Options{Threads: 2})
	x, y := make([]int64, n), slices.Repeat([]int64{-1}, n)
	in := tensor.Bag{"x": tensor.Of([]int64{n}, x), "y": tensor.Of([]int64{n}, y)}
	orttest.Run(t, s, in)
	for i := range x {
		x[i] = math.MinInt64 // whoever computes it
	}
	_, err := s.Run(t.Context(), in)
	wantFatal(t, err, "SIGFPE")
}

// threadsNamed are the threads of this process that have a name.
func threadsNamed(t *testing.T, name string) (list []int) {
	t.Helper()
	files, err := filepath.Glob("/proc/self/task/*/comm")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if is, err := os.ReadFile(f); err == nil && strings.TrimSpace(string(is)) == name {
			n, _ := strconv.Atoi(filepath.Base(filepath.Dir(f)))
			list = append(list, n)
		}
	}
	return list
}

func TestASignalThatTellsOfDamageEndsTheRunAndIsTold(t *testing.T) {
	t.Parallel()
	if !isChild(t) {
		return
	}
	s := product(t, 64, ort.Options{Threads: 1})
	orttest.Run(t, s, rows(1))
	threads := threadsNamed(t, "ort-run")
	if len(threads) != 1 {
		t.Fatalf("the thread of runs is one of %v", threads)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := s.Run(context.Background(), rows(4096))
		ended <- err
	}()
	for before := computed(t, threads[0]); computed(t, threads[0]) < before+20*time.Millisecond; {
		time.Sleep(time.Millisecond) // until the run began; else nobody takes the signal
	}
	// As abort() does on the thread that calls it.
	if err := syscall.Tgkill(syscall.Getpid(), threads[0], syscall.SIGABRT); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		wantFatal(t, err, "SIGABRT")
		if err := orttest.Library(t).Damaged(); err == nil || !strings.Contains(err.Error(), "SIGABRT") {
			t.Errorf("the damage is reported as %v", err)
		}
		if out, err := s.Run(context.Background(), rows(1)); err == nil || !strings.Contains(err.Error(), "cannot be trusted") {
			t.Errorf("afterwards a run gives %v, %v", out.Names(), err)
		}
	case <-time.After(time.Minute):
		t.Fatal("the run does not end")
	}
}

// computed is the time of the processor that a thread of this process has had.
func computed(t *testing.T, thread int) time.Duration {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/schedstat", thread))
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.ParseInt(strings.Fields(string(stat))[0], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return time.Duration(n)
}

func TestGosOwnSignalsStayItsOwn(t *testing.T) {
	t.Parallel()
	s := quotient(t, "Div", tensor.Int64, ort.Options{Threads: 1})
	orttest.Run(t, s, pair[int64](6, 3))
	var none *int
	defer func() {
		if recover() == nil {
			t.Error("a nil pointer is no panic any more")
		}
	}()
	t.Log(*none)
}
