//go:build linux && amd64

package main_test

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/distinfer/distinfer/runtime/testkit"
	"github.com/distinfer/distinfer/split/onnxfile/onnxtest"
)

// quotientBundle is a model in two stages, of which the second divides integers.
func quotientBundle(t *testing.T) string {
	t.Helper()
	var g onnxtest.Graph
	g.Input("a", 7, "n")
	g.Input("b", 7, "n")
	g.Ints("zero", []int64{1}, 0)
	g.Node("Sub", []string{"zero", "a"}, []string{"x"})
	g.Node("Div", []string{"x", "b"}, []string{"z"})
	g.Output("z", 7, "n")
	dir := t.TempDir()
	model := filepath.Join(dir, "quotient.onnx")
	if err := os.WriteFile(model, g.Model(), 0o600); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, "stages")
	ok(t, dir, "", "split", model, "--stages", "2", "--out", out)
	return out
}

// One request for which the processor has no result but a trap ends no process, and is known
// afterwards. Others, who ask all the time, notice nothing.
func TestAnInputThatTrapsEndsNoProcess(t *testing.T) {
	t.Parallel()
	dir := quotientBundle(t)
	_, first := stage(t, dir, 0)
	var last []*server
	var addresses []string
	for range 2 {
		s, address := stage(t, dir, 1)
		last, addresses = append(last, s), append(addresses, address)
	}
	_, url := front(t, dir, []string{first, strings.Join(addresses, "|")})
	testkit.Eventually(t, "the stages are ready", func() bool { status, _ := fetch(t, "GET", url+"/readyz", ""); return status == 200 })
	divide := func(a, b int64) (int, string) {
		return fetch(t, "POST", url+"/v2/models/quotient/infer", fmt.Sprintf(
			`{"inputs":[{"name":"a","datatype":"INT64","shape":[1],"data":[%d]},{"name":"b","datatype":"INT64","shape":[1],"data":[%d]}]}`, a, b))
	}
	end := make(chan struct{})
	var others sync.WaitGroup
	for i := range int64(4) {
		others.Go(func() {
			for k := int64(1); ; k++ {
				select {
				case <-end:
					return
				default:
				}
				if status, body := divide(-k*(i+1), k); status != 200 || !strings.Contains(body, fmt.Sprintf(`"data":[%d]`, i+1)) {
					t.Errorf("%d / %d: %d %s", k*(i+1), k, status, body)
					return
				}
			}
		})
	}
	status, body := divide(math.MinInt64, -1)
	if status != 500 || !strings.Contains(body, "stage 1 at ") || !strings.Contains(body, "SIGFPE") {
		t.Errorf("the first time it is %d %s", status, body)
	}
	for range 20 {
		if status, body := divide(math.MinInt64, -1); status != 422 || !strings.Contains(body, "SIGFPE") || !strings.Contains(body, "refused for another") {
			t.Errorf("again it is %d %s", status, body)
		}
	}
	close(end)
	others.Wait()
	for _, s := range last {
		if code := s.stop(t, syscall.SIGTERM); code != 0 {
			t.Errorf("a stage ends with %d", code)
		}
	}
}
