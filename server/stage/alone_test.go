package stage

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/distinfer/distinfer/runtime/fault"
	"github.com/distinfer/distinfer/runtime/tensor"
)

// bad is the input that does harm.
const bad = 666

func isBad(t testing.TB, in tensor.Bag) bool {
	x, err := tensor.As[float32](in["x0"])
	if err != nil {
		t.Error(err)
	}
	return len(x) > 0 && x[0] == bad
}

var errDamage = errors.New("the memory is not to be trusted")

// A stage that a run damaged answers that run with the reason, has the others computed by
// its twin, and ends.
func TestADamagedStageAnswersNothingItComputedAndEnds(t *testing.T) {
	t.Parallel()
	var damaged [2]atomic.Bool
	running, release := make(chan int, 10), make(chan struct{})
	var processes [2]*process
	var addresses []string
	for i := range processes {
		c := config(0, 1)
		inner := c.Stage.Runner
		c.Stage.Runner = runnerFunc(func(ctx context.Context, in tensor.Bag) (tensor.Bag, error) {
			if isBad(t, in) {
				damaged[i].Store(true)
				return nil, fault.Errorf(fault.Fatal, "boom")
			}
			running <- i
			<-release
			out, err := inner.Run(ctx, in)
			if damaged[i].Load() {
				x, _ := tensor.As[float32](out["x1"])
				x[0]++
			}
			return out, err
		})
		c.Damaged = func() error {
			if damaged[i].Load() {
				return errDamage
			}
			return nil
		}
		processes[i] = start(t, c)
		addresses = append(addresses, processes[i].address)
	}
	p := pipelineOver(t, options(), addresses)
	ready(t, p, 2)
	a := inBackground(t, p, 1, 1)
	first := receive(t, "a run", running)
	b := inBackground(t, p, 1, 2)
	receive(t, "the other's run", running)
	// Each has one call; equals take turns.
	_, err := p.Run(testContext(t), input(bad, 1))
	wantFault(t, err, fault.Fatal, "stage 0 at "+processes[first].address, "boom")
	close(release)
	for _, answered := range []<-chan error{a, b} {
		if err := receive(t, "an answer", answered); err != nil {
			t.Error(err)
		}
	}
	processes[first].once.Do(func() {
		if err := receive(t, "the end of Serve", processes[first].served); !errors.Is(err, errDamage) {
			t.Errorf("Serve returns %v", err)
		}
	})
	ready(t, p, 1)
	for i := range 4 {
		out, err := p.Run(testContext(t), input(float32(i), 1))
		wantAnswer(t, 1, float32(i), 1, out, err)
	}
}
