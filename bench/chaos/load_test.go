package chaos

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"
)

const filmAnswer = `[[{"label":"positive","score":0.7},{"label":"negative","score":0.3}]]`

// answering is a front that gives one answer to everything.
func answering(t *testing.T, status int, body string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if data, err := io.ReadAll(r.Body); err != nil || r.Method != http.MethodPost || r.URL.Path != "/predict" || string(data) != `{"inputs":"a film"}` {
			status, body = http.StatusBadRequest, "this was not asked"
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// breaking is a front that reads a request, writes something and breaks the
// connection.
func breaking(t *testing.T, writes string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = io.WriteString(conn, writes)
		_ = conn.(*net.TCPConn).SetLinger(0)
		if writes != "" {
			time.Sleep(50 * time.Millisecond) // a reset overtakes what was written
		}
		_ = conn.Close()
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// refusing is where nobody listens.
func refusing(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return "http://" + l.Addr().String()
}

func silent(t *testing.T) string {
	t.Helper()
	over := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-over }))
	t.Cleanup(func() {
		close(over)
		s.Close()
	})
	return s.URL
}

func TestAsk(t *testing.T) {
	asked := film
	asked.body = []byte(`{"inputs":"a film"}`)
	good := answering(t, 200, filmAnswer)
	for _, c := range []struct {
		name    string
		fronts  []string
		want    outcome
		retries int64
		timeout time.Duration
	}{
		{"an answer", []string{good}, right, 0, time.Minute},
		{"an error is not tried elsewhere", []string{answering(t, 503, `{"error":"gone"}`), good}, typed, 0, time.Minute},
		{"a wrong answer is not tried elsewhere", []string{answering(t, 200, `[]`), good}, wrong, 0, time.Minute},
		{"refused, then answered by the other", []string{refusing(t), good}, right, 1, time.Minute},
		{"reset before the answer, then answered by the other", []string{breaking(t, ""), good}, right, 1, time.Minute},
		{"broken within the head", []string{breaking(t, "HTTP/1.1 200 OK\r\nContent-"), good}, lost, 0, time.Minute},
		{"broken within the body", []string{breaking(t, "HTTP/1.1 200 OK\r\nContent-Length: 70\r\n\r\n[[{"), good}, lost, 0, time.Minute},
		{"refused by both", []string{refusing(t), refusing(t)}, lost, 1, time.Minute},
		{"no answer in time", []string{silent(t), good}, lost, 0, 50 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLoad([]question{asked}, c.fronts, 1, c.timeout, clock{time.Now()})
			defer l.client.CloseIdleConnections()
			r := l.next(t.Context())
			if r.verdict.outcome != c.want || l.retries.Load() != c.retries {
				t.Errorf("got %+v after %d retries, want %v after %d", r.verdict, l.retries.Load(), c.want, c.retries)
			}
			if r.end < r.start {
				t.Errorf("from %v to %v", r.start, r.end)
			}
		})
	}
}

// Every request has an outcome, those in flight at the end too, and the fronts
// are taken in turn.
func TestLoadCountsEveryRequest(t *testing.T) {
	var served [2]atomic.Int64
	var urls []string
	for i := range served {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			served[i].Add(1)
			time.Sleep(time.Millisecond)
			_, _ = io.WriteString(w, filmAnswer)
		}))
		defer s.Close()
		urls = append(urls, s.URL)
	}
	during, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	requests := newLoad([]question{film, film}, urls, 8, time.Minute, clock{time.Now()}).run(t.Context(), during)
	for _, r := range requests {
		if r.verdict.outcome != right {
			t.Fatalf("%+v", r)
		}
	}
	a, b := served[0].Load(), served[1].Load()
	if int64(len(requests)) != a+b || len(requests) < 8 || a-b > 1 || b-a > 1 {
		t.Errorf("%d requests were counted, and the fronts served %d and %d", len(requests), a, b)
	}
}
