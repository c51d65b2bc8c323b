package scale

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/distinfer/distinfer/bench/cluster"
	"github.com/distinfer/distinfer/server/load"
)

// memoryRequests is how many requests each machine is asked that has enough memory.
const memoryRequests = 10

// A memoryRow is what became of a model on machines with so much memory.
type memoryRow struct {
	Model      string    `json:"model"`
	Machines   int       `json:"machines"`
	Limit      int64     `json:"limit_bytes,omitempty"` // of each machine; 0 is none
	Killed     bool      `json:"killed,omitempty"`
	Throughput float64   `json:"sentences_per_second,omitempty"`
	Peaks      []float64 `json:"peak_mb,omitempty"` // of each machine
}

// tooLittleMemory serves models whole and in two stages, at first by machines with
// memory without end, and then by machines with less than the whole took and more
// than each of the stages did.
func (b *bench) tooLittleMemory(ctx context.Context) ([]memoryRow, error) {
	wide := filepath.Join(b.dir, "wide")
	if err := writeWide(wide, filepath.Dir(b.model)); err != nil {
		return nil, err
	}
	var rows []memoryRow
	for _, model := range []string{b.model, filepath.Join(wide, "model.onnx")} {
		whole, err := b.withMemory(ctx, model, 1, 0)
		if err != nil {
			return nil, err
		}
		halves, err := b.withMemory(ctx, model, 2, 0)
		if err != nil {
			return nil, err
		}
		limit, err := between(slices.Max(halves.Peaks), whole.Peaks[0])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", model, err)
		}
		rows = append(rows, whole, halves)
		for stages := 1; stages <= 2; stages++ {
			row, err := b.withMemory(ctx, model, stages, limit)
			if err != nil {
				return nil, err
			}
			rows = append(rows, row)
		}
	}
	return rows, nil
}

// between is a limit in bytes that is nearer to what the halves took than to what
// the whole did, in MB.
func between(halves, whole float64) (int64, error) {
	if halves > 0.95*whole {
		return 0, fmt.Errorf("in two stages a machine took %.0f MB, whole %.0f MB; no limit parts them", halves, whole)
	}
	return int64((halves + (whole-halves)/3) * 1e6), nil
}

// withMemory serves a model in as many stages, on machines with so much memory.
func (b *bench) withMemory(ctx context.Context, model string, stages int, limit int64) (row memoryRow, err error) {
	row = memoryRow{Model: filepath.Base(filepath.Dir(model)), Machines: stages, Limit: limit}
	bundle, err := b.bundle(ctx, model, stages)
	if err != nil {
		return row, err
	}
	c, err := b.start(ctx, setup{Machines: stages, Pipeline: true, bundle: bundle}, limit)
	if errors.Is(err, cluster.ErrOutOfMemory) {
		row.Killed = true
		return row, nil
	}
	if err != nil {
		return row, err
	}
	defer func() { err = errors.Join(err, c.Kill()) }()
	row.Throughput, err = b.steady(ctx, c)
	if e := c.OutOfMemory(); e != nil {
		row.Killed = errors.Is(e, cluster.ErrOutOfMemory)
		if row.Killed {
			return row, nil
		}
		return row, e
	}
	if err != nil {
		return row, err
	}
	for _, m := range c.Serving()[1:] {
		bytes, err := m.PeakMemory()
		if err != nil {
			return row, err
		}
		row.Peaks = append(row.Peaks, bytes/1e6)
	}
	return row, nil
}

// steady is the sentences a second that a cluster answers rightly.
func (b *bench) steady(ctx context.Context, c *cluster.Cluster) (float64, error) {
	o := load.Options{Concurrency: b.clients * machines(c), Requests: memoryRequests * machines(c), Timeout: timeout}
	result, err := load.Run(ctx, o, b.target(c.Clients[0]), b.requests)
	if err != nil {
		return 0, err
	}
	return result.Throughput() * float64(b.sentences), errors.Join(good(result), c.Err())
}
