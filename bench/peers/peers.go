// Package peers measures distinfer beside other ways to serve the same model on
// this machine, one at a time, and beside ONNX Runtime alone, which is the
// ceiling of all. Every answer is compared with ONNX Runtime's.
//
// It knows the servers by their command lines and their HTTP.
package peers

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/distinfer/distinfer/bench/cluster"
	"github.com/distinfer/distinfer/bench/stats"
	"github.com/distinfer/distinfer/runtime/ort"
)

type options struct {
	cluster.Programs
	model, int8, texts string
	only               *regexp.Regexp
	repeats            int
	seconds            float64
	concurrencies      []int
	patience           time.Duration
	output             string
}

// Run measures and prints.
func Run(ctx context.Context, args []string) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	return compare(ctx, o)
}

func parse(args []string) (o options, err error) {
	f := flag.NewFlagSet("peers", flag.ExitOnError)
	o.AddFlags(f)
	f.StringVar(&o.model, "model", "models/sst2-minilm", "folder of a text model, or its file, with tokenizer.json and config.json beside it")
	f.StringVar(&o.int8, "int8", "", "the same of a quantised form of the model, served by distinfer only (default MODEL-int8, if there is such a folder)")
	f.StringVar(&o.texts, "texts", cluster.SST2+"/dev.tsv", "file of texts, one a line, or a table (.tsv) whose second column they are")
	only := f.String("only", ".*", "regular expression that the whole of a name must match; names are onnxruntime, distinfer-2, fastapi, …")
	f.IntVar(&o.repeats, "repeats", 3, "turns of each")
	f.Float64Var(&o.seconds, "seconds", 8, "length of a measurement")
	concurrency := f.String("concurrency", "1,32,128", "requests at a time, in the order to measure them in")
	f.DurationVar(&o.patience, "patience", 120*time.Second, "time that a server may take until it answers")
	f.StringVar(&o.output, "o", "", "file to write all figures into as well, as JSON")
	_ = f.Parse(args)
	for _, s := range strings.Split(*concurrency, ",") {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > 4096 || slices.Contains(o.concurrencies, n) {
			return o, fmt.Errorf("-concurrency is %q; it can be different numbers of 1 to 4096, such as 1,32,128", *concurrency)
		}
		o.concurrencies = append(o.concurrencies, n)
	}
	if o.repeats < 1 || !(o.seconds >= 0.1 && o.seconds <= 3600) || f.NArg() > 0 {
		return o, errors.New("-repeats can be 1 or more, -seconds 0.1 to 3600, and there is no other argument")
	}
	if o.only, err = regexp.Compile("^(?:" + *only + ")$"); err != nil {
		return o, fmt.Errorf("-only: %w", err)
	}
	if info, err := os.Stat(filepath.Clean(o.model) + "-int8"); o.int8 == "" && err == nil && info.IsDir() {
		o.int8 = filepath.Clean(o.model) + "-int8"
	}
	return o, nil
}

func compare(ctx context.Context, o options) (err error) {
	if err := adopt(); err != nil {
		return err
	}
	texts, err := readTexts(o.texts)
	if err != nil {
		return err
	}
	library, err := ort.Load(o.Library)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, library.Close()) }()
	tmp, err := os.MkdirTemp("", "distinfer-peers-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	plan := plan{texts: texts, concurrencies: o.concurrencies, seconds: o.seconds, patience: o.patience}
	contestants, err := field(ctx, o, plan, library, tmp)
	if err != nil {
		return err
	}
	// Figures so far are printed after an interruption, too.
	interrupted := run(ctx, contestants, o.repeats, tell)
	r := &report{
		Model: o.model, Texts: o.texts, Processors: runtime.NumCPU(), Runtime: library.Version(),
		Seconds: o.seconds, Concurrencies: o.concurrencies, Contestants: contestants,
	}
	return errors.Join(interrupted, stats.WriteJSON(o.output, r), r.print(os.Stdout))
}

func tell(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

// field makes the contestants that -only names.
func field(ctx context.Context, o options, plan plan, library *ort.Library, tmp string) ([]*contestant, error) {
	p, err := places(o, tmp)
	if err != nil {
		return nil, err
	}
	contestants, right, err := family(ctx, o, plan, library, p, "")
	if err != nil {
		return nil, err
	}
	if o.int8 != "" {
		quantised := p
		if quantised.model, err = modelFile(o.int8); err != nil {
			return nil, err
		}
		quantised.stages += "-int8"
		more, _, err := family(ctx, o, plan, library, quantised, "-int8")
		if err != nil {
			return nil, err
		}
		contestants = append(contestants, more...)
	}
	peers := p.peers(runtime.NumCPU())
	if filepath.Base(filepath.Dir(p.model)) == "seed-rnn" {
		peers = append(peers, p.original())
	}
	for _, s := range peers {
		if o.only.MatchString(s.name) {
			c := plan.serving(s, right)
			c.Failed = s.missing(p.root)
			contestants = append(contestants, c)
		}
	}
	if len(contestants) == 0 {
		return nil, errors.New("-only names nothing; docs/performance.md names what there is")
	}
	return contestants, nil
}

func places(o options, tmp string) (p place, err error) {
	for path, at := range map[string]*string{".": &p.root, o.Distinfer: &p.binary, o.Library: &p.library} {
		if *at, err = filepath.Abs(path); err != nil {
			return p, err
		}
	}
	p.stages = filepath.Join(tmp, "two")
	p.model, err = modelFile(o.model)
	return p, err
}

// modelFile is the file of a model that is named by its folder or by itself.
func modelFile(path string) (string, error) {
	if filepath.Ext(path) != ".onnx" {
		path = filepath.Join(path, "model.onnx")
	}
	return filepath.Abs(path)
}

// family splits a model and makes of it the ceiling and what distinfer serves. It
// also returns the right label of each text.
func family(ctx context.Context, o options, plan plan, library *ort.Library, p place, suffix string) (contestants []*contestant, right map[string]string, err error) {
	whole := p.stages + "-whole"
	for stages, out := range map[int]string{1: whole, 2: p.stages} {
		if err := o.Split(ctx, p.model, stages, out); err != nil {
			return nil, nil, err
		}
	}
	tell("tokenising and labelling %d texts%s", len(plan.texts), suffix)
	c, err := newCeiling(ctx, library, whole, plan.texts, runtime.NumCPU())
	if err != nil {
		return nil, nil, err
	}
	if name := aloneName + suffix; o.only.MatchString(name) {
		tell("finding the best form of %s", name)
		alone, err := plan.alone(ctx, name, c)
		if err != nil {
			return nil, nil, err
		}
		contestants = append(contestants, alone)
	}
	for _, s := range []server{
		distinfer(p, twoStages+suffix, "distinfer in two stages, three processes with their defaults", p.stages, 2),
		distinfer(p, oneStage+suffix, "distinfer's front over the unsplit model, two processes with their defaults", whole, 1),
		// What garbage collection costs is what there is to gain from pooled buffers.
		distinfer(p, withoutGC+suffix, "as "+twoStages+suffix+", but its processes never collect garbage", p.stages, 2, "GOGC=off"),
	} {
		if o.only.MatchString(s.name) {
			contestants = append(contestants, plan.serving(s, c.right))
		}
	}
	return contestants, c.right, nil
}
