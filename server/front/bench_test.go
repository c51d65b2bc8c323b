package front_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/distinfer/distinfer/runtime/testkit"
	"github.com/distinfer/distinfer/server/front"
)

// sink is a writer of responses that remembers the status only.
type sink struct {
	header http.Header
	status int
}

func (s *sink) Header() http.Header         { return s.header }
func (s *sink) Write(p []byte) (int, error) { return len(p), nil }
func (s *sink) WriteHeader(status int)      { s.status = status }

func benchmark(b *testing.B, handler http.Handler, want int) {
	b.Helper()
	r := httptest.NewRequest(http.MethodGet, "/?text=good", nil)
	r.Header.Set("Accept-Encoding", "gzip")
	r.Header.Set("User-Agent", "Go-http-client/1.1")
	b.ReportAllocs()
	for b.Loop() {
		w := &sink{header: http.Header{}, status: http.StatusOK}
		handler.ServeHTTP(w, r)
		if w.status != want {
			b.Fatalf("status %d", w.status)
		}
	}
}

func benchFront(b *testing.B, m front.Model) *front.Front {
	c, _ := usualSetup(b, newJudge())
	c.Log = slog.New(slog.NewTextHandler(io.Discard, nil)) //nolint:sloglint // what a line costs counts
	return front.New(c.Config, m)
}

// BenchmarkLabel is what the front does of a plain GET, the batcher's part included.
func BenchmarkLabel(b *testing.B) {
	benchmark(b, benchFront(b, judged(b, newJudge())), http.StatusOK)
}

// BenchmarkRefusal is what a request costs that there is no room for.
func BenchmarkRefusal(b *testing.B) {
	j := newJudge()
	m := judged(b, j)
	takes(&m, 1)
	f := benchFront(b, m)
	r := httptest.NewRequest(http.MethodGet, "/?text=block", nil)
	ctx, leave := context.WithCancel(b.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.ServeHTTP(httptest.NewRecorder(), r.WithContext(ctx))
	}()
	testkit.Receive(b, "the run", j.running)
	benchmark(b, f, http.StatusTooManyRequests)
	leave()
	<-done
}
