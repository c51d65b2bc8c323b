package main_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/distinfer/distinfer/bench/cluster/cgroup"
	"github.com/distinfer/distinfer/runtime/testkit"
)

// Of requests of all shapes, from several callers at once, none ends a stage in a control
// group of 1 GB: each is answered, or refused as too large before it is computed. Where no
// control group can be made, the stages are told what they may use, and kept to it.
// With DISTINFER_TEST_SHAPES, so many random shapes more are tried.
func TestNoRequestThatIsTakenEndsAStage(t *testing.T) {
	t.Parallel()
	const limit = 1 << 30
	args := []string{"up", "--bundle", split(t, "sst2-minilm", 2), "--port", "0", "--timeout", "80s", "--log-format", "json"}
	var group *cgroup.Group
	root, err := cgroup.Find()
	if err == nil {
		group, err = root.New(fmt.Sprintf("distinfer-memory-%d", os.Getpid()), cgroup.Limits{Memory: limit})
	}
	const each = limit / 3
	if err != nil {
		t.Logf("the stages are told what they may use: %v", err)
		args = append(args, "--max-memory", strconv.Itoa(each))
	}
	cmd := command(t, t.TempDir(), args...)
	if group != nil {
		cmd.Args = group.Command(cmd.Args...)
		cmd.Path = cmd.Args[0]
		t.Cleanup(func() {
			if err := group.Remove(); err != nil {
				t.Error(err)
			}
		})
	}
	up := startCommand(t, cmd)
	url := up.entry(t, "front listening", 1)["url"].(string)
	testkit.Eventually(t, "the stages can be used", func() bool { code, _ := fetch(t, http.MethodGet, url+"/readyz", ""); return code == http.StatusOK })
	before := children(t, up.cmd.Process.Pid)

	_, want := fetch(t, http.MethodGet, url+"/?text=a+lovely+film", "")
	var bystanders sync.WaitGroup
	over := make(chan struct{})
	var asked atomic.Int64
	bystanders.Go(func() {
		for {
			select {
			case <-over:
				return
			default:
			}
			if code, got := fetch(t, http.MethodGet, url+"/?text=a+lovely+film", ""); code != http.StatusOK || got != want {
				t.Errorf("a bystander got %d %q, not %q", code, got, want)
				return
			}
			asked.Add(1)
		}
	})

	shapes := [][2]int{{128, 512}, {1, 512}, {8, 512}, {128, 16}, {40, 64}, {1, 1}, {512, 512}}
	random := rand.New(rand.NewPCG(1, 2))
	more, _ := strconv.Atoi(os.Getenv("DISTINFER_TEST_SHAPES"))
	for range more {
		length := 1 + random.IntN(512)
		shapes = append(shapes, [2]int{1 + random.IntN(1+40_000/length), length})
	}
	next := make(chan [2]int)
	var mu sync.Mutex
	var largest [2]int
	taken, refused := 0, 0
	var callers sync.WaitGroup
	for range 3 {
		callers.Go(func() {
			for shape := range next {
				code, body := askShape(t, url, shape)
				mu.Lock()
				switch {
				case code == http.StatusOK:
					taken++
					if shape[0]*shape[1] > largest[0]*largest[1] {
						largest = shape
					}
				case code == http.StatusRequestEntityTooLarge && (strings.Contains(body, "the memory of the stage") || strings.Contains(body, "larger than")):
					refused++
				default:
					t.Errorf("%v: %d %s", shape, code, body)
				}
				mu.Unlock()
			}
		})
	}
	for _, shape := range shapes {
		next <- shape
	}
	close(next)
	callers.Wait()
	close(over)
	bystanders.Wait()

	if after := children(t, up.cmd.Process.Pid); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("the stages are other processes: %v, before %v", after, before)
	}
	for _, pid := range before {
		if peak := peakMemory(t, pid); peak > each*11/10 {
			t.Errorf("a stage used %d MB, more than %d", peak>>20, each>>20)
		} else {
			measured(t, "a stage used %d MB at most of its %d MB", peak>>20, each>>20)
		}
	}
	if group != nil {
		if u, err := group.Usage(); err != nil || u.OOMKills != 0 {
			t.Errorf("%+v, %v", u, err)
		}
	}
	if taken == 0 || refused == 0 {
		t.Errorf("%d were taken and %d refused", taken, refused)
	}
	measured(t, "in 1 GB, of %d shapes %d were computed, %d × %d the largest, and %d refused; %d answers to a bystander", len(shapes), taken, largest[0], largest[1], refused, asked.Load())
	if code := up.stop(t, syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// askShape asks for the tensors of a batch of so many rows of so many tokens, compressed to
// next to nothing.
func askShape(t *testing.T, url string, shape [2]int) (code int, answer string) {
	t.Helper()
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	fmt.Fprint(z, `{"outputs":[{"name":"logits"}],"inputs":[`)
	for i, name := range []string{"input_ids", "attention_mask"} {
		if i > 0 {
			fmt.Fprint(z, ",")
		}
		n := shape[0] * shape[1]
		fmt.Fprintf(z, `{"name":%q,"datatype":"INT64","shape":[%d,%d],"data":[1%s]}`, name, shape[0], shape[1], strings.Repeat(",1", n-1))
	}
	fmt.Fprint(z, "]}")
	if err := z.Close(); err != nil {
		t.Error(err)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/v2/models/sst2-minilm/infer", &packed)
	if err != nil {
		t.Error(err)
		return 0, ""
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Content-Encoding", "gzip")
	resp, err := (&http.Client{Timeout: testkit.Patience}).Do(r)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = resp.Body.Close() }()
	body, _ := io.ReadAll(resp.Body)
	if resp.StatusCode == http.StatusOK && !json.Valid(body) {
		return 0, "no JSON"
	}
	return resp.StatusCode, string(body)
}

// peakMemory is the most that a process had resident.
func peakMemory(t *testing.T, pid int) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Error(err)
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kB, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return kB << 10
		}
	}
	return 0
}
