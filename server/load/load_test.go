package load_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/distinfer/distinfer/server/client"
	"github.com/distinfer/distinfer/server/load"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// longTimeout is a timeout that no answer takes.
const longTimeout = time.Minute

var texts = []string{"one", "two", "three"}

func serve(t *testing.T, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

func label(w http.ResponseWriter) { _, _ = io.WriteString(w, "positive\n") }

// labels asks the front at a URL for labels.
func labels(t *testing.T, config client.Config) load.Target {
	t.Helper()
	c, err := client.New(config)
	if err != nil {
		t.Fatal(err)
	}
	return load.Labels(c)
}

func measure(t *testing.T, o load.Options, url string) *load.Result {
	t.Helper()
	r, err := load.Run(t.Context(), o, labels(t, client.Config{URL: url}), texts)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestClosedLoopHasAsManyRequestsInFlightAsClients(t *testing.T) {
	t.Parallel()
	const clients, requests = 7, 210
	var now, connections atomic.Int64
	together := make(chan struct{})
	meet := sync.OnceFunc(func() { close(together) })
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		n := now.Add(1)
		defer now.Add(-1)
		switch {
		case n > clients:
			t.Errorf("%d requests are in flight, with %d clients", n, clients)
		case n == clients:
			meet()
		}
		<-together // nobody is answered before all clients have asked
		label(w)
	}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	r := measure(t, load.Options{Concurrency: clients, Requests: requests, Timeout: longTimeout}, s.URL)
	if r.Right != requests || r.Requests() != requests || r.Latency.Count() != requests {
		t.Errorf("%+v", r)
	}
	// A connection that is just being given back may be missed, and another made.
	if n := connections.Load(); n > 3*clients {
		t.Errorf("%d requests of %d clients took %d connections", requests, clients, n)
	}
	if r.Elapsed <= 0 || r.Throughput() <= 0 {
		t.Errorf("%s, %v a second", r.Elapsed, r.Throughput())
	}
}

func TestTextsAreAskedInOrderOverAndOver(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var asked []string
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		asked = append(asked, r.FormValue("text"))
		label(w)
	})
	measure(t, load.Options{Concurrency: 1, Requests: 7, Timeout: longTimeout}, s.URL)
	if got := strings.Join(asked, " "); got != "one two three one two three one" {
		t.Errorf("asked were %s", got)
	}
}

// A service that stalls delays all requests that come meanwhile. Whoever asks
// only when there was an answer sees the stall once.
func TestOpenLoopChargesAStallToAllWhoCameMeanwhile(t *testing.T) {
	t.Parallel()
	const rate, stall = 200, time.Second
	for _, connections := range []int{1, 512} {
		var requests atomic.Int64
		var until atomic.Pointer[time.Time]
		s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			if requests.Add(1) == 100 {
				end := time.Now().Add(stall)
				until.Store(&end)
			}
			if end := until.Load(); end != nil {
				time.Sleep(time.Until(*end))
			}
			label(w)
		})
		r := measure(t, load.Options{Concurrency: connections, Rate: rate, Requests: 500, Timeout: longTimeout}, s.URL)
		if r.Right != 500 {
			t.Fatalf("%+v", r)
		}
		// Of the 200 that are due in the stall 100 wait for half of it and longer, and
		// 180 for a tenth of it.
		if n := r.Latency.Within(stall/2, time.Hour); n < 95 {
			t.Errorf("%d connections: %d waited for half of the stall", connections, n)
		}
		if n := r.Latency.Within(stall/10, time.Hour); n < 170 {
			t.Errorf("%d connections: %d waited for a tenth of the stall", connections, n)
		}
		if r.Latency.Max() < stall*9/10 || r.Quantile(0.99) < stall/2 {
			t.Errorf("%d connections: at most %s, p99 %s", connections, r.Latency.Max(), r.Quantile(0.99))
		}
	}
}

func TestOpenLoopKeepsItsRateHoweverLongAnswersTake(t *testing.T) {
	t.Parallel()
	const rate, requests = 100, 100
	release := make(chan struct{})
	var under atomic.Int64
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		if under.Add(1) == requests {
			close(release) // all were sent, and none was answered before
		}
		<-release
		label(w)
	})
	began := time.Now()
	r := measure(t, load.Options{Concurrency: requests, Rate: rate, Requests: requests, Timeout: longTimeout}, s.URL)
	if r.Right != requests {
		t.Errorf("%+v", r)
	}
	if took := time.Since(began); took < (requests-1)*time.Second/rate {
		t.Errorf("%d requests at %d a second took %s", requests, rate, took)
	}
}

