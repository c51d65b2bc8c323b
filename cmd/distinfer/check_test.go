package main_test

import (
	"encoding/json"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/distinfer/distinfer/server/check"
	"github.com/distinfer/distinfer/server/mtls/mtlstest"
)

// checked is a run of check with its report.
func checked(t *testing.T, args ...string) (check.Report, int) {
	t.Helper()
	r := run(t, t.TempDir(), "", append([]string{"check", "-o", "json"}, args...)...)
	var report check.Report
	if err := json.Unmarshal([]byte(r.stdout), &report); err != nil {
		t.Fatalf("%v: %+v", err, r)
	}
	if problems := strings.Contains(r.stderr, "were found") || strings.Contains(r.stderr, "was found"); (r.code == 1) != problems || r.code > 1 {
		t.Errorf("%+v", r)
	}
	return report, r.code
}

// wantProblems fails unless the report has problems of just these kinds.
func wantProblems(t *testing.T, r check.Report, code int, serves bool, kinds ...string) {
	t.Helper()
	var got []string
	for _, p := range r.Problems {
		got = append(got, p.Kind)
	}
	want := 0
	if len(kinds) > 0 {
		want = 1
	}
	if !slices.Equal(got, kinds) || r.CanServe != serves || code != want {
		t.Errorf("exit code %d, can serve: %v, problems %q; want %q\n%+v", code, r.CanServe, got, kinds, r.Problems)
	}
}

func ranks(replicas ...[]string) string {
	var list []string
	for _, r := range replicas {
		list = append(list, strings.Join(r, "|"))
	}
	return strings.Join(list, ",")
}

func TestCheckOfAClusterThatLosesItsReplicas(t *testing.T) {
	t.Parallel()
	bundle := split(t, "seed-rnn", 2)
	_, a := stage(t, bundle, 0)
	dying, b := stage(t, bundle, 0, "--threads", "1")
	_, c := stage(t, bundle, 1)
	stopped, d := stage(t, bundle, 1)
	stages := ranks([]string{a, b}, []string{c, d})

	r, code := checked(t, "--bundle", bundle, "--stages", stages)
	wantProblems(t, r, code, true)
	if len(r.Replicas) != 4 || len(r.Paths) != 2 || len(r.Links) != 6 || len(r.Bundle) != 64 || r.Bundle != r.ExpectedBundle || r.Model != "seed-rnn" {
		t.Errorf("%+v", r)
	}
	for i, p := range r.Replicas {
		h := p.Holds
		if p.State != check.OK || h.Rank != i/2 || h.Bundle != r.Bundle || h.MemoryUsed < 1<<20 || h.MemoryAvailable <= 0 || h.ONNXRuntime == "" || h.Distinfer != r.Distinfer || h.Threads < 1 {
			t.Errorf("%+v %+v", p, h)
		}
	}
	if r.Replicas[1].Holds.Threads != 1 {
		t.Errorf("%d threads", r.Replicas[1].Holds.Threads)
	}
	for _, p := range r.Paths {
		if p.Error != "" || math.Abs(p.Mean-r.Mean) > 1e-5 || r.Mean < 0.2 || r.Mean > 0.8 {
			t.Errorf("%+v, mean %v", p, r.Mean)
		}
	}
	out := run(t, t.TempDir(), "", "check", "--stages", stages)
	if out.code != 0 || !strings.Contains(out.stdout, "mean of 100 random numbers: ") || !strings.Contains(out.stdout, "All is well") || strings.Count(out.stdout, " ok ") != 4 {
		t.Errorf("%+v", out)
	}

	dying.stop(t, syscall.SIGTERM)
	r, code = checked(t, "--stages", stages)
	wantProblems(t, r, code, true, "refused")

	if err := stopped.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = stopped.cmd.Process.Signal(syscall.SIGCONT) })
	r, code = checked(t, "--stages", stages, "--timeout", "3s")
	wantProblems(t, r, code, true, "refused", "hangs")
	out = run(t, t.TempDir(), "", "check", "--stages", stages, "--timeout", "3s")
	if out.code != 1 || !strings.Contains(out.stdout, "can still be served") || !strings.Contains(out.stdout, "serve-stage --rank 0 --listen "+b) || !strings.Contains(out.stderr, "2 problems were found") {
		t.Errorf("%+v", out)
	}
}

