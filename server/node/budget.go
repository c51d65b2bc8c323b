package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/host"
	"github.com/distinfer/distinfer/runtime/ort"
	"github.com/distinfer/distinfer/server/budget"
	"github.com/distinfer/distinfer/server/stage"
)

// A stageMemory is how the memory of a stage's process is divided.
type stageMemory struct {
	share   int64 // of the process
	tensors int64 // Go's: what comes in and goes out
	arena   int64 // ONNX Runtime's: weights, and what runs compute
	margin  int64 // for what is not counted
}

const (
	leastMargin = 24 << 20

	// Whatever else there is: for what runs compute, and for messages.
	leastRuns    = 16 << 20
	leastTensors = 16 << 20
)

// divideMemory divides a share of memory; resident bytes of it are used before the model is
// loaded. Loading may take a multiple of the stored weights: half precision becomes float32,
// and others are packed again.
func divideMemory(share, resident, weights, maxMessage int64) stageMemory {
	m := stageMemory{share: share, margin: max(share/16, leastMargin)}
	left := max(share-resident-m.margin, 0)
	m.tensors = min(4*maxMessage, max(left/4, leastTensors))
	m.arena = max(left-m.tensors, weights*5/2+leastRuns)
	return m
}

// loaded divides again what is left now that the model is loaded: what its weights take is known,
// and is not parted with messages.
func (m stageMemory) loaded(resident, maxMessage int64) stageMemory {
	left := max(m.share-resident-m.margin, 0)
	m.tensors = min(m.tensors, 4*maxMessage, max(left/4, leastTensors))
	return m
}

// forRuns is what runs may compute in at once, when so much of the arena is in use
// for weights and so much is resident in all.
func (m stageMemory) forRuns(inUse, resident int64) int64 {
	return max(min(m.arena-inUse, m.share-resident-m.tensors-m.margin), leastRuns)
}

// memoryShare is how much memory the process of a stage may use: its weights, and a part
// of what is left beside those of all processes on this machine that hold the bundle or
// are its front. It is 0 when the system does not say.
func (o *StageOptions) memoryShare(ctx context.Context, root host.Root, b *bundle.Bundle, listen string) int64 {
	if o.MaxMemory > 0 {
		return o.MaxMemory
	}
	own := b.Stages[o.Rank].Loaded()
	processes, weights := 1, own
	if stage.IsLoopback(listen) || len(o.Stages) > 0 {
		processes, weights = o.stagesHere(ctx, b)
	}
	if stage.IsLoopback(listen) {
		processes++ // the front
	}
	available := root.AvailableMemory()
	if available == 0 {
		return 0
	}
	part := func(of int64) int64 { return max(of-weights, 0)/int64(processes) + own }
	// Of a group, that of a whole: what its processes use already is theirs.
	return max(min(available, part(root.MachineMemory()), part(root.GroupMemory())), 1)
}

// stagesHere are the processes of stages on this machine, as far as is known, and the
// bytes of their weights.
func (o *StageOptions) stagesHere(ctx context.Context, b *bundle.Bundle) (processes int, weights int64) {
	addresses, err := o.Stages.ForStages(len(b.Stages))
	if err != nil {
		return 1, b.Stages[o.Rank].Loaded()
	}
	for rank, n := range addresses.ReplicasHere(ctx) {
		processes += n
		weights += int64(n) * b.Stages[rank].Loaded()
	}
	return max(processes, 1), max(weights, b.Stages[o.Rank].Loaded())
}

// A stageBudget is the memory of a stage once its model is loaded.
type stageBudget struct {
	arena  *ort.Arena
	memory stageMemory
}

// newStageBudget makes the arena that the stage's model is to be loaded into; nil when
// the system does not say how much memory there is.
func (o *StageOptions) newStageBudget(ctx context.Context, library *ort.Library, b *bundle.Bundle, listen string) (*stageBudget, error) {
	share := o.memoryShare(ctx, host.Here, b, listen)
	if share == 0 {
		return nil, nil
	}
	debug.FreeOSMemory()
	m := divideMemory(share, host.Here.ResidentMemory(), b.Stages[o.Rank].Loaded(), int64(o.MaxMessage))
	arena, err := library.NewArena(m.arena)
	if err != nil {
		return nil, err
	}
	return &stageBudget{arena, m}, nil
}

// options are those to load the model with.
func (b *stageBudget) options(o ort.Options, maxMessage int) ort.Options {
	if b != nil {
		o.Arena, o.MaxOutput = b.arena, int64(b.message(maxMessage))
	}
	return o
}

// message is the largest message that there is memory for.
func (b *stageBudget) message(maxMessage int) int {
	return int(min(int64(maxMessage), b.memory.tensors/2))
}

// apply has a server keep to the memory that is left now that the model is loaded. It
// returns what the log is to say of that.
func (b *stageBudget) apply(c *stage.Config, entry bundle.Stage, log *slog.Logger) (says []any, err error) {
	if b == nil {
		return nil, nil
	}
	inUse, err := b.arena.InUse()
	if err != nil {
		return nil, err
	}
	debug.FreeOSMemory()
	resident := host.Here.ResidentMemory()
	m := b.memory.loaded(resident, int64(c.MaxMessage))
	b.memory = m
	runs := m.forRuns(inUse, resident)
	if runs == leastRuns {
		log.Warn("there is hardly any memory for what runs compute; give the stage more memory, or fewer layers", "may_use", size(m.share), "resident", size(resident))
	}
	c.MaxMessage, c.MaxInFlightBytes = b.message(c.MaxMessage), m.tensors
	c.Budget = budget.New(budget.Config{
		Inputs: entry.Inputs, Estimate: entry.Activations, Bytes: runs, Runs: c.Runs,
		IsMemory: ort.IsMemory, Reclaim: b.arena.Shrink, Peak: b.peak(inUse),
	})
	if os.Getenv("GOMEMLIMIT") == "" {
		// Garbage is collected before it takes the place of what is held.
		debug.SetMemoryLimit(m.tensors + m.margin + goMemory())
	}
	return []any{"memory", size(m.share), "for_runs", size(runs), "estimated", len(entry.Activations) > 0}, nil
}

// peak is the most that runs have taken beside the weights. What loading took is not part of it.
func (b *stageBudget) peak(weights int64) func() (int64, error) {
	loading, err := b.arena.Peak()
	return func() (int64, error) {
		peak, errNow := b.arena.Peak()
		if err := errors.Join(err, errNow); err != nil || peak == loading {
			return 0, err
		}
		return peak - weights, nil
	}
}

func (b *stageBudget) close() {
	if b != nil {
		_ = b.arena.Close()
	}
}

// A MemoryError says that a model does not fit into what its stage may use.
type MemoryError struct {
	May int64 // bytes
	Err error
}

func (e *MemoryError) Error() string {
	return fmt.Sprintf("%v; the stage may use %s: give it more, or split the model into more stages", e.Err, size(e.May))
}

func (e *MemoryError) Unwrap() error { return e.Err }

// explain makes a *MemoryError of the error of a model that does not fit.
func (b *stageBudget) explain(err error) error {
	if b == nil || !ort.IsMemory(err) {
		return err
	}
	return &MemoryError{b.memory.share, err}
}

// goMemory is what Go has of the system, in bytes.
func goMemory() int64 {
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.Sys - stats.HeapReleased)
}
