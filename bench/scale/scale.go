// Package scale emulates small machines on this one, and compares what 1, 2, 3, …
// of them give: a model in as many stages, and copies of it, behind one front. A
// machine is a control group with a share of a processor; docs/performance.md
// says what that can show and what it cannot.
//
// It prints the throughput, what the planner predicted, and the efficiency: the
// throughput over that of as many times one machine. Then it shapes the links, and
// at last gives machines too little memory for the whole model.
package scale

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/distinfer/distinfer/bench/cluster"
	"github.com/distinfer/distinfer/bench/cluster/cgroup"
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
	cluster.Programs
	model, texts    string
	machines, links numbers
	quota           float64
	period          time.Duration
	sentences       int
	clients         int
	time            time.Duration
	repeats         int
	rtt             time.Duration
	memory          bool
	json            string
}

// Run measures and prints.
func Run(ctx context.Context, args []string) error {
	o := options{machines: numbers{1, 2, 3, 4, 6}, links: numbers{1000, 100}}
	f := flag.NewFlagSet("scale", flag.ExitOnError)
	o.AddFlags(f)
	f.StringVar(&o.model, "model", "models/sst2-minilm/model.onnx", "a text model")
	f.StringVar(&o.texts, "texts", cluster.SST2+"/dev.tsv", "table of which the second column is the sentences")
	f.Var(&o.machines, "machines", "numbers of machines to compare")
	f.Float64Var(&o.quota, "quota", 0, "share of a processor that a machine is (default: such that front and load have room beside the most machines, at most 0.25)")
	f.DurationVar(&o.period, "period", 20*time.Millisecond, "in which a machine gets its share")
	f.IntVar(&o.sentences, "sentences", 4, "sentences in a request")
	f.IntVar(&o.clients, "clients", 2, "clients for each machine, that wait for an answer before they ask again")
	seconds := f.Int("seconds", 8, "length of each measurement; with fewer than 3 machines it is longer")
	f.IntVar(&o.repeats, "repeats", 3, "rounds over all that is compared")
	f.Var(&o.links, "links", "speeds of the links in Mbit/s to compare; none for \"\"")
	f.DurationVar(&o.rtt, "link-rtt", time.Millisecond, "time that there and back takes on such a link, in whole milliseconds")
	f.BoolVar(&o.memory, "memory", true, "show what happens when a machine's memory does not hold the model")
	f.StringVar(&o.json, "o", "", "file to write the results into as well, as JSON")
	_ = f.Parse(args)
	o.time = time.Duration(*seconds) * time.Second
	return run(ctx, o)
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
	b := &bench{options: o, root: root, dir: dir}
	return b.run(ctx)
}
