package cluster

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/distinfer/distinfer/server/supervisor"
)

// shell is a process that runs a line of shell, and the trouble noted.
func shell(t *testing.T, line string) (*Process, func() string) {
	t.Helper()
	var mu sync.Mutex
	var noted []string
	launcher := supervisor.NewLauncher()
	p := &Process{
		Name: "it", Command: []string{"sh", "-c", line}, Log: filepath.Join(t.TempDir(), "log"), Launcher: launcher,
		Answers: func(context.Context) error { return nil },
		Trouble: func(s string) {
			mu.Lock()
			defer mu.Unlock()
			noted = append(noted, s)
		},
	}
	t.Cleanup(func() {
		p.Kill()
		close(launcher)
	})
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	return p, func() string {
		mu.Lock()
		defer mu.Unlock()
		return strings.Join(noted, "\n")
	}
}

func TestProcessThatEndsByItself(t *testing.T) {
	p, noted := shell(t, "exit 3")
	<-p.life().ended
	for end := time.Now().Add(Patience); noted() == ""; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("no trouble was noted")
		}
	}
	if !strings.Contains(noted(), "it ended by itself: exit status 3") {
		t.Error(noted())
	}
	if p.ReadyFor() != 0 {
		t.Error("it is gone and ready")
	}
}

func TestProcessIsKilledAndStartedAgain(t *testing.T) {
	p, noted := shell(t, "exec sleep 600")
	if err := p.AwaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	first := p.life().cmd.Process.Pid
	if err := p.Signal(syscall.SIGSTOP); err != nil { // the end must reach one that is stopped, too
		t.Fatal(err)
	}
	p.Kill()
	if err := syscall.Kill(first, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("process %d is still there: %v", first, err)
	}
	if p.ReadyFor() != 0 {
		t.Error("it was killed and is ready")
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	if err := p.AwaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	if p.ReadyFor() == 0 || p.life().cmd.Process.Pid == first {
		t.Error("it was not started again")
	}
	if noted() != "" {
		t.Error(noted())
	}
}

func TestProcessThatDoesNotEndWell(t *testing.T) {
	good, noted := shell(t, "trap 'exit 0' TERM; echo trapped; while :; do sleep 0.01; done")
	awaitTrap(t, good)
	good.Terminate()
	if noted() != "" {
		t.Error(noted())
	}
	bad, noted := shell(t, "trap 'exit 7' TERM; echo trapped; while :; do sleep 0.01; done")
	awaitTrap(t, bad)
	bad.Terminate()
	if noted() != "it ended with code 7 after SIGTERM" {
		t.Errorf("noted %q", noted())
	}
}

// awaitTrap waits until the shell has set its trap: before, SIGTERM ends it.
func awaitTrap(t *testing.T, p *Process) {
	t.Helper()
	for end := time.Now().Add(Patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if logged(t, p) != "" {
			return
		}
	}
	t.Fatal("the shell wrote nothing")
}

func logged(t *testing.T, p *Process) string {
	t.Helper()
	data, err := os.ReadFile(p.Log)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
