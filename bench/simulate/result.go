package simulate

import (
	"math"
	"slices"
	"time"

	"github.com/distinfer/distinfer/bench/stats"
)

// A Result is what was observed of the texts that came while results count.
type Result struct {
	Offered float64 `json:"offered_per_s"`
	// Throughput is answers a second while results count, whenever their texts came.
	Throughput float64       `json:"answers_per_s"`
	P50        time.Duration `json:"p50_ns"`
	P99        time.Duration `json:"p99_ns"`
	Texts      int           `json:"texts"`
	Refused    int           `json:"refused"` // because of overload
	Failed     int           `json:"failed"`
	Lost       int           `json:"lost"` // neither answered nor refused
	Retries    int           `json:"retries"`
	Batch      float64       `json:"texts_a_batch"`

	// Busy is the mean share of the time that replicas computed, Busiest that of the busiest, and
	// Deviation the standard deviation as a share of the mean.
	Busy      float64 `json:"busy"`
	Busiest   float64 `json:"busiest"`
	Deviation float64 `json:"deviation"`
	Front     float64 `json:"front_busy"` // share of the processors of the fronts

	// Connections are those of a front, of a replica to the next rank and from its callers, and of
	// all. Probes is the share of a replica's processors that probes take.
	FrontConnections   int     `json:"front_connections"`
	ReplicaConnections int     `json:"replica_connections"`
	Connections        int     `json:"connections"`
	Probes             float64 `json:"probes"`

	batches, answers int
}

// answered records what became of a text.
func (f *fleet) answered(n int, ok bool) {
	if f.now >= f.Warm && f.now < f.Warm+f.Measured && ok {
		f.result.answers++
	}
	if !f.measures(n) {
		return
	}
	if !ok {
		f.result.Failed++
		return
	}
	f.waits = append(f.waits, f.now-f.arrivals[n])
}

// busy is how long each machine, and the fronts together, worked so far.
func (f *fleet) busy() (all []time.Duration) {
	var fronts time.Duration
	for _, x := range f.fronts {
		fronts += x.busy
	}
	all = append(all, fronts)
	for _, machines := range f.ranks {
		for _, m := range machines {
			all = append(all, m.busy)
		}
	}
	return all
}

// sum computes what is known at the end of the measurement.
func (f *fleet) sum(before []time.Duration) {
	r := &f.result
	shares := make([]float64, 0, len(before))
	for i, now := range f.busy() {
		share := (now - before[i]).Seconds() / f.Measured.Seconds()
		if i == 0 {
			r.Front = share / float64(f.Fronts*max(f.FrontProcessors, 1))
			continue
		}
		shares = append(shares, share/float64(f.Runs))
	}
	for _, s := range shares {
		r.Busy += s / float64(len(shares))
	}
	for _, s := range shares {
		r.Deviation += (s - r.Busy) * (s - r.Busy) / float64(len(shares))
	}
	r.Deviation = math.Sqrt(r.Deviation) / r.Busy
	r.Busiest = slices.Max(shares)
	r.Throughput = float64(r.answers) / f.Measured.Seconds()
	r.FrontConnections, r.ReplicaConnections, r.Connections = f.connections()
	for _, m := range f.machines {
		r.Probes = max(r.Probes, m.probes())
	}
}

// finish computes what is known once all is answered.
func (f *fleet) finish() {
	r := &f.result
	slices.Sort(f.waits)
	r.P50, r.P99 = stats.Quantile(f.waits, 0.5), stats.Quantile(f.waits, 0.99)
	r.Lost = r.Texts - len(f.waits) - r.Refused - r.Failed
	r.Batch = float64(len(f.waits)) / float64(max(r.batches, 1))
}
