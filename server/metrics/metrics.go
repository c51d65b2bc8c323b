// Package metrics counts and measures what the front and the stages tell of themselves,
// and gives it to Prometheus. It owns the names, which docs/reference/metrics.md lists, and is the
// only one that knows Prometheus: what is measured has hooks of its own, to which the
// types of this package fit.
//
// No label holds what a client sent.
package metrics

import (
	_ "embed" // the description
	"log/slog"
	"net/http"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Description is the part of an OpenAPI document for what Handler answers at /metrics.
//
//go:embed openapi.json
var Description []byte

// A set is the metrics of a process.
type set struct{ registry *prometheus.Registry }

// newSet has what every process tells: itself, Go, and which version this is.
func newSet(version string) set {
	s := set{prometheus.NewRegistry()}
	build := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "distinfer_build_info", Help: "1, with the version of distinfer and of the Go that built it.",
	}, []string{"version", "goversion"})
	build.WithLabelValues(version, runtime.Version()).Set(1)
	s.registry.MustRegister(build, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return s
}

// Handler answers Prometheus, in whichever of its formats it asks for.
func (s set) Handler(log *slog.Logger) http.Handler {
	return promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{
		ErrorLog:            slog.NewLogLogger(log.Handler(), slog.LevelError),
		ErrorHandling:       promhttp.ContinueOnError, // what can be told is better than nothing
		MaxRequestsInFlight: 4,
		DisableCompression:  true, // what it is given to does that for all routes
	})
}

// The buckets of those who cannot read native histograms.
var (
	secondBuckets = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}
	textBuckets   = prometheus.ExponentialBuckets(1, 2, 8)  // to 128
	tokenBuckets  = prometheus.ExponentialBuckets(16, 2, 9) // to 4096
)

// histogram says that one is both native, where a bucket is 10 % wide, and classic.
func histogram(name, help string, buckets []float64) prometheus.HistogramOpts {
	return prometheus.HistogramOpts{
		Name: name, Help: help, Buckets: buckets,
		NativeHistogramBucketFactor:     1.1,
		NativeHistogramMaxBucketNumber:  160,
		NativeHistogramMinResetDuration: time.Hour,
	}
}

func seconds(name, help string) prometheus.HistogramOpts {
	return histogram(name, help, secondBuckets)
}
