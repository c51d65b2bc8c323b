// Package encodings measures when it pays to narrow what goes from stage to stage. It
// serves sst2-minilm in two stages, as processes on this machine with a link between
// them that toxiproxy shapes, and sends them sentences with each encoding in turn.
//
// What it prints of each link speed is the time of the hop from the first stage to the
// second and back, without what the second one takes: the network, and on both sides
// the conversion. Of these it interpolates the speed of link at which an encoding takes
// as long as float32, and beside it prints what the cost of the conversion foretells.
package encodings

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/distinfer/distinfer/bench/cluster"
)

type options struct {
	cluster.Programs
	model     string // its folder
	repeats   int
	latencies []time.Duration // one way
	speeds    []int           // of the link, in Mbit/s; 0 is not limited
	sentences []int           // of a request
}

// Run measures and prints.
func Run(ctx context.Context, args []string) error {
	var o options
	f := flag.NewFlagSet("encodings", flag.ExitOnError)
	o.AddFlags(f)
	f.StringVar(&o.model, "model", "models/sst2-minilm", "folder of a text model")
	f.IntVar(&o.repeats, "repeats", 5, "requests of each kind; medians are printed")
	latencies := f.String("latency", "0,5ms", "latencies of the link, one way")
	speeds := f.String("speed", "0,1000,100,50,20,10", "speeds of the link in Mbit/s; 0 is not limited")
	sentences := f.String("sentences", "1,32", "sentences of a request")
	_ = f.Parse(args)
	var errs [3]error
	o.latencies, errs[0] = list("-latency", *latencies, time.ParseDuration)
	o.speeds, errs[1] = list("-speed", *speeds, strconv.Atoi)
	o.sentences, errs[2] = list("-sentences", *sentences, strconv.Atoi)
	err := errors.Join(errs[:]...)
	slices.SortFunc(o.speeds, func(a, b int) int { return cmp.Compare(inverse(a), inverse(b)) })
	if o.repeats < 1 {
		err = errors.Join(err, errors.New("-repeats can be 1 or more"))
	}
	if err != nil {
		return err
	}
	return run(ctx, o)
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
	c, err := serve(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.stop()) }()
	fmt.Printf("%s in two stages of one thread over a link shaped by toxiproxy; medians of %d requests with each encoding in turn\n", filepath.Base(o.model), o.repeats)
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
