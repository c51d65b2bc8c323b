// Package rewriting measures what is gained by leaving out positions that nobody reads: a model in
// one stage as its file has it, and rewritten, in one process, alternating.
package rewriting

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/distinfer/distinfer/bench/cluster"
	"github.com/distinfer/distinfer/bench/stats"
	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/ort"
	"github.com/distinfer/distinfer/runtime/tensor"
)

type options struct {
	cluster.Programs
	model   string
	threads int
	time    time.Duration
}

// Run measures and prints.
func Run(ctx context.Context, args []string) (err error) {
	var o options
	f := flag.NewFlagSet("rewriting", flag.ExitOnError)
	o.AddFlags(f)
	f.StringVar(&o.model, "model", "models/sst2-minilm", "folder of the model, whose inputs are ids and a mask")
	f.IntVar(&o.threads, "threads", 1, "threads of a run")
	f.DurationVar(&o.time, "time", 4*time.Second, "time for each size")
	_ = f.Parse(args)
	dir, err := os.MkdirTemp("", "distinfer-rewriting-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	library, err := ort.Load(o.Library)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, library.Close()) }()
	var sides [2]*ort.Session
	for i, flags := range [][]string{{"--no-optimize"}, nil} {
		if sides[i], err = open(ctx, library, o, filepath.Join(dir, fmt.Sprint(i)), flags); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, sides[i].Close()) }()
	}
	fmt.Printf("%s with %d threads, as it is and rewritten, alternating; medians of a run in milliseconds\n", o.model, o.threads)
	fmt.Println("tokens  texts  as it is  rewritten  times the throughput")
	for _, tokens := range []int{16, 32, 128} {
		for _, texts := range []int{1, 8, 32} {
			whole, less, err := compare(ctx, sides, input(texts, tokens), o.time)
			if err != nil {
				return err
			}
			fmt.Printf("%6d  %5d  %8.2f  %9.2f  %20.3f\n", tokens, texts, whole, less, whole/less)
		}
	}
	return nil
}

// open splits the model into one stage and loads that.
func open(ctx context.Context, library *ort.Library, o options, dir string, flags []string) (*ort.Session, error) {
	args := append([]string{"split", o.model, "--stages", "1", "--no-verify", "--no-text", "--out", dir, "--onnxruntime", o.Library}, flags...)
	if out, err := exec.CommandContext(ctx, o.Distinfer, args...).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("split: %w: %s", err, out)
	}
	b, err := bundle.Open(dir)
	if err != nil {
		return nil, err
	}
	return library.Open(filepath.Join(dir, b.Stages[0].Name), b.Inputs, b.Outputs, ort.Options{Threads: o.threads})
}

// input are texts of as many tokens, without padding.
func input(texts, tokens int) tensor.Bag {
	shape := []int64{int64(texts), int64(tokens)}
	ids, mask := make([]int64, texts*tokens), make([]int64, texts*tokens)
	for i := range ids {
		ids[i], mask[i] = int64(1000+i%1000), 1
	}
	return tensor.Bag{"input_ids": tensor.Of(shape, ids), "attention_mask": tensor.Of(shape, mask)}
}

// compare has both compute in turn until the time is over, and gives their median times in milliseconds.
func compare(ctx context.Context, sides [2]*ort.Session, in tensor.Bag, limit time.Duration) (whole, less float64, err error) {
	var took [2][]float64
	for begin := time.Now(); time.Since(begin) < limit || len(took[0]) < 4; {
		for k := range sides {
			start := time.Now()
			if _, err := sides[k].Run(ctx, in); err != nil {
				return 0, 0, err
			}
			took[k] = append(took[k], stats.Millis(time.Since(start)))
		}
	}
	return stats.Median(took[0][1:]), stats.Median(took[1][1:]), nil // the first of each warms up
}
