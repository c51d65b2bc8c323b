// Command wire measures when it pays to narrow what goes from stage to stage. It
// serves sst2-minilm in two stages, as processes on this machine with a link between
// them that toxiproxy shapes, and sends them sentences with each encoding by turns.
//
// What it prints of each link speed is the time of the hop from the first stage to the
// second and back, without what the second one takes: the network, and on both sides
// the conversion. Of these it interpolates the speed of link at which an encoding takes
// as long as float32, and beside it prints what the cost of the conversion foretells.
//
//	make bench-wire ARGS='[-repeats 5] [-latency 0,5ms] [-speed 0,1000,100,50,20,10] [-sentences 1,32]'
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/distinfer/distinfer/runtime/ort"
)

type options struct {
	binary, toxiproxy, library string
	model                      string // its folder
	repeats                    int
	latencies                  []time.Duration // one way
	speeds                     []int           // of the link, in Mbit/s; 0 is not limited
	sentences                  []int           // of a request
}

func main() {
	var o options
	flag.StringVar(&o.binary, "binary", "bin/distinfer", "the program to measure")
	flag.StringVar(&o.toxiproxy, "toxiproxy", ".setup/bin/toxiproxy-server", "toxiproxy's server")
	flag.StringVar(&o.library, "onnxruntime", filepath.Join(ort.SetupDir, "libonnxruntime.so"), "file of the ONNX Runtime library")
	flag.StringVar(&o.model, "model", "models/sst2-minilm", "folder of a text model")
	flag.IntVar(&o.repeats, "repeats", 5, "requests of each kind; medians are printed")
	latencies := flag.String("latency", "0,5ms", "latencies of the link, one way")
	speeds := flag.String("speed", "0,1000,100,50,20,10", "speeds of the link in Mbit/s; 0 is not limited")
	sentences := flag.String("sentences", "1,32", "sentences of a request")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	var errs [3]error
	o.latencies, errs[0] = list("-latency", *latencies, time.ParseDuration)
	o.speeds, errs[1] = list("-speed", *speeds, strconv.Atoi)
	o.sentences, errs[2] = list("-sentences", *sentences, strconv.Atoi)
	err := errors.Join(errs[:]...)
	slices.SortFunc(o.speeds, func(a, b int) int { return cmp.Compare(inverse(a), inverse(b)) })
	if o.repeats < 1 {
		err = errors.Join(err, errors.New("-repeats can be 1 or more"))
	}
	if err == nil {
		err = run(ctx, o)
	}
	if ctx.Err() != nil {
		err = errors.New("interrupted")
	}
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "wire:", err)
		os.Exit(1)
	}
}

// list reads values parted by commas, none of which is below zero.
func list[T int | time.Duration](name, s string, parse func(string) (T, error)) (values []T, err error) {
	for _, part := range strings.Split(s, ",") {
		v, err := parse(part)
		if err != nil || v < 0 {
			return nil, fmt.Errorf("%s: %q is no value of it", name, part)
		}
		values = append(values, v)
	}
	return values, nil
}

func run(ctx context.Context, o options) (err error) {
	dir, err := os.MkdirTemp("", "distinfer-wire-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	c, err := serve(ctx, o, dir)
	if err != nil {
		return errors.Join(err, c.stop())
	}
	defer func() { err = errors.Join(err, c.stop()) }()
	fmt.Printf("%s in two stages of one thread over a link shaped by toxiproxy; medians of %d requests with each encoding by turns\n", filepath.Base(o.model), o.repeats)
	for _, n := range o.sentences {
		k, err := c.kind(ctx, n)
		if err != nil {
			return err
		}
		for _, latency := range o.latencies {
			var rows []row
			for _, speed := range o.speeds {
				if err := c.shape(ctx, speed, latency); err != nil {
					return err
				}
				r, err := c.measure(ctx, k, o.repeats)
				if err != nil {
					return fmt.Errorf("%d sentences, %d Mbit/s, latency %s: %w", n, speed, latency, err)
				}
				r.speed = speed
				rows = append(rows, r)
			}
			if err := write(os.Stdout, k, latency, rows); err != nil {
				return err
			}
		}
	}
	return nil
}
