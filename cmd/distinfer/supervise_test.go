package main_test

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/distinfer/distinfer/runtime/testkit"
)

// A second `up` whose stages' ports are taken by the first one's must not answer through those.
func TestASecondUpOnTakenPortsFails(t *testing.T) {
	t.Parallel()
	b := split(t, "seed-rnn", 2)
	ports := testkit.FreePorts(t, 2)
	config := put(t, t.TempDir(), "stages.yaml", fmt.Sprintf("stages: [localhost:%d, localhost:%d]\n", ports[0], ports[1]))
	first := start(t, b, "up", "--bundle", b, "--port", "0", "--config", config)
	url := upURL(t, first)
	second := run(t, b, "", "up", "--bundle", b, "--port", "0", "--config", config)
	if second.code != 1 || strings.Contains(second.stdout, "up at") || strings.Contains(second.stderr, "front listening") {
		t.Errorf("the second: exit code %d: %s%s", second.code, second.stdout, second.stderr)
	}
	if last := second.stderr[strings.LastIndex(strings.TrimSpace(second.stderr), "\n")+1:]; !strings.Contains(last, "did not start") || !strings.Contains(last, "another process answers at localhost:") {
		t.Errorf("the second does not say why: %s", last)
	}
	if code, body := fetch(t, "GET", url+"/?text=good", ""); code != http.StatusOK {
		t.Errorf("the first: %d %s", code, body)
	}
}

