package metrics

import (
	"context"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/server/stage"
)

// A Stage is the metrics of a stage, which all bear its rank.
type Stage struct {
	set
	ranked prometheus.Registerer

	runs                    *prometheus.CounterVec
	wait, compute, next     prometheus.Histogram
	retries, received, sent prometheus.Counter
}

// NewStage makes the metrics of a stage of some version of distinfer.
func NewStage(version string, rank int) *Stage {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	s := &Stage{
		set:      newSet(version),
		runs:     prometheus.NewCounterVec(prometheus.CounterOpts{Name: "distinfer_stage_runs_total", Help: "Runs that ended, by outcome: ok, or what kind of error it was."}, []string{"outcome"}),
		wait:     prometheus.NewHistogram(seconds("distinfer_stage_wait_seconds", "Time that a run waited for its turn.")),
		compute:  prometheus.NewHistogram(seconds("distinfer_stage_compute_seconds", "Time that a run was computed.")),
		next:     prometheus.NewHistogram(seconds("distinfer_stage_next_seconds", "Time from sending to the next stage until its answer was there, what all stages behind do included.")),
		retries:  counter("distinfer_stage_retries_total", "Retries of calls to the next stage."),
		received: counter("distinfer_stage_received_bytes_total", "Memory of the tensors that came."),
		sent:     counter("distinfer_stage_sent_bytes_total", "Memory of the tensors that were computed and sent on, or back by the last stage."),
	}
	s.runs.WithLabelValues(ok)
	s.ranked = prometheus.WrapRegistererWith(prometheus.Labels{"rank": strconv.Itoa(rank)}, s.registry)
	s.ranked.MustRegister(s.runs, s.wait, s.compute, s.next, s.retries, s.received, s.sent)
	return s
}

// ok is the outcome of a run that was answered.
const ok = "ok"

// Runs measures the runs of a stage.Server.
func (s *Stage) Runs() stage.Listener { return stage.Listener{RunEnded: s.runEnded} }

func (s *Stage) runEnded(_ context.Context, r stage.Run) {
	outcome := ok
	if r.Err != nil {
		outcome = errcode.Of(r.Err).String()
	}
	s.runs.WithLabelValues(outcome).Inc()
	s.received.Add(float64(r.In))
	s.sent.Add(float64(r.Out))
	s.retries.Add(float64(r.Timing.Retries))
	if r.Timing.Computed > 0 {
		s.wait.Observe(r.Timing.Waited.Seconds())
		s.compute.Observe(r.Timing.Computed.Seconds())
	}
	if r.Timing.Next > 0 {
		s.next.Observe(r.Timing.Next.Seconds())
	}
}

// Watch adds gauges of a stage, read whenever Prometheus asks. b is nil for one without
// a bundle, and load how long it took to load.
func (s *Stage) Watch(server *stage.Server, b *bundle.Bundle, load time.Duration) {
	s.ranked.MustRegister(collector(func(add func(prometheus.Metric)) {
		now := server.Stats()
		add(stageInFlight.of(float64(now.InFlight)))
		add(stageComputing.of(float64(now.Running)))
		add(stageWaiting.of(float64(now.Waiting)))
		add(stageBytes.of(float64(now.InFlightBytes)))
		add(stageThreads.of(float64(now.Threads)))
		if b != nil {
			add(bundleOf(b))
			add(stageWeights.of(float64(b.Stages[now.Rank].ParameterBytes)))
			add(stageLoad.of(load.Seconds()))
		}
	}))
}
