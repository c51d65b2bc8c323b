package batch

import "time"

// A cost learns what a batch costs: a fixed part, which every batch has, and a part
// for each position, which is a token of the padded batch. Only their relation
// counts here: the overhead, in positions. What there is to gain from a batch is
// the overhead of all but one of its texts; what there is to lose is padding.
//
// It is a line through what was measured, fitted by least squares of the relative
// error, in which what is older counts less.
type cost struct {
	n, x, y, xx, xy float64 // weighted sums over positions x and seconds y
	overhead        float64
}

const (
	// presumed is the overhead before anything is known: that of a small
	// transformer, and of a recurrent network of a few layers.
	presumed = 16
	// forget is what an older measurement counts after a newer one.
	forget = 0.98
	// enough is how many measurements it takes to believe them.
	enough = 8
	// The overhead is taken to be within these; below zero, batches are slower
	// than their texts alone.
	leastOverhead, mostOverhead = -4, 1024
	// spread is how much positions have to vary, in squares of their mean, to
	// tell the two parts from each other.
	spread = 0.02
)

func newCost() *cost { return &cost{overhead: presumed} }

// learn takes note of a batch that was computed while others were: a lone one may
// have more threads, and so tells nothing of these.
func (c *cost) learn(positions int, computed time.Duration) {
	x, y := float64(positions), computed.Seconds()
	if positions < 1 || y <= 0 {
		return
	}
	w := 1 / (y * y)
	for _, sum := range []*float64{&c.n, &c.x, &c.y, &c.xx, &c.xy} {
		*sum *= forget
	}
	c.n += w
	c.x += w * x
	c.y += w * y
	c.xx += w * x * x
	c.xy += w * x * y
	mean := c.x / c.n
	variance := c.xx/c.n - mean*mean
	// Weights are relative, so their sum in units of the newest is a count.
	if c.n/w < enough || variance < spread*mean*mean {
		return
	}
	slope := (c.xy/c.n - mean*c.y/c.n) / variance
	if slope <= 0 { // noise, or positions cost nothing
		return
	}
	fitted := (c.y/c.n)/slope - mean
	c.overhead += (min(max(fitted, leastOverhead), mostOverhead) - c.overhead) / enough
}

// alone is what a text costs by itself, in positions.
func (c *cost) alone(length int) float64 { return max(c.overhead+float64(length), 1) }

// batch is what a batch costs, in positions.
func (c *cost) batch(positions int) float64 { return max(c.overhead+float64(positions), 1) }
