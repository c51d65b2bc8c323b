package overload

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/distinfer/distinfer/bench/cluster"
	"github.com/distinfer/distinfer/bench/stats"
	"github.com/distinfer/distinfer/server/load"
)

const mb = 1e6

// report prints the parts peak, overload and peak again.
func report(w io.Writer, c *cluster.Cluster, parts []part, open load.Options, after []float64) error {
	peak := (parts[0].result.Throughput() + parts[2].result.Throughput()) / 2
	over := parts[1]
	t := stats.List(w)
	fmt.Fprintln(t, "load\trequests\tright\trefused\twrong\tfailed\tright/s\tp50\tp99\trefusals p50\tp99")
	for _, p := range parts {
		r := p.result
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%d\t%d\t%.1f\t%s\t%s\t%s\t%s\n", p.name, r.Requests(), r.Right, r.Refused, r.Wrong, r.Failed, r.Throughput(),
			quantile(r.Latency, 0.5), quantile(r.Latency, 0.99), quantile(r.Refusals, 0.5), quantile(r.Refusals, 0.99))
	}
	fmt.Fprintf(t, "\nThe peak is of %d clients. The overload is %.0f requests a second, at most %d of them in flight; a client gives up after %s.\n",
		clients, open.Rate, open.Concurrency, open.Timeout)
	for _, p := range parts {
		for _, k := range p.result.Kinds() {
			if k.Verdict != load.Right {
				fmt.Fprintf(t, "%s: %d %s: %s\n", p.name, k.Count, k.Verdict, strings.TrimPrefix(fmt.Sprintf("%d %s", k.Status, k.Example), "0 "))
			}
		}
	}
	fmt.Fprintln(t, "\nin the overload\t\tgoal")
	fmt.Fprintf(t, "right answers, of the peak's\t%.1f%%\tat least %.0f%%\n", 100*over.result.Throughput()/peak, 100*leastGoodput)
	fmt.Fprintf(t, "time to a refusal (p99)\t%s\tunder %s\n", quantile(over.result.Refusals, 0.99), mostRefusal)
	fmt.Fprintf(t, "time to a right answer (p99)\t%s\n", quantile(over.result.Latency, 0.99))

	fmt.Fprintf(t, "\nprocess\tmemory before (MB)\tat most during\tafter %s\tsecond half / first\tprocessors at the peak\tin the overload\n", rest)
	for i, p := range c.Serving() {
		most, growth := course(over.during, i)
		fmt.Fprintf(t, "%s\t%.1f\t%.1f\t%.1f\t%.3f\t%.2f\t%.2f\n", p.Name, over.before[i]/mb, most/mb, after[i]/mb, growth, parts[0].computed[i], over.computed[i])
	}
	last := len(over.computed) - 1
	fmt.Fprintf(t, "load generator\t\t\t\t\t%.2f\t%.2f\n", parts[0].computed[last], over.computed[last])
	fmt.Fprintf(t, "goal\t\t\t\tat most %.2f\n", mostGrowth)
	return t.Flush()
}

func quantile(l *load.Latencies, q float64) string {
	if l.Count() == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f ms", stats.Millis(l.Quantile(q)))
}

// course is the most memory that a process had, and how many times the most of
// the first half the most of the second is.
func course(looks [][]float64, process int) (most, growth float64) {
	var list []float64
	for _, l := range looks {
		list = append(list, l[process])
	}
	half := len(list) / 2
	return slices.Max(list), slices.Max(list[half:]) / slices.Max(list[:half])
}
