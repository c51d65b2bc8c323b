package main_test

import (
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/distinfer/distinfer/runtime/testkit"
)

// probes is where a process answers them.
func probes(t *testing.T, s *server) string {
	t.Helper()
	return "http://" + s.entry(t, "answering probes", 1)["listen"].(string)
}

func probe(t *testing.T, url string) int {
	t.Helper()
	code, _ := fetch(t, http.MethodGet, url, "")
	return code
}

// A front is ready once its stages could be used, and stays so while one restarts: its callers
// wait. When it is to end it says so first, and answers for a while.
func TestAFrontStaysReadyWhileAStageRestarts(t *testing.T) {
	t.Parallel()
	b := split(t, "seed-rnn", 1)
	s, address := stage(t, b, 0)
	if code := s.stop(t, syscall.SIGTERM); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	f, url := front(t, b, []string{address}, "--health", "0.0.0.0:0", "--shutdown-delay", "2s")
	at := probes(t, f)
	testkit.Eventually(t, "the front has started", func() bool { return probe(t, at+"/startupz") == 200 })
	if live, ready := probe(t, at+"/livez"), probe(t, at+"/readyz"); live != 200 || ready != 503 {
		t.Errorf("without its stage: alive %d, ready %d", live, ready)
	}
	s = start(t, b, "serve-stage", "--bundle", b, "--rank", "0", "--listen", address)
	testkit.Eventually(t, "the front is ready", func() bool { return probe(t, at+"/readyz") == 200 })
	if err := s.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-s.ended
	testkit.Eventually(t, "the front misses its stage", func() bool { return probe(t, url+"/readyz") == 503 })
	if code := probe(t, at+"/readyz"); code != 200 {
		t.Errorf("while its stage restarts the front's readiness is %d", code)
	}
	start(t, b, "serve-stage", "--bundle", b, "--rank", "0", "--listen", address)
	began := time.Now()
	if err := f.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "the front is no longer ready", func() bool { return probe(t, at+"/readyz") == 503 })
	answer, err := http.Get(url + "/?text=good")
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusOK || !answer.Close {
		t.Errorf("while it leaves it answers %s, and closes the connection: %v", answer.Status, answer.Close)
	}
	<-f.ended
	if code, took := f.cmd.ProcessState.ExitCode(), time.Since(began); code != 0 || took < 2*time.Second {
		t.Errorf("it ended after %v with %d", took, code)
	}
}

// Whoever waits for a model that is fetched finds the stage alive, but not started.
func TestAStageThatFetchesIsAlive(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir(), "serve-stage", "--rank", "0", "--listen", "localhost:0", "--fetch", "localhost:1", "--health", "0.0.0.0:0")
	at := probes(t, s)
	if live, started, ready := probe(t, at+"/livez"), probe(t, at+"/startupz"), probe(t, at+"/readyz"); live != 200 || started != 503 || ready != 503 {
		t.Errorf("alive %d, started %d, ready %d", live, started, ready)
	}
	s.stop(t, syscall.SIGTERM)

	b := split(t, "seed-rnn", 1)
	s, _ = stage(t, b, 0, "--health", "localhost:0")
	testkit.Eventually(t, "the stage is ready", func() bool { return probe(t, probes(t, s)+"/readyz") == 200 })
}

func TestProbesTakeNoPortOfAnother(t *testing.T) {
	t.Parallel()
	b := split(t, "seed-rnn", 1)
	_, address := stage(t, b, 0)
	r := run(t, b, "", "front", "--bundle", b, "--stages", address, "--port", "0", "--health", address)
	if r.code != 1 || !strings.Contains(r.stderr, "is in use by another process; choose another address with --health") {
		t.Errorf("%d %s", r.code, r.stderr)
	}
}
