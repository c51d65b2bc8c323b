package chaos

import (
	"context"
	"math"
	"slices"
	"time"
)

// A memory is what a process had resident, over time, in MB.
type memory struct {
	Process string  `json:"process"`
	Start   float64 `json:"start_mb"` // mean of the second tenth of the time: the first is for warming up
	End     float64 `json:"end_mb"`   // mean of the last tenth
	Max     float64 `json:"max_mb"`
	// Slope is that of the line through all samples of the second half.
	Slope float64 `json:"slope_mb_per_minute"`
}

// sampleEvery is how often memory is looked at.
const sampleEvery = 500 * time.Millisecond

// nothing does no fault, and watches the memory of every process meanwhile.
func nothing(ctx context.Context, in *injector) error {
	samples := map[string][]float64{}
	for sleep(ctx, sampleEvery) {
		for _, p := range in.cluster.Serving() {
			bytes, err := p.Memory()
			if err != nil {
				return err
			}
			samples[p.Name] = append(samples[p.Name], bytes/1e6)
		}
	}
	for _, p := range in.cluster.Serving() {
		in.memory = append(in.memory, summarise(p.Name, samples[p.Name]))
	}
	return nil
}

func summarise(name string, samples []float64) memory {
	m := memory{Process: name}
	n := len(samples)
	if n < 10 {
		return m
	}
	m.Start, m.End, m.Max = mean(samples[n/10:n/5]), mean(samples[n-n/10:]), slices.Max(samples)
	m.Slope = slope(samples[n/2:]) * float64(time.Minute) / float64(sampleEvery)
	return m
}

func mean(list []float64) float64 {
	sum := 0.0
	for _, v := range list {
		sum += v
	}
	return sum / float64(len(list))
}

// slope is that of the line of least squares through equally spaced values, a step.
func slope(list []float64) float64 {
	middle, average := float64(len(list)-1)/2, mean(list)
	var above, below float64
	for i, v := range list {
		above += (float64(i) - middle) * (v - average)
		below += math.Pow(float64(i)-middle, 2)
	}
	return above / below
}
