// Package chaos proves that no request is lost while replicas fail. It serves a
// model with two replicas of every rank and two fronts, all on this machine,
// asks them questions whose answers are known, and does one kind of fault after
// the other to them: docs/reference/failures.md says which, and what is counted.
//
// It knows distinfer by its command line, its HTTP interface and the health
// service of its stages only.
package chaos

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"github.com/distinfer/distinfer/bench/cluster"
	"github.com/distinfer/distinfer/bench/stats"
)

// fronts is how many there are in each scenario.
const fronts = 2

type options struct {
	cluster.Programs
	model, cache string
	stages       int
	only         *regexp.Regexp
	seconds      int
	concurrency  int
	timeout      time.Duration
	texts        int
	seed         uint64
	json         string
	keep         bool
}

// Run plays the scenarios and prints what became of the requests.
func Run(ctx context.Context, args []string) error {
	var o options
	f := flag.NewFlagSet("chaos", flag.ExitOnError)
	o.AddFlags(f)
	only := f.String("only", ".*", "regular expression that the whole of a scenario's name must match")
	f.StringVar(&o.model, "model", "models/seed-rnn/model.onnx", "a text model")
	f.StringVar(&o.cache, "cache", ".setup/chaos", "folder for the right answers, which are computed once")
	f.IntVar(&o.stages, "stages", 2, "stages to split the model into")
	f.IntVar(&o.seconds, "seconds", 30, "length of each scenario")
	f.IntVar(&o.concurrency, "concurrency", 16, "requests in flight at a time")
	f.DurationVar(&o.timeout, "timeout", 10*time.Second, "of the fronts; a client waits 2 s longer")
	f.IntVar(&o.texts, "texts", 20000, "sentences to choose the questions from")
	f.Uint64Var(&o.seed, "seed", uint64(time.Now().UnixNano()), "of what is random")
	f.StringVar(&o.json, "json", "", "file to write the results into as well")
	f.BoolVar(&o.keep, "keep", false, "keep the logs, which else are kept only when the invariant is broken")
	_ = f.Parse(args)
	var err error
	if o.only, err = regexp.Compile("^(?:" + *only + ")$"); err != nil {
		return err
	}
	return run(ctx, o)
}

func run(ctx context.Context, o options) (err error) {
	var chosen []*scenario
	names := ""
	for i := range scenarios {
		s := &scenarios[i]
		names += " " + s.name
		if o.only.MatchString(s.name) {
			chosen = append(chosen, s)
		}
	}
	switch {
	case len(chosen) == 0:
		return fmt.Errorf("-only names no scenario; there are%s", names)
	case o.seconds < 1 || o.concurrency < 1 || o.stages < 1 || o.texts < 1 || o.timeout < time.Second:
		return errors.New("-seconds, -concurrency, -stages, -texts can be 1 or more, -timeout 1s or more")
	}
	tmp, err := os.MkdirTemp("", "distinfer-chaos-")
	if err != nil {
		return err
	}
	broken := false
	logs := filepath.Join(tmp, "logs")
	defer func() {
		if o.keep || broken || err != nil && ctx.Err() == nil {
			fmt.Fprintf(os.Stderr, "the logs are in %s\n", logs)
			err = errors.Join(err, os.RemoveAll(filepath.Join(tmp, "whole")), os.RemoveAll(filepath.Join(tmp, "stages")))
			return
		}
		err = errors.Join(err, os.RemoveAll(tmp))
	}()
	questions, err := prepare(ctx, o, tmp)
	if err != nil {
		return err
	}
	fmt.Printf("%s in %d stages, two replicas a rank unless said otherwise, two fronts, %d requests at a time,\n%d texts that can be told apart by their scores; seed %d\n\n",
		o.model, o.stages, o.concurrency, len(questions), o.seed)

	var results []result
	for _, s := range chosen {
		fmt.Fprintf(os.Stderr, "%s: %s\n", s.name, s.about)
		r, err := play(ctx, o, s, questions, tmp, filepath.Join(logs, s.name))
		if ctx.Err() != nil {
			return errors.New("interrupted")
		}
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		broken = broken || !r.Held
		results = append(results, r)
	}
	if err := writeTable(os.Stdout, results); err != nil {
		return err
	}
	if err := stats.WriteJSON(o.json, map[string]any{"seed": o.seed, "scenarios": results}); err != nil {
		return err
	}
	if broken {
		return errors.New("the invariant is broken: see above")
	}
	return nil
}

