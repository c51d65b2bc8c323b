package supervisor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/distinfer/distinfer/runtime/testkit"
)

// The test binary is also the child processes: these variables say what one is
// to do, and in which folder it leaves its traces.
const (
	roleVariable   = "SUPERVISOR_TEST_ROLE"
	folderVariable = "SUPERVISOR_TEST_FOLDER"
)

// times are how long a child that will not end is waited for, and one that hangs.
var times = Times{Stop: 5 * time.Second, Hang: 3 * time.Second}

func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		// Whatever goes wrong in a test, its children end.
		time.AfterFunc(3*testkit.Patience, func() { os.Exit(9) })
		play(role, os.Getenv(folderVariable))
	}
	goleak.VerifyTestMain(m)
}

// play does in a child process what the role says, and does not return.
func play(role, folder string) {
	switch role {
	case "fails":
		os.Exit(3)
	case "fails later":
		time.Sleep(100 * time.Millisecond)
		os.Exit(4)
	case "ends":
		os.Exit(0)
	case "supervises", "starves": // a child that serves in the same folder
		log, err := os.OpenFile(filepath.Join(folder, "log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(5)
		}
		c := child("serves", folder)
		if role == "supervises" {
			c.Ready = tellingly(c.Ready, folder)
		}
		if _, err := Start(context.Background(), slog.New(slog.NewTextHandler(log, nil)), times, []Child{c}); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(5)
		}
		leave(folder, "supervising", "")
		if role == "starves" { // until the test ends
			for {
				if _, err := os.Open(os.DevNull); err != nil {
					time.Sleep(time.Millisecond)
				}
			}
		}
		select {}
	}
	// All others serve, which tells who they are.
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGTERM)
	l, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(6)
	}
	if role != "never ready" {
		leave(folder, "address", l.Addr().String())
	}
	leave(folder, fmt.Sprint("pid-", os.Getpid()), "")
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				os.Exit(7)
			}
			_, _ = fmt.Fprintln(c, os.Getpid())
			_ = c.Close()
		}
	}()
	for range asked {
		leave(folder, fmt.Sprint("asked-", os.Getpid()), "")
		if role != "is stubborn" {
			os.Exit(0)
		}
	}
}

// tellingly announces a probe while it runs, and makes it take half a second.
func tellingly(ready func(context.Context) error, folder string) func(context.Context) error {
	return func(ctx context.Context) error {
		leave(folder, "asking", "")
		defer func() { _ = os.Remove(filepath.Join(folder, "asking")) }()
		select {
		case <-time.After(500 * time.Millisecond):
		case <-ctx.Done():
		}
		return ready(ctx)
	}
}

// leave writes a file, whole or not at all.
func leave(folder, name, content string) {
	temp := filepath.Join(folder, fmt.Sprint(".", name, "-", os.Getpid()))
	err := os.WriteFile(temp, []byte(content), 0o600)
	if err == nil {
		err = os.Rename(temp, filepath.Join(folder, name))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(8)
	}
}

func command(role, folder string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	// The race detector has a process wait for a second before it ends.
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0", roleVariable+"="+role, folderVariable+"="+folder)
	cmd.Stderr = os.Stderr
	return cmd
}

// child is a Child that plays a role.
func child(role, folder string) Child {
	return Child{
		Name:    "the child that " + role,
		Command: func() *exec.Cmd { return command(role, folder) },
		Ready: func(ctx context.Context) error {
			_, err := ask(ctx, folder)
			return err
		},
	}
}

// ask asks the child that serves in a folder for its process.
func ask(ctx context.Context, folder string) (pid int, err error) {
	address, err := os.ReadFile(filepath.Join(folder, "address"))
	if err != nil {
		return 0, err
	}
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", string(address))
	if err != nil {
		return 0, err
	}
	defer func() { _ = c.Close() }()
	if end, ok := ctx.Deadline(); ok {
		if err := c.SetDeadline(end); err != nil {
			return 0, err
		}
	}
	b, err := io.ReadAll(c)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(b)))
}

