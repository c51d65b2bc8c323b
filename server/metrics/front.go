package metrics

import (
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/distinfer/distinfer/server/batch"
	"github.com/distinfer/distinfer/server/httpx"
)

// A Front is the metrics of a front.
type Front struct {
	set

	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	inFlight prometheus.Gauge

	grpcRequests *prometheus.CounterVec
	grpcDuration *prometheus.HistogramVec
	grpcInFlight prometheus.Gauge

	answered, dropped, failed, padding prometheus.Counter
	rejected                           map[batch.Reason]prometheus.Counter
	tokenize, queue, batch             prometheus.Histogram
	texts, tokens                      prometheus.Histogram

	wait, compute, network *prometheus.HistogramVec
	retries                *prometheus.CounterVec

	mu    sync.Mutex
	ranks []ranked
}

// A ranked is what is measured of a rank, which is looked up once.
type ranked struct {
	wait, compute, network prometheus.Observer
	retries                prometheus.Counter
}

// NewFront makes the metrics of a front of some version of distinfer.
func NewFront(version string) *Front {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	route, method, rank := []string{"route"}, []string{"method"}, []string{"rank"}
	rejected := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "distinfer_calls_rejected_total", Help: "Calls that were rejected: too many texts wait or are computed (queue_full), the wait is too long (wait), or the answer would be too late (deadline).",
	}, []string{"reason"})
	f := &Front{
		set: newSet(version),

		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "distinfer_http_requests_total", Help: "HTTP requests that were answered, by route and status."}, []string{"route", "code"}),
		duration: prometheus.NewHistogramVec(seconds("distinfer_http_request_duration_seconds", "Time that HTTP requests took."), route),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{Name: "distinfer_http_requests_in_flight", Help: "HTTP requests that are being answered."}),

		grpcRequests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "distinfer_grpc_requests_total", Help: "gRPC requests of the Open Inference Protocol that were answered, by method and code."}, []string{"method", "code"}),
		grpcDuration: prometheus.NewHistogramVec(seconds("distinfer_grpc_request_duration_seconds", "Time that gRPC requests took."), method),
		grpcInFlight: prometheus.NewGauge(prometheus.GaugeOpts{Name: "distinfer_grpc_requests_in_flight", Help: "gRPC requests that are being answered."}),

		answered: counter("distinfer_texts_answered_total", "Texts that were answered."),
		dropped:  counter("distinfer_texts_dropped_total", "Texts that were admitted, and had too little time left once it was their turn."),
		failed:   counter("distinfer_batches_failed_total", "Batches that could not be computed, or that nobody waited for any more."),
		padding:  counter("distinfer_batch_padding_tokens_total", "Tokens of batches that were padding."),
		rejected: map[batch.Reason]prometheus.Counter{},
		tokenize: prometheus.NewHistogram(seconds("distinfer_tokenize_duration_seconds", "Time to tokenize a call's texts.")),
		queue:    prometheus.NewHistogram(seconds("distinfer_queue_duration_seconds", "Time that a call waited until its batch began.")),
		batch:    prometheus.NewHistogram(seconds("distinfer_batch_duration_seconds", "Time from the beginning of a batch until it was answered.")),
		texts:    prometheus.NewHistogram(histogram("distinfer_batch_texts", "Texts in a batch.", textBuckets)),
		tokens:   prometheus.NewHistogram(histogram("distinfer_batch_tokens", "Tokens of a batch, padding included: its texts times the longest one's tokens.", tokenBuckets)),

		wait:    prometheus.NewHistogramVec(seconds("distinfer_pipeline_wait_seconds", "Time that a batch waited for its turn on a stage, as the stage measures it."), rank),
		compute: prometheus.NewHistogramVec(seconds("distinfer_pipeline_compute_seconds", "Time that a stage computed a batch, as the stage measures it."), rank),
		network: prometheus.NewHistogramVec(seconds("distinfer_pipeline_network_seconds", "Time of a batch on the way to a stage and back: of its caller's call without the stage's own time."), rank),
		retries: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "distinfer_pipeline_retries_total", Help: "Retries of calls to the next stage, made by this stage."}, rank),
	}
	for _, r := range batch.Reasons() {
		f.rejected[r] = rejected.WithLabelValues(string(r))
	}
	f.registry.MustRegister(f.requests, f.duration, f.inFlight, f.grpcRequests, f.grpcDuration, f.grpcInFlight, f.answered, f.dropped, f.failed, f.padding, rejected,
		f.tokenize, f.queue, f.batch, f.texts, f.tokens, f.wait, f.compute, f.network, f.retries)
	return f
}

