package admin_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/distinfer/distinfer/runtime/testkit"
	"github.com/distinfer/distinfer/server/admin"
)

var metrics = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "m 1\n") })

func TestProfilesAreThereOnlyWhereTheyAreWanted(t *testing.T) {
	t.Parallel()
	const get, post = http.MethodGet, http.MethodPost
	for _, c := range []struct {
		method, path string
		with, none   int // status with profiles and without
		body         string
	}{
		{get, "/metrics", 200, 200, "m 1\n"},
		{http.MethodHead, "/metrics", 200, 200, ""},
		{post, "/metrics", 405, 405, ""},
		{http.MethodDelete, "/metrics", 405, 405, ""},
		{get, "/metrics/", 404, 404, ""},
		{get, "/healthz", 200, 200, "ok\n"},
		{post, "/healthz", 405, 405, ""},
		{get, "/", 404, 404, ""},
		{get, "/predict", 404, 404, ""},
		{get, "/debug/pprof/", 200, 404, "goroutine"},
		{get, "/debug/pprof/heap?debug=1", 200, 404, "heap profile"},
		{get, "/debug/pprof/cmdline", 200, 404, "admin.test"},
		{get, "/debug/pprof/symbol", 200, 404, "num_symbols"},
		{post, "/debug/pprof/symbol", 200, 404, ""},
		{get, "/debug/pprof/none", 404, 404, ""},
		{get, "/debug/vars", 404, 404, ""},
	} {
		for profiles, want := range map[bool]int{true: c.with, false: c.none} {
			answer := httptest.NewRecorder()
			admin.Handler(metrics, profiles).ServeHTTP(answer, httptest.NewRequest(c.method, c.path, nil))
			if answer.Code != want || want == 200 && !strings.Contains(answer.Body.String(), c.body) {
				t.Errorf("%s %s, profiles %v: %d, want %d with %q: %s", c.method, c.path, profiles, answer.Code, want, c.body, answer.Body)
			}
		}
	}
}

// A scrape that hangs does not keep the process from its end.
func TestServingEndsAtOnce(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	asked := make(chan struct{})
	hangs := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(asked)
		<-r.Context().Done()
	})
	ctx, end := context.WithCancel(t.Context())
	defer end()
	ended, answered := make(chan error, 1), make(chan error, 1)
	go func() { ended <- admin.Serve(ctx, l, admin.Handler(hangs, false), slog.New(slog.DiscardHandler)) }()
	go func() {
		answer, err := http.Get("http://" + l.Addr().String() + "/metrics")
		if err == nil {
			_ = answer.Body.Close()
		}
		answered <- err
	}()
	wait := func(what string, c <-chan error) error {
		t.Helper()
		select {
		case err := <-c:
			return err
		case <-time.After(testkit.Patience):
			t.Fatalf("%s does not end", what)
			return nil
		}
	}
	select {
	case <-asked:
	case <-time.After(testkit.Patience):
		t.Fatal("nothing was asked")
	}
	end()
	if err := wait("serving", ended); err != nil {
		t.Error(err)
	}
	if err := wait("the scrape", answered); err == nil {
		t.Error("a scrape that was cut off has an answer")
	}
	if c, err := net.Dial("tcp", l.Addr().String()); err == nil {
		_ = c.Close()
		t.Error("the address still listens")
	}
}

func TestAListenerThatIsGoneIsAnError(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	err = admin.Serve(t.Context(), l, metrics, slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "on "+l.Addr().String()) {
		t.Errorf("error %v", err)
	}
}