func mustAsk(t testing.TB, folder string) int {
	t.Helper()
	pid, err := ask(testkit.Context(t), folder)
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// processes are all that were started with a folder and got as far as serving.
func processes(t testing.TB, folder string) []int {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(folder, "pid-*"))
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, p := range paths {
		pid, err := strconv.Atoi(strings.TrimPrefix(filepath.Base(p), "pid-"))
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	return pids
}

// alive reports whether a process runs. One that has ended but that its parent
// has not yet asked for does not.
func alive(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return !errors.Is(err, os.ErrNotExist) || runtime.GOOS != "linux"
	}
	state := stat[bytes.LastIndexByte(stat, ')')+1:]
	return !bytes.HasPrefix(state, []byte(" Z")) && !bytes.HasPrefix(state, []byte(" X"))
}

// wantNone checks that of the processes started with a folder none is left, and
// none is left for its parent to ask for.
func wantNone(t testing.TB, folder string) {
	t.Helper()
	for _, pid := range processes(t, folder) {
		if syscall.Kill(pid, 0) == nil {
			t.Errorf("process %d is left", pid)
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

var discard = slog.New(slog.DiscardHandler)

// start starts children that each serve in a folder of their own.
func start(t testing.TB, log *slog.Logger, children int) (s *Supervisor, folders []string) {
	t.Helper()
	var list []Child
	for range children {
		folder := t.TempDir()
		folders = append(folders, folder)
		list = append(list, child("serves", folder))
	}
	s, err := Start(testkit.Context(t), log, times, list)
	if err != nil {
		t.Fatal(err)
	}
	return s, folders
}

func TestStartReturnsWhenAllAreReady(t *testing.T) {
	t.Parallel()
	s, folders := start(t, discard, 3)
	var pids []int
	for _, folder := range folders {
		pids = append(pids, mustAsk(t, folder))
	}
	for i, pid := range pids {
		if !alive(pid) || pid == os.Getpid() {
			t.Errorf("child %d is process %d", i, pid)
		}
		// In a group of its own: a terminal's Ctrl-C must not reach it.
		if group, err := syscall.Getpgid(pid); err != nil || group != pid {
			t.Errorf("process %d is in group %d, %v", pid, group, err)
		}
	}
	s.Stop()
	for _, folder := range folders {
		wantNone(t, folder)
		if n := len(processes(t, folder)); n != 1 {
			t.Errorf("%d processes were started for one child", n)
		}
	}
}

func TestStopAsksBeforeItKills(t *testing.T) {
	t.Parallel()
	s, folders := start(t, discard, 2)
	var pids []int
	for _, folder := range folders {
		pids = append(pids, mustAsk(t, folder))
	}
	s.Stop()
	for i, folder := range folders {
		if _, err := os.Stat(filepath.Join(folder, fmt.Sprint("asked-", pids[i]))); err != nil {
			t.Errorf("process %d was not asked to end: %v", pids[i], err)
		}
		wantNone(t, folder)
	}
}

func TestStopKillsWhoeverDoesNotEnd(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	s, err := Start(testkit.Context(t), discard, times, []Child{child("is stubborn", folder)})
	if err != nil {
		t.Fatal(err)
	}
	pid := mustAsk(t, folder)
	s.Stop()
	if _, err := os.Stat(filepath.Join(folder, fmt.Sprint("asked-", pid))); err != nil {
		t.Errorf("it was not asked first: %v", err)
	}
	wantNone(t, folder)
}

func TestChildThatHangsIsKilledAndStartedAgain(t *testing.T) {
	t.Parallel()
	log := &testkit.Log{}
	s, folders := start(t, slog.New(slog.NewTextHandler(log, nil)), 1)
	pid := mustAsk(t, folders[0])
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(testkit.Patience); !log.Has("started again"); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it is not started again")
		}
	}
	if alive(pid) {
		t.Error("the one that hung is still there")
	}
	if !log.Has("did not answer for 3s") {
		t.Error("the log does not say why")
	}
	if next := mustAsk(t, folders[0]); next == pid {
		t.Errorf("process %d is back", pid)
	}
	s.Stop()
	wantNone(t, folders[0])
}

func TestChildThatDiesIsStartedAgain(t *testing.T) {
	t.Parallel()
	log := &testkit.Log{}
	s, folders := start(t, slog.New(slog.NewTextHandler(log, nil)), 2)
	other := mustAsk(t, folders[1])
	seen := map[int]bool{}
	for range 3 {
		pid := mustAsk(t, folders[0])
		if seen[pid] {
			t.Fatalf("process %d is back", pid)
		}
		seen[pid] = true
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		testkit.Eventually(t, "there is a new process", func() bool {
			now, err := ask(testkit.Context(t), folders[0])
			return err == nil && now != pid
		})
		if syscall.Kill(pid, 0) == nil {
			t.Errorf("process %d is not gone", pid)
		}
	}
	testkit.Eventually(t, "both ends are logged", func() bool { return log.Has("killed") && log.Has("started again") })
	if now := mustAsk(t, folders[1]); now != other {
		t.Errorf("the other child was process %d and is %d", other, now)
	}
	s.Stop()
	for _, folder := range folders {
		wantNone(t, folder)
	}
	if n := len(processes(t, folders[0])); n != 4 {
		t.Errorf("%d processes were started for a child that was killed 3 times", n)
	}
}

func TestStopWhileAChildIsDead(t *testing.T) {
	t.Parallel()
	s, folders := start(t, discard, 1)
	pid := mustAsk(t, folders[0])
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	s.Stop() // before, while or after it is started again
	wantNone(t, folders[0])
}

func TestStartFailsWithAChild(t *testing.T) {
	t.Parallel()
	for role, want := range map[string]string{
		"fails":       "exit status 3",
		"fails later": "exit status 4",
		"ends":        "ended by itself",
	} {
		t.Run(role, func(t *testing.T) {
			t.Parallel()
			good, bad := t.TempDir(), t.TempDir()
			s, err := Start(testkit.Context(t), discard, times, []Child{child("serves", good), child(role, bad)})
			if s != nil || err == nil || !strings.Contains(err.Error(), "the child that "+role+" did not start") || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, %v", s, err)
			}
			wantNone(t, good)
		})
	}
}