// prepare splits the model into tmp and makes the questions.
func prepare(ctx context.Context, o options, tmp string) ([]question, error) {
	for name, stages := range map[string]int{"whole": 1, string(usual): o.stages} {
		if err := o.Split(ctx, o.model, stages, filepath.Join(tmp, name)); err != nil {
			return nil, err
		}
	}
	return ask(ctx, o, filepath.Join(tmp, "whole"), o.texts)
}

// ask makes questions of so many texts, with the answers of a bundle that is the whole model.
func ask(ctx context.Context, o options, whole string, n int) ([]question, error) {
	texts, err := sentences(cluster.SST2, n)
	if err != nil {
		return nil, err
	}
	all, err := answered(ctx, o.Programs, whole, o.cache, texts)
	if err != nil {
		return nil, err
	}
	questions := distinct(all)
	if least := 4 * o.concurrency; len(questions) < least {
		return nil, fmt.Errorf("only %d of %d texts can be told apart by their scores, and %d are needed; raise -texts or lower -concurrency", len(questions), len(all), least)
	}
	return questions, nil
}

// model makes what a scenario serves: a bundle of so many stages, and questions about it.
func (s *scenario) model(ctx context.Context, o options, texts []question, tmp string) (bundle string, stages int, questions []question, err error) {
	bundle = filepath.Join(tmp, cmp.Or(string(s.serves), string(usual)))
	stages, questions = o.stages, texts
	var model string
	switch source := bundle + "-model"; s.serves {
	case badTokenizer:
		if model, err = writeBadTokenizer(badTokenModel, source); err == nil {
			err = o.Split(ctx, model, 1, bundle+"-whole")
		}
		if err == nil {
			questions, err = ask(ctx, o, bundle+"-whole", badTokenTexts)
		}
	case quotient:
		stages = quotientNodes
		if model, err = writeQuotient(source); err == nil {
			questions, err = quotients(1024, rand.New(rand.NewPCG(o.seed, 1)))
		}
	default:
		return bundle, stages, questions, nil
	}
	if err == nil {
		err = o.Split(ctx, model, stages, bundle)
	}
	return bundle, stages, questions, err
}

// play runs one scenario on a cluster of its own.
func play(ctx context.Context, o options, s *scenario, questions []question, tmp, logs string) (result, error) {
	if err := os.MkdirAll(logs, 0o755); err != nil {
		return result{}, err
	}
	bundle, stages, questions, err := s.model(ctx, o, questions, tmp)
	if err != nil {
		return result{}, err
	}
	c, err := cluster.Start(ctx, cluster.Options{
		Programs: o.Programs, Bundle: bundle, Stages: stages, Replicas: s.replicas, Fronts: fronts, Threads: 1, GRPC: s.grpc, Linked: s.linked, Toxics: s.toxics, Logs: logs,
		FrontFlags: append([]string{"--timeout", o.timeout.String(), "--log-level", "warn"}, s.front...),
	})
	if err != nil {
		return result{}, err
	}
	defer func() { _ = c.Kill() }()
	random := rand.New(rand.NewPCG(o.seed, 0))
	shuffled := append([]question(nil), questions...)
	random.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })

	length := time.Duration(o.seconds) * time.Second
	if s.least > 0 {
		length = max(length, s.least+o.timeout)
	}
	clock := clock{time.Now()}
	during, cancel := context.WithTimeout(ctx, length)
	defer cancel()
	in := &injector{cluster: c, random: random, clock: clock, timeout: o.timeout}
	injected := make(chan error, 1)
	go func() {
		err := s.inject(during, in)
		if err != nil {
			cancel() // there is nothing more to see
		}
		injected <- err
	}()
	l := newLoad(shuffled, urls(c), o.concurrency, o.timeout+2*time.Second, clock)
	requests := l.run(ctx, during)
	if err := <-injected; err != nil {
		return result{}, err
	}
	// Ended first, so that nothing that happens then is trouble.
	if err := c.Kill(); err != nil {
		return result{}, err
	}
	r := newResult(s, requests, in.faults, int(l.retries.Load()), c.Troubles(), c.Named)
	r.Memory = in.memory
	for answer, n := range in.answers {
		answer.Count = n
		r.Attack = append(r.Attack, answer)
	}
	slices.SortFunc(r.Attack, func(a, b reasonCount) int { return cmp.Or(cmp.Compare(a.Why, b.Why), a.Status-b.Status) })
	return r, nil
}

// urls are those of the fronts.
func urls(c *cluster.Cluster) []string {
	var list []string
	for _, front := range c.Clients {
		list = append(list, front.URL())
	}
	return list
}
