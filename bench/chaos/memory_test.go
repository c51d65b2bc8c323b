package chaos

import (
	"math"
	"testing"
	"time"
)

func TestMemoryThatGrowsIsTold(t *testing.T) {
	t.Parallel()
	var flat, grows, warms []float64
	minute := int(time.Minute / sampleEvery)
	for i := range 10 * minute {
		flat = append(flat, 100+float64(i%2))
		grows = append(grows, 100+3*float64(i)/float64(minute))
		warms = append(warms, 100-50*math.Exp(-float64(i)/20))
	}
	for name, c := range map[string]struct {
		samples    []float64
		slope, end float64
	}{
		"flat": {flat, 0, 100.5}, "grows": {grows, 3, 128.5}, "warms up": {warms, 0, 100},
	} {
		m := summarise(name, c.samples)
		if math.Abs(m.Slope-c.slope) > 0.01 || math.Abs(m.End-c.end) > 0.5 || m.Process != name {
			t.Errorf("%s: %+v", name, m)
		}
	}
	if m := summarise("short", flat[:9]); m.End != 0 {
		t.Errorf("too few samples give %+v", m)
	}
}
