// Package overload measures what becomes of a front that is asked many times more
// than it can do. It serves sst2-minilm in two stages as processes on this machine
// and asks about the sentences of SST-2 dev:
//
//   - as fast as 128 clients get answers, which is the peak;
//   - at ten times the peak's rate, whether or not there are answers, for a bounded
//     time, and with at most as many requests in flight as there are connections;
//   - as at first once more, since a machine is not always as fast.
//
// An answer is right when it is the label that the sentence got when it was asked
// about alone. In the overload a client gives up after 5 s, which it says in its
// request (Prefer: wait=5). Latencies count from when a request was due. The load
// generator shares the processors with what it measures: what it takes of them is
// printed too.
package overload

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/distinfer/distinfer/bench/cluster"
	"github.com/distinfer/distinfer/server/client"
	"github.com/distinfer/distinfer/server/load"
)

// The goals; docs/performance.md names them as well.
const (
	leastGoodput = 0.90                  // of the peak
	mostRefusal  = 10 * time.Millisecond // p99
	mostGrowth   = 1.10                  // of the memory, from the first half of the overload to the second
)

const (
	folder  = "models/sst2-minilm"
	clients = 128
	timeout = 5 * time.Second // in the overload
	warmup  = 3 * time.Second
	rest    = 5 * time.Second // after the overload
)

type options struct {
	cluster.Programs
	threads, connections int
	factor               float64
	time                 time.Duration
}

// Run measures and prints.
func Run(ctx context.Context, args []string) error {
	var o options
	f := flag.NewFlagSet("overload", flag.ExitOnError)
	o.AddFlags(f)
	f.IntVar(&o.threads, "threads", 0, "threads of each stage; 0 is its default")
	f.IntVar(&o.connections, "connections", 1024, "most requests in flight in the overload")
	f.Float64Var(&o.factor, "factor", 10, "how many times the peak's rate the overload is")
	f.DurationVar(&o.time, "time", 15*time.Second, "how long each part is measured")
	_ = f.Parse(args)
	debug.SetGCPercent(1000) // memory is not short here, the processors are
	return run(ctx, o)
}

func run(ctx context.Context, o options) (err error) {
	texts, err := cluster.Sentences()
	if err != nil {
		return err
	}
	texts = texts[:256] // as many as are quickly asked about one by one
	c, err := cluster.Start(ctx, cluster.Options{Programs: o.Programs, Model: folder, Stages: 2, Fronts: 1, Threads: o.threads})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Stop()) }()
	target, err := judged(ctx, c.Clients[0], texts)
	if err != nil {
		return err
	}
	closed := load.Options{Concurrency: clients, Warmup: warmup, Duration: o.time, Timeout: time.Minute}
	fmt.Printf("sst2-minilm in two stages and a front, beside the load generator on %d processors; each part %s after %s of warm-up\n\n",
		runtime.NumCPU(), o.time, warmup)
	var parts []part
	measure := func(name string, l load.Options, t load.Target) error {
		p, err := measured(ctx, name, c, l, t, texts)
		parts = append(parts, p)
		return err
	}
	if err := measure("peak", closed, target); err != nil {
		return err
	}
	open := closed
	open.Concurrency, open.Rate, open.Timeout = o.connections, o.factor*parts[0].result.Throughput(), timeout
	if open.Rate == 0 {
		return fmt.Errorf("no answer was right: %+v", parts[0].result.Kinds())
	}
	if err := measure("overload", open, impatient(target)); err != nil {
		return err
	}
	select {
	case <-time.After(rest):
	case <-ctx.Done():
		return ctx.Err()
	}
	after, err := memories(c)
	if err != nil {
		return err
	}
	if err := measure("peak again", closed, target); err != nil {
		return err
	}
	return report(os.Stdout, c, parts, open, after)
}

// judged is the front as a target that takes only the labels for right that it
// gives now, when it is asked about one sentence at a time.
func judged(ctx context.Context, front *client.Client, texts []string) (load.Target, error) {
	target := load.Labels(front)
	verdict := target.Judge
	labels := map[string]string{}
	target.Judge = func(text string, status int, body []byte) load.Verdict {
		v := verdict(text, status, body)
		if v == load.Right {
			labels[text] = string(body)
		}
		return v
	}
	r, err := load.Run(ctx, load.Options{Concurrency: 1, Requests: len(texts), Timeout: time.Minute}, target, texts)
	if err == nil && r.Right != len(texts) {
		err = fmt.Errorf("the sentences are not answered one by one: %+v", r.Kinds())
	}
	target.Judge = func(text string, status int, body []byte) load.Verdict {
		v := verdict(text, status, body)
		if v == load.Right && labels[text] != string(body) {
			return load.Wrong
		}
		return v
	}
	return target, err
}

// impatient is a target whose clients say how long they wait.
func impatient(t load.Target) load.Target {
	plain := t.Request
	t.Request = func(ctx context.Context, text string) (*http.Request, error) {
		r, err := plain(ctx, text)
		if err == nil {
			r.Header.Set("Prefer", fmt.Sprintf("wait=%.0f", timeout.Seconds()))
		}
		return r, err
	}
	return t
}
