package load

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"sync"
	"time"
)

// A Result is what became of the requests that were due after the warm-up.
type Result struct {
	Right, Refused, Wrong, Failed int
	// Abandoned were in flight when the run was interrupted.
	Abandoned int
	// Arrived are the right answers that came within Elapsed, those to requests of
	// the warm-up too.
	Arrived int
	// Elapsed is the time that is counted: the duration, or up to the last answer
	// when it was the number of requests that ended the run.
	Elapsed time.Duration
	// Latency is that of right answers, Refusals that of refusals.
	Latency, Refusals *Latencies

	mu       sync.Mutex
	from, to time.Duration // what is counted, since the run began
	last     time.Duration // when the last answer came
	kinds    map[kind]*Kind
}

// A Kind is requests that became the same: of one verdict and status, and when
// there was no answer, for one reason.
type Kind struct {
	Verdict Verdict
	Status  int // of HTTP; 0 when there was no answer
	Count   int
	Example string // the beginning of the first one's answer, or why there was none
}

type kind struct {
	verdict Verdict
	status  int
	why     string
}

// What a service answers must not fill the memory.
const (
	maxExample = 300 // bytes
	maxReasons = 50  // that are counted apart
)

func newResult(o Options) *Result {
	r := &Result{Latency: newLatencies(), Refusals: newLatencies(), from: o.Warmup, to: math.MaxInt64, kinds: map[kind]*Kind{}}
	if o.Duration > 0 {
		r.to, r.Elapsed = o.Warmup+o.Duration, o.Duration
	}
	return r
}

// close says that the run ended before its duration.
func (r *Result) close(end time.Duration) { r.Elapsed = max(0, min(end, r.to)-r.from) }

func (r *Result) add(t turn, a answer, now time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last = now
	if a.verdict == Right && now >= r.from && now < r.to {
		r.Arrived++
	}
	switch {
	case !t.counted:
		return
	case a.abandoned:
		r.Abandoned++
		return
	}
	switch a.verdict {
	case Right:
		r.Right++
		r.Latency.add(now - t.due)
	case Refused:
		r.Refused++
		r.Refusals.add(now - t.due)
	case Wrong:
		r.Wrong++
	default:
		r.Failed++
	}
	r.count(a)
}

func (r *Result) count(a answer) {
	key := kind{a.verdict, a.status, a.why}
	if a.why != "" && r.kinds[key] == nil && len(r.kinds) >= maxReasons {
		key.why = "other reasons"
	}
	k := r.kinds[key]
	if k == nil {
		example := key.why
		if example == "" {
			example = string(a.body[:min(len(a.body), maxExample)])
		}
		k = &Kind{Verdict: a.verdict, Status: a.status, Example: strings.TrimSpace(example[:min(len(example), maxExample)])}
		r.kinds[key] = k
	}
	k.Count++
}

// Requests is how many were counted, whatever became of them.
func (r *Result) Requests() int { return r.Right + r.Refused + r.Wrong + r.Failed + r.Abandoned }

// Throughput is the right answers a second.
func (r *Result) Throughput() float64 {
	if r.Elapsed == 0 {
		return 0
	}
	return float64(r.Arrived) / r.Elapsed.Seconds()
}

// Quantile is the latency that the share q of the right answers did not exceed.
func (r *Result) Quantile(q float64) time.Duration { return r.Latency.Quantile(q) }

// Kinds is what became of the requests, the most frequent first.
func (r *Result) Kinds() []Kind {
	list := make([]Kind, 0, len(r.kinds))
	for _, k := range r.kinds {
		list = append(list, *k)
	}
	slices.SortFunc(list, func(a, b Kind) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Status, b.Status), cmp.Compare(a.Verdict, b.Verdict), cmp.Compare(a.Example, b.Example))
	})
	return list
}