func TestStartFailsWithoutTheProgram(t *testing.T) {
	t.Parallel()
	good := t.TempDir()
	missing := child("serves", good)
	missing.Name, missing.Command = "nobody", func() *exec.Cmd { return exec.Command(filepath.Join(good, "nothing")) }
	_, err := Start(testkit.Context(t), discard, times, []Child{missing, child("serves", good)})
	if err == nil || !strings.Contains(err.Error(), "nobody did not start") || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	wantNone(t, good)
}

func TestStartEndsWithItsContext(t *testing.T) {
	t.Parallel()
	good, slow := t.TempDir(), t.TempDir()
	ctx, cancel := context.WithCancel(testkit.Context(t))
	failed := make(chan error, 1)
	go func() {
		_, err := Start(ctx, discard, times, []Child{child("serves", good), child("never ready", slow)})
		failed <- err
	}()
	testkit.Eventually(t, "both run", func() bool { return len(processes(t, good)) == 1 && len(processes(t, slow)) == 1 })
	select {
	case err := <-failed:
		t.Fatalf("Start returned %v before all were ready", err)
	default:
	}
	cancel()
	select {
	case err := <-failed:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	case <-time.After(testkit.Patience):
		t.Fatal("Start does not return")
	}
	wantNone(t, good)
	wantNone(t, slow)
}

// The context of Start is for starting only.
func TestChildrenOutliveTheContextOfStart(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	ctx, cancel := context.WithCancel(testkit.Context(t))
	s, err := Start(ctx, discard, times, []Child{child("serves", folder)})
	if err != nil {
		t.Fatal(err)
	}
	pid := mustAsk(t, folder)
	cancel()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "it is started again", func() bool {
		now, err := ask(testkit.Context(t), folder)
		return err == nil && now != pid
	})
	s.Stop()
	wantNone(t, folder)
}

// The kernel takes the end of the thread that started a child for the end of
// its parent. Go ends the thread of a goroutine that locked it and returned.
func TestChildrenOutliveTheThreadOfStart(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	type result struct {
		s   *Supervisor
		err error
	}
	started := make(chan result)
	go func() {
		runtime.LockOSThread()
		s, err := Start(testkit.Context(t), discard, times, []Child{child("serves", folder)})
		started <- result{s, err}
	}()
	r := <-started
	if r.err != nil {
		t.Fatal(r.err)
	}
	pid := mustAsk(t, folder)
	for range 20 {
		time.Sleep(5 * time.Millisecond) // for the thread to end
		if now := mustAsk(t, folder); now != pid {
			t.Fatalf("process %d is now %d", pid, now)
		}
	}
	r.s.Stop()
	wantNone(t, folder)
}

