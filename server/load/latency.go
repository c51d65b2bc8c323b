package load

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Latencies are those of many requests, to three digits.
type Latencies struct{ h *hdrhistogram.Histogram }

// longest is the longest latency; longer ones count as this one.
const longest = 24 * time.Hour

func newLatencies() *Latencies {
	return &Latencies{hdrhistogram.New(1, longest.Microseconds(), 3)}
}

func (l *Latencies) add(d time.Duration) {
	// It fails only for what is beyond the longest.
	_ = l.h.RecordValue(max(0, min(d, longest)).Microseconds())
}

// Count is how many there are.
func (l *Latencies) Count() int { return int(l.h.TotalCount()) }

// Quantile is what the share q of them did not exceed, or 0 when there are none.
func (l *Latencies) Quantile(q float64) time.Duration {
	return micros(l.h.ValueAtQuantile(100 * q))
}

// Max is the greatest.
func (l *Latencies) Max() time.Duration { return micros(l.h.Max()) }

// Mean is their mean.
func (l *Latencies) Mean() time.Duration {
	return time.Duration(l.h.Mean() * float64(time.Microsecond))
}

// Within is how many are above low and at most high.
func (l *Latencies) Within(low, high time.Duration) int {
	n := int64(0)
	for _, bar := range l.h.Distribution() {
		if at := micros(bar.To); at > low && at <= high {
			n += bar.Count
		}
	}
	return int(n)
}

func micros(n int64) time.Duration { return time.Duration(n) * time.Microsecond }
