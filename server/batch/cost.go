package batch

import "time"

// A cost learns what a batch costs: a fixed part and a part for each token, padding included.
// Only their relation counts here: the overhead, in tokens. A batch saves the overhead of all
// but one of its texts, and pays for padding.
//
// It is a line through the measurements, fitted by least squares of the relative error; older
// ones count less.
type cost struct {
	n, x, y, xx, xy float64 // weighted sums over tokens x and seconds y
	overhead        float64
}

const (
	// presumed is the overhead before any measurement: that of a small transformer, and of a
	// recurrent network of a few layers.
	presumed = 16
	// forget is the weight of a measurement after the next one.
	forget = 0.98
	// enough measurements are believed.
	enough = 8
	// Bounds of the overhead. Below zero, batches are slower than their texts alone.
	leastOverhead, mostOverhead = -4, 1024
	// spread is how much tokens must vary, in squares of their mean, to tell the two parts
	// apart.
	spread = 0.02
)

func newCost() *cost { return &cost{overhead: presumed} }

// learn records a batch that was computed beside others. A lone one may have more threads, so
// it says nothing about these.
func (c *cost) learn(tokens int, computed time.Duration) {
	x, y := float64(tokens), computed.Seconds()
	if tokens < 1 || y <= 0 {
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
	if slope <= 0 { // noise, or tokens cost nothing
		return
	}
	fitted := (c.y/c.n)/slope - mean
	c.overhead += (min(max(fitted, leastOverhead), mostOverhead) - c.overhead) / enough
}

// alone is what a text costs by itself, in tokens.
func (c *cost) alone(length int) float64 { return max(c.overhead+float64(length), 1) }

// batch is what a batch costs, in tokens.
func (c *cost) batch(tokens int) float64 { return max(c.overhead+float64(tokens), 1) }
