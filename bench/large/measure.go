package large

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/distinfer/distinfer/bench/cluster"
	"github.com/distinfer/distinfer/bench/cluster/cgroup"
	"github.com/distinfer/distinfer/bench/stats"
	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/server/stage"
	"github.com/distinfer/distinfer/split/onnxfile/decodertest"
)

const mb = 1e6

// A row is what a model in as many stages did.
type row struct {
	stages int
	limit  int64 // of each stage's memory; 0 is none
	failed string
	parts  []part
	times  []time.Duration // of a run, by length; 0 where it was refused
	say    []string        // why it was refused, by length
	out    []tensor.Bag    // by length

	// usual is the anonymous memory of all stages after the texts that are not long: what these
	// take is kept.
	usual int64
}

// leastLimit is what a stage takes that has hardly any weights.
const leastLimit = 160 << 20

// long is how many tokens a text has at least that is computed once.
const long = 1024

// A part is one stage.
type part struct {
	stored, loaded int64
	ready          time.Duration
	memory         cgroup.Memory
}

func (o *options) measure(ctx context.Context) error {
	root, err := cgroup.Find()
	if err != nil {
		return err
	}
	for _, p := range o.precisions {
		model, err := o.model(p)
		if err != nil {
			return err
		}
		whole, err := o.serve(ctx, root, model, 1, 0)
		if err != nil {
			return err
		}
		rows := []*row{whole}
		for _, n := range o.stages {
			// What is not weights takes a fifth of the whole's memory at most.
			limit := max(whole.usual/int64(n)+whole.usual/5, leastLimit)
			for _, stages := range []int{1, n} {
				r, err := o.serve(ctx, root, model, stages, limit)
				if err != nil {
					return err
				}
				rows = append(rows, r)
			}
		}
		if err := o.print(os.Stdout, p, rows); err != nil {
			return err
		}
	}
	return nil
}

// serve serves a model in as many stages, each in a control group with a limit.
func (o *options) serve(ctx context.Context, root *cgroup.Root, model string, stages int, limit int64) (r *row, err error) {
	r = &row{stages: stages, limit: limit}
	dir := filepath.Join(filepath.Dir(model), fmt.Sprintf("stages-%d", stages))
	if _, err := bundle.Open(dir); err != nil {
		// Only tensors are sent here, so that no texts need be tried.
		if err := o.programs.Split(ctx, model, stages, dir, "--no-verify", "--memory", "1"); err != nil {
			return nil, err
		}
	}
	b, err := bundle.Open(dir)
	if err != nil {
		return nil, err
	}
	made := 0
	c := cluster.Options{Programs: o.programs, Bundle: dir, Stages: stages, OneByOne: true, NewGroup: func() (*cgroup.Group, error) {
		made++
		return root.New(fmt.Sprintf("distinfer-large-%d-%d", os.Getpid(), made), cgroup.Limits{Memory: limit})
	}}
	if limit > 0 {
		c.StageFlags = []string{"--max-memory", strconv.FormatInt(limit, 10)}
	}
	started, err := cluster.Start(ctx, c)
	if err != nil {
		if ctx.Err() != nil || limit == 0 {
			return nil, err
		}
		r.failed = "does not start"
		return r, nil
	}
	defer func() { err = errors.Join(err, started.Kill()) }()
	if err := o.run(ctx, r, started, b); err != nil {
		if !errors.Is(started.OutOfMemory(), cluster.ErrOutOfMemory) {
			return nil, err
		}
		r.failed, r.times = "ended by the kernel", nil
		return r, nil
	}
	for rank, s := range b.Stages {
		m, err := started.Groups[rank].Memory()
		if err != nil {
			return nil, err
		}
		r.parts = append(r.parts, part{s.ParameterBytes, s.Loaded(), started.Stages[rank][0].ReadyAfter(), m})
	}
	return r, started.OutOfMemory()
}

