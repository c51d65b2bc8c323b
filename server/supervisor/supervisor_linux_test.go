package supervisor

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/distinfer/distinfer/runtime/testkit"
)

// A supervisor that is killed cannot stop its children; the kernel does.
func TestChildrenEndWithASupervisorThatIsKilled(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	supervisor := command("supervises", folder)
	if err := supervisor.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = supervisor.Wait() // it is killed
	}()
	t.Cleanup(func() {
		_ = supervisor.Process.Kill()
		for _, pid := range processes(t, folder) {
			if alive(pid) {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
	})
	testkit.Eventually(t, "the supervisor has started its child", func() bool {
		_, err := os.Stat(filepath.Join(folder, "supervising"))
		return err == nil
	})
	pid := mustAsk(t, folder)
	if pid == supervisor.Process.Pid || !alive(pid) {
		t.Fatalf("the child is process %d of supervisor %d", pid, supervisor.Process.Pid)
	}
	if err := supervisor.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-ended
	testkit.Eventually(t, "the child ends too", func() bool { return !alive(pid) })
}