// Wrap measures the requests that a handler answers.
func (f *Front) Wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		started := time.Now()
		f.inFlight.Inc()
		answer := &httpx.StatusWriter{ResponseWriter: w, Status: http.StatusOK}
		defer func() {
			f.inFlight.Dec()
			route := route(r)
			f.requests.WithLabelValues(route, strconv.Itoa(answer.Status)).Inc()
			f.duration.WithLabelValues(route).Observe(time.Since(started).Seconds())
		}()
		next.ServeHTTP(answer, r)
	})
}

// Began measures a gRPC request of the given method until ended is called with the code
// that it was answered with.
func (f *Front) Began(method string) (ended func(code string)) {
	started := time.Now()
	f.grpcInFlight.Inc()
	return func(code string) {
		f.grpcInFlight.Dec()
		f.grpcRequests.WithLabelValues(method, code).Inc()
		f.grpcDuration.WithLabelValues(method).Observe(time.Since(started).Seconds())
	}
}

// route is what the server's mux made of a request. It says "other" for what is
// nowhere, and what was rejected before.
func route(r *http.Request) string {
	_, path, methods := strings.Cut(r.Pattern, " ")
	if !methods {
		path = r.Pattern
	}
	switch path {
	case "", "/":
		return "other"
	case "/{$}":
		return "/"
	}
	return path
}

// Batches measures what a Batcher does.
func (f *Front) Batches() batch.Listener {
	return batch.Listener{
		Rejected:   func(why batch.Reason) { f.rejected[why].Inc() },
		Dropped:    func(texts int) { f.dropped.Add(float64(texts)) },
		Answered:   f.callAnswered,
		BatchEnded: f.batchEnded,
	}
}

func (f *Front) callAnswered(texts int, t batch.Timing) {
	f.answered.Add(float64(texts))
	f.tokenize.Observe(t.Encoding.Seconds())
	f.queue.Observe(t.Waiting.Seconds())
}

// maxRanks bounds what a stage can make of the number of series.
const maxRanks = 256

func (f *Front) batchEnded(b batch.Batch) {
	if b.Err != nil {
		f.failed.Inc()
		return
	}
	f.texts.Observe(float64(b.Texts))
	f.tokens.Observe(float64(b.Tokens))
	f.padding.Add(float64(b.Padding))
	f.batch.Observe(b.Took.Seconds())
	call := b.Took // of the stage, by whoever calls it
	for i, r := range f.first(min(len(b.Stages), maxRanks)) {
		t := b.Stages[i]
		r.wait.Observe(t.Waited.Seconds())
		r.compute.Observe(t.Computed.Seconds())
		r.network.Observe(max(0, call-t.Total).Seconds())
		r.retries.Add(float64(max(0, t.Retries)))
		call = t.Next
	}
}

// first are the first n ranks.
func (f *Front) first(n int) []ranked {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := len(f.ranks); i < n; i++ {
		rank := strconv.Itoa(i)
		f.ranks = append(f.ranks, ranked{f.wait.WithLabelValues(rank), f.compute.WithLabelValues(rank), f.network.WithLabelValues(rank), f.retries.WithLabelValues(rank)})
	}
	return f.ranks[:n]
}
