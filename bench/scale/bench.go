package scale

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/distinfer/distinfer/bench/cluster"
	"github.com/distinfer/distinfer/bench/cluster/cgroup"
	"github.com/distinfer/distinfer/bench/stats"
	"github.com/distinfer/distinfer/server/client"
	"github.com/distinfer/distinfer/server/load"
)

const (
	timeout = time.Minute // of a front, and of its clients
	warmup  = 2 * time.Second
	// alone is how many requests of one sentence are made one after the other.
	alone = 25
)

// A bench is what all measurements share.
type bench struct {
	options
	root *cgroup.Root
	dir  string
	made int // groups

	requests []string // bodies
	singles  []string // sentences
	dims     dims     // of a request, on an average
	speed    float64  // of a machine, as a share of this one's
}

// A setup is one way to serve the model.
type setup struct {
	Machines int  `json:"machines"`
	Pipeline bool `json:"pipeline"`
	Mbit     int  `json:"mbit,omitempty"` // of the links; 0 is the loopback interface

	bundle string
}

func (s setup) arrangement() string {
	switch {
	case s.Machines == 1:
		return "whole"
	case s.Pipeline:
		return "pipeline"
	}
	return "replicas"
}

// name is such as "pipeline on 4, links of 100 Mbit/s".
func (s setup) name() string {
	name := fmt.Sprintf("%s on %d", s.arrangement(), s.Machines)
	if s.Mbit > 0 {
		name += fmt.Sprintf(", links of %d Mbit/s", s.Mbit)
	}
	return name
}

// stages and replicas are how many machines there are of each kind.
func (s setup) stages() (stages, replicas int) {
	if s.Pipeline {
		return s.Machines, 1
	}
	return 1, s.Machines
}

func (b *bench) run(ctx context.Context) error {
	if err := b.readTexts(); err != nil {
		return err
	}
	rows, err := b.rows(ctx)
	if err != nil {
		return err
	}
	for round := range b.repeats {
		b.speed = b.quota
		for _, r := range rows {
			fmt.Fprintf(os.Stderr, "round %d of %d: %s\n", round+1, b.repeats, r.name())
			m, err := b.measure(ctx, r.setup)
			if err != nil {
				return fmt.Errorf("%s: %w", r.name(), err)
			}
			r.Samples = append(r.Samples, m)
			r.Preferred = r.Preferred || m.preferred
		}
	}
	report := b.report(rows)
	if err := report.print(os.Stdout); err != nil {
		return err
	}
	if b.memory {
		if report.Memory, err = b.tooLittleMemory(ctx); err != nil {
			return err
		}
		if err := report.printMemory(os.Stdout); err != nil {
			return err
		}
	}
	return stats.WriteJSON(b.json, report)
}

// rows are all that is compared, with their bundles.
func (b *bench) rows(ctx context.Context) ([]*row, error) {
	var rows []*row
	add := func(s setup) (err error) {
		stages, _ := s.stages()
		s.bundle, err = b.bundle(ctx, b.model, stages)
		rows = append(rows, &row{setup: s})
		return err
	}
	longest := 1 // of the pipelines that have a goal
	for _, n := range b.machines {
		if n <= goalMachines {
			longest = n
		}
		if err := add(setup{Machines: n}); err != nil {
			return nil, err
		}
		if n > 1 {
			if err := add(setup{Machines: n, Pipeline: true}); err != nil {
				return nil, err
			}
		}
	}
	for _, mbit := range slices.Backward(b.links) {
		if err := add(setup{Machines: longest, Pipeline: longest > 1, Mbit: mbit}); err != nil {
			return nil, err
		}
	}
	return rows, nil
}

// A sample is what one measurement gave.
type sample struct {
	Throughput float64 `json:"sentences_per_second"`
	P50        float64 `json:"p50_ms"`       // of requests under load
	Alone      float64 `json:"p50_alone_ms"` // of one sentence at a time
	// What the front computes at a time, and what the planner says of such batches,
	// just after.
	Texts     float64 `json:"texts_per_batch"`
	Dims      dims    `json:"planned_at"`
	Predicted float64 `json:"predicted_sentences_per_second"`
	Speed     float64 `json:"speed,omitempty"` // that one machine proved to have
	preferred bool
	// Processor time for a sentence, of all processes of a kind.
	Machines float64 `json:"machines_cpu_ms"`
	Front    float64 `json:"front_cpu_ms"`
	Load     float64 `json:"load_cpu_ms"`
	Proxy    float64 `json:"proxy_cpu_ms"`
	// Busy is how much each machine used of its share, in rank order.
	Busy []float64 `json:"busy"`
	// Others is the processors that were in use by what has no part in this. With
	// few it disturbs nothing.
	Others float64 `json:"others_processors"`
}

