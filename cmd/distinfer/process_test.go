package main_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/distinfer/distinfer/runtime/ort/orttest"
	"github.com/distinfer/distinfer/runtime/testkit"
)

// binary is the program under test.
var binary string

func TestMain(m *testing.M) { os.Exit(buildAndRun(m)) }

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "distinfer-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	binary = filepath.Join(dir, "distinfer")
	// Without paths, so that the cache has what another folder's tests have compiled.
	build := exec.Command("go", "build", raceFlag, "-trimpath", "-buildvcs=false", "-o", binary, ".")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "build the program under test:", err)
		return 1
	}
	return m.Run()
}

// measured notes a figure that `make test` prints at its end.
func measured(t *testing.T, format string, args ...any) {
	t.Helper()
	line := fmt.Sprintf(format, args...)
	t.Log(line)
	path := os.Getenv("DISTINFER_TEST_REPORT")
	if path == "" {
		return
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	_, err = fmt.Fprintln(f, line)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

// command makes a run of the program in folder dir, with nothing of the
// environment that would configure it but the library's place.
func command(t *testing.T, dir string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(binary, args...)
	cmd.Dir = dir
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "DISTINFER_") && !strings.HasPrefix(e, "OTEL_") {
			cmd.Env = append(cmd.Env, e)
		}
	}
	cmd.Env = append(cmd.Env, "DISTINFER_ONNXRUNTIME="+orttest.Path(t))
	return cmd
}

// A result is how a run ended.
type result struct {
	stdout, stderr string
	code           int
}

// run runs the program to its end.
func run(t *testing.T, dir, stdin string, args ...string) result {
	t.Helper()
	return finish(t, command(t, dir, args...), stdin)
}

