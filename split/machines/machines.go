// Package machines reads descriptions of machines that a model could be spread over.
package machines

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/distinfer/distinfer/split/plan"
)

// A Description is a machine as people describe it.
type Description struct {
	Name      string
	Speed     float64       // times the reference machine's
	Memory    string        // such as 4GB
	Bandwidth string        // of its link, such as 1Gbit/s
	Latency   time.Duration // of its link, one way
}

// Plan checks the descriptions. What is left out is an ordinary machine's: the reference speed, any
// memory, 1 Gbit/s, 0.1 ms.
func Plan(list []Description) ([]plan.Machine, error) {
	var out []plan.Machine
	seen := map[string]bool{}
	for i, m := range list {
		bad := func(format string, args ...any) error {
			return fmt.Errorf("machine %d %q: %w", i, m.Name, fmt.Errorf(format, args...))
		}
		p := plan.Machine{Name: m.Name, Speed: 1000, Bandwidth: 1_000_000_000, Latency: 100 * time.Microsecond}
		switch {
		case m.Name == "":
			return nil, bad("it needs a name")
		case seen[m.Name]:
			return nil, bad("another one has that name")
		case m.Speed < 0 || m.Speed > 1e6 || m.Speed != 0 && m.Speed < 0.001:
			return nil, bad("speed is %v; it can be 0.001 to 1000000, where 1 is a machine of 50 GFLOP/s or, where layers are measured, this one", m.Speed)
		case m.Latency < 0 || m.Latency > time.Minute:
			return nil, bad("latency is %v; it can be such as 200us or 1ms", m.Latency)
		}
		seen[m.Name] = true
		if m.Speed != 0 {
			p.Speed = int64(math.Round(m.Speed * 1000))
		}
		if m.Latency != 0 {
			p.Latency = m.Latency
		}
		var err error
		if m.Memory != "" {
			if p.Memory, err = parseBytes(m.Memory); err != nil || p.Memory < 1 {
				return nil, bad("memory is %q; it can be such as 4GB or 4GiB", m.Memory)
			}
		}
		if m.Bandwidth != "" {
			if p.Bandwidth, err = parseBandwidth(m.Bandwidth); err != nil {
				return nil, bad("bandwidth is %q; it can be such as 100Mbit/s or 1Gbit/s", m.Bandwidth)
			}
		}
		out = append(out, p)
	}
	return out, nil
}

// parseBandwidth reads bits a second, such as 1Gbit/s.
func parseBandwidth(s string) (int64, error) {
	number, ok := strings.CutSuffix(strings.TrimSpace(s), "bit/s")
	if !ok {
		return 0, fmt.Errorf("%q has no unit", s)
	}
	n, err := parseBytes(number)
	if err == nil && n < 1 {
		err = fmt.Errorf("%q is nothing", s)
	}
	return n, err
}

// parseBytes reads a size such as 4GB or 4GiB.
func parseBytes(s string) (int64, error) {
	n, err := humanize.ParseBytes(strings.TrimSpace(s))
	if err == nil && n > math.MaxInt64 {
		err = fmt.Errorf("%q is too large", s)
	}
	return int64(n), err
}