// Requests that find no connection are not sent when nobody waits for them any
// more, so a run ends in time however slow the service is.
func TestOpenLoopGivesUpRequestsThatFindNoConnection(t *testing.T) {
	t.Parallel()
	var sent atomic.Int64
	release := make(chan struct{})
	s := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		sent.Add(1)
		select {
		case <-r.Context().Done():
		case <-release:
		}
	})
	defer close(release)
	r := measure(t, load.Options{Concurrency: 2, Rate: 1000, Requests: 500, Timeout: 300 * time.Millisecond}, s.URL)
	if r.Failed != 500 || r.Right != 0 || r.Throughput() != 0 {
		t.Errorf("%+v", r)
	}
	why := map[string]int{}
	for _, k := range r.Kinds() {
		why[k.Example] = k.Count
	}
	unsent, late := why["not sent within 300ms: all 2 connections were taken"], why["no answer within 300ms"]
	if unsent == 0 || late == 0 || unsent+late != 500 || int(sent.Load()) > late {
		t.Errorf("%d were sent: %v", sent.Load(), why)
	}
}

func TestWarmUpIsNotCounted(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]load.Options{
		"closed": {Concurrency: 2},
		"open":   {Concurrency: 8, Rate: 50},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const warmup = time.Second
			began := time.Now()
			var all, cold atomic.Int64
			s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				all.Add(1)
				if time.Since(began) < warmup/2 {
					cold.Add(1)
					w.WriteHeader(http.StatusTooManyRequests)
					return
				}
				time.Sleep(5 * time.Millisecond)
				label(w)
			})
			o.Warmup, o.Requests, o.Timeout = warmup, 20, longTimeout
			r := measure(t, o, s.URL)
			if cold.Load() == 0 || all.Load() <= 20 {
				t.Errorf("%d requests in all, %d in the first half of the warm-up", all.Load(), cold.Load())
			}
			if r.Right != 20 || r.Requests() != 20 || r.Refusals.Count() != 0 || len(r.Kinds()) != 1 {
				t.Errorf("%+v", r)
			}
		})
	}
}

func TestDurationEndsARun(t *testing.T) {
	t.Parallel()
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) { time.Sleep(time.Millisecond); label(w) })
	const duration = 500 * time.Millisecond
	r := measure(t, load.Options{Concurrency: 3, Duration: duration, Timeout: longTimeout}, s.URL)
	if r.Elapsed != duration || r.Right == 0 || r.Arrived == 0 || r.Arrived > r.Right {
		t.Errorf("%+v", r)
	}
	if want := float64(r.Arrived) / duration.Seconds(); r.Throughput() != want {
		t.Errorf("%v a second, and not %v", r.Throughput(), want)
	}
	r = measure(t, load.Options{Concurrency: 3, Duration: time.Hour, Requests: 10, Timeout: longTimeout}, s.URL)
	if r.Right != 10 || r.Arrived != 10 || r.Elapsed > longTimeout {
		t.Errorf("%+v", r)
	}
}

func TestAnswersAreCountedApart(t *testing.T) {
	t.Parallel()
	answers := []struct {
		status int
		body   string
	}{
		{http.StatusOK, "positive\n"}, {http.StatusOK, "negative\n"}, {http.StatusOK, "a page\nof lines\n"}, {http.StatusOK, ""},
		{http.StatusTooManyRequests, "too many texts are waiting\n"}, {http.StatusServiceUnavailable, "no stage\n"},
		{http.StatusInternalServerError, strings.Repeat("a bug ", 1000)}, {http.StatusFound, "/elsewhere"},
	}
	var n atomic.Int64
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		a := answers[int(n.Add(1)-1)%len(answers)]
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(a.status)
		_, _ = io.WriteString(w, a.body)
	})
	r := measure(t, load.Options{Concurrency: 1, Requests: 3 * len(answers), Timeout: longTimeout}, s.URL)
	if r.Right != 6 || r.Wrong != 6 || r.Refused != 6 || r.Failed != 6 || r.Latency.Count() != 6 || r.Refusals.Count() != 6 || r.Arrived != 6 {
		t.Errorf("%+v", r)
	}
	kinds := r.Kinds()
	if len(kinds) != 6 {
		t.Fatalf("%+v", kinds)
	}
	for i, want := range []load.Kind{
		{load.Right, 200, 6, "positive"}, {load.Wrong, 200, 6, "a page\nof lines"}, {load.Failed, 302, 3, "/elsewhere"},
		{load.Refused, 429, 3, "too many texts are waiting"}, {load.Failed, 500, 3, kinds[4].Example}, {load.Refused, 503, 3, "no stage"},
	} {
		if kinds[i] != want {
			t.Errorf("%+v instead of %+v", kinds[i], want)
		}
	}
	if n := len(kinds[4].Example); n > 300 || !strings.HasPrefix(kinds[4].Example, "a bug a bug") {
		t.Errorf("an example of %d bytes: %s", n, kinds[4].Example)
	}
}

