package chaos

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/distinfer/distinfer/bench/stats"
)

// A result is what came of a scenario.
type result struct {
	Scenario string        `json:"scenario"`
	About    string        `json:"about"`
	Seconds  float64       `json:"seconds"`
	Requests int           `json:"requests"`
	Right    int           `json:"right"`
	Wrong    int           `json:"wrong"`
	Lost     int           `json:"lost"`
	Typed    int           `json:"typed_errors"`
	Untyped  int           `json:"untyped_errors"`
	Allowed  int           `json:"allowed_errors"` // of the typed ones
	Reasons  []reasonCount `json:"reasons,omitempty"`
	Retries  int           `json:"front_retries"`
	Rate     float64       `json:"right_answers_per_second"`

	Latency millis `json:"latency_ms"`

	Faults      int     `json:"faults"`
	Unrecovered int     `json:"unrecovered"` // faults that some request was not answered right under
	Recovery    millis  `json:"recovery_ms"`
	Gap         millis  `json:"gap_after_fault_ms"`
	LongestGap  float64 `json:"longest_gap_ms"` // of all the load

	Memory []memory `json:"memory,omitempty"`

	Attack []reasonCount `json:"attack,omitempty"` // what became of an adversary's requests

	Troubles []string `json:"troubles,omitempty"`
	Held     bool     `json:"invariant_held"`
}

// A reasonCount is how often requests were not answered right for one reason.
type reasonCount struct {
	Outcome string `json:"outcome"`
	Status  int    `json:"status,omitempty"`
	Why     string `json:"why"`
	Count   int    `json:"count"`
}

// millis is a spread in milliseconds.
type millis struct {
	Median float64 `json:"median"`
	P99    float64 `json:"p99"`
	Max    float64 `json:"max"`
}