func TestCheckFindsWhatIsInTheWrongPlace(t *testing.T) {
	t.Parallel()
	bundle := split(t, "seed-rnn", 2)
	_, first := stage(t, bundle, 0)
	_, second := stage(t, bundle, 1)
	web := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(web.Close)

	r, code := checked(t, "--stages", ranks([]string{second}, []string{first}))
	wantProblems(t, r, code, false, "wrong rank")
	if want := ranks([]string{first}, []string{second}); !strings.Contains(r.Problems[0].Remedy, want) {
		t.Errorf("%q does not say %q", r.Problems[0].Remedy, want)
	}
	r, code = checked(t, "--stages", ranks([]string{first}, []string{second, web.Listener.Addr().String()}))
	wantProblems(t, r, code, true, "not a stage")
	r, code = checked(t, "--stages", ranks([]string{first}))
	wantProblems(t, r, code, false, "number of stages")

	other := taskModel(t, "embed", nil)
	_, odd := stage(t, other, 1)
	r, code = checked(t, "--stages", ranks([]string{first}, []string{second, odd}))
	wantProblems(t, r, code, true, "other bundle")
	if p := r.Problems[0]; !strings.Contains(p.Where, odd) || !strings.Contains(p.What, r.Bundle.Short()) || !strings.Contains(p.What, r.Replicas[2].Holds.Bundle.Short()) {
		t.Errorf("%+v", p)
	}
	r, code = checked(t, "--stages", ranks([]string{first}, []string{odd}))
	wantProblems(t, r, code, false, "mixed bundles")
	r, code = checked(t, "--bundle", other, "--stages", ranks([]string{first}, []string{second}))
	wantProblems(t, r, code, false, "other bundle here")
}

func TestCheckFindsAStageThatDoesNotReachTheNext(t *testing.T) {
	t.Parallel()
	bundle := split(t, "seed-rnn", 2)
	gone, nowhere := stage(t, bundle, 1)
	gone.stop(t, syscall.SIGTERM)
	_, second := stage(t, bundle, 1)
	_, first := stage(t, bundle, 0, "--stages", ranks([]string{"localhost:1"}, []string{nowhere}))
	r, code := checked(t, "--stages", ranks([]string{first}, []string{second}), "--timeout", "3s")
	wantProblems(t, r, code, false, "link")
	if p := r.Problems[0]; !strings.Contains(p.Where, first) || !strings.Contains(p.Where, second) || !strings.Contains(p.Remedy, "it calls "+nowhere) {
		t.Errorf("%+v", p)
	}
}

func TestMachinesAreCheckedBeforeThereIsAModel(t *testing.T) {
	t.Parallel()
	bundle := split(t, "seed-rnn", 2)
	bare := func(rank, args string) string {
		s := start(t, t.TempDir(), "serve-stage", "--no-model", "--rank", rank, "--listen", "localhost:0", "--stages", args)
		return s.entry(t, "stage ready", 1)["listen"].(string)
	}
	second := bare("1", "")
	first := bare("0", ranks([]string{"localhost:1"}, []string{second}))
	r, code := checked(t, "--stages", ranks([]string{first}, []string{second}))
	wantProblems(t, r, code, false)
	if !r.OK || len(r.Paths) != 1 || r.Paths[0].Error != "" || r.Replicas[0].State != check.NoModel || r.Bundle != "" {
		t.Errorf("%+v", r)
	}
	// With the bundle here, they may be without one yet.
	r, code = checked(t, "--bundle", bundle, "--stages", ranks([]string{first}, []string{second}))
	wantProblems(t, r, code, false)

	_, whole := stage(t, bundle, 0)
	r, code = checked(t, "--stages", ranks([]string{whole}, []string{second}))
	wantProblems(t, r, code, false, "no model")

	_, url := front(t, bundle, []string{whole, second}, "--timeout", "2s")
	if status, body := fetch(t, "GET", url+"/?text=good", ""); status != http.StatusServiceUnavailable || !strings.Contains(body, "has no model") {
		t.Errorf("%d %s", status, body)
	}
	if status, body := fetch(t, "GET", url+"/readyz", ""); status == http.StatusOK || !strings.Contains(body, "has no model") {
		t.Errorf("%d %s", status, body)
	}
}

