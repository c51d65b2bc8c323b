package main_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/runtime/testkit"
	stageclient "github.com/distinfer/distinfer/server/stage"
	"github.com/distinfer/distinfer/split/onnxfile/onnxtest"
)

// slowBundle splits a model that multiplies matrices as many times as its input
// says.
func slowBundle(t *testing.T) string {
	t.Helper()
	var body, g onnxtest.Graph
	body.Input("i", int64(tensor.Int64))
	body.Input("go_in", int64(tensor.Bool))
	body.Input("acc_in", int64(tensor.Float32), 64, 64)
	body.Node("Identity", []string{"go_in"}, []string{"go_out"})
	body.Node("MatMul", []string{"acc_in", "w"}, []string{"acc_out"})
	body.Output("go_out", int64(tensor.Bool))
	body.Output("acc_out", int64(tensor.Float32), 64, 64)
	g.Input("times", int64(tensor.Int64))
	g.Input("x", int64(tensor.Float32), 64, 64)
	g.Floats("w", []int64{64, 64}, make([]float32, 64*64))
	g.Node("Loop", []string{"times", "", "x"}, []string{"y"}, onnxtest.GraphAttr("body", &body))
	g.Output("y", int64(tensor.Float32), 64, 64)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "model.onnx"), g.Model(), 0o600); err != nil {
		t.Fatal(err)
	}
	ok(t, dir, "", "split", "model.onnx", "--stages", "1")
	return filepath.Join(dir, "stages")
}

// call runs the slow model, and tells when the call has ended.
func call(t *testing.T, dir, address string, times int64) <-chan error {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testkit.Patience)
	t.Cleanup(cancel)
	return callUntil(ctx, t, dir, address, times)
}

func callUntil(ctx context.Context, t *testing.T, dir, address string, times int64) <-chan error {
	t.Helper()
	b, err := bundle.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	p, err := stageclient.NewPipeline(b.ID, [][]string{{address}}, stageclient.Options{MaxMessage: 1 << 20, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	ended := make(chan error, 1)
	go func() {
		_, err := p.Run(ctx, tensor.Bag{"times": tensor.Of(nil, []int64{times}), "x": tensor.Of([]int64{64, 64}, make([]float32, 64*64))})
		ended <- err
	}()
	return ended
}

// computes reports whether the stage at an address computes a run. Its processor time would not
// tell: it may be that of its start.
func computes(t *testing.T, address string) bool {
	t.Helper()
	d, err := stageclient.Describe(testkit.Context(t), 0, address, stageclient.Options{MaxMessage: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	return d.GetRunning() > 0
}

// busy waits until a stage computes.
func busy(t *testing.T, address string) {
	t.Helper()
	testkit.Eventually(t, "the stage computes", func() bool { return computes(t, address) })
}

// longCall makes a call and returns when the stage computes it. The call lasts only as long as it
// takes to see it, since a stage that stops waits for half a minute, in which a busy machine
// computes little.
func longCall(t *testing.T, dir, address string) <-chan error {
	t.Helper()
	for times := int64(1000); ; times *= 2 {
		ended := call(t, dir, address, times)
		testkit.Eventually(t, "the stage computes", func() bool { return len(ended) > 0 || computes(t, address) })
		if len(ended) == 0 {
			return ended
		}
		if err := <-ended; err != nil { // else it was too short to be seen
			t.Fatal(err)
		}
	}
}

func TestAStageAskedToStopFinishesWhatRuns(t *testing.T) {
	t.Parallel()
	dir := slowBundle(t)
	s, address := stage(t, dir, 0)
	ended := longCall(t, dir, address)
	if code := s.stop(t, syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if err := <-ended; err != nil {
		t.Errorf("the call under way: %v", err)
	}
}

// A deadline or a caller that leaves ends the computation in ONNX Runtime, and not
// just the wait for it.
func TestAStageComputesForNobody(t *testing.T) {
	t.Parallel()
	dir := slowBundle(t)
	s, address := stage(t, dir, 0)
	for name, leave := range map[string]func() (context.Context, context.CancelFunc){
		"cancelled": func() (context.Context, context.CancelFunc) { return context.WithCancel(context.Background()) },
		"too late": func() (context.Context, context.CancelFunc) {
			return context.WithTimeout(context.Background(), 2*time.Second)
		},
	} {
		ctx, cancel := leave()
		ended := callUntil(ctx, t, dir, address, 1<<40)
		testkit.Eventually(t, "the stage computes", func() bool { return len(ended) > 0 || computes(t, address) })
		if name == "cancelled" {
			cancel()
		}
		if err := <-ended; err == nil {
			t.Errorf("%s: the call was answered", name)
		}
		cancel()
		testkit.Eventually(t, "the stage is idle", func() bool {
			before := processorTime(t, s.cmd.Process.Pid)
			time.Sleep(500 * time.Millisecond)
			return !computes(t, address) && processorTime(t, s.cmd.Process.Pid) < before+10
		})
	}
}

func TestASecondSignalEndsAStageAtOnce(t *testing.T) {
	t.Parallel()
	dir := slowBundle(t)
	s, address := stage(t, dir, 0)
	ctx, giveUp := context.WithTimeout(context.Background(), testkit.Patience)
	defer giveUp()
	ended := callUntil(ctx, t, dir, address, 1<<40)
	busy(t, address)
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	// It drains: it is still there after a while, and takes nothing new.
	testkit.Eventually(t, "new calls are refused", func() bool {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err == nil {
			_ = conn.Close()
		}
		return errors.Is(err, syscall.ECONNREFUSED)
	})
	select {
	case <-s.ended:
		t.Fatal("the stage ended although a call was under way")
	default:
	}
	if code := s.stop(t, syscall.SIGTERM); code != 128+int(syscall.SIGTERM) {
		t.Errorf("exit code %d", code)
	}
	giveUp() // or the call would wait for the stage to come back
	if err := <-ended; err == nil {
		t.Error("the call was answered")
	}
}
