// Package simulate serves a model with hundreds of replicas in virtual time: the real scheduler
// of package batch decides on batches, the real state machine of package replica on where they go.
// Machines, links and failures are events. The same flags give the same figures.
//
// It does not know of TLS, memory, refusals by memory budgets, deadlines, or the bandwidth of
// links that calls share. docs/capacity.md says what follows from it.
package simulate

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/distinfer/distinfer/bench/stats"
)

// A table is fleets that are compared.
type table struct {
	name, about string
	fleets      func(base Config) []Config
}

var tables = []table{
	{"size", "2 to 1,000 replicas in two ranks, at 70 % of what they compute", sizes},
	{"failures", "200 replicas of which some fail within 2 s, each for 3 s", failures},
	{"subsets", "500 replicas behind 50 fronts, each caller connected to some of the next rank's; 5 % are killed", subsets},
	{"fronts", "100 replicas behind 1 to 100 fronts, with more texts than they can compute", fronts},
}

func sizes(c Config) (list []Config) {
	for _, replicas := range []int{1, 5, 25, 100, 500} {
		c.Replicas, c.Fronts = replicas, frontsFor(c, 2*replicas)
		list = append(list, c)
	}
	return list
}

// frontsFor is how many fronts of two processors are half busy, and two at least.
func frontsFor(c Config, replicas int) int {
	c.Ranks, c.Replicas = 1, replicas
	return max(2, int(c.Capacity()*c.Text.Seconds()/float64(c.FrontProcessors)/0.5+0.999))
}

func failures(c Config) (list []Config) {
	c.Replicas, c.Fronts = 100, frontsFor(c, 200)
	for _, how := range []Failure{Killed, Silent, Slow} {
		for _, share := range []float64{0, 0.01, 0.05, 0.1} {
			if share == 0 && how != Killed {
				continue
			}
			c.How, c.Failing = how, share
			list = append(list, c)
		}
	}
	return list
}

func subsets(c Config) (list []Config) {
	c.Replicas, c.Fronts, c.Failing = 250, 50, 0.05
	for _, even := range []bool{false, true} {
		for _, n := range []int{0, 50, 20, 10, 5} {
			if n == 0 && even {
				continue
			}
			c.Subset, c.Even = n, even
			list = append(list, c)
		}
	}
	return list
}

func fronts(c Config) (list []Config) {
	c.Replicas, c.Load = 50, 1.1
	for _, n := range []int{2, 10, 50} {
		for _, subset := range []int{0, 10} {
			c.Fronts, c.Subset = n, subset
			list = append(list, c)
		}
	}
	return list
}

// A line is a fleet and what came out.
type line struct {
	Table  string `json:"table"`
	Config Config `json:"config"`
	Result Result `json:"result"`
}

// Run prints tables, as flags say.
func Run(ctx context.Context, args []string) error {
	c := Config{Costs: Medium, FrontProcessors: 2, Ranks: 2, Runs: 1, How: Killed}
	f := flag.NewFlagSet("simulate", flag.ContinueOnError)
	only := f.String("only", "", "print one `table`: size, failures, subsets, fronts, one (of the flags -fronts to -how) or capacity")
	f.IntVar(&c.Fronts, "fronts", 2, "fronts, of table one")
	f.IntVar(&c.Replicas, "replicas", 10, "replicas of each rank, of table one")
	f.IntVar(&c.Subset, "subset", 0, "replicas that a caller connects to, of table one; 0 is all")
	f.Float64Var(&c.Failing, "failing", 0, "share of the replicas that fail, of table one")
	f.Func("how", "killed, silent or slow: how replicas fail, of table one", func(s string) error {
		c.How = Failure(s)
		if !slices.Contains([]Failure{Killed, Silent, Slow}, c.How) {
			return errors.New("not killed, silent or slow")
		}
		return nil
	})
	f.Float64Var(&c.Load, "load", 0.7, "texts that come, as a share of what the replicas compute")
	f.Float64Var(&c.Rate, "rate", 0, "texts a second, instead of -load")
	f.DurationVar(&c.Measured, "measured", 4*time.Second, "virtual time that counts, after two seconds that do not")
	f.DurationVar(&c.Down, "down", 3*time.Second, "how long a failing replica fails")
	f.DurationVar(&c.Token, "token", c.Token, "what a token costs on one processor, in all ranks together")
	f.Float64Var(&c.Overhead, "overhead", c.Overhead, "what a batch costs beside, in tokens")
	f.IntVar(&c.Ranks, "ranks", c.Ranks, "stages of the model")
	f.Uint64Var(&c.Seed, "seed", 1, "of all that is random")
	output := f.String("o", "", "write all results into this JSON `file`")
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return err
	}
	c.Warm = 2 * time.Second
	if *only == "capacity" {
		return printCapacity(os.Stdout)
	}
	var lines []line
	found := false
	for _, t := range append(tables, table{"one", "the fleet of the flags", func(c Config) []Config { return []Config{c} }}) {
		if *only != t.name && (*only != "" || t.name == "one") {
			continue
		}
		found = true
		list, err := t.run(ctx, os.Stdout, c)
		if err != nil {
			return err
		}
		lines = append(lines, list...)
	}
	if !found {
		return fmt.Errorf("%q is no table", *only)
	}
	return stats.WriteJSON(*output, lines)
}

// run simulates the fleets of a table, and prints each as it is done.
func (t table) run(ctx context.Context, w io.Writer, base Config) (lines []line, err error) {
	fmt.Fprintf(w, "%s: %s\n", t.name, t.about)
	out := stats.Table(w)
	fmt.Fprintln(out, "fronts\treplicas\tsubset\tfailing\toffered/s\tanswers/s\tp50 ms\tp99 ms\trefused\tfailed\tretries\tbusy\tbusiest\tdeviation\ttexts/batch\tfront busy\tof a front\tof a replica\tconnections\tprobes\t")
	for _, c := range t.fleets(base) {
		if err := ctx.Err(); err != nil {
			return lines, err
		}
		r := Simulate(c)
		lines = append(lines, line{t.name, c, r})
		subset, failing := "all", "–"
		if c.Subset > 0 {
			subset = fmt.Sprint(c.Subset)
			if c.Even {
				subset += " even"
			}
		}
		if c.Failing > 0 {
			failing = fmt.Sprintf("%.0f %% %s", 100*c.Failing, c.How)
		}
		fmt.Fprintf(out, "%d\t%d × %d\t%s\t%s\t%.0f\t%.0f\t%.0f\t%.0f\t%d\t%d\t%d\t%.2f\t%.2f\t%.3f\t%.1f\t%.2f\t%d\t%d\t%d\t%.1f %%\t\n",
			c.Fronts, c.Ranks, c.Replicas, subset, failing, r.Offered, r.Throughput, stats.Millis(r.P50), stats.Millis(r.P99), r.Refused, r.Failed+r.Lost, r.Retries,
			r.Busy, r.Busiest, r.Deviation, r.Batch, r.Front, r.FrontConnections, r.ReplicaConnections, r.Connections, 100*r.Probes)
	}
	fmt.Fprintln(out)
	return lines, out.Flush()
}
