// Package overhead measures what it costs to serve sst2-minilm in two stages, as
// processes on this machine, beside ONNX Runtime itself:
//
//   - the share of a request of 32 sentences that is spent outside of ONNX Runtime,
//     by the stages' own account of the request;
//   - the median time of one sentence at a time, beside the unsplit model in this
//     process with the same number of threads, alternating.
//
// The sentences are those of SST-2 dev.
package overhead

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/distinfer/distinfer/bench/cluster"
	"github.com/distinfer/distinfer/bench/stats"
	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/ort"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/runtime/text"
	"github.com/distinfer/distinfer/server/stage"
)

// The goals; docs/performance.md names them as well.
const (
	mostOutside = 0.05 // of a request of a batch
	mostOfWhole = 1.10 // times the median of the unsplit model
)

const (
	folder = "models/sst2-minilm"
	batch  = 32
)

type options struct {
	cluster.Programs
	threads, rounds, sentences int
}

// Run measures and prints.
func Run(ctx context.Context, args []string) error {
	var o options
	f := flag.NewFlagSet("overhead", flag.ExitOnError)
	o.AddFlags(f)
	f.IntVar(&o.threads, "threads", 1, "threads of each stage, and of the unsplit model")
	f.IntVar(&o.rounds, "rounds", 5, "rounds over the sentences")
	f.IntVar(&o.sentences, "sentences", 200, "sentences of a round that are sent alone; all are sent in batches")
	_ = f.Parse(args)
	return run(ctx, o)
}

func run(ctx context.Context, o options) (err error) {
	alone, batches, err := requests(o.sentences)
	if err != nil {
		return err
	}
	c, err := cluster.Start(ctx, cluster.Options{Programs: o.Programs, Model: folder, Stages: 2, Threads: o.threads})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Stop()) }()
	b, err := bundle.Open(c.Bundle)
	if err != nil {
		return err
	}
	pipeline, err := stage.NewPipeline(b.ID, c.Addresses, stage.Options{MaxMessage: 64 << 20, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, pipeline.Close()) }()
	library, err := ort.Load(o.Library)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, library.Close()) }()
	whole, err := library.Open(filepath.Join(folder, "model.onnx"), b.Inputs, b.Outputs, ort.Options{Threads: o.threads})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, whole.Close()) }()

	fmt.Printf("sst2-minilm in two stages over loopback, %d threads each, beside the unsplit model in one process with as many; %d rounds\n", o.threads, o.rounds)
	var share, ratio, pipelined, unsplit, computed []float64
	for round := range o.rounds + 1 {
		outside, err := outsideOf(ctx, pipeline, batches)
		if err != nil {
			return err
		}
		var inStages []float64
		medians, err := alternate(ctx, alone, func(ctx context.Context, in tensor.Bag) (time.Duration, error) {
			started := time.Now()
			_, timings, err := pipeline.Trace(ctx, in)
			took := time.Since(started)
			sum := time.Duration(0)
			for _, t := range timings {
				sum += t.Computed
			}
			inStages = append(inStages, sum.Seconds()*1e3)
			return took, err
		}, func(ctx context.Context, in tensor.Bag) (time.Duration, error) {
			started := time.Now()
			_, err := whole.Run(ctx, in)
			return time.Since(started), err
		})
		if err != nil {
			return err
		}
		if round == 0 {
			continue // it warms up
		}
		share, computed = append(share, outside), append(computed, stats.Median(inStages))
		pipelined, unsplit = append(pipelined, medians[0]), append(unsplit, medians[1])
		ratio = append(ratio, medians[0]/medians[1])
	}
	t := stats.List(os.Stdout)
	fmt.Fprintln(t, "\tmedian of the rounds\tleast\tmost\tgoal")
	row := func(what, format string, scale float64, values []float64, goal string) {
		s := stats.SpreadOf(values)
		fmt.Fprintf(t, "%s\t"+format+"\t"+format+"\t"+format+"\t%s\n", what, scale*s.Median, scale*s.Least, scale*s.Most, goal)
	}
	row(fmt.Sprintf("outside of ONNX Runtime, of a request of %d sentences", batch), "%.2f%%", 100, share, fmt.Sprintf("under %.0f%%", 100*mostOutside))
	row("one sentence, two stages (p50)", "%.2f ms", 1, pipelined, "")
	row("  of that computing, in both stages", "%.2f ms", 1, computed, "")
	row("one sentence, unsplit (p50)", "%.2f ms", 1, unsplit, "")
	row("two stages / unsplit", "%.3f", 1, ratio, fmt.Sprintf("at most %.2f", mostOfWhole))
	return t.Flush()
}