// measure serves the model in one way, loads it, and asks the planner about the same.
func (b *bench) measure(ctx context.Context, s setup) (sample, error) {
	m, err := b.serve(ctx, s)
	if err != nil {
		return sample{}, err
	}
	plan, err := b.predict(ctx, s, m.Dims)
	m.Predicted, m.preferred = plan.Throughput*m.Texts, plan.Best
	if err == nil && s.Machines == 1 {
		// A share of the time is less than that share of the work: caches are cold
		// after every wait. What speed a machine has, its user finds out like this.
		b.speed *= m.Throughput / m.Predicted
		m.Speed = b.speed
	}
	return m, err
}

func (b *bench) serve(ctx context.Context, s setup) (_ sample, err error) {
	c, err := b.start(ctx, s, 0)
	if err != nil {
		return sample{}, err
	}
	defer func() { err = errors.Join(err, c.Kill()) }()
	quiet, err := load.Run(ctx, load.Options{Concurrency: 1, Requests: alone, Timeout: timeout}, load.Predictions(c.Clients[0]), b.singles)
	if err == nil {
		err = good(quiet)
	}
	if err != nil {
		return sample{}, err
	}
	return b.loaded(ctx, c, quiet.Quantile(0.5))
}

// loaded has all clients ask at a time, and looks what it costs whom.
func (b *bench) loaded(ctx context.Context, c *cluster.Cluster, quiet time.Duration) (sample, error) {
	// Warmed up apart, so that the processor time is that of what is measured.
	o := load.Options{Concurrency: b.clients * machines(c), Duration: warmup, Timeout: timeout}
	if _, err := load.Run(ctx, o, b.target(c.Clients[0]), b.requests); err != nil {
		return sample{}, err
	}
	o.Duration = long(b.time, machines(c))
	log, err := os.Open(c.Fronts[0].Log)
	if err != nil {
		return sample{}, err
	}
	defer func() { _ = log.Close() }()
	from, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		return sample{}, err
	}
	before, err := processorTimes(c)
	if err != nil {
		return sample{}, err
	}
	start := time.Now()
	result, err := load.Run(ctx, o, b.target(c.Clients[0]), b.requests)
	took := time.Since(start)
	if err == nil {
		err = errors.Join(good(result), c.Err())
	}
	if err != nil {
		return sample{}, err
	}
	after, err := processorTimes(c)
	if err != nil {
		return sample{}, err
	}
	m := newSample(result, b.sentences, after.less(before), took, b.quota, quiet)
	m.Texts, m.Dims, err = batches(log, from)
	return m, err
}

// long is how long a number of machines is measured: a few for longer, since their
// answers are few, and one more or less should make no difference.
func long(usual time.Duration, machines int) time.Duration {
	return max(usual, 3*usual/time.Duration(machines))
}

func newSample(result *load.Result, sentences int, used times, took time.Duration, quota float64, quiet time.Duration) sample {
	had := took.Seconds() * quota
	n := float64(result.Requests() * sentences) // those that came later than the time is up, too
	s := sample{
		Throughput: result.Throughput() * float64(sentences),
		P50:        stats.Millis(result.Quantile(0.5)), Alone: stats.Millis(quiet),
		Front: stats.Millis(used.front) / n, Load: stats.Millis(used.load) / n, Proxy: stats.Millis(used.proxy) / n,
		Others: used.others().Seconds() / took.Seconds(),
	}
	for _, m := range used.machines {
		s.Machines += stats.Millis(m) / n
		s.Busy = append(s.Busy, m.Seconds()/had)
	}
	return s
}

// good fails unless every answer was right.
func good(r *load.Result) error {
	if r.Right > 0 && r.Right == r.Requests() {
		return nil
	}
	for _, k := range r.Kinds() {
		if k.Verdict != load.Right {
			return fmt.Errorf("of %d requests %d %s, such as status %d: %s", r.Requests(), k.Count, k.Verdict, k.Status, k.Example)
		}
	}
	return errors.New("no request was answered in the time")
}

// target asks a front about several sentences at a time.
func (b *bench) target(front *client.Client) load.Target {
	return load.Target{
		Request: func(ctx context.Context, body string) (*http.Request, error) {
			return http.NewRequestWithContext(ctx, http.MethodPost, front.URL()+"/predict", bytes.NewReader([]byte(body)))
		},
		Judge: func(_ string, status int, body []byte) load.Verdict {
			var answers [][]struct {
				Label string
				Score float64
			}
			switch {
			case status != http.StatusOK:
				return load.Failed
			case json.Unmarshal(body, &answers) != nil || len(answers) != b.sentences:
				return load.Wrong
			}
			return load.Right
		},
	}
}