// inMillis sorts the durations. Of none it is zero.
func inMillis(d []time.Duration) millis {
	slices.Sort(d)
	return millis{ms(stats.Quantile(d, 0.5)), ms(stats.Quantile(d, 0.99)), ms(stats.Quantile(d, 1))}
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// newResult counts. named replaces addresses in messages.
func newResult(s *scenario, requests []request, faults []fault, retries int, troubles []string, named func(string) string) result {
	r := result{Scenario: s.name, About: s.about, Requests: len(requests), Retries: retries, Faults: len(faults), Troubles: troubles}
	var counts [outcomes]int
	reasons := map[reasonCount]int{}
	var latencies []time.Duration
	var end time.Duration
	for _, q := range requests {
		end = max(end, q.end)
		counts[q.verdict.outcome]++
		if q.verdict.outcome == right {
			latencies = append(latencies, q.end-q.start)
			continue
		}
		if s.allowed(q, faults) {
			r.Allowed++
		}
		reasons[reasonCount{Outcome: q.verdict.outcome.String(), Status: q.verdict.status, Why: named(q.verdict.why)}]++
	}
	r.Right, r.Wrong, r.Lost, r.Typed, r.Untyped = counts[right], counts[wrong], counts[lost], counts[typed], counts[untyped]
	r.Latency = inMillis(latencies)
	r.Seconds = end.Seconds()
	if end > 0 {
		r.Rate = float64(r.Right) / end.Seconds()
	}
	for reason, n := range reasons {
		reason.Count = n
		r.Reasons = append(r.Reasons, reason)
	}
	slices.SortFunc(r.Reasons, func(a, b reasonCount) int { return cmp.Or(b.Count-a.Count, cmp.Compare(a.Why, b.Why)) })

	var times, gaps []time.Duration
	for _, c := range recoveries(faults, requests) {
		gaps = append(gaps, c.gap)
		if c.full {
			times = append(times, c.time)
		} else {
			r.Unrecovered++
		}
	}
	r.Recovery, r.Gap = inMillis(times), inMillis(gaps)
	r.LongestGap = ms(gap(rightTimes(requests), 0, end))

	// Without a right answer or without a fault nothing was proved.
	r.Held = r.Right > 0 && r.Right+r.Allowed == r.Requests && len(troubles) == 0 && (s.faultless || r.Faults > 0)
	if s.outage {
		r.Held = r.Held && r.Unrecovered == 0
	}
	return r
}

// mostReasons is how many of the reasons of a scenario the table says; the JSON
// has all.
const mostReasons = 12

// The goals; docs/reference/failures.md names them as well. They do not change the exit code.
const (
	goalRequests = 20000
	goalRecovery = 1000 // ms
)

// writeTable writes a row for each result, and below what went wrong.
func writeTable(w io.Writer, results []result) error {
	t := stats.Table(w)
	fmt.Fprintln(t, "\trequests\tright\twrong\tlost\ttyped\tuntyped\tfront\tright\tlatency, ms\t\t\tfaults\tnot\trecovery, ms\t\tgap, ms\t\tlongest\t\t")
	fmt.Fprintln(t, "scenario\t\t\t\t\terrors\terrors\tretries\t/s\tp50\tp99\tmax\t\trecovered\tmedian\tmax\tmedian\tmax\tgap, ms\tinvariant\t")
	total := 0
	for _, r := range results {
		total += r.Requests
		verdict := "held"
		if !r.Held {
			verdict = "BROKEN"
		}
		recovery, gap := "-\t-", "-\t-"
		if r.Faults > r.Unrecovered {
			recovery = fmt.Sprintf("%.0f\t%.0f", r.Recovery.Median, r.Recovery.Max)
		}
		if r.Faults > 0 {
			gap = fmt.Sprintf("%.0f\t%.0f", r.Gap.Median, r.Gap.Max)
		}
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%.0f\t%.1f\t%.1f\t%.0f\t%d\t%d\t%s\t%s\t%.0f\t%s\t\n", r.Scenario, r.Requests, r.Right, r.Wrong, r.Lost, r.Typed, r.Untyped,
			r.Retries, r.Rate, r.Latency.Median, r.Latency.P99, r.Latency.Max, r.Faults, r.Unrecovered, recovery, gap, r.LongestGap, verdict)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, r := range results {
		if len(r.Memory) > 0 {
			fmt.Fprintf(w, "\n%s, resident memory in MB over %.0f s:\n", r.Scenario, r.Seconds)
			for _, m := range r.Memory {
				fmt.Fprintf(w, "  %-10s after warming up %.1f, at the end %.1f, at most %.1f; %+.2f a minute in the second half\n", m.Process, m.Start, m.End, m.Max, m.Slope)
			}
		}
	}
	for _, r := range results {
		if len(r.Attack) > 0 {
			fmt.Fprintf(w, "\n%s (%s):\n", r.Scenario, r.About)
		}
		for _, a := range r.Attack {
			fmt.Fprintf(w, "  %d times %d: %s\n", a.Count, a.Status, a.Why)
		}
	}
	for _, r := range results {
		if len(r.Reasons)+len(r.Troubles) == 0 {
			continue
		}
		fmt.Fprintf(w, "\n%s (%s):\n", r.Scenario, r.About)
		for i, reason := range r.Reasons {
			if i == mostReasons {
				fmt.Fprintf(w, "  and %d other reasons\n", len(r.Reasons)-i)
				break
			}
			status := ""
			if reason.Status != 0 {
				status = fmt.Sprintf(" %d", reason.Status)
			}
			fmt.Fprintf(w, "  %d times %s%s: %s\n", reason.Count, reason.Outcome, status, reason.Why)
		}
		if r.Allowed > 0 {
			fmt.Fprintf(w, "  %d of these are allowed: nothing could have served\n", r.Allowed)
		}
		for _, trouble := range r.Troubles {
			fmt.Fprintf(w, "  %s\n", trouble)
		}
	}
	_, err := fmt.Fprintf(w, "\n%d requests in all (goal: at least %d)\n", total, goalRequests)
	for _, r := range results {
		if r.Scenario == "kill" {
			_, err = fmt.Fprintf(w, "goal of a recovery under %d ms from every kill with a second replica: %s\n", goalRecovery, stats.Verdict(r.Unrecovered == 0 && r.Recovery.Max < goalRecovery))
		}
	}
	return err
}
