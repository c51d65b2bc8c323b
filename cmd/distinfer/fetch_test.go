package main_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	bundlefile "github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/runtime/testkit"
	"github.com/distinfer/distinfer/server/transfer/transfertest"
	"github.com/distinfer/distinfer/split/onnxfile/onnxtest"
)

// empty is a folder for a bundle, of which nothing is there.
func empty(t *testing.T) string { return filepath.Join(t.TempDir(), "machine", "stages") }

// fetchingStage starts a stage on a machine whose folder is dir.
func fetchingStage(t *testing.T, dir string, rank int, peer string, args ...string) (*server, string) {
	t.Helper()
	s := start(t, t.TempDir(), append([]string{"serve-stage", "--bundle", dir, "--rank", strconv.Itoa(rank), "--listen", "localhost:0", "--fetch", peer}, args...)...)
	return s, s.entry(t, "stage ready", 1)["listen"].(string)
}

// holds checks which files a folder has.
func holds(t *testing.T, dir string, names ...string) {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range list {
		got = append(got, e.Name())
	}
	if strings.Join(got, " ") != strings.Join(names, " ") {
		t.Errorf("%s holds %v, want %v", dir, got, names)
	}
	beside, err := os.ReadDir(filepath.Dir(dir))
	if err != nil || len(beside) != 1 {
		t.Errorf("beside the folder: %v, %v", beside, err)
	}
}

// The model is on one machine; what the others need comes from there.
func TestMachinesThatStartEmptyFetchWhatTheyNeedAndServe(t *testing.T) {
	t.Parallel()
	bundle := split(t, "seed-rnn", 2)
	_, first := stage(t, bundle, 0)
	machine := empty(t)
	s, second := fetchingStage(t, machine, 1, first)
	holds(t, machine, "manifest.json", "stage-1.onnx")
	info, err := os.Stat(filepath.Join(bundle, "stage-1.onnx"))
	if err != nil {
		t.Fatal(err)
	}
	if e := s.entry(t, "fetched", 1); e["bytes"] != float64(info.Size()) || e["rate"] == nil || e["took"] == nil {
		t.Errorf("the log says %v", e)
	}
	// A front that has nothing beside one that has everything and shares it.
	f, whole := front(t, bundle, []string{first, second}, "--share", "localhost:0")
	shared := f.entry(t, "sharing the bundle", 1)["listen"].(string)
	frontMachine := empty(t)
	url := start(t, t.TempDir(), "front", "--bundle", frontMachine, "--port", "0", "--stages", first+","+second, "--fetch", shared).
		entry(t, "front listening", 1)["url"].(string)
	holds(t, frontMachine, "config.json", "manifest.json", "tokenizer.json")
	for _, text := range []string{"a lovely film", "a waste of time"} {
		request := fmt.Sprintf(`{"inputs":%q}`, text)
		status, want := fetch(t, "POST", whole+"/predict", request)
		if status != 200 {
			t.Fatalf("%d %s", status, want)
		}
		if status, got := fetch(t, "POST", url+"/predict", request); status != 200 || got != want {
			t.Errorf("%q: %d %s, want %s", text, status, got, want)
		}
	}
	// What is there is kept when nobody is left to ask, and nothing else is used.
	if code := f.stop(t, syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}
	again, _ := fetchingStage(t, machine, 1, shared, "--bundle-id", openedBundle(t, bundle).ID.Short())
	again.entry(t, "bundle is here already", 1)
	again, _ = fetchingStage(t, machine, 1, shared)
	if e := again.entry(t, "no peer tells which bundle to use; the one that is here is used", 1); e["level"] != "WARN" || !strings.Contains(fmt.Sprint(e["error"]), shared) {
		t.Errorf("the log says %v", e)
	}
}