// An `up` without file descriptors leaves the stages alone that are well, says what it lacks,
// and goes on once it has what it needs.
func TestAnUpThatStarvesKillsNobody(t *testing.T) {
	t.Parallel()
	b := split(t, "seed-rnn", 2)
	s := start(t, b, "up", "--bundle", b, "--port", "0")
	url := upURL(t, s)
	pids := children(t, s.cmd.Process.Pid)
	if len(pids) != 2 {
		t.Fatalf("child processes: %v", pids)
	}
	var before unix.Rlimit
	if err := unix.Prlimit(s.cmd.Process.Pid, unix.RLIMIT_NOFILE, nil, &before); err != nil {
		t.Fatal(err)
	}
	none := before
	none.Cur = 3
	if err := unix.Prlimit(s.cmd.Process.Pid, unix.RLIMIT_NOFILE, &none, nil); err != nil {
		t.Fatal(err)
	}
	// What is not accepted waits.
	c, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	entry := s.entry(t, "cannot accept connections", 1)
	if entry["level"] != "WARN" || !strings.Contains(fmt.Sprint(entry["error"]), "too many open files") {
		t.Errorf("what is logged of it: %v", entry)
	}
	// One that dies cannot be started again for now.
	if err := syscall.Kill(pids[0], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	s.until(t, "several tries to start it", func() bool {
		tries := 0
		for _, e := range s.log {
			if e["msg"] == "child ended, starting it again" && strings.Contains(fmt.Sprint(e["error"]), "too many open files") {
				tries++
			}
		}
		return tries >= 3
	})
	if !runs(pids[1]) {
		t.Error("the other stage is gone")
	}
	if err := unix.Prlimit(s.cmd.Process.Pid, unix.RLIMIT_NOFILE, &before, nil); err != nil {
		t.Fatal(err)
	}
	s.entry(t, "started again", 1)
	testkit.Eventually(t, "it answers again", func() bool {
		code, _ := fetch(t, "GET", url+"/?text=good", "")
		return code == http.StatusOK
	})
	if !runs(pids[1]) {
		t.Error("the other stage was started again")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	accepts := 0
	for _, e := range s.log {
		if e["msg"] == "cannot accept connections" {
			accepts++
		}
	}
	if accepts > 5 {
		t.Errorf("that connections are not accepted is logged %d times", accepts)
	}
}

// More connections than files may be open are not promised.
func TestConnectionsAreBoundByOpenFiles(t *testing.T) {
	t.Parallel()
	b := split(t, "seed-rnn", 1)
	_, address := stage(t, b, 0)
	limited := func(limit string, args ...string) *server {
		cmd := command(t, b, append([]string{"front", "--bundle", b, "--port", "0", "--stages", address, "--log-format", "json"}, args...)...)
		cmd.Args = append([]string{"sh", "-c", "ulimit " + limit + ` && exec "$0" "$@"`}, append([]string{binary}, cmd.Args[1:]...)...)
		cmd.Path = "/bin/sh"
		return startCommand(t, cmd)
	}
	const lowered = "fewer connections than configured are taken"
	s := limited("-n 500")
	entry := s.entry(t, lowered, 1)
	if most, _ := entry["most"].(float64); most < 100 || most > 490 || entry["level"] != "WARN" || entry["configured"] != 4096. {
		t.Errorf("with 500 files: %v", entry)
	}
	s.entry(t, "front listening", 1)
	for what, s := range map[string]*server{
		"few connections":    limited("-n 500", "--max-connections", "100"),
		"a limit to raise":   limited("-S -n 500"),
		"the usual number":   limited("-S -n 500", "--max-connections", "4000"),
		"one that is enough": limited("-n 5000"),
	} {
		s.entry(t, "front listening", 1)
		s.mu.Lock()
		for _, e := range s.log {
			if e["msg"] == lowered {
				t.Errorf("%s: %v", what, e)
			}
		}
		s.mu.Unlock()
	}
	cmd := command(t, b, "front", "--bundle", b, "--port", "0", "--stages", address)
	cmd.Args = append([]string{"sh", "-c", `ulimit -n 60 && exec "$0" "$@"`}, append([]string{binary}, cmd.Args[1:]...)...)
	cmd.Path = "/bin/sh"
	if r := finish(t, cmd, ""); r.code != 1 || !strings.Contains(r.stderr, "ulimit -n") || strings.Contains(r.stderr, "front listening") {
		t.Errorf("with 60 files: %+v", r)
	}
}

// A reader of the log that goes away ends neither front nor stages nor `up`.
func TestServersOutliveTheReaderOfTheirLog(t *testing.T) {
	t.Parallel()
	b := split(t, "seed-rnn", 1)
	_, address := stage(t, b, 0)
	for name, args := range map[string][]string{
		"front":       {"front", "--bundle", b, "--stages", address},
		"up":          {"up", "--bundle", b, "--ask", "a good film"},
		"serve-stage": {"serve-stage", "--bundle", b, "--rank", "0"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			at := fmt.Sprintf("localhost:%d", testkit.FreePorts(t, 1)[0])
			cmd := command(t, b, append(args, "--listen", at, "--log-level", "debug")...)
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			cmd.Stdout, cmd.Stderr = w, w
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			_ = w.Close()
			_ = r.Close() // what is logged from now on nobody reads
			ended := make(chan struct{})
			go func() { defer close(ended); _ = cmd.Wait() }()
			defer func() { _ = cmd.Process.Kill(); <-ended }()
			answers := func() bool {
				select {
				case <-ended:
					t.Fatalf("it ended: %v", cmd.ProcessState)
				default:
				}
				if name == "serve-stage" {
					c, err := net.Dial("tcp", at)
					if err == nil {
						_ = c.Close()
					}
					return err == nil
				}
				r, err := http.Get("http://" + at + "/?text=good")
				if err != nil {
					return false
				}
				_ = r.Body.Close()
				return r.StatusCode == http.StatusOK
			}
			for range 3 {
				testkit.Eventually(t, "it answers", answers)
			}
			if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			<-ended
			if code := cmd.ProcessState.ExitCode(); code != 0 {
				t.Errorf("exit code %d: %v", code, cmd.ProcessState)
			}
		})
	}
}

// What prints results ends, as usual, when nobody reads them.
func TestResultsThatNobodyReadsEndACommand(t *testing.T) {
	t.Parallel()
	cmd := command(t, t.TempDir(), "version")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	_ = r.Close()
	cmd.Stdout = w
	err = cmd.Run()
	_ = w.Close()
	if status, is := cmd.ProcessState.Sys().(syscall.WaitStatus); err == nil || is && status.Signaled() && status.Signal() != syscall.SIGPIPE {
		t.Errorf("it ended with %v", err)
	}
}

// A collector of traces that does not answer has front and stages wait at once.
func TestUpEndsSoonThoughNobodyTakesItsTraces(t *testing.T) {
	t.Parallel()
	b := split(t, "seed-rnn", 2)
	l, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }() // it accepts by the system alone, and never answers
	cmd := command(t, b, "up", "--bundle", b, "--port", "0", "--log-format", "json")
	cmd.Env = append(cmd.Env, "OTEL_EXPORTER_OTLP_ENDPOINT=http://"+l.Addr().String(), "OTEL_BSP_SCHEDULE_DELAY=50", "GORACE=atexit_sleep_ms=0")
	s := startCommand(t, cmd)
	if code, body := fetch(t, "GET", upURL(t, s)+"/?text=good", ""); code != http.StatusOK {
		t.Fatalf("%d %s", code, body)
	}
	asked := time.Now()
	if code := s.stop(t, syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}
	took := time.Since(asked)
	measured(t, "up ends with a collector of traces that does not answer: %.1f s", took.Seconds())
	if took > 8*time.Second { // of one after the other it is ten
		t.Errorf("it took %s to end", took)
	}
	lost := 0
	for _, e := range s.log {
		if e["msg"] == "traces are lost" {
			lost++
		}
	}
	if lost < 3 {
		t.Errorf("%d of 3 processes tell that traces are lost", lost)
	}
}

