package metrics

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/server/front"
	"github.com/distinfer/distinfer/server/replica"
)

// Watch adds gauges of the model that use returns, read whenever Prometheus asks.
func (f *Front) Watch(use func() (_ front.Model, done func())) {
	f.registry.MustRegister(collector(func(add func(prometheus.Metric)) {
		m, done := use()
		defer done()
		if m.Bundle == nil { // the front is closed
			return
		}
		add(bundleOf(m.Bundle))
		if m.Texts != nil {
			s := m.Texts.Batcher.Stats()
			add(queueTexts.of(float64(s.Waiting)))
			add(textsInFlight.of(float64(s.Busy)))
			add(batchesInFlight.of(float64(s.InFlight)))
			add(batchesTarget.of(float64(s.Target)))
		}
		for rank, replicas := range m.Replicas() {
			for _, r := range replicas {
				at := []string{strconv.Itoa(rank), r.Address}
				add(replicaHealthy.of(is(r.Condition == replica.Ready && !r.Ejected), at...))
				add(replicaEjected.of(is(r.Ejected), at...))
				add(replicaCalls.of(float64(r.Calls), at...))
			}
		}
	}))
}

// The gauges that are read when Prometheus asks.
var (
	bundleInfo = newGauge("distinfer_bundle_info", "1, with the beginning of the bundle's ID, its model's name and how many stages it has.", "bundle", "model", "stages")

	queueTexts      = newGauge("distinfer_queue_texts", "Texts that wait for their batch.")
	textsInFlight   = newGauge("distinfer_texts_in_flight", "Texts that wait or are computed.")
	batchesInFlight = newGauge("distinfer_batches_in_flight", "Batches that are computed.")
	batchesTarget   = newGauge("distinfer_batches_in_flight_target", "Batches that should be computed at once, when there are enough texts.")

	replicaHealthy = newGauge("distinfer_replica_healthy", "1 when the replica can be used and is not ejected, else 0.", "rank", "address")
	replicaEjected = newGauge("distinfer_replica_ejected", "1 while the replica answers and is ejected for a cooldown, else 0.", "rank", "address")
	replicaCalls   = newGauge("distinfer_replica_calls_in_flight", "Calls to the replica in flight.", "rank", "address")

	stageInFlight  = newGauge("distinfer_stage_runs_in_flight", "Runs that wait, are computed, or are with a later stage.")
	stageComputing = newGauge("distinfer_stage_runs_computing", "Runs that are computed.")
	stageWaiting   = newGauge("distinfer_stage_runs_waiting", "Runs that wait for their turn.")
	stageBytes     = newGauge("distinfer_stage_in_flight_bytes", "Memory of the tensors of the runs in flight.")
	stageThreads   = newGauge("distinfer_stage_threads", "Threads that compute.")
	stageWeights   = newGauge("distinfer_stage_weights_bytes", "Weights of the stage.")
	stageLoad      = newGauge("distinfer_stage_load_seconds", "Time that it took to check the stage's files and to load them.")
)

// A gauge is made anew whenever it is read.
type gauge struct{ desc *prometheus.Desc }

func newGauge(name, help string, labels ...string) gauge {
	return gauge{prometheus.NewDesc(name, help, labels, nil)}
}

func (g gauge) of(v float64, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstMetric(g.desc, prometheus.GaugeValue, v, labels...)
}

func bundleOf(b *bundle.Bundle) prometheus.Metric {
	return bundleInfo.of(1, b.ID.Short(), b.Model.Name, strconv.Itoa(len(b.Stages)))
}

func is(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// A collector adds the metrics of the moment. It describes none, since which series there are
// depends on the moment.
type collector func(add func(prometheus.Metric))

// Describe implements prometheus.Collector.
func (collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c collector) Collect(metrics chan<- prometheus.Metric) {
	c(func(m prometheus.Metric) { metrics <- m })
}
