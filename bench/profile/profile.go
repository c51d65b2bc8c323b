// Package profile tells which part of the processor's time is spent outside of ONNX
// Runtime when sst2-minilm is served in two stages, as processes on this machine, to
// 32 clients: tokenising, batching, HTTP, gRPC, Go's own work. Every process writes a
// profile; the time until it serves does not count, nor does that of the load generator.
package profile

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/pprof/profile"

	"github.com/distinfer/distinfer/bench/cluster"
	"github.com/distinfer/distinfer/bench/stats"
	"github.com/distinfer/distinfer/server/load"
)

// The goal; docs/performance.md names it as well.
const mostOutside = 0.05

// Run measures and prints.
func Run(ctx context.Context, args []string) error {
	var programs cluster.Programs
	f := flag.NewFlagSet("profile", flag.ExitOnError)
	programs.AddFlags(f)
	clients := f.Int("clients", 32, "requests in flight")
	length := f.Duration("time", 20*time.Second, "how long to measure")
	_ = f.Parse(args)
	return run(ctx, programs, *clients, *length)
}

func run(ctx context.Context, programs cluster.Programs, clients int, length time.Duration) (err error) {
	texts, err := cluster.Sentences()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "distinfer-profile-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	c, err := cluster.Start(ctx, cluster.Options{Programs: programs, Model: "models/sst2-minilm", Stages: 2, Fronts: 1, Profiles: dir})
	if err != nil {
		return err
	}
	result, err := load.Run(ctx, load.Options{Concurrency: clients, Duration: length, Timeout: time.Minute}, load.Labels(c.Clients[0]), texts)
	names := c.Serving()
	if err = errors.Join(err, c.Stop()); err != nil { // profiles are written in the end
		return err
	}
	fmt.Printf("sst2-minilm in two stages, %d clients: %.0f right answers a second\n\n", clients, result.Throughput())
	w := stats.List(os.Stdout)
	fmt.Fprintln(w, "process\tprocessor time\toutside ONNX Runtime\tof all")
	var all spent
	var each []spent
	for _, p := range names {
		s, err := read(filepath.Join(dir, p.Name+".pprof"))
		if err != nil {
			return fmt.Errorf("the profile of %s: %w", p.Name, err)
		}
		each = append(each, s)
		all.inside, all.outside = all.inside+s.inside, all.outside+s.outside
	}
	for i, p := range names {
		fmt.Fprintf(w, "%s\t%.2f s\t%.2f s\t%.1f %%\n", p.Name, (each[i].inside + each[i].outside).Seconds(), each[i].outside.Seconds(), 100*each[i].outside.Seconds()/all.sum())
	}
	share := all.outside.Seconds() / all.sum()
	fmt.Fprintf(w, "all\t%.2f s\t%.2f s\t%.1f %%\n", all.sum(), all.outside.Seconds(), 100*share)
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Printf("\nthe goal is under %.0f %%: %s\n", 100*mostOutside, stats.Verdict(share < mostOutside))
	return nil
}

// spent is processor time in ONNX Runtime and outside of it.
type spent struct{ inside, outside time.Duration }

func (s spent) sum() float64 { return (s.inside + s.outside).Seconds() }

// read sorts the samples of a profile. ONNX Runtime computes below Session.Run, on the
// caller's thread, and on threads of its own, which are the only ones that Go does not
// know. What the command itself runs is the start.
func read(path string) (s spent, err error) {
	file, err := os.Open(path)
	if err != nil {
		return s, err
	}
	defer func() { _ = file.Close() }()
	p, err := profile.Parse(file)
	if err != nil {
		return s, err
	}
	for _, sample := range p.Sample {
		took := time.Duration(sample.Value[len(sample.Value)-1])
		switch {
		case has(sample, "runtime/ort.(*Session).run"), has(sample, "runtime._ExternalCode"):
			s.inside += took
		case has(sample, "main.run"):
		default:
			s.outside += took
		}
	}
	return s, nil
}

// has reports whether a function is in the stack of a sample.
func has(s *profile.Sample, function string) bool {
	for _, l := range s.Location {
		for _, line := range l.Line {
			if name := line.Function.Name; name == function || strings.HasSuffix(name, "/"+function) {
				return true
			}
		}
	}
	return false
}