// What an `up` that was killed left is removed by the next, and what one that runs uses is not.
func TestTheFolderOfAKilledUpIsRemoved(t *testing.T) {
	t.Parallel()
	temp := t.TempDir()
	up := func() *server {
		cmd := command(t, temp, "up", modelFile(t, "seed-rnn"), "--stages", "1", "--port", "0", "--log-format", "json")
		cmd.Env = append(cmd.Env, "TMPDIR="+temp)
		s := startCommand(t, cmd)
		upURL(t, s)
		return s
	}
	folders := func() (list []string) {
		entries, err := os.ReadDir(temp)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			list = append(list, e.Name())
		}
		return list
	}
	killed := up()
	left := folders()
	if len(left) != 1 || !strings.HasPrefix(left[0], "distinfer-up-") {
		t.Fatalf("folders of one: %v", left)
	}
	pids := children(t, killed.cmd.Process.Pid)
	killed.stop(t, syscall.SIGKILL)
	for _, pid := range pids {
		testkit.Eventually(t, "the stage ends", func() bool { return !runs(pid) })
	}
	// What is not of this program stays, and so does what links elsewhere.
	if err := os.Mkdir(filepath.Join(temp, "distinfer-up-other"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(t.TempDir(), filepath.Join(temp, "distinfer-up-link")); err != nil {
		t.Fatal(err)
	}
	next := up()
	if now := folders(); len(now) != 3 || slices.Contains(now, left[0]) {
		t.Errorf("after the next began there are %v", now)
	}
	another := up()
	if now := folders(); len(now) != 4 {
		t.Errorf("with two that run there are %v", now)
	}
	if code := another.stop(t, syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if code := next.stop(t, syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if now := folders(); !slices.Equal(now, []string{"distinfer-up-link", "distinfer-up-other"}) {
		t.Errorf("in the end there are %v", now)
	}
}

// A flag that has no effect is refused and not passed over.
func TestFlagsWithoutEffectAreRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	model := modelFile(t, "seed-rnn")
	for _, args := range [][]string{
		{"split", model, "--bundle", "other"},
		{"split", model, "--bundle=other", "--dry-run"},
		{"up", model, "--bundle", "other"},
		{"up", "--verify-timeout", "1m"},
		{"predict", "--front", "http://localhost:1", "--bundle", "other"},
		{"predict", "--front", "http://localhost:1", "--threads", "2"},
		{"predict", "--insecure"},
		{"tokenize", "--tokenizer", "tokenizer.json", "--bundle", "other"},
		{"serve-stage", "--rank", "0", "--no-model", "--bundle", "other"},
		{"bench", "--bundle", "other"},
		{"certs", "localhost", "--bundle", "other"},
		{"front", "-o", "json"},
		{"up", "-o", "json"},
		{"verify", "--column", "text"},
		{"split", model, "--verify-timeout", "0"},
	} {
		if r := run(t, dir, "", args...); r.code != 2 || r.stdout != "" {
			t.Errorf("%v: %+v", args, r)
		}
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	// What is for all commands and comes from elsewhere is for those that use it.
	cmd := command(t, dir, "split", model, "--dry-run")
	cmd.Env = append(cmd.Env, "DISTINFER_BUNDLE=other", "DISTINFER_LOG_LEVEL=debug")
	if r := finish(t, cmd, ""); r.code != 0 {
		t.Errorf("with variables: %+v", r)
	}
}
