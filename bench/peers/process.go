package peers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/distinfer/distinfer/bench/cluster"
	"github.com/distinfer/distinfer/server/load"
	"github.com/distinfer/distinfer/server/supervisor"
)

// A command is one process of a server.
type command struct {
	args []string
	env  []string // in addition
}

// A running is a server whose processes are up. All that this process starts
// meanwhile belongs to it.
type running struct {
	dir       string
	launcher  supervisor.Launcher
	processes []*cluster.Process
	took      time.Duration // from the start of the first process to the first right answer
}

// start runs the processes of a server, in a temporary folder of its own that is
// also their home, and returns once it answers a text rightly.
func start(ctx context.Context, patience time.Duration, commands func(dir string, ports []int) []command, target func(port int) load.Target, text string) (_ *running, t load.Target, err error) {
	// Short, since some make sockets in it, whose paths may have 107 bytes.
	dir, err := os.MkdirTemp("", "peers-")
	if err != nil {
		return nil, t, err
	}
	r := &running{dir: dir, launcher: supervisor.NewLauncher()}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("%w%s", err, r.said()), r.stop())
		}
	}()
	var ports []int
	free := cluster.NewPorts()
	for range 4 {
		port, err := free.Port()
		if err != nil {
			return nil, t, err
		}
		ports = append(ports, port)
	}
	t = target(ports[0])
	began := time.Now()
	for _, c := range commands(dir, ports) {
		if err := r.run(c); err != nil {
			return nil, t, err
		}
	}
	if err := r.await(ctx, patience, t, text); err != nil {
		return nil, t, err
	}
	r.took = time.Since(began)
	return r, t, nil
}

func (r *running) run(c command) error {
	p := &cluster.Process{
		Name: filepath.Base(c.args[0]), Command: c.args, Dir: r.dir, Log: filepath.Join(r.dir, fmt.Sprintf("log%d", len(r.processes))), Launcher: r.launcher,
		Env:     append(append(environment(), "HOME="+r.dir, "TMPDIR="+r.dir), c.env...),
		Answers: func(context.Context) error { return nil }, Trouble: func(string) {},
	}
	if err := p.Start(); err != nil {
		return err
	}
	r.processes = append(r.processes, p)
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
		for _, p := range r.processes {
			if p.Ended() {
				return fmt.Errorf("%s ended before it answered", p.Name)
			}
		}
		select {
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return fmt.Errorf("no right answer within %s: %w", patience, last)
			}
			return ctx.Err()
		case <-time.After(10 * time.Millisecond):
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

// stop asks the processes to end, and then ends whatever is left of what they started. It
// removes their folder.
func (r *running) stop() error {
	for _, p := range slices.Backward(r.processes) {
		p.Terminate()
	}
	close(r.launcher)
	return errors.Join(reap(), os.RemoveAll(r.dir))
}

// reap kills all that descends from this process.
func reap() error {
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		pids, err := below()
		if err != nil || len(pids) == 0 {
			return err
		}
		if time.Since(began) > cluster.Patience {
			return fmt.Errorf("%d processes are still there", len(pids))
		}
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL)
			_, _ = syscall.Wait4(pid, nil, syscall.WNOHANG, nil) // not all are our children
		}
	}
}

// said is the end of what the processes logged.
func (r *running) said() string {
	var all string
	for _, p := range r.processes {
		if said := p.Said(); said != "" {
			all += "\n  " + strings.ReplaceAll(said, "\n", "\n  ")
		}
	}
	return all
}
