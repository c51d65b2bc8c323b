package encodings

import (
	"fmt"
	"io"
	"time"

	"github.com/distinfer/distinfer/bench/stats"
	"github.com/distinfer/distinfer/runtime/encoding"
)

// write writes what was measured of one kind of request at one latency.
func write(w io.Writer, k *kind, latency time.Duration, rows []row) error {
	fmt.Fprintf(w, "\n%d sentences a request, %.1f kB of float32 between the stages, latency %s one way\n", len(k.texts), float64(k.bytes)/1e3, latency)
	t := stats.Table(w)
	narrow := encoding.Encodings()[1:]
	fmt.Fprint(t, "link\thop float32 ms\t")
	for _, e := range narrow {
		fmt.Fprintf(t, "%s ms\tratio\t", e)
	}
	fmt.Fprint(t, "request float32 ms\t")
	for _, e := range narrow {
		fmt.Fprintf(t, "%s ms\tratio\t", e)
	}
	fmt.Fprintln(t)
	for _, r := range rows {
		fmt.Fprintf(t, "%s\t", speed(float64(r.speed)))
		for _, times := range []map[encoding.Encoding]time.Duration{r.hop, r.request} {
			fmt.Fprintf(t, "%.2f\t", stats.Millis(times[encoding.Float32]))
			for _, e := range narrow {
				fmt.Fprintf(t, "%.2f\t%.2f\t", stats.Millis(times[e]), float64(times[e])/float64(times[encoding.Float32]))
			}
		}
		fmt.Fprintln(t)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, e := range narrow {
		fmt.Fprintf(w, "%s: breaks even at %s; converting takes %.2f ms (%.2f ns a byte of float32) and leaves %.0f %% of the bytes, which foretells %s\n",
			e, breakEven(rows, e), stats.Millis(k.converting[e]), float64(k.converting[e].Nanoseconds())/float64(k.bytes), 100*k.share[e], speed(k.foretold(e)))
	}
	return nil
}

func speed(megabits float64) string {
	switch {
	case megabits == 0:
		return "unlimited"
	case megabits >= 1000:
		return fmt.Sprintf("%.3g Gbit/s", megabits/1000)
	}
	return fmt.Sprintf("%.3g Mbit/s", megabits)
}

// foretold is the speed in Mbit/s at which sending the bytes that are saved takes as
// long as converting does.
func (k *kind) foretold(e encoding.Encoding) float64 {
	saved := float64(k.bytes) * (1 - k.share[e])
	return 8 * saved / k.converting[e].Seconds() / 1e6
}

// inverse is the time that a bit takes at a speed, in microseconds.
func inverse(speed int) float64 {
	if speed == 0 {
		return 0
	}
	return 1 / float64(speed)
}

// breakEven is the speed at which a hop takes as long as with float32, of rows from fast
// to slow. What narrowing saves grows evenly with the time that a bit takes: it is
// interpolated between the slowest link on which nothing was saved and the next.
func breakEven(rows []row, e encoding.Encoding) string {
	saves := func(r row) float64 { return stats.Millis(r.hop[encoding.Float32] - r.hop[e]) }
	last := -1
	for i, r := range rows {
		if saves(r) < 0 {
			last = i
		}
	}
	switch last {
	case -1:
		return fmt.Sprintf("more than the fastest link measured (%s)", speed(float64(rows[0].speed)))
	case len(rows) - 1:
		return fmt.Sprintf("less than the slowest link measured (%s)", speed(float64(rows[last].speed)))
	}
	slow, fast := rows[last+1], rows[last]
	share := -saves(fast) / (saves(slow) - saves(fast))
	return speed(1 / (inverse(fast.speed) + share*(inverse(slow.speed)-inverse(fast.speed))))
}
