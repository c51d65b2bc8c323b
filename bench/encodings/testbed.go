package encodings

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/distinfer/distinfer/bench/cluster"
	"github.com/distinfer/distinfer/bench/stats"
	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/classify"
	"github.com/distinfer/distinfer/runtime/encoding"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/runtime/textmodel"
	"github.com/distinfer/distinfer/server/stage"
)

// A testbed is two stages with a link between them, and a caller for each encoding.
type testbed struct {
	*cluster.Cluster
	bundle *bundle.Bundle
	link   string   // the name of its proxy
	toxics []string // on the link
	sides  []*side
}

// A side calls the stages with one encoding.
type side struct {
	encoding   encoding.Encoding
	pipeline   *stage.Pipeline
	classifier *classify.Classifier
}

// serve splits the model and starts all processes.
func serve(ctx context.Context, o options) (_ *testbed, err error) {
	started, err := cluster.Start(ctx, cluster.Options{Programs: o.Programs, Model: o.model, Stages: 2, Threads: 1, Linked: true})
	if err != nil {
		return nil, err
	}
	c := &testbed{Cluster: started}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.stop())
		}
	}()
	if c.bundle, err = bundle.Open(c.Bundle); err != nil {
		return nil, err
	}
	between := c.Links[0]
	c.link = between.Proxy
	addresses := [][]string{c.Addresses[0], {between.Address}}
	for _, e := range encoding.Encodings() {
		s := &side{encoding: e}
		if s.pipeline, err = stage.NewPipeline(c.bundle.ID, addresses, stage.Options{MaxMessage: 64 << 20, Encoding: e, Log: slog.New(slog.DiscardHandler)}); err != nil {
			return nil, err
		}
		c.sides = append(c.sides, s)
		if s.classifier, err = classify.Open(c.bundle, s.pipeline); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (c *testbed) stop() error {
	var errs []error
	for _, s := range c.sides {
		errs = append(errs, s.pipeline.Close())
	}
	return errors.Join(append(errs, c.Kill())...)
}

// shape has the link pass a number of Mbit/s in each direction, any if 0, with a latency
// one way.
func (c *testbed) shape(ctx context.Context, speed int, latency time.Duration) error {
	for _, name := range c.toxics {
		if err := c.Toxiproxy.RemoveToxic(ctx, c.link, name); err != nil {
			return err
		}
	}
	c.toxics = nil
	// The latency comes first: it lets pass at once what was held up longer before.
	for _, stream := range cluster.Streams {
		var toxics []cluster.Toxic
		if latency > 0 {
			toxics = append(toxics, cluster.Latency(stream, latency))
		}
		if speed > 0 {
			toxics = append(toxics, cluster.Bandwidth(stream, speed))
		}
		for _, t := range toxics {
			c.toxics = append(c.toxics, t.Name)
			if err := c.Toxiproxy.AddToxic(ctx, c.link, t); err != nil {
				return err
			}
		}
	}
	return nil
}

// A kind is requests that are alike.
type kind struct {
	texts []textmodel.Text
	bytes int64 // of float32 that go over the link for one
	// converting is what narrowing them and widening them again takes, by encoding;
	// share is how many of the bytes are left.
	converting map[encoding.Encoding]time.Duration
	share      map[encoding.Encoding]float64
}

// kind chooses n sentences of about the same length, that of the median of SST-2 dev.
func (c *testbed) kind(ctx context.Context, n int) (*kind, error) {
	sentences, err := cluster.Sentences()
	if err != nil {
		return nil, err
	}
	var all []textmodel.Text
	for _, sentence := range sentences {
		t, err := c.sides[0].classifier.Encode(textmodel.Input{Text: sentence})
		if err != nil {
			return nil, err
		}
		all = append(all, t)
	}
	slices.SortStableFunc(all, func(a, b textmodel.Text) int { return cmp.Compare(a.Length, b.Length) })
	if n < 1 || n > len(all) {
		return nil, fmt.Errorf("-sentences can be 1 to %d", len(all))
	}
	from := (len(all) - n) / 2
	k := &kind{texts: all[from : from+n], converting: map[encoding.Encoding]time.Duration{}, share: map[encoding.Encoding]float64{}}
	sizes := tensor.Sizes{"batch": int64(n), "sequence": int64(k.texts[n-1].Length)}
	for _, out := range c.bundle.Stages[0].Outputs {
		shape, known := out.Resolve(sizes)
		if out.DType != tensor.Float32 || !known {
			continue
		}
		if err := k.convert(ctx, shape); err != nil {
			return nil, fmt.Errorf("%s of shape %v: %w", out.Name, shape, err)
		}
	}
	if k.bytes == 0 {
		return nil, errors.New("no float32 goes from the first stage to the second")
	}
	for e := range k.share {
		k.share[e] /= float64(k.bytes)
	}
	return k, nil
}

// convert measures the conversion of a tensor, and adds it up.
func (k *kind) convert(ctx context.Context, shape []int64) error {
	x, err := tensor.New(tensor.Float32, shape)
	if err != nil {
		return err
	}
	values, err := tensor.As[float32](x)
	if err != nil {
		return err
	}
	for i := range values {
		values[i] = float32(i%2000-1000) / 500
	}
	k.bytes += x.Bytes()
	for _, e := range encoding.Encodings()[1:] {
		var buffer []byte
		alloc := func(n int) []byte {
			if buffer == nil {
				buffer = tensor.AlignedBytes(int64(n))
			}
			return buffer
		}
		var times []time.Duration
		for begin := time.Now(); len(times) < 20 || time.Since(begin) < time.Second/4; {
			started := time.Now()
			numbers, ok := e.Narrow(x, alloc)
			if !ok {
				return fmt.Errorf("it is not narrowed to %s", e)
			}
			if _, err := numbers.Tensor(shape); err != nil {
				return err
			}
			times = append(times, time.Since(started))
			if len(times) == 1 {
				k.share[e] += float64(numbers.Bytes())
			}
			if err := ctx.Err(); err != nil {
				return err
			}
		}
		k.converting[e] += stats.Median(times)
	}
	return nil
}

// A row is what was measured at one speed of the link, by encoding.
type row struct {
	speed        int // Mbit/s, 0 for any
	hop, request map[encoding.Encoding]time.Duration
}

// measure sends requests of a kind with each encoding in turn.
func (c *testbed) measure(ctx context.Context, k *kind, repeats int) (row, error) {
	hops, requests := map[encoding.Encoding][]time.Duration{}, map[encoding.Encoding][]time.Duration{}
	for turn := range repeats + 1 {
		for i := range c.sides {
			s := c.sides[(turn+i)%len(c.sides)] // each is first every now and then
			started := time.Now()
			answers, timings, err := s.classifier.Compute(ctx, k.texts)
			took := time.Since(started)
			if err == nil {
				err = answers[0].Err
			}
			if err != nil {
				return row{}, fmt.Errorf("%s: %w", s.encoding, err)
			}
			if len(timings) != 2 {
				return row{}, fmt.Errorf("%s: the answer tells of %d stages, not 2", s.encoding, len(timings))
			}
			if turn > 0 { // the first one makes connections
				hops[s.encoding] = append(hops[s.encoding], timings[0].Next-timings[1].Total)
				requests[s.encoding] = append(requests[s.encoding], took)
			}
		}
	}
	r := row{hop: map[encoding.Encoding]time.Duration{}, request: map[encoding.Encoding]time.Duration{}}
	for e := range hops {
		r.hop[e], r.request[e] = stats.Median(hops[e]), stats.Median(requests[e])
	}
	return r, nil
}
