package stage

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"

	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/runtime/pipeline"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/runtime/testkit"
)

// Clients who send what a model cannot compute do not make its stage log; but that a model
// never computed anything is said, once.
func TestAModelThatNeverComputedIsDoubtedOnce(t *testing.T) {
	t.Parallel()
	for _, works := range []bool{true, false} {
		var log bytes.Buffer
		c := config(0, 1)
		c.Log = slog.New(slog.NewTextHandler(&log, nil))
		c.Stage = pipeline.Stage{Runner: runnerFunc(func(_ context.Context, in tensor.Bag) (tensor.Bag, error) {
			x, err := tensor.As[float32](in["x0"])
			if err != nil || x[0] < 0 {
				return nil, errcode.Errorf(errcode.Invalid, "it is negative")
			}
			return in, nil
		}), Inputs: []string{"x0"}}
		p := start(t, c)
		client := dialPipeline(t, [][]string{{p.address}})
		if works {
			if _, err := client.Run(testkit.Context(t), input(1, 1)); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 * doubtful {
			_, err := client.Run(testkit.Context(t), input(-1, 1))
			wantFault(t, err, errcode.Invalid, "stage 0: it is negative")
		}
		p.stop()
		p.wait(t)
		want := 1
		if works {
			want = 0
		}
		if n := strings.Count(log.String(), "the model has computed nothing yet"); n != want {
			t.Errorf("works: %v: said %d times:\n%s", works, n, log.String())
		}
		if strings.Contains(log.String(), "ERROR") {
			t.Error(log.String())
		}
	}
}