func openedBundle(t *testing.T, dir string) *bundlefile.Bundle {
	t.Helper()
	b, err := bundlefile.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestTwoStagesOfOneMachineFetchIntoOneFolder(t *testing.T) {
	t.Parallel()
	source := split(t, "seed-rnn", 3)
	_, address := stage(t, source, 0)
	machine := empty(t)
	var all []*server
	for rank := range 3 {
		all = append(all, start(t, source, "serve-stage", "--bundle", machine, "--rank", strconv.Itoa(rank), "--listen", "localhost:0", "--fetch", address))
	}
	for _, s := range all {
		s.entry(t, "stage ready", 1)
	}
	holds(t, machine, "manifest.json", "stage-0.onnx", "stage-1.onnx", "stage-2.onnx")
}

// largeBundle splits a model with weights of some 36 MB that nothing could compress.
func largeBundle(t *testing.T) string {
	t.Helper()
	const n = 3000
	dice := rand.New(rand.NewPCG(1, 2))
	weights := make([]float32, n*n)
	for i := range weights {
		weights[i] = dice.Float32()
	}
	var g onnxtest.Graph
	g.Input("x", int64(tensor.Float32), 1, n)
	g.Floats("w", []int64{n, n}, weights)
	g.Node("MatMul", []string{"x", "w"}, []string{"y"})
	g.Output("y", int64(tensor.Float32), 1, n)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "model.onnx"), g.Model(), 0o600); err != nil {
		t.Fatal(err)
	}
	ok(t, dir, "", "split", "model.onnx", "--stages", "1", "--no-verify")
	return filepath.Join(dir, "stages")
}

// slowly makes a wire that moves about a megabyte in a tenth of a second, until it is
// told to move everything at once.
func slowly(t *testing.T, to string) (w *transfertest.Wire, hurry func()) {
	var fast atomic.Bool
	w = transfertest.NewWire(t, to, func(n int) int {
		if !fast.Load() {
			time.Sleep(3 * time.Millisecond)
		}
		return n
	})
	return w, func() { fast.Store(true) }
}

// partOf is the file that a stage's model is gathered in.
func partOf(t *testing.T, source, dir string) string {
	t.Helper()
	return filepath.Join(filepath.Dir(dir), ".stages.fetch-"+openedBundle(t, source).ID.Short(), "stage-0.onnx")
}

func TestAFetchThatWasKilledGoesOnWhereItWas(t *testing.T) {
	t.Parallel()
	source := largeBundle(t)
	_, address := stage(t, source, 0)
	w, hurry := slowly(t, address)
	machine := empty(t)
	killed := start(t, source, "serve-stage", "--rank", "0", "--bundle", machine, "--listen", "localhost:0", "--fetch", w.Address)
	testkit.Eventually(t, "a part has come", func() bool {
		info, err := os.Stat(partOf(t, source, machine))
		return err == nil && info.Size() > 8<<20
	})
	killed.stop(t, syscall.SIGKILL)
	if _, err := os.Stat(machine); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("something is in the bundle's place: %v", err)
	}
	part, err := os.Stat(partOf(t, source, machine))
	if err != nil {
		t.Fatal(err)
	}
	hurry()
	before, total := w.Bytes(), openedBundle(t, source).Stages[0].Bytes
	s, _ := fetchingStage(t, machine, 0, w.Address)
	if e := s.entry(t, "fetched", 1); e["resumed"] != float64(part.Size()) || e["bytes"] != float64(total-part.Size()) {
		t.Errorf("%d of %d bytes were there; the log says %v", part.Size(), total, e)
	}
	second := w.Bytes() - before
	if rest := total - part.Size(); second < rest || second > rest+rest/50+100_000 {
		t.Errorf("%d bytes came the second time, %d were missing", second, rest)
	}
	holds(t, machine, "manifest.json", "stage-0.onnx")
	measured(t, "fetch: of %d bytes %d were there when it was killed, %d went over the wire the second time", total, part.Size(), second)
}

// inSmallDisk is a run of the program that sees a file system of the given size, with
// nothing in it, at folder disk.
func inSmallDisk(t *testing.T, disk, size string, args ...string) *exec.Cmd {
	t.Helper()
	try := exec.Command("unshare", "--user", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "tmpfs", disk)
	if out, err := try.CombinedOutput(); err != nil {
		t.Skipf("a file system that can be filled takes a mount namespace, which is not to be had here: %v: %s", err, out)
	}
	cmd := command(t, disk, args...)
	cmd.Path = try.Path
	cmd.Args = append([]string{"unshare", "--user", "--map-root-user", "--mount", "sh", "-c",
		`mount -t tmpfs -o size="$1" tmpfs "$2" && shift 2 && exec "$@"`, "sh", size, disk, binary}, args...)
	cmd.Dir = ""
	return cmd
}

// beside is a run of the program that sees the file systems of the process with the given number.
func beside(t *testing.T, pid int, args ...string) *exec.Cmd {
	t.Helper()
	cmd := command(t, t.TempDir(), args...)
	enter := exec.Command("nsenter")
	cmd.Path = enter.Path
	cmd.Args = append([]string{"nsenter", "--target", strconv.Itoa(pid), "--user", "--mount", "--preserve-credentials", binary}, args...)
	cmd.Dir = ""
	return cmd
}

