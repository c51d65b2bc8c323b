package main_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/distinfer/distinfer/runtime/testkit"
)

// A benchReport is what `bench -o json` prints.
type benchReport struct {
	URL                      string
	Requests, Right, Refused int
	Throughput               float64
	Latency                  map[string]float64 `json:"latency_ms"`
	Refusals                 map[string]float64 `json:"refusal_latency_ms"`
	Answers                  []struct {
		Verdict, Example string
		Status, Count    int
	}
	Histogram []struct{ Count int }
}

func parseBench(t *testing.T, out string) benchReport {
	t.Helper()
	var r benchReport
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return r
}

func TestBenchMeasuresAFront(t *testing.T) {
	t.Parallel()
	bundle := split(t, "seed-rnn", 2)
	first, second := stageAddresses(t, bundle)
	_, url := front(t, bundle, []string{first, second})
	dir := t.TempDir()
	for _, loop := range [][]string{{"--concurrency", "3"}, {"--rate", "100"}} {
		args := append([]string{"bench", url + "/", "--requests", "40", "--warmup", "100ms", "--timeout", "90s"}, loop...)
		r := parseBench(t, ok(t, dir, "", append(args, "-o", "json")...))
		if r.URL != url || r.Requests != 40 || r.Right != 40 || r.Throughput <= 0 || r.Refusals != nil {
			t.Errorf("%v: %+v", loop, r)
		}
		if r.Latency["p50"] <= 0 || r.Latency["p50"] > r.Latency["p99_9"] || r.Latency["p99_9"] > r.Latency["max"] {
			t.Errorf("%v: %v", loop, r.Latency)
		}
		inHistogram := 0
		for _, h := range r.Histogram {
			inHistogram += h.Count
		}
		if inHistogram != 40 || len(r.Answers) != 1 || r.Answers[0].Status != 200 || !strings.Contains(r.Answers[0].Example, `"label"`) {
			t.Errorf("%v: %+v", loop, r)
		}
		out := ok(t, dir, "", args...)
		for _, s := range []string{url + ": ", "for 40 requests, after 100ms of warm-up", "right answers a second", "p50 ", "p99.9 ", "max ", "right  40  100.0%  200 OK: [[", "█"} {
			if !strings.Contains(out, s) {
				t.Errorf("%v: does not say %q: %s", loop, s, out)
			}
		}
	}
}

// answering is a server of HTTP that counts its requests from 1.
func answering(t *testing.T, answer func(n int64, w http.ResponseWriter, r *http.Request)) string {
	t.Helper()
	var n atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { answer(n.Add(1), w, r) }))
	t.Cleanup(s.Close)
	return s.URL
}

// awaitLeave returns when the client is gone, which the server notices once the
// body is read.
func awaitLeave(r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	<-r.Context().Done()
}

const positive = `[[{"label":"positive","score":0.9}]]`

func TestBenchAsksAboutTheTextsOfAFile(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var asked []string
	url := answering(t, func(_ int64, w http.ResponseWriter, r *http.Request) {
		var body struct{ Inputs []string }
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		asked = append(asked, body.Inputs...)
		_, _ = io.WriteString(w, positive)
	})
	dir := t.TempDir()
	table := put(t, dir, "texts.tsv", "id\tsentence\n1\ta lovely film\n2\t\n3\ta waste of time\n")
	ok(t, dir, "", "bench", url, "--texts", table, "--column", "sentence", "--concurrency", "1", "--warmup", "0s", "--requests", "3")
	// The first question only sees whether there is anybody.
	if got := strings.Join(asked, ", "); got != "a lovely film, a lovely film, a waste of time, a lovely film" {
		t.Errorf("asked about %s", got)
	}
	asked = nil
	ok(t, dir, "one\ntwo\n", "bench", url, "--texts", "-", "--concurrency", "1", "--warmup", "0s", "--requests", "2")
	if got := strings.Join(asked, ", "); got != "one, one, two" {
		t.Errorf("asked about %s", got)
	}
}

