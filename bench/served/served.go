// Package served runs a split model on this machine as processes, stages and a
// front, for programs that measure them from outside.
package served

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/distinfer/distinfer/server/client"
)

// patience is how long a process may take to be ready, and drainTime how long to
// end, which are far more than they take.
const (
	patience  = time.Minute
	drainTime = 40 * time.Second
	pollEvery = 10 * time.Millisecond
)

// Options say what is served, and by which program.
type Options struct {
	Binary  string // distinfer
	Library string // of ONNX Runtime
	Model   string // a folder with model.onnx
	Stages  int
	Threads int      // of each stage
	Front   []string // further flags of the front

	// Profiles is a folder in which every process writes a profile of its processor
	// time when it ends, NAME.pprof; none when empty.
	Profiles string
}

// A Cluster is the stages of a model in rank order, and their front.
type Cluster struct {
	URL    string         // of the front
	Client *client.Client // of it
	Stages []*Process
	Front  *Process

	dir, profiles string
}

// Start splits the model and returns when the front listens. The processes end
// with ctx at the latest.
func Start(ctx context.Context, o Options) (_ *Cluster, err error) {
	c := &Cluster{profiles: o.Profiles}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Stop())
		}
	}()
	if c.dir, err = os.MkdirTemp("", "distinfer-served-"); err != nil {
		return nil, err
	}
	bundle := filepath.Join(c.dir, "stages")
	split := exec.CommandContext(ctx, o.Binary, "split", filepath.Join(o.Model, "model.onnx"), "--stages", strconv.Itoa(o.Stages), "--out", bundle, "--onnxruntime", o.Library)
	if output, err := split.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("split %s: %w: %s", o.Model, err, output)
	}
	var addresses []string
	for rank := range o.Stages {
		p, listen, err := c.start(ctx, fmt.Sprintf("stage %d", rank), "stage ready", o.Binary, "serve-stage", "--bundle", bundle, "--rank", strconv.Itoa(rank),
			"--listen", "localhost:0", "--threads", strconv.Itoa(o.Threads), "--onnxruntime", o.Library)
		if p != nil {
			c.Stages = append(c.Stages, p)
		}
		if err != nil {
			return nil, err
		}
		addresses = append(addresses, listen)
	}
	front := append([]string{o.Binary, "front", "--bundle", bundle, "--port", "0", "--stages", strings.Join(addresses, ",")}, o.Front...)
	c.Front, c.URL, err = c.start(ctx, "front", "front listening", front...)
	if err == nil {
		c.Client, err = client.New(client.Config{URL: c.URL})
	}
	return c, err
}

// Processes are all of a cluster, the front first.
func (c *Cluster) Processes() []*Process {
	var list []*Process
	if c.Front != nil {
		list = append(list, c.Front)
	}
	return append(list, c.Stages...)
}

// Stop ends all processes in order, and removes their files.
func (c *Cluster) Stop() error {
	var err error
	for _, p := range c.Processes() {
		err = errors.Join(err, p.stop())
	}
	return errors.Join(err, os.RemoveAll(c.dir))
}

// A Process is a stage or a front.
type Process struct {
	Name  string
	cmd   *exec.Cmd
	ended chan struct{} // closed once it is over
}

// start starts a program and returns where it listens, once it logs that. The log
// goes to a file: to a pipe somebody would have to read it, at the expense of what
// is measured.
func (c *Cluster) start(ctx context.Context, name, ready string, command ...string) (*Process, string, error) {
	path := filepath.Join(c.dir, strings.ReplaceAll(name, " ", "-")+".log")
	log, err := os.Create(path)
	if err != nil {
		return nil, "", err
	}
	defer func() { _ = log.Close() }() // the child has its own
	if c.profiles != "" {
		command = append(command, "--cpu-profile", filepath.Join(c.profiles, name+".pprof"))
	}
	p := &Process{Name: name, cmd: exec.CommandContext(ctx, command[0], append(command[1:], "--log-format", "json")...), ended: make(chan struct{})}
	p.cmd.Stderr = log
	if err := p.cmd.Start(); err != nil {
		return nil, "", fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		_ = p.cmd.Wait() // its state is looked at
		close(p.ended)
	}()
	late := time.After(patience)
	for {
		data, err := os.ReadFile(path)
		if err != nil {
			return p, "", err
		}
		if at := listening(data, ready); at != "" {
			return p, at, nil
		}
		select {
		case <-p.ended:
			data, err := os.ReadFile(path) // it has said why since
			return p, "", errors.Join(fmt.Errorf("%s ended: %s", name, data), err)
		case <-late:
			return p, "", fmt.Errorf("%s was not ready after %s: %s", name, patience, data)
		case <-time.After(pollEvery):
		}
	}
}

// listening finds where a process listens in its log.
func listening(log []byte, ready string) string {
	for line := range bytes.Lines(log) {
		var entry struct{ Msg, Listen, URL string }
		if json.Unmarshal(line, &entry) == nil && entry.Msg == ready {
			return entry.Listen + entry.URL // a stage has the one, a front the other
		}
	}
	return ""
}

// stop asks the process to end, and ends it if it does not.
func (p *Process) stop() error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it fails only when the process is gone
	select {
	case <-p.ended:
		return nil
	case <-time.After(drainTime):
	}
	_ = p.cmd.Process.Kill()
	<-p.ended
	return fmt.Errorf("%s did not end within %s", p.Name, drainTime)
}

// Memory is what the process has resident, in bytes (on Linux).
func (p *Process) Memory() (float64, error) {
	data, err := p.read("statm")
	if err != nil {
		return 0, err
	}
	var all, resident float64 // pages
	_, err = fmt.Sscan(data, &all, &resident)
	return resident * float64(os.Getpagesize()), err
}

// tick is the unit of processor time in /proc, which is the same on every Linux.
const tick = 10 * time.Millisecond

// Computed is the processor time that the process has used (on Linux).
func (p *Process) Computed() (time.Duration, error) {
	data, err := p.read("stat")
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(data[strings.LastIndexByte(data, ')')+1:]) // behind its name, which may have spaces
	if len(fields) < 13 {
		return 0, fmt.Errorf("the state of %s is %q", p.Name, data)
	}
	user, errUser := strconv.ParseInt(fields[11], 10, 64)
	system, errSystem := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * tick, errors.Join(errUser, errSystem)
}

func (p *Process) read(file string) (string, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", p.cmd.Process.Pid, file))
	if err != nil {
		return "", fmt.Errorf("look at %s: %w", p.Name, err)
	}
	return string(data), nil
}
