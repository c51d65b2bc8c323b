// Command footprint measures what a stage costs its machine: the time from its
// start until it is ready, and its resident memory, for several numbers of
// stages. It prints them beside the weights the stage holds.
//
//	go run ./bench/footprint [-model MODEL] [-binary bin/distinfer]
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/distinfer/distinfer/bench/stagelog"
	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/server/stage"
)

func main() {
	binary := flag.String("binary", "bin/distinfer", "the program to measure")
	model := flag.String("model", "models/sst2-minilm/model.onnx", "a text model of input_ids and attention_mask")
	flag.Parse()
	if err := run(context.Background(), *binary, *model); err != nil {
		fmt.Fprintln(os.Stderr, "footprint:", err)
		os.Exit(1)
	}
}

const mb = 1e6

func run(ctx context.Context, binary, model string) error {
	dir, err := os.MkdirTemp("", "distinfer-footprint-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	fmt.Println("Start-up and resident memory of a stage (MB = 10^6 bytes; goal: at most 1.2 times its weights as float32, plus 80 MB)")
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "stages\trank\tready after\tweights as float32\tresident\tafter 200 runs\tgoal\tshare of goal\t")
	for _, n := range []int{1, 2, 3, 6} {
		out := filepath.Join(dir, strconv.Itoa(n))
		if output, err := exec.CommandContext(ctx, binary, "split", model, "--stages", strconv.Itoa(n), "--out", out).CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, output)
		}
		rows, err := measure(ctx, binary, out)
		if err != nil {
			return err
		}
		for rank, r := range rows {
			goal := 1.2*r.weights + 80*mb
			fmt.Fprintf(t, "%d\t%d\t%d ms\t%.1f\t%.1f\t%.1f\t%.1f\t%.0f%%\t\n", n, rank, r.ready.Milliseconds(),
				r.weights/mb, r.idle/mb, r.worked/mb, goal/mb, 100*max(r.idle, r.worked)/goal)
		}
	}
	return t.Flush()
}

type row struct {
	ready                 time.Duration
	weights, idle, worked float64 // bytes
}

// measure starts every stage of a bundle, then sends batches through all.
func measure(ctx context.Context, binary, dir string) (rows []row, err error) {
	b, err := bundle.Open(dir)
	if err != nil {
		return nil, err
	}
	var processes []*exec.Cmd
	defer func() {
		for _, p := range processes {
			err = errors.Join(err, p.Process.Signal(syscall.SIGTERM), p.Wait())
		}
	}()
	var addresses [][]string
	for rank, s := range b.Stages {
		started := time.Now()
		cmd := exec.CommandContext(ctx, binary, "serve-stage", "--bundle", dir, "--rank", strconv.Itoa(rank), "--listen", "localhost:0", "--log-format", "json")
		stderr, err := cmd.StderrPipe()
		if err != nil {
			return nil, err
		}
		if err := cmd.Start(); err != nil {
			return nil, err
		}
		processes = append(processes, cmd)
		address, err := stagelog.Address(stderr)
		if err != nil {
			return nil, err
		}
		r := row{ready: time.Since(started), weights: 4 * float64(s.Parameters)}
		if r.idle, err = resident(cmd.Process.Pid); err != nil {
			return nil, err
		}
		rows = append(rows, r)
		addresses = append(addresses, []string{address})
	}
	p, err := stage.NewPipeline(b.ID, addresses, stage.Options{MaxMessage: 64 << 20, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	const rowsABatch, length = 8, 32
	ids, mask := make([]int64, rowsABatch*length), make([]int64, rowsABatch*length)
	for i := range ids {
		ids[i], mask[i] = int64(1000+i), 1
	}
	shape := []int64{rowsABatch, length}
	in := tensor.Bag{"input_ids": tensor.Of(shape, ids), "attention_mask": tensor.Of(shape, mask)}
	for range 200 {
		if _, err := p.Run(ctx, in); err != nil {
			return nil, err
		}
	}
	for rank := range rows {
		if rows[rank].worked, err = resident(processes[rank].Process.Pid); err != nil {
			return nil, err
		}
	}
	return rows, nil
}

// resident is the resident memory of a process, in bytes.
func resident(pid int) (float64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for _, line := range strings.Split(string(status), "\n") {
		var kb float64
		if _, err := fmt.Sscanf(line, "VmRSS: %f kB", &kb); err == nil {
			return kb * 1024, nil
		}
	}
	return 0, errors.New("no VmRSS in the process's status")
}