func TestADiskThatIsTooSmallIsNoticedBeforeAnythingIsFetched(t *testing.T) {
	t.Parallel()
	source := largeBundle(t)
	_, address := stage(t, source, 0)
	w := transfertest.NewWire(t, address, nil)
	disk := t.TempDir()
	r := finish(t, inSmallDisk(t, disk, "10m", "serve-stage", "--rank", "0", "--bundle", filepath.Join(disk, "stages"), "--listen", "localhost:0", "--fetch", w.Address), "")
	if r.code != 1 || !strings.Contains(r.stderr, "has no room for the files: 36.0 MB more are needed, 10.5 MB are free, 25.5 MB are missing") {
		t.Errorf("%+v", r)
	}
	if w.Bytes() > 100_000 {
		t.Errorf("%d bytes came all the same", w.Bytes())
	}
}

func TestADiskThatIsFilledMeanwhileLeavesNothingHalfAndItGoesOnLater(t *testing.T) {
	t.Parallel()
	source := largeBundle(t)
	_, address := stage(t, source, 0)
	w, hurry := slowly(t, address)
	disk := t.TempDir()
	dir := filepath.Join(disk, "stages")
	args := []string{"serve-stage", "--rank", "0", "--bundle", dir, "--listen", "localhost:0", "--fetch", w.Address, "--log-format", "json"}
	// The shell outlives the program, so that what it left can be looked at, and has it
	// run a second time when there is room again.
	cmd := inSmallDisk(t, disk, "40m", args...)
	for i, a := range cmd.Args {
		cmd.Args[i] = strings.ReplaceAll(a, `exec "$@"`, `{ "$@"; echo "exit code $?"; while [ -e "$HOGGED" ]; do sleep 0.1; done; exec "$@"; }`)
	}
	hog := filepath.Join(disk, "hog")
	cmd.Env = append(cmd.Env, "HOGGED="+hog)
	s := startCommand(t, cmd)
	s.entry(t, "fetching", 1)
	// The folder as the process sees it.
	seen := filepath.Join("/proc", fmt.Sprint(s.cmd.Process.Pid), "root")
	testkit.Eventually(t, "a part has come", func() bool {
		info, err := os.Stat(filepath.Join(seen, partOf(t, source, dir)))
		return err == nil && info.Size() > 4<<20
	})
	if err := os.WriteFile(filepath.Join(seen, hog), make([]byte, 30<<20), 0o600); err != nil && !errors.Is(err, syscall.ENOSPC) {
		t.Skipf("the file system of another mount namespace cannot be written: %v", err)
	}
	hurry()
	s.until(t, "the end of the first run", func() bool { return strings.Contains(s.out.String(), "exit code 1") })
	s.until(t, "a message", func() bool {
		for _, e := range s.log {
			if m := fmt.Sprint(e["msg"]); strings.Contains(m, "no space left on device") && strings.Contains(m, "a later start goes on") {
				return true
			}
		}
		return false
	})
	if _, err := os.Stat(filepath.Join(seen, dir)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("something is in the bundle's place: %v", err)
	}
	if err := os.Remove(filepath.Join(seen, hog)); err != nil {
		t.Fatal(err)
	}
	s.entry(t, "stage ready", 1)
	if e := s.entry(t, "fetched", 1); !(e["resumed"].(float64) > 4<<20) {
		t.Errorf("it began anew: %v", e)
	}
	want, errWant := os.ReadFile(filepath.Join(source, "stage-0.onnx"))
	got, err := os.ReadFile(filepath.Join(seen, dir, "stage-0.onnx"))
	if err := errors.Join(errWant, err); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the file is not the one it should be: %v", err)
	}
}