func TestPredictionsAreJudgedByTheirBody(t *testing.T) {
	t.Parallel()
	front, err := client.New(client.Config{URL: "http://front.example/", Token: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	target := load.Predictions(front)
	request, err := target.Request(t.Context(), `a "text"`)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(request.Body)
	if request.URL.String() != "http://front.example/predict" || string(body) != `{"inputs":["a \"text\""]}` || request.Header.Get("Authorization") != "Bearer secret" || request.Header.Get("Content-Type") != "application/json" {
		t.Errorf("%s %s", request.URL, body)
	}
	for body, want := range map[string]load.Verdict{
		`[[{"label":"a","score":0.7},{"label":"b","score":0.3}]]`: load.Right,
		`[[{"label":"a","score":0.7}],[{"label":"a","score":1}]]`: load.Wrong,
		`[[{"label":"a"}]]`: load.Wrong,
		`[[]]`:              load.Wrong,
		`[]`:                load.Wrong,
		`null`:              load.Wrong,
		`<html>`:            load.Wrong,
	} {
		if got := target.Judge("", http.StatusOK, []byte(body)); got != want {
			t.Errorf("%s is %s", body, got)
		}
		if got := target.Judge("", http.StatusGatewayTimeout, []byte(body)); got != load.Failed {
			t.Errorf("%s is %s with status 504", body, got)
		}
	}
}

func TestTimeoutsAndBrokenConnectionsAreFailures(t *testing.T) {
	t.Parallel()
	hijack := func(w http.ResponseWriter, what string) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = io.WriteString(conn, what)
		_ = conn.Close()
	}
	for _, c := range []struct {
		what  string
		serve http.HandlerFunc
		why   string
	}{
		{"no answer", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "no answer within 200ms"},
		{"half an answer, and no more", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "100")
			label(w)
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}, "no answer within 200ms"},
		{"closed", func(w http.ResponseWriter, _ *http.Request) { hijack(w, "") }, "the connection was closed before the whole answer was there"},
		{"closed in the answer", func(w http.ResponseWriter, _ *http.Request) {
			hijack(w, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npositive\n")
		}, "the connection was closed before the whole answer was there"},
		{"no HTTP", func(w http.ResponseWriter, _ *http.Request) { hijack(w, "hello\r\n\r\n") }, "malformed HTTP"},
		{"an endless answer", func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 1<<20)); err != nil {
					return
				}
			}
		}, "larger than"},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			timeout := longTimeout
			if strings.Contains(c.why, "200ms") {
				timeout = 200 * time.Millisecond
			}
			r := measure(t, load.Options{Concurrency: 2, Requests: 4, Timeout: timeout}, serve(t, c.serve).URL)
			kinds := r.Kinds()
			if r.Failed != 4 || r.Latency.Count() != 0 || len(kinds) != 1 || kinds[0].Status != 0 || !strings.Contains(kinds[0].Example, c.why) {
				t.Errorf("%+v %+v", r, kinds)
			}
		})
	}
}

// A service may close connections that are idle, also just when one is used again: that
// is not an error of the service, and no request is lost.
func TestAConnectionThatWasClosedWhileIdleIsReplaced(t *testing.T) {
	t.Parallel()
	var n atomic.Int64
	url := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		n.Add(1)
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\npositive\n")
		_ = conn.Close() // though it did not say so
	})
	r, err := load.Run(t.Context(), load.Options{Concurrency: 2, Requests: 20, Timeout: time.Minute}, labels(t, client.Config{URL: url.URL}), []string{"a"})
	if err != nil || r.Right != 20 || n.Load() != 20 {
		t.Errorf("%d right of %d answered, %v: %v", r.Right, n.Load(), err, r.Kinds())
	}
}

func TestHTTPSIsAskedWithTheAuthoritiesGiven(t *testing.T) {
	t.Parallel()
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "positive\n") }))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	t.Cleanup(s.Close)
	authorities := x509.NewCertPool()
	authorities.AddCert(s.Certificate())
	for known, want := range map[*x509.CertPool]int{authorities: 10, x509.NewCertPool(): 0} {
		o := load.Options{Concurrency: 2, Requests: 10, Timeout: time.Minute}
		if r, err := load.Run(t.Context(), o, labels(t, client.Config{URL: s.URL, TLS: &tls.Config{RootCAs: known}}), []string{"a"}); err != nil || r.Right != want {
			t.Errorf("%d right, %v: %v", r.Right, err, r.Kinds())
		}
	}
}

