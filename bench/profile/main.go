// Command profile tells which part of the processor's time is spent outside of ONNX
// Runtime when sst2-minilm is served in two stages, as processes on this machine, to
// 32 clients: tokenising, batching, HTTP, gRPC, Go's own work. Every process writes a
// profile; the time until it serves does not count, nor does that of the load generator.
//
//	go run ./bench/profile [-clients 32] [-time 20s] [-binary bin/distinfer]
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/google/pprof/profile"

	"github.com/distinfer/distinfer/bench/served"
	"github.com/distinfer/distinfer/runtime/ort"
	"github.com/distinfer/distinfer/server/load"
)

// The goal; docs/performance.md names it as well.
const mostOutside = 0.05

type options struct {
	binary, library string
	clients         int
	time            time.Duration
}

func main() {
	var o options
	flag.StringVar(&o.binary, "binary", "bin/distinfer", "the program to measure")
	flag.StringVar(&o.library, "onnxruntime", filepath.Join(ort.SetupDir, "libonnxruntime.so"), "file of the ONNX Runtime library")
	flag.IntVar(&o.clients, "clients", 32, "requests under way")
	flag.DurationVar(&o.time, "time", 20*time.Second, "how long to measure")
	flag.Parse()
	signal.Ignore(syscall.SIGPIPE) // who reads no more must not leave the processes behind
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	err := run(ctx, o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "profile:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) (err error) {
	texts, err := served.Sentences()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "distinfer-profile-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	cluster, err := served.Start(ctx, served.Options{Binary: o.binary, Library: o.library, Model: "models/sst2-minilm", Stages: 2, Profiles: dir})
	if err != nil {
		return err
	}
	result, err := load.Run(ctx, load.Options{Concurrency: o.clients, Duration: o.time, Timeout: time.Minute}, load.Labels(cluster.Client), texts)
	names := cluster.Processes()
	if err = errors.Join(err, cluster.Stop()); err != nil { // profiles are written in the end
		return err
	}
	fmt.Printf("sst2-minilm in two stages, %d clients: %.0f right answers a second\n\n", o.clients, result.Throughput())
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
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
	verdict := "met"
	if share >= mostOutside {
		verdict = "missed"
	}
	fmt.Fprintf(w, "all\t%.2f s\t%.2f s\t%.1f %%\n", all.sum(), all.outside.Seconds(), 100*share)
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Printf("\nthe goal is under %.0f %%: %s\n", 100*mostOutside, verdict)
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