// A volume that is mounted at the bundle's place has no place beside it: files are gathered in it.
func TestAVolumeIsABundlesPlace(t *testing.T) {
	t.Parallel()
	source, other := split(t, "seed-rnn", 2), split(t, "seed-rnn", 1)
	_, address := stage(t, source, 0)
	_, another := stage(t, other, 0)
	disk := t.TempDir()
	cmd := inSmallDisk(t, disk, "50m", "serve-stage", "--rank", "0", "--bundle", disk, "--listen", "localhost:0", "--fetch", address, "--log-format", "json")
	s := startCommand(t, cmd)
	s.entry(t, "stage ready", 1)
	seen := filepath.Join("/proc", strconv.Itoa(s.cmd.Process.Pid), "root", disk)
	names := func() (list []string) {
		entries, err := os.ReadDir(seen)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			list = append(list, e.Name())
		}
		return list
	}
	if got := names(); !slices.Equal(got, []string{"manifest.json", "stage-0.onnx"}) {
		t.Errorf("the volume holds %q", got)
	}
	// In the same volume, another bundle replaces it.
	again := startCommand(t, beside(t, s.cmd.Process.Pid, "serve-stage", "--rank", "0", "--bundle", disk, "--listen", "localhost:0", "--fetch", another, "--log-format", "json"))
	again.entry(t, "stage ready", 1)
	if got := names(); !slices.Equal(got, []string{"manifest.json", "stage-0.onnx"}) {
		t.Errorf("after another bundle the volume holds %q", got)
	}
	if r := finish(t, beside(t, s.cmd.Process.Pid, "split", modelFile(t, "seed-rnn"), "--out", disk, "--force"), ""); r.code != 0 {
		t.Errorf("split into the volume: %+v", r)
	}
	if got := names(); !slices.Contains(got, "stage-1.onnx") {
		t.Errorf("after split the volume holds %q", got)
	}
}

func TestSettingsOfFetching(t *testing.T) {
	t.Parallel()
	bundle := split(t, "seed-rnn", 2)
	_, address := stage(t, bundle, 0)
	dir := t.TempDir()
	config := func(text string) string {
		path := filepath.Join(t.TempDir(), "c.yaml")
		if err := os.WriteFile(path, []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	l, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	nowhere := l.Addr().String()
	_ = l.Close()
	for _, c := range []struct {
		args []string
		code int
		says []string
	}{
		{[]string{"serve-stage", "--rank", "0", "--fetch", "localhost"}, 2, []string{`"localhost" is not host:port`}},
		{[]string{"serve-stage", "--rank", "0", "--config", config("fetch: 5")}, 2, []string{`fetch is 5; "5" is not host:port`}},
		{[]string{"front", "--config", config("share: localhost:1")}, 2, []string{`"share" differs from process to process`}},
		{[]string{"front", "--share", "localhost"}, 2, []string{"--share"}},
		{[]string{"front", "--bundle-id", "abc"}, 2, []string{"--bundle-id", "12 to 64"}},
		{[]string{"front", "--bundle", bundle, "--bundle-id", "000000000000"}, 1, []string{"wanted is 000000000000; --bundle-id asks for it"}},
		{[]string{"front", "--bundle", bundle, "--share", address}, 1, []string{"in use", "--share"}},
		{[]string{"serve-stage", "--rank", "7", "--bundle", filepath.Join(dir, "stages"), "--fetch", address}, 1, []string{"there is no rank 7", address}},
		{[]string{"serve-stage", "--rank", "0", "--bundle", filepath.Join(dir, "stages"), "--fetch", address, "--bundle-id", "000000000000"}, 1, []string{address, "wanted is 000000000000"}},
	} {
		r := run(t, dir, "", c.args...)
		lines := strings.Split(strings.TrimSpace(r.stderr), "\n")
		for _, s := range c.says {
			if r.code != c.code || !strings.Contains(r.stderr, s) || c.code == 1 && !strings.HasPrefix(lines[len(lines)-1], "distinfer: ") {
				t.Errorf("%v: code %d, want %d, and %q: %s", c.args, r.code, c.code, s, r.stderr)
			}
		}
	}
	// The file's list, and the environment's.
	for i, c := range []string{"fetch: [" + nowhere + ", '" + address + "']", "fetch: " + address, "{}"} {
		cmd := command(t, dir, "serve-stage", "--rank", "1", "--bundle", filepath.Join(t.TempDir(), "stages"), "--listen", "localhost:0", "--config", config(c), "--log-format", "json")
		if i == 2 {
			cmd.Env = append(cmd.Env, "DISTINFER_FETCH="+nowhere+","+address)
		}
		startCommand(t, cmd).entry(t, "stage ready", 1)
	}
	// What a file for all machines says of fetching is not for `up`.
	upURL(t, start(t, dir, "up", "--bundle", bundle, "--port", "0", "--config", config("fetch: "+nowhere+"\nbundle-id: '000000000000'")))
}