func TestReadinessIsAskedWithADeadline(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	c := child("serves", folder)
	ready := c.Ready
	var once sync.Once
	c.Ready = func(ctx context.Context) error {
		hangs := false
		once.Do(func() { hangs = true })
		if hangs { // as a connection may that nobody answers
			<-ctx.Done()
			return ctx.Err()
		}
		return ready(ctx)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s, err := Start(testkit.Context(t), discard, times, []Child{c})
		if err != nil {
			t.Error(err)
			return
		}
		s.Stop()
	}()
	select {
	case <-done:
	case <-time.After(testkit.Patience):
		t.Fatal("Start hangs with a question that hangs")
	}
	wantNone(t, folder)
}

// supervised starts a process that supervises one that serves, and gives its process.
func supervised(t *testing.T, role, folder string) *exec.Cmd {
	t.Helper()
	parent := command(role, folder)
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = parent.Process.Kill()
		_ = parent.Wait()
		testkit.Eventually(t, "its child ends with it", func() bool {
			for _, pid := range processes(t, folder) {
				if alive(pid) {
					return false
				}
			}
			return true
		})
	})
	testkit.Eventually(t, "it supervises", func() bool {
		_, err := os.Stat(filepath.Join(folder, "supervising"))
		return err == nil
	})
	return parent
}

// logged waits for a line that has all the parts.
func logged(t *testing.T, folder string, parts ...string) {
	t.Helper()
	testkit.Eventually(t, fmt.Sprintf("a line with %q is logged", parts), func() bool {
		log, err := os.ReadFile(filepath.Join(folder, "log"))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(log)) {
			all := true
			for _, p := range parts {
				all = all && strings.Contains(line, p)
			}
			if all {
				return true
			}
		}
		return false
	})
}

// A supervisor without file descriptors cannot probe. Its child has not hung.
func TestASupervisorThatStarvesKillsNobody(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	supervised(t, "starves", folder)
	logged(t, folder, "cannot probe", "too many open files")
	logged(t, folder, "cannot probe", "for="+times.Hang.String()) // by when it would have been killed
	if n := len(processes(t, folder)); n != 1 {
		t.Errorf("%d processes were started for a child that is well", n)
	}
}

// A supervisor that was stopped itself, as by Ctrl-Z or a machine that slept, learns nothing
// from questions that were not answered in time.
func TestASupervisorThatIsLateKillsNobody(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	parent := supervised(t, "supervises", folder)
	pid := mustAsk(t, folder)
	for range 2 {
		testkit.Eventually(t, "it asks", func() bool {
			_, err := os.Stat(filepath.Join(folder, "asking"))
			return err == nil
		})
		if err := parent.Process.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		time.Sleep(times.Hang + 500*time.Millisecond) // what is tested is that this time does not count
		if err := parent.Process.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		testkit.Eventually(t, "the question is over", func() bool {
			_, err := os.Stat(filepath.Join(folder, "asking"))
			return err != nil
		})
	}
	// It still sees a child that hangs, and one that does not is still the same.
	if now := mustAsk(t, folder); now != pid {
		t.Fatalf("process %d is now %d", pid, now)
	}
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	logged(t, folder, "did not answer for", "child ended")
}

// A child that is slow to answer since the machine is busy, but answers, has not hung.
func TestAChildThatAnswersSlowlyIsNotKilled(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	c := child("serves", folder)
	ready := c.Ready
	var started atomic.Bool
	var asked atomic.Int32
	c.Ready = func(ctx context.Context) error {
		if started.Load() {
			asked.Add(1)
			select {
			case <-time.After(times.Hang / 2):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		err := ready(ctx)
		if err == nil {
			started.Store(true)
		}
		return err
	}
	log := &testkit.Log{}
	s, err := Start(testkit.Context(t), slog.New(slog.NewTextHandler(log, nil)), times, []Child{c})
	if err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "it was asked for longer than it may hang", func() bool { return asked.Load() > 4 })
	s.Stop()
	if n := len(processes(t, folder)); n != 1 {
		t.Errorf("%d processes were started", n)
	}
}

// Who else answers in the place of a child that ends is the reason why it does.
func TestStartTellsWhoElseAnswers(t *testing.T) {
	t.Parallel()
	c := child("fails later", t.TempDir())
	c.Ready = func(context.Context) error { return fmt.Errorf("%w at localhost:1", ErrOther) }
	_, err := Start(testkit.Context(t), discard, times, []Child{c})
	if err == nil || !errors.Is(err, ErrOther) || !strings.Contains(err.Error(), "exit status 4") || !strings.Contains(err.Error(), "at localhost:1") {
		t.Errorf("got %v", err)
	}
}
