// Package metrics counts and measures what fronts and stages report, and serves it to Prometheus.
// It owns the names of metrics, which docs/reference/metrics.md lists. It is the only package that
// knows Prometheus: others have listeners, for which this one has functions.
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

	"github.com/distinfer/distinfer/server/httpx"
)

// Description is the part of an OpenAPI document for what Handler answers at /metrics.
//
//go:embed openapi.json
var Description []byte

// A set is the metrics of a process.
type set struct{ registry *prometheus.Registry }

// newSet has the metrics of every process: its own, Go's, and the version.
func newSet(version string) set {
	s := set{prometheus.NewRegistry()}
	build := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "distinfer_build_info", Help: "1, with the version of distinfer and of the Go that built it.",
	}, []string{"version", "goversion"})
	build.WithLabelValues(version, runtime.Version()).Set(1)
	s.registry.MustRegister(build, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return s
}

// maxScrapes is how many requests are answered at a time.
const maxScrapes = 4

// Handler answers Prometheus, in the format that it prefers.
func (s set) Handler(log *slog.Logger) http.Handler {
	scrape := promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{
		ErrorLog:           slog.NewLogLogger(log.Handler(), slog.LevelError),
		ErrorHandling:      promhttp.ContinueOnError, // some metrics are better than none
		DisableCompression: true,                     // httpx.Compress does that for all routes
	})
	// The handler's own limit answers in plain text.
	slots := make(chan struct{}, maxScrapes)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case slots <- struct{}{}:
			defer func() { <-slots }()
			scrape.ServeHTTP(w, r)
		default:
			httpx.Fail(w, httpx.Errorf(http.StatusServiceUnavailable, "%d requests for metrics are being answered; scrape less often", maxScrapes))
		}
	})
}

// The buckets for readers without native histograms.
var (
	secondBuckets = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}
	textBuckets   = prometheus.ExponentialBuckets(1, 2, 8)  // to 128
	tokenBuckets  = prometheus.ExponentialBuckets(16, 2, 9) // to 4096
)

// histogram makes options of a histogram that is both native, with buckets 10 % wide, and classic.
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