// requests makes inputs of the sentences of SST-2 dev: of single ones, and of all
// in batches of sentences that are about as long, as the front makes them.
func requests(single int) (alone, batches []tensor.Bag, err error) {
	file, err := os.Open(filepath.Join(folder, bundle.TokenizerName))
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = file.Close() }()
	tokenizer, err := text.LoadTokenizer(file)
	if err != nil {
		return nil, nil, err
	}
	sentences, err := cluster.Sentences()
	if err != nil {
		return nil, nil, err
	}
	var encodings []text.Encoding
	for _, sentence := range sentences {
		e, err := tokenizer.Encode(sentence)
		if err != nil {
			return nil, nil, err
		}
		encodings = append(encodings, e)
	}
	if single < 1 || single > len(encodings) {
		return nil, nil, fmt.Errorf("-sentences can be 1 to %d", len(encodings))
	}
	request := func(encodings []text.Encoding) (tensor.Bag, error) {
		b, err := tokenizer.Pad(encodings)
		shape := []int64{int64(b.Rows), int64(b.Length)}
		return tensor.Bag{"input_ids": tensor.Of(shape, b.IDs), "attention_mask": tensor.Of(shape, b.AttentionMask)}, err
	}
	for i := range single {
		in, err := request(encodings[i : i+1])
		if err != nil {
			return nil, nil, err
		}
		alone = append(alone, in)
	}
	slices.SortStableFunc(encodings, func(a, b text.Encoding) int { return len(a.IDs) - len(b.IDs) })
	for chunk := range slices.Chunk(encodings, batch) {
		if len(chunk) < batch {
			break
		}
		in, err := request(chunk)
		if err != nil {
			return nil, nil, err
		}
		batches = append(batches, in)
	}
	return alone, batches, nil
}

// outsideOf is the share of the time of all requests that no stage computed in.
func outsideOf(ctx context.Context, s *stage.Pipeline, requests []tensor.Bag) (float64, error) {
	var all, computed time.Duration
	for _, in := range requests {
		started := time.Now()
		_, timings, err := s.Trace(ctx, in)
		if err != nil {
			return 0, err
		}
		all += time.Since(started)
		for _, t := range timings {
			computed += t.Computed
		}
	}
	if computed == 0 {
		return 0, errors.New("the stages do not tell how long they compute")
	}
	return 1 - computed.Seconds()/all.Seconds(), nil
}

// block is how many requests one side gets before it is the other's turn: a pipeline
// whose turn comes after every single request of another model finds the processors'
// caches full of that one's weights, as nothing does that is served by itself. The
// first ones of a block are not counted.
const (
	block   = 40
	uncount = 5
)

// alternate runs the requests on both sides, a block at a time, each side first every
// other time, and returns the medians of their times in milliseconds.
func alternate(ctx context.Context, requests []tensor.Bag, sides ...func(context.Context, tensor.Bag) (time.Duration, error)) ([]float64, error) {
	times := make([][]float64, len(sides))
	turn := 0
	for part := range slices.Chunk(requests, block) {
		for k := range sides {
			side := (turn + k) % len(sides)
			for i, in := range part {
				took, err := sides[side](ctx, in)
				if err != nil {
					return nil, err
				}
				if i >= uncount {
					times[side] = append(times[side], took.Seconds()*1e3)
				}
			}
		}
		turn++
	}
	var medians []float64
	for _, t := range times {
		medians = append(medians, stats.Median(t))
	}
	return medians, nil
}