func finish(t *testing.T, cmd *exec.Cmd, stdin string) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(testkit.Patience, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	err := cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// ok is run for a run that has to succeed.
func ok(t *testing.T, dir, stdin string, args ...string) string {
	t.Helper()
	r := run(t, dir, stdin, args...)
	if r.code != 0 {
		t.Fatalf("distinfer %s: exit code %d: %s", strings.Join(args, " "), r.code, r.stderr)
	}
	return r.stdout
}

// A server is a process that runs until it is stopped.
type server struct {
	cmd   *exec.Cmd
	ended chan struct{}

	mu   sync.Mutex
	news *sync.Cond
	log  []map[string]any
	out  bytes.Buffer
}

// start starts the program with its log as JSON, and ends it with the test.
func start(t *testing.T, dir string, args ...string) *server {
	t.Helper()
	return startCommand(t, command(t, dir, append(args, "--log-format", "json")...))
}

func startCommand(t *testing.T, cmd *exec.Cmd) *server {
	t.Helper()
	s := &server{cmd: cmd, ended: make(chan struct{})}
	s.news = sync.NewCond(&s.mu)
	stderr, err := s.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var readers sync.WaitGroup
	readers.Go(func() {
		lines := bufio.NewScanner(stderr)
		for lines.Scan() {
			entry := map[string]any{}
			if json.Unmarshal(lines.Bytes(), &entry) != nil {
				entry["msg"] = lines.Text()
			}
			s.mu.Lock()
			s.log = append(s.log, entry)
			s.news.Broadcast()
			s.mu.Unlock()
		}
	})
	readers.Go(func() {
		lines := bufio.NewScanner(stdout)
		for lines.Scan() {
			s.mu.Lock()
			s.out.WriteString(lines.Text() + "\n")
			s.news.Broadcast()
			s.mu.Unlock()
		}
	})
	go func() {
		readers.Wait()
		_ = s.cmd.Wait()
		s.mu.Lock()
		close(s.ended)
		s.news.Broadcast()
		s.mu.Unlock()
	}()
	t.Cleanup(func() {
		s.stop(t, syscall.SIGTERM)
		if t.Failed() {
			s.mu.Lock()
			defer s.mu.Unlock()
			t.Logf("%v: %v\n%s", s.cmd.Args[1:], s.log, s.out.String())
		}
	})
	return s
}

// until waits for a condition on the log and the output.
func (s *server) until(t *testing.T, what string, found func() bool) {
	t.Helper()
	late := false
	timer := time.AfterFunc(testkit.Patience, func() {
		s.mu.Lock()
		late = true
		s.news.Broadcast()
		s.mu.Unlock()
	})
	defer timer.Stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	for !found() {
		select {
		case <-s.ended:
			t.Fatalf("%v ended before there was %s: %v", s.cmd.Args[1:], what, s.log)
		default:
		}
		if late {
			t.Fatalf("%v: no %s: %v", s.cmd.Args[1:], what, s.log)
		}
		s.news.Wait()
	}
}

// entry waits for the n-th log entry with the given message.
func (s *server) entry(t *testing.T, msg string, n int) map[string]any {
	t.Helper()
	var entry map[string]any
	s.until(t, fmt.Sprintf("log entry %q", msg), func() bool {
		left := n
		for _, e := range s.log {
			if e["msg"] == msg {
				if left--; left == 0 {
					entry = e
					return true
				}
			}
		}
		return false
	})
	return entry
}

// stop sends a signal and waits for the end.
func (s *server) stop(t *testing.T, signal syscall.Signal) int {
	t.Helper()
	_ = s.cmd.Process.Signal(signal)
	select {
	case <-s.ended:
	case <-time.After(testkit.Patience):
		_ = s.cmd.Process.Kill()
		<-s.ended
		t.Errorf("%v did not end when it was asked to", s.cmd.Args[1:])
	}
	return s.cmd.ProcessState.ExitCode()
}

// stage starts a stage on a free port and returns its address.
func stage(t *testing.T, bundle string, rank int, args ...string) (*server, string) {
	t.Helper()
	s := start(t, bundle, append([]string{"serve-stage", "--bundle", bundle, "--rank", strconv.Itoa(rank), "--listen", "localhost:0"}, args...)...)
	return s, s.entry(t, "stage ready", 1)["listen"].(string)
}

// front starts a front on a free port and returns its URL.
func front(t *testing.T, bundle string, stages []string, args ...string) (*server, string) {
	t.Helper()
	// Several tests at once on a slow machine are no reason to refuse texts.
	s := start(t, bundle, append([]string{"front", "--bundle", bundle, "--port", "0", "--stages", strings.Join(stages, ","), "--max-wait", "1m"}, args...)...)
	return s, s.entry(t, "front listening", 1)["url"].(string)
}

// fetch makes one HTTP request.
func fetch(t *testing.T, method, url, body string) (int, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testkit.Patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(data)
}

// A cut is a default model in a number of stages.
type cut struct {
	model string
	n     int
}

// bundles are the cuts that tests have asked for: a function for each that splits once and
// returns the folder.
var bundles sync.Map

// split is a bundle of a default model in n stages, which belongs to the test. Every cut is
// made once and copied.
func split(t *testing.T, model string, n int) string {
	t.Helper()
	made, _ := bundles.LoadOrStore(cut{model, n}, sync.OnceValue(func() string {
		out := filepath.Join(filepath.Dir(binary), fmt.Sprintf("%s-%d", model, n))
		ok(t, filepath.Dir(binary), "", "split", modelFile(t, model), "--stages", strconv.Itoa(n), "--out", out)
		return out
	}))
	out := filepath.Join(t.TempDir(), "stages")
	if err := os.CopyFS(out, os.DirFS(made.(func() string)())); err != nil {
		t.Fatal(err)
	}
	return out
}

func modelFile(t *testing.T, model string) string {
	return filepath.Join(testkit.Root(t), "models", model, "model.onnx")
}

// children are the processes whose parent is pid (on Linux).
func children(t *testing.T, pid int) []int {
	t.Helper()
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, list := range lists {
		data, _ := os.ReadFile(list) // a thread may end in the meantime
		for _, field := range strings.Fields(string(data)) {
			n, err := strconv.Atoi(field)
			if err != nil {
				t.Fatal(err)
			}
			pids = append(pids, n)
		}
	}
	return pids
}

// runs reports whether a process is there and is no zombie.
func runs(pid int) bool {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	fields := strings.Fields(string(status[bytes.LastIndexByte(status, ')')+1:]))
	return len(fields) > 0 && fields[0] != "Z"
}

// processorTime is the processor time a process has used, in hundredths of a
// second.
func processorTime(t *testing.T, pid int) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(status[bytes.LastIndexByte(status, ')')+1:]))
	user, errUser := strconv.Atoi(fields[11])
	system, errSystem := strconv.Atoi(fields[12])
	if err := errors.Join(errUser, errSystem); err != nil {
		t.Fatal(err)
	}
	return user + system
}
