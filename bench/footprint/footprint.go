// Package footprint measures what a stage costs its machine: the time from its
// start until it is ready, and its resident memory, for several numbers of
// stages. It prints them beside the weights the stage holds.
package footprint

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/distinfer/distinfer/bench/cluster"
	"github.com/distinfer/distinfer/bench/stats"
	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/server/stage"
)

const mb = 1e6

// Run measures and prints.
func Run(ctx context.Context, args []string) error {
	var programs cluster.Programs
	f := flag.NewFlagSet("footprint", flag.ExitOnError)
	programs.AddFlags(f)
	model := f.String("model", "models/sst2-minilm", "folder of a text model of input_ids and attention_mask")
	_ = f.Parse(args)
	fmt.Println("Start-up and resident memory of a stage (MB = 10^6 bytes; goal: at most 1.2 times its weights as float32, plus 80 MB)")
	t := stats.Table(os.Stdout)
	fmt.Fprintln(t, "stages\trank\tready after\tweights as float32\tresident\tafter 200 runs\tgoal\tshare of goal\t")
	for _, n := range []int{1, 2, 3, 6} {
		rows, err := measure(ctx, cluster.Options{Programs: programs, Model: *model, Stages: n, OneByOne: true})
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

// measure starts every stage of a model, then sends batches through all.
func measure(ctx context.Context, o cluster.Options) (rows []row, err error) {
	c, err := cluster.Start(ctx, o)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.Stop()) }()
	b, err := bundle.Open(c.Bundle)
	if err != nil {
		return nil, err
	}
	processes := c.Serving()
	for rank, s := range b.Stages {
		idle, err := processes[rank].Memory()
		if err != nil {
			return nil, err
		}
		rows = append(rows, row{ready: processes[rank].ReadyAfter(), weights: 4 * float64(s.Parameters), idle: idle})
	}
	p, err := stage.NewPipeline(b.ID, c.Addresses, stage.Options{MaxMessage: 64 << 20, Log: slog.New(slog.DiscardHandler)})
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
		if rows[rank].worked, err = processes[rank].Memory(); err != nil {
			return nil, err
		}
	}
	return rows, nil
}