func TestReasonsThatAllDifferAreNotAllKept(t *testing.T) {
	t.Parallel()
	var n atomic.Int64
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = fmt.Fprintf(conn, "not-HTTP-%d-%s\r\n\r\n", n.Add(1), strings.Repeat("x", 1000))
		_ = conn.Close()
	})
	r := measure(t, load.Options{Concurrency: 1, Requests: 100, Timeout: longTimeout}, s.URL)
	kinds := r.Kinds()
	if r.Failed != 100 || len(kinds) != 51 || kinds[0] != (load.Kind{Verdict: load.Failed, Count: 50, Example: "other reasons"}) || len(kinds[1].Example) != 300 {
		t.Errorf("%+v %d %+v", r, len(kinds), kinds[0])
	}
}

func TestNobodyListens(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	url := "http://" + l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	r := measure(t, load.Options{Concurrency: 2, Requests: 10, Timeout: longTimeout}, url)
	if kinds := r.Kinds(); r.Failed != 10 || len(kinds) != 1 || !strings.Contains(kinds[0].Example, "connection refused") {
		t.Errorf("%+v %+v", r, kinds)
	}
}

func TestCancelledRunReturnsWhatThereIs(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]load.Options{
		"closed":           {Concurrency: 4},
		"open":             {Concurrency: 4, Rate: 1000},
		"open and waiting": {Concurrency: 20, Rate: 10}, // the next one is due later
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var n atomic.Int64
			s := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if n.Add(1) <= 10 {
					label(w)
					return
				}
				cancel()
				<-r.Context().Done()
			})
			o.Duration, o.Timeout = time.Hour, longTimeout
			r, err := load.Run(ctx, o, labels(t, client.Config{URL: s.URL}), texts)
			if !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
			if r.Right == 0 || r.Right > 10 || r.Abandoned == 0 || r.Failed != 0 || r.Elapsed <= 0 || r.Elapsed > longTimeout {
				t.Errorf("%+v", r)
			}
		})
	}
}

func TestRequestThatCannotBeMadeEndsTheRun(t *testing.T) {
	t.Parallel()
	_, err := load.Run(t.Context(), load.Options{Concurrency: 2, Duration: time.Hour, Timeout: longTimeout}, load.Target{Request: func(context.Context, string) (*http.Request, error) { return nil, errors.New("boom") }}, texts)
	if err == nil || !strings.Contains(err.Error(), "make a request") {
		t.Error(err)
	}
}

func TestOptionsThatSayNothingAreRefused(t *testing.T) {
	t.Parallel()
	good := load.Options{Concurrency: 1, Requests: 1, Timeout: time.Second}
	for why, change := range map[string]func(*load.Options){
		"concurrency": func(o *load.Options) { o.Concurrency = 0 },
		"rate":        func(o *load.Options) { o.Rate = -1 },
		"neither":     func(o *load.Options) { o.Requests = 0 },
		"timeout":     func(o *load.Options) { o.Timeout = 0 },
		"below 0":     func(o *load.Options) { o.Warmup = -1 },
	} {
		o := good
		change(&o)
		if _, err := load.Run(t.Context(), o, labels(t, client.Config{URL: "http://localhost"}), texts); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v", why, err)
		}
	}
	if _, err := load.Run(t.Context(), good, labels(t, client.Config{URL: "http://localhost"}), nil); err == nil {
		t.Error("a run without texts")
	}
}

func TestAReportSaysWhatAnswersWereLike(t *testing.T) {
	t.Parallel()
	var n atomic.Int64
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		if n.Add(1) == 2 {
			w.WriteHeader(http.StatusTooManyRequests)
			_, _ = io.WriteString(w, "{\"error\":\"too many\\u001b texts\"}")
			return
		}
		label(w)
	})
	o := load.Options{Concurrency: 1, Requests: 4, Timeout: longTimeout}
	r := measure(t, o, s.URL)
	var text, document strings.Builder
	if err := errors.Join(r.WriteText(&text), r.WriteJSON(&document, s.URL, o)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"right answers a second", "right    3  75.0%  200 OK: positive", "refused  1  25.0%  429 Too Many Requests: too many texts\n", "█"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("%q is missing:\n%s", want, text.String())
		}
	}
	var got struct {
		Requests, Right, Refused int
		Latency                  map[string]float64 `json:"latency_ms"`
		Answers                  []struct{ Verdict string }
	}
	if err := json.Unmarshal([]byte(document.String()), &got); err != nil || got.Requests != 4 || got.Right != 3 || got.Refused != 1 || got.Latency["p99_9"] <= 0 || len(got.Answers) != 2 {
		t.Errorf("%v: %s", err, document.String())
	}
	if o.String() != "1 clients, each with one request at a time; for 4 requests, after 0s of warm-up" {
		t.Error(o)
	}
}
