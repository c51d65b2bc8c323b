package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/distinfer/distinfer/server/load"
)

const (
	// drainTime is how long a server may take to end when it is asked to.
	drainTime = 15 * time.Second
	pollEvery = 10 * time.Millisecond
	// logTail is how many of the last lines of its log tell why a server failed.
	logTail = 12
)

// A command is one process of a server.
type command struct {
	args []string
	env  []string // in addition
}

// A running is a server whose processes are up. All that this process starts
// meanwhile belongs to it.
type running struct {
	dir     string
	logs    []string
	started []*exec.Cmd
	took    time.Duration // from the start of the first process to the first right answer
}

// start runs the processes of a server, in a temporary folder of its own that is
// also their home, and returns once it answers a text rightly.
func start(ctx context.Context, patience time.Duration, commands func(dir string, ports []int) []command, target func(port int) load.Target, text string) (_ *running, t load.Target, err error) {
	// Short, since some make sockets in it, whose paths may have 107 bytes.
	dir, err := os.MkdirTemp("", "serve-")
	if err != nil {
		return nil, t, err
	}
	r := &running{dir: dir}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("%w%s", err, r.tail()), r.stop())
		}
	}()
	ports, err := freePorts(4)
	if err != nil {
		return nil, t, err
	}
	t = target(ports[0])
	began := time.Now()
	for i, c := range commands(dir, ports) {
		if err := r.run(c, fmt.Sprintf("log%d", i)); err != nil {
			return nil, t, err
		}
	}
	if err := r.await(ctx, patience, t, text); err != nil {
		return nil, t, err
	}
	r.took = time.Since(began)
	return r, t, nil
}

func (r *running) run(c command, log string) error {
	out, err := os.Create(filepath.Join(r.dir, log))
	if err != nil {
		return err
	}
	defer func() { _ = out.Close() }()            // the child has its own
	cmd := exec.Command(c.args[0], c.args[1:]...) //nolint:noctx // stop ends it, and what it started
	cmd.Dir, cmd.Stdout, cmd.Stderr = r.dir, out, out
	cmd.Env = append(append(environment(), "HOME="+r.dir, "TMPDIR="+r.dir), c.env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	r.logs = append(r.logs, out.Name())
	r.started = append(r.started, cmd)
	return nil
}

// environment is that of this process without what would configure a server,
// but for where distinfer finds ONNX Runtime.
func environment() []string {
	return slices.DeleteFunc(os.Environ(), func(e string) bool {
		name, _, _ := strings.Cut(e, "=")
		for _, prefix := range []string{"DISTINFER_", "BENTOML_", "RAY_", "MLSERVER_", "UVICORN_", "GUNICORN_", "OMP_", "PYTHON", "HOME", "TMPDIR"} {
			if strings.HasPrefix(name, prefix) && name != "DISTINFER_ONNXRUNTIME" {
				return true
			}
		}
		return false
	})
}

// await asks until there is a right answer.
func (r *running) await(ctx context.Context, patience time.Duration, t load.Target, text string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	last := errors.New("it was not asked")
	for {
		verdict, err := ask(ctx, t, text)
		if verdict == load.Right {
			return nil
		}
		if ctx.Err() == nil {
			last = err
		}
		for _, cmd := range r.started {
			if ended(cmd.Process.Pid) {
				return fmt.Errorf("%s ended before it answered", filepath.Base(cmd.Path))
			}
		}
		select {
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return fmt.Errorf("no right answer within %s: %w", patience, last)
			}
			return ctx.Err()
		case <-time.After(pollEvery):
		}
	}
}

// ask asks once. Unless the answer is right, the error says what it was.
func ask(ctx context.Context, t load.Target, text string) (load.Verdict, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	request, err := t.Request(ctx, text)
	if err != nil {
		return load.Failed, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return load.Failed, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	return t.Judge(text, response.StatusCode, body), errors.Join(fmt.Errorf("it answers %d: %.200s", response.StatusCode, body), err)
}

// ended reports whether a child has ended, and leaves it to be waited for.
func ended(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	after := stat[bytes.LastIndexByte(stat, ')')+1:]
	return bytes.HasPrefix(after, []byte(" Z"))
}

// memory is that of all processes of the server.
func (r *running) memory() (int64, error) {
	pids, err := below()
	if err != nil {
		return 0, err
	}
	return resident("/proc", pids)
}

// below are all processes that descend from this one.
func below() ([]int, error) {
	p, err := parents("/proc")
	return descendants(p, os.Getpid()), err
}

// stop asks the processes to end, and once they have, or have not for long, ends
// whatever is left of what they started. It removes their folder.
func (r *running) stop() error {
	for _, cmd := range slices.Backward(r.started) {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	}
	_, err := reap(func(pid int) bool {
		return slices.ContainsFunc(r.started, func(cmd *exec.Cmd) bool { return cmd.Process.Pid == pid })
	}, func(int) {})
	if err == nil {
		var left int
		left, err = reap(func(int) bool { return true }, func(pid int) { _ = syscall.Kill(pid, syscall.SIGKILL) })
		if err == nil && left > 0 {
			err = fmt.Errorf("%d processes are still there", left)
		}
	}
	return errors.Join(err, os.RemoveAll(r.dir))
}

// reap does something to each of those descendants that are meant, until all of
// them have ended; it returns how many have not when the time is over.
func reap(meant func(pid int) bool, do func(pid int)) (left int, err error) {
	for began := time.Now(); ; time.Sleep(pollEvery) {
		pids, err := below()
		pids = slices.DeleteFunc(pids, func(pid int) bool { return !meant(pid) })
		if err != nil || len(pids) == 0 || time.Since(began) > drainTime {
			return len(pids), err
		}
		for _, pid := range pids {
			do(pid)
			_, _ = syscall.Wait4(pid, nil, syscall.WNOHANG, nil) // not all are our children
		}
	}
}

// tail is the end of what the processes logged.
func (r *running) tail() string {
	var b strings.Builder
	for _, path := range r.logs {
		log, err := os.ReadFile(path)
		if err != nil || len(log) == 0 {
			continue
		}
		lines := strings.Split(strings.TrimSpace(string(log)), "\n")
		fmt.Fprintf(&b, "\n  %s", strings.Join(lines[max(0, len(lines)-logTail):], "\n  "))
	}
	return b.String()
}

// freePorts finds ports that nobody listens on.
func freePorts(n int) ([]int, error) {
	var ports []int
	for range n {
		l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer func() { _ = l.Close() }() // only once all were found, so that they differ
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}
