package cluster_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/distinfer/distinfer/bench/cluster"
	"github.com/distinfer/distinfer/runtime/ort/orttest"
	"github.com/distinfer/distinfer/runtime/testkit"
	"github.com/distinfer/distinfer/server/load"
)

func TestAClusterServesIsMeasuredAndLeavesNothing(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp) // what is left behind would be there
	binary := filepath.Join(t.TempDir(), "distinfer")
	build := exec.Command("go", "build", "-buildvcs=false", "-o", binary, "github.com/distinfer/distinfer/cmd/distinfer")
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	o := cluster.Options{
		Programs: cluster.Programs{Distinfer: binary, Library: orttest.Path(t)}, Model: filepath.Join(testkit.Root(t), "models", "seed-rnn"), Stages: 2, Fronts: 1, Threads: 1,
	}
	c, err := cluster.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Kill() }()
	r, err := load.Run(t.Context(), load.Options{Concurrency: 2, Requests: 20, Timeout: time.Minute}, load.Labels(c.Clients[0]), []string{"good", "bad"})
	if err != nil || r.Right != 20 {
		t.Errorf("%+v %v", r, err)
	}
	for i, name := range []string{"front", "stage-0", "stage-1"} {
		p := c.Serving()[i]
		memory, errMemory := p.Memory()
		computed, errComputed := p.Computed()
		if p.Name != name || memory < 1e6 || computed <= 0 || errMemory != nil || errComputed != nil || p.ReadyAfter() <= 0 {
			t.Errorf("%s has %v bytes and computed %v: %v", p.Name, memory, computed, errors.Join(errMemory, errComputed))
		}
	}
	if got := c.Named("no answer of " + c.Addresses[1][0] + " to 127.0.0.1:1"); got != "no answer of stage-1 to (a port)" {
		t.Error(got)
	}
	if code, output, err := c.Run(t.Context(), "sh", "-c", "echo so; exit 3"); code != 3 || output != "so\n" || err != nil {
		t.Errorf("%d %s %v", code, output, err)
	}
	if err := c.Stop(); err != nil {
		t.Error(err)
	}
	r, err = load.Run(t.Context(), load.Options{Concurrency: 1, Requests: 1, Timeout: time.Minute}, load.Labels(c.Clients[0]), []string{"good"})
	if err != nil || r.Failed != 1 || !strings.Contains(r.Kinds()[0].Example, syscall.ECONNREFUSED.Error()) {
		t.Errorf("the front still answers: %+v %v", r, err)
	}

	// What does not start says why, and what was started before is ended.
	o.FrontFlags = []string{"--max-texts", "none"}
	if _, err := cluster.Start(t.Context(), o); err == nil || !strings.Contains(err.Error(), "front ended") || !strings.Contains(err.Error(), "max-texts") {
		t.Error(err)
	}
	if left, _ := os.ReadDir(temp); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}