func TestCheckSpeaksTLS(t *testing.T) {
	t.Parallel()
	bundle := split(t, "seed-rnn", 2)
	ours, theirs := mtlstest.NewCA(t, "ours").Folder(t, nil), mtlstest.NewCA(t, "theirs").Folder(t, nil)
	_, first := stage(t, bundle, 0, "--tls", ours)
	_, second := stage(t, bundle, 1, "--tls", ours)
	_, plain := stage(t, bundle, 1)
	secured := ranks([]string{first}, []string{second})

	r, code := checked(t, "--stages", secured, "--tls", ours)
	wantProblems(t, r, code, true)
	if !r.TLS || len(r.Paths) != 1 || r.Replicas[0].Transport != "tls" {
		t.Errorf("%+v", r)
	}
	r, code = checked(t, "--stages", secured)
	wantProblems(t, r, code, false, "wants TLS", "wants TLS")
	r, code = checked(t, "--stages", secured, "--tls", theirs)
	wantProblems(t, r, code, false, "certificate", "certificate")
	r, code = checked(t, "--stages", ranks([]string{first}, []string{second, plain}), "--tls", ours)
	wantProblems(t, r, code, true, "no TLS")
}

func TestCheckRefusesWhatItCannotUse(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{nil, 2, "--stages is missing"},
		{[]string{"--stages", "here"}, 2, "not host:port"},
		{[]string{"--stages", "localhost:1", "--timeout", "0s"}, 2, "--timeout is \"0s\""},
		{[]string{"--stages", "localhost:1", "--ballast", "much"}, 2, "--ballast"},
		{[]string{"--stages", "localhost:1", "--ballast", "2MB", "--max-message", "2000000"}, 2, "at most 1995904 bytes"},
		{[]string{"--stages", "localhost:1", "--bundle", "none"}, 1, "no such folder"},
		{[]string{"--stages", "localhost:1", "--bundle", split(t, "seed-rnn", 2)}, 1, "has 2 stages"},
		{[]string{"--stages", "203.0.113.1:2222"}, 2, "--insecure"},
		{[]string{"localhost:1"}, 2, "unexpected argument"},
	} {
		if r := run(t, t.TempDir(), "", append([]string{"check"}, c.args...)...); r.code != c.code || !strings.Contains(r.stderr, c.says) || r.stdout != "" {
			t.Errorf("%q: %+v", c.args, r)
		}
	}
	r := run(t, t.TempDir(), "", "serve-stage", "--no-model", "--rank", "1", "--stages", "localhost:1")
	if r.code != 1 || !strings.Contains(r.stderr, "names 1 ranks") {
		t.Errorf("%+v", r)
	}
}

func TestCheckReadsTheConfigFile(t *testing.T) {
	t.Parallel()
	bundle := split(t, "seed-rnn", 1)
	_, only := stage(t, bundle, 0)
	dir := t.TempDir()
	write(t, filepath.Join(dir, "distinfer.yaml"), "stages: ['"+only+"']\nbundle: not-on-this-machine\ntimeout: 1ms\n")
	if out := ok(t, dir, "", "check"); !strings.Contains(out, "1 rank;") || !strings.Contains(out, "All is well") {
		t.Error(out)
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}
