package load

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
)

// String says in a line how requests are made.
func (o Options) String() string {
	how := fmt.Sprintf("%d clients, each with one request at a time", o.Concurrency)
	if o.Rate > 0 {
		how = fmt.Sprintf("%g requests a second, at most %d in flight", o.Rate, o.Concurrency)
	}
	var until []string
	if o.Duration > 0 {
		until = append(until, o.Duration.String())
	}
	if o.Requests > 0 {
		until = append(until, fmt.Sprintf("%d requests", o.Requests))
	}
	return fmt.Sprintf("%s; for %s, after %s of warm-up", how, strings.Join(until, " or "), o.Warmup)
}

// quantiles are those of a report.
var quantiles = []struct {
	name string
	q    float64
}{{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p99.9", 0.999}, {"max", 1}}

// WriteText writes a report for people.
func (r *Result) WriteText(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "throughput\t%.1f right answers a second\n", r.Throughput())
	if r.Right > 0 {
		fmt.Fprintf(t, "latency\t%s\n", latencyLine(r.Latency))
	}
	if r.Refused > 0 {
		fmt.Fprintf(t, "refusals\t%s\n", latencyLine(r.Refusals))
	}
	fmt.Fprintln(t)
	for _, k := range r.Kinds() {
		fmt.Fprintf(t, "%s\t%d\t%.1f%%\t%s\n", k.Verdict, k.Count, 100*float64(k.Count)/float64(r.Requests()), example(k))
	}
	if r.Abandoned > 0 {
		fmt.Fprintf(t, "interrupted\t%d\t%.1f%%\t\n", r.Abandoned, 100*float64(r.Abandoned)/float64(r.Requests()))
	}
	if r.Right > 0 {
		fmt.Fprintln(t)
		writeBars(t, r.Latency)
	}
	return t.Flush()
}

func latencyLine(l *Latencies) string {
	var parts []string
	for _, q := range quantiles {
		parts = append(parts, q.name+" "+digits(l.Quantile(q.q)))
	}
	return strings.Join(parts, "   ")
}

// digits is a time in three digits.
func digits(d time.Duration) string {
	switch {
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%.2f ms", d.Seconds()*1e3)
	case d < 100*time.Millisecond:
		return fmt.Sprintf("%.1f ms", d.Seconds()*1e3)
	case d < time.Second:
		return fmt.Sprintf("%.0f ms", d.Seconds()*1e3)
	}
	return fmt.Sprintf("%.2f s", d.Seconds())
}

// example is the line that shows what an answer was like, without what a terminal
// would take for a command.
func example(k Kind) string {
	text := k.Example
	var problem struct {
		Error string `json:"error"`
	}
	if json.Unmarshal([]byte(k.Example), &problem) == nil && problem.Error != "" {
		text = problem.Error
	}
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, text)
	text = strings.Join(strings.Fields(text), " ")
	if k.Status == 0 {
		return text
	}
	return fmt.Sprintf("%d %s: %s", k.Status, http.StatusText(k.Status), text)
}

// A bar is how many latencies are above one bound and at most at another.
type bar struct {
	above, upTo time.Duration
	count       int
}

// bars part latencies at 1, 2, 5, 10, … of a unit.
func bars(l *Latencies) []bar {
	var list []bar
	above, upTo := time.Duration(0), 100*time.Microsecond
	for step := 0; above < l.Max(); step++ {
		if n := l.Within(above, upTo); n > 0 || len(list) > 0 {
			list = append(list, bar{above, upTo, n})
		}
		above = upTo
		if step%3 == 1 {
			upTo = upTo / 2 * 5 // from 2 to 5
		} else {
			upTo *= 2
		}
	}
	return list
}

// longestBar is the length of the longest bar in characters.
const longestBar = 40

func writeBars(w io.Writer, l *Latencies) {
	list := bars(l)
	most := 0
	for _, b := range list {
		most = max(most, b.count)
	}
	for _, b := range list {
		length := (b.count*longestBar + most - 1) / most // whatever is there shows
		fmt.Fprintf(w, "up to %s\t%d\t%.1f%%\t%s\n", b.upTo, b.count, 100*float64(b.count)/float64(l.Count()), strings.Repeat("█", length))
	}
}

// millis are the quantiles of latencies in milliseconds.
func millis(l *Latencies) map[string]float64 {
	if l.Count() == 0 {
		return nil
	}
	m := map[string]float64{"mean": l.Mean().Seconds() * 1e3}
	for _, q := range quantiles {
		m[strings.ReplaceAll(q.name, ".", "_")] = l.Quantile(q.q).Seconds() * 1e3
	}
	return m
}

// WriteJSON writes a report for programs: an object in a line.
func (r *Result) WriteJSON(w io.Writer, url string, o Options) error {
	type kind struct {
		Verdict string `json:"verdict"`
		Status  int    `json:"status,omitempty"`
		Count   int    `json:"count"`
		Example string `json:"example"`
	}
	type interval struct {
		Above float64 `json:"above_ms"`
		UpTo  float64 `json:"up_to_ms"`
		Count int     `json:"count"`
	}
	report := struct {
		URL         string             `json:"url"`
		Concurrency int                `json:"concurrency"`
		Rate        float64            `json:"rate,omitempty"` // none in a closed loop
		Warmup      float64            `json:"warmup_seconds"`
		Elapsed     float64            `json:"seconds"`
		Requests    int                `json:"requests"`
		Right       int                `json:"right"`
		Refused     int                `json:"refused"`
		Wrong       int                `json:"wrong"`
		Failed      int                `json:"failed"`
		Interrupted int                `json:"interrupted"`
		Throughput  float64            `json:"throughput"`
		Latency     map[string]float64 `json:"latency_ms,omitempty"`
		Refusals    map[string]float64 `json:"refusal_latency_ms,omitempty"`
		Answers     []kind             `json:"answers"`
		Histogram   []interval         `json:"histogram"`
	}{
		URL: url, Concurrency: o.Concurrency, Rate: o.Rate, Warmup: o.Warmup.Seconds(), Elapsed: r.Elapsed.Seconds(), Requests: r.Requests(),
		Right: r.Right, Refused: r.Refused, Wrong: r.Wrong, Failed: r.Failed, Interrupted: r.Abandoned, Throughput: r.Throughput(),
		Latency: millis(r.Latency), Refusals: millis(r.Refusals), Answers: []kind{}, Histogram: []interval{},
	}
	for _, k := range r.Kinds() {
		report.Answers = append(report.Answers, kind{k.Verdict.String(), k.Status, k.Count, k.Example})
	}
	for _, b := range bars(r.Latency) {
		report.Histogram = append(report.Histogram, interval{b.above.Seconds() * 1e3, b.upTo.Seconds() * 1e3, b.count})
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(report)
}
