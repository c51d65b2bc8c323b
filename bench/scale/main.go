// Command scale emulates small machines on this one, and compares what 1, 2, 3, …
// of them give: a model in as many stages, and copies of it, behind one front. A
// machine is a control group with a share of a processor; docs/performance.md
// says what that can show and what it cannot.
//
// It prints the throughput, what the planner predicted, and the efficiency: the
// throughput over that of so many times one machine. Then it shapes the links, and
// at last gives machines too little memory for the whole model.
//
//	make bench-scale ARGS='[-machines 1,2,3,4,6] [-seconds 8] [-repeats 3] [-links 1000,100] [-memory=false] [-o FILE]'
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/distinfer/distinfer/bench/rig"
	"github.com/distinfer/distinfer/bench/scale/cgroup"
)

// The goals; docs/performance.md names them as well.
const (
	leastEfficiency = 0.9 // of the arrangement that the planner prefers, up to goalMachines
	goalMachines    = 4
	mostOff         = 0.1 // of the measured throughput, that the prediction may be
)

// mostOthers is the processors that others may use before what is measured is in
// doubt.
const mostOthers = 0.1

type options struct {
	binary, toxiproxy string
	model, texts      string
	machines, links   numbers
	quota             float64
	period            time.Duration
	sentences         int
	clients           int
	time              time.Duration
	repeats           int
	rtt               time.Duration
	memory            bool
	json              string
}

func main() {
	o := options{machines: numbers{1, 2, 3, 4, 6}, links: numbers{1000, 100}}
	flag.StringVar(&o.binary, "binary", "bin/distinfer", "the program to measure")
	flag.StringVar(&o.toxiproxy, "toxiproxy", ".setup/bin/toxiproxy-server", "toxiproxy's server")
	flag.StringVar(&o.model, "model", "models/sst2-minilm/model.onnx", "a text model")
	flag.StringVar(&o.texts, "texts", "models/testdata/sst2/dev.tsv", "table of which the second column is the sentences")
	flag.Var(&o.machines, "machines", "numbers of machines to compare")
	flag.Float64Var(&o.quota, "quota", 0, "share of a processor that a machine is (default: such that front and load have room beside the most machines, at most 0.25)")
	flag.DurationVar(&o.period, "period", 20*time.Millisecond, "in which a machine gets its share")
	flag.IntVar(&o.sentences, "sentences", 4, "sentences in a request")
	flag.IntVar(&o.clients, "clients", 2, "clients for each machine, that wait for an answer before they ask again")
	seconds := flag.Int("seconds", 8, "length of each measurement; with fewer than 3 machines it is longer")
	flag.IntVar(&o.repeats, "repeats", 3, "rounds over all that is compared")
	flag.Var(&o.links, "links", "speeds of the links in Mbit/s to compare; none for \"\"")
	flag.DurationVar(&o.rtt, "link-rtt", time.Millisecond, "time that there and back takes on such a link, in whole milliseconds")
	flag.BoolVar(&o.memory, "memory", true, "show what happens when a machine's memory does not hold the model")
	flag.StringVar(&o.json, "o", "", "file to write the results into as well, as JSON")
	flag.Parse()
	o.time = time.Duration(*seconds) * time.Second
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	err := run(ctx, o)
	if ctx.Err() != nil {
		err = errors.New("interrupted")
	}
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "scale:", err)
		os.Exit(1)
	}
}

// numbers is a flag, such as 1,2,4.
type numbers []int

func (n *numbers) String() string {
	var list []string
	for _, i := range *n {
		list = append(list, strconv.Itoa(i))
	}
	return strings.Join(list, ",")
}

func (n *numbers) Set(s string) error {
	*n = nil
	if s == "" {
		return nil
	}
	for part := range strings.SplitSeq(s, ",") {
		i, err := strconv.Atoi(part)
		if err != nil || i < 1 {
			return fmt.Errorf("%q is not a number from 1 on", part)
		}
		*n = append(*n, i)
	}
	slices.Sort(*n)
	*n = slices.Compact(*n)
	return nil
}

// share is the part of a processor that a machine gets when nobody says: the most
// machines get three fifths of all processors, and front, load and kernel the rest.
func share(processors, machines int) float64 {
	const most, hundredths = 0.25, 100
	return min(most, float64(60*processors/machines)/hundredths)
}

func (o *options) check() error {
	switch {
	case len(o.machines) == 0 || o.machines[0] != 1:
		return errors.New("-machines must name 1, beside which the others are seen")
	case o.time < time.Second || o.repeats < 1 || o.sentences < 1 || o.clients < 1:
		return errors.New("-seconds, -repeats, -sentences, -clients can be 1 or more")
	case o.rtt < 0 || o.rtt%time.Millisecond != 0:
		return errors.New("-link-rtt can be whole milliseconds only")
	}
	if o.quota == 0 {
		o.quota = share(runtime.GOMAXPROCS(0), slices.Max(o.machines))
	}
	return cgroup.Limits{CPU: o.quota, Period: o.period}.Valid()
}

func run(ctx context.Context, o options) (err error) {
	if err := o.check(); err != nil {
		return err
	}
	root, err := cgroup.Find()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "distinfer-scale-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	logs, err := os.MkdirTemp("", "distinfer-scale-logs-")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil && ctx.Err() == nil {
			fmt.Fprintf(os.Stderr, "the logs are in %s\n", logs)
			return
		}
		err = errors.Join(err, os.RemoveAll(logs))
	}()
	b := &bench{options: o, root: root, dir: dir, logs: logs, launcher: rig.NewLauncher()}
	defer close(b.launcher)
	return b.run(ctx)
}