func TestBenchCountsRefusalsApartAndSaysWhatToDo(t *testing.T) {
	t.Parallel()
	refuse := func(w http.ResponseWriter) {
		w.WriteHeader(http.StatusTooManyRequests)
		_, _ = io.WriteString(w, `{"error":"too many texts are waiting"}`)
	}
	url := answering(t, func(n int64, w http.ResponseWriter, _ *http.Request) {
		switch {
		case n <= 11 && n%2 == 0:
			refuse(w)
		case n == 11:
			_, _ = io.WriteString(w, "<html>\nanother\x1b page\n</html>")
		default:
			_, _ = io.WriteString(w, positive)
		}
	})
	out := ok(t, t.TempDir(), "", "bench", url, "--concurrency", "1", "--warmup", "0s", "--requests", "20")
	for _, s := range []string{
		"refusals ", "right    14  70.0%  200 OK: [[", "refused  5   25.0%  429 Too Many Requests: too many texts are waiting\n",
		"wrong    1   5.0%   200 OK: <html> another page </html>\n", "docs/howto/load-test.md",
	} {
		if !strings.Contains(out, s) {
			t.Errorf("does not say %q: %s", s, out)
		}
	}
	full := answering(t, func(_ int64, w http.ResponseWriter, _ *http.Request) { refuse(w) })
	r := run(t, t.TempDir(), "", "bench", full, "--warmup", "0s", "--requests", "20", "-o", "json")
	if report := parseBench(t, r.stdout); r.code != 1 || !strings.Contains(r.stderr, "no answer was right") || report.Refused != 20 || report.Refusals["p99"] <= 0 || report.Latency != nil {
		t.Errorf("%+v", r)
	}
}

func TestAnInterruptedBenchPrintsWhatThereIs(t *testing.T) {
	t.Parallel()
	stalled := make(chan struct{})
	stall := sync.OnceFunc(func() { close(stalled) })
	url := answering(t, func(n int64, w http.ResponseWriter, r *http.Request) {
		if n > 10 {
			stall()
			awaitLeave(r)
			return
		}
		_, _ = io.WriteString(w, positive)
	})
	s := start(t, t.TempDir(), "bench", url, "--concurrency", "1", "--warmup", "0s", "--duration", "1h", "--timeout", "1h")
	select {
	case <-stalled:
	case <-time.After(testkit.Patience):
		t.Fatal("it asked no 11 questions")
	}
	if code := s.stop(t, syscall.SIGINT); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if out := s.out.String(); !strings.Contains(out, "right        9  90.0%") || !strings.Contains(out, "interrupted  1  10.0%") || !strings.Contains(out, "p99.9") {
		t.Errorf("%s", out)
	}
}

func TestBenchRefusesWhatItCannotUse(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	guarded := answering(t, func(_ int64, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) })
	silent := answering(t, func(_ int64, _ http.ResponseWriter, r *http.Request) { awaitLeave(r) })
	empty := put(t, dir, "empty.txt", "\n\n")
	for _, c := range []struct {
		args string
		code int
		says string
	}{
		{"http://127.0.0.1:1", 1, "nothing listens at http://127.0.0.1:1; start a front"},
		{guarded, 1, "--token-file"},
		{silent + " --timeout 100ms", 1, "did not answer within 100ms"},
		{"localhost:8008", 2, `URL is "localhost:8008"; it must begin with http`},
		{"ftp://localhost", 2, "begin with http"},
		{"http://localhost http://localhost", 2, "unexpected argument"},
		{"--concurrency 0", 2, `--concurrency is "0"`},
		{"--rate -1", 2, "--rate is -1"},
		{"--rate NaN", 2, "--rate is NaN"},
		{"--requests -1", 2, `--requests is "-1"`},
		{"--duration 0s", 2, `--duration is "0s"`},
		{"--warmup -1s", 2, `--warmup is "-1s"`},
		{"--timeout 0s", 2, `--timeout is "0s"`},
		{"--column text", 2, "--texts"},
		{"--texts " + filepath.Join(dir, "none"), 1, "no such file"},
		{"--texts " + empty, 1, "there is no text"},
		{"--texts " + put(t, dir, "a.jsonl", "\"good\"\n{}\n"), 1, "line 2: the object has no string"},
		{"http://203.0.113.1 --token-file " + put(t, dir, "token", aToken), 2, "sending the token to 203.0.113.1:http"},
	} {
		r := run(t, dir, "", append([]string{"bench"}, strings.Fields(c.args)...)...)
		if r.code != c.code || !strings.Contains(r.stderr, c.says) || r.stdout != "" {
			t.Errorf("%s: %+v", c.args, r)
		}
	}
}