// run sends texts of each length through the stages.
func (o *options) run(ctx context.Context, r *row, c *cluster.Cluster, b *bundle.Bundle) error {
	p, err := stage.NewPipeline(b.ID, c.Addresses, stage.Options{MaxMessage: 64 << 20, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	defer func() { _ = p.Close() }()
	for _, length := range o.lengths {
		in := o.text(length)
		var took []time.Duration
		var out tensor.Bag
		runs := o.runs
		if length >= long {
			runs = 1
		}
		for range runs {
			began := time.Now()
			if out, err = p.Run(ctx, in); err != nil {
				break
			}
			took = append(took, time.Since(began))
		}
		says := ""
		switch {
		case err == nil:
			r.times = append(r.times, stats.Median(took))
		case errcode.Of(err) == errcode.TooLarge:
			r.times, says = append(r.times, 0), err.Error()
		default:
			return err
		}
		r.out, r.say = append(r.out, out), append(r.say, says)
		if length >= long && r.usual > 0 {
			continue
		}
		r.usual = 0
		for _, group := range c.Groups {
			m, err := group.Memory()
			if err != nil {
				return err
			}
			r.usual += m.Anonymous
		}
	}
	return nil
}

// text is the tokens of a text.
func (o *options) text(length int) tensor.Bag {
	ids, mask := make([]int64, length), make([]int64, length)
	for i := range ids {
		ids[i], mask[i] = int64(7919*i%o.shape.Vocabulary), 1
	}
	shape := []int64{1, int64(length)}
	return tensor.Bag{"input_ids": tensor.Of(shape, ids), "attention_mask": tensor.Of(shape, mask)}
}

// print writes what was measured.
func (o *options) print(w io.Writer, p decodertest.Precision, rows []*row) error {
	fmt.Fprintf(w, "\n%s, %d layers of %d (MB = 10^6 bytes)\n", p, o.shape.Layers, o.shape.Hidden)
	return errors.Join(printMemory(w, rows), o.printAnswers(w, rows))
}

// printMemory writes what each stage has and takes.
func printMemory(w io.Writer, rows []*row) error {
	t := stats.Table(w)
	fmt.Fprintln(t, "stages\tlimit\trank\tstored\tloaded\tready after\tanonymous\tof limit\tfiles\tpeak of both\t")
	for _, r := range rows {
		limit := "none"
		if r.limit > 0 {
			limit = fmt.Sprintf("%.0f", float64(r.limit)/mb)
		}
		if r.failed != "" {
			fmt.Fprintf(t, "%d\t%s\t%s\t\t\t\t\t\t\t\t\n", r.stages, limit, r.failed)
		}
		for rank, part := range r.parts {
			share := "-"
			if r.limit > 0 {
				share = fmt.Sprintf("%.0f%%", 100*float64(part.memory.Anonymous)/float64(r.limit))
			}
			fmt.Fprintf(t, "%d\t%s\t%d\t%.0f\t%.0f\t%.1f s\t%.0f\t%s\t%.0f\t%.0f\t\n", r.stages, limit, rank, float64(part.stored)/mb, float64(part.loaded)/mb,
				part.ready.Seconds(), float64(part.memory.Anonymous)/mb, share, float64(part.memory.Files)/mb, float64(part.memory.Peak)/mb)
		}
	}
	return t.Flush()
}

// printAnswers writes how fast texts of each length are answered and whether as the whole answers
// them, and below that why some are not.
func (o *options) printAnswers(w io.Writer, rows []*row) error {
	var refused []string
	whole := rows[0]
	t := stats.Table(w)
	fmt.Fprintln(t, "stages\ttokens\ttokens/s\tof the whole's\tanswer\t")
	for _, r := range rows {
		for i, took := range r.times {
			switch {
			case took == 0:
				fmt.Fprintf(t, "%d\t%d\t-\t-\trefused\t\n", r.stages, o.lengths[i])
				refused = append(refused, fmt.Sprintf("%d stages refuse %d tokens: %s", r.stages, o.lengths[i], r.say[i]))
			case r == whole || whole.times[i] == 0:
				fmt.Fprintf(t, "%d\t%d\t%.0f\t-\t-\t\n", r.stages, o.lengths[i], float64(o.lengths[i])/took.Seconds())
			default:
				fmt.Fprintf(t, "%d\t%d\t%.0f\t%.2f\t%s\t\n", r.stages, o.lengths[i], float64(o.lengths[i])/took.Seconds(), whole.times[i].Seconds()/took.Seconds(), equal(whole.out[i], r.out[i]))
			}
		}
	}
	err := t.Flush()
	for _, reason := range refused {
		fmt.Fprintln(w, reason)
	}
	return err
}

// equal says how far answers are from each other.
func equal(a, b tensor.Bag) string {
	x, y := a["last_hidden_state"], b["last_hidden_state"]
	if bytes.Equal(x.Data, y.Data) {
		return "equal"
	}
	first, err := tensor.Widen(x)
	second, errSecond := tensor.Widen(y)
	if err = errors.Join(err, errSecond); err != nil || len(first) != len(second) {
		return fmt.Sprint("not comparable: ", err)
	}
	most := float32(0)
	for i := range first {
		most = max(most, first[i]-second[i], second[i]-first[i])
	}
	return fmt.Sprintf("differs by %.2g at most", most)
}
