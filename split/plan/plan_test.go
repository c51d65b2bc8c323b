package plan

import (
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"time"
)

// randomWork makes a chain of n segments. Some have no layer, some cost nothing,
// and some weights are tied.
func randomWork(r *rand.Rand, n int) Work {
	w := Work{Segments: make([]Segment, n), Cross: make([]int64, n+1)}
	for range 1 + r.IntN(2*n) {
		w.WeightBytes = append(w.WeightBytes, r.Int64N(20))
	}
	for i := range w.Segments {
		s := &w.Segments[i]
		if r.IntN(4) > 0 {
			s.Time = r.Int64N(50) * picosecondsPerLinkByte
		}
		s.Layers = max(0, r.IntN(5)-1)
		for range r.IntN(4) {
			s.Weights = append(s.Weights, r.Int32N(int32(len(w.WeightBytes))))
		}
	}
	for i := range w.Cross {
		w.Cross[i] = r.Int64N(40)
	}
	if r.IntN(20) == 0 {
		for i := range w.Segments {
			w.Segments[i].Layers = 0
		}
	}
	return w
}

// randomMachines makes machines that are often alike, and often too small.
func randomMachines(r *rand.Rand, n int, w Work) []Machine {
	whole := 1 + weights(w, 0, len(w.Segments))
	pick := func(numbers ...int64) int64 { return numbers[r.IntN(len(numbers))] }
	memories := []int64{0, 0, whole, 1 + r.Int64N(whole), 1 + r.Int64N(whole)}
	kinds := make([]Machine, 1+r.IntN(n))
	for i := range kinds {
		kinds[i] = Machine{
			Speed:     pick(1000, 1000, 250, 333, 1+r.Int64N(3000)),
			Memory:    pick(memories...),
			Bandwidth: pick(0, 1_000_000_000, 1_000_000_000, 100_000_000, 1+r.Int64N(3_000_000_000)),
			Latency:   time.Duration(pick(0, 1, 100, r.Int64N(1000))),
		}
	}
	machines := make([]Machine, n)
	for i := range machines {
		machines[i] = kinds[r.IntN(len(kinds))]
		machines[i].Name = string(rune('a' + i))
	}
	return machines
}

// What follows computes anew and tries everything; it shares no code with the
// package.

func weights(w Work, from, to int) int64 {
	used := map[int32]int64{}
	for _, s := range w.Segments[from:to] {
		for _, id := range s.Weights {
			used[id] = w.WeightBytes[id]
		}
	}
	var sum int64
	for _, bytes := range used {
		sum += bytes
	}
	return sum
}

func computing(w Work, from, to int) (time int64) {
	for _, s := range w.Segments[from:to] {
		time += s.Time
	}
	return time
}

// hasLayer reports whether segments can be a stage.
func hasLayer(w Work, from, to int) bool {
	layer := func(s Segment) bool { return s.Layers > 0 }
	return slices.ContainsFunc(w.Segments[from:to], layer) || !slices.ContainsFunc(w.Segments, layer) || to-from == len(w.Segments)
}

func floor(a, b, c int64) int64 {
	n := new(big.Int).Mul(big.NewInt(a), big.NewInt(b))
	return n.Div(n, big.NewInt(c)).Int64()
}

// borderings are all ways to cut at inner borders from a list, so that every stage
// has a layer.
func borderings(w Work, inner []int, n int) [][]int {
	var all [][]int
	end := len(w.Segments)
	var try func(chosen []int, rest []int)
	try = func(chosen, rest []int) {
		from := chosen[len(chosen)-1]
		if len(chosen) == n {
			if hasLayer(w, from, end) {
				all = append(all, append(slices.Clone(chosen), end))
			}
			return
		}
		for i, border := range rest {
			if hasLayer(w, from, border) {
				try(append(slices.Clone(chosen), border), rest[i+1:])
			}
		}
	}
	try([]int{0}, inner)
	return all
}

// everywhere are all inner borders.
func everywhere(w Work) []int {
	var inner []int
	for i := 1; i < len(w.Segments); i++ {
		inner = append(inner, i)
	}
	return inner
}

// worthwhile are the inner borders that plans choose from: of those with the same
// layers before them (and, when fine, the same segments with weights) the one with
// the fewest bytes, and of equals the last.
func worthwhile(w Work, fine bool) []int {
	var inner []int
	best := map[[2]int]int{}
	for i := 1; i < len(w.Segments); i++ {
		if !hasLayer(w, 0, i) || !hasLayer(w, i, len(w.Segments)) {
			continue
		}
		var key [2]int
		for j := range i {
			if hasLayer(w, j, j+1) {
				key[0]++
			}
			if fine && (hasLayer(w, j, j+1) || len(w.Segments[j].Weights) > 0) {
				key[1]++
			}
		}
		if old, ok := best[key]; !ok || w.Cross[i] <= w.Cross[old] {
			best[key] = i
		}
	}
	for _, i := range best {
		inner = append(inner, i)
	}
	slices.Sort(inner)
	return inner
}

// heaviest is the weight of the heaviest stage.
func heaviest(w Work, borders []int) (most int64) {
	for k := range len(borders) - 1 {
		most = max(most, weights(w, borders[k], borders[k+1]))
	}
	return most
}

// divided is the slowest stage on equal machines, and the bytes in all.
func divided(w Work, borders []int) (slowest, bytes int64) {
	cross := slices.Clone(w.Cross)
	cross[0], cross[len(cross)-1] = 0, 0
	for k := range len(borders) - 1 {
		from, to := borders[k], borders[k+1]
		slowest = max(slowest, computing(w, from, to)+(cross[from]+cross[to])*8000)
		bytes += cross[to]
	}
	return slowest, bytes
}

// placed is the slowest stage and the latency on machines, in order.
func placed(w Work, borders []int, machines []Machine) (period, latency int64, fits bool) {
	answer := w.Cross[len(w.Cross)-1]
	send := func(bytes int64, m Machine) int64 {
		if m.Bandwidth == 0 {
			return 0
		}
		return floor(bytes, 8_000_000_000_000, m.Bandwidth)
	}
	for k, m := range machines {
		from, to := borders[k], borders[k+1]
		if m.Memory > 0 && weights(w, from, to) > m.Memory {
			return 0, 0, false
		}
		compute := floor(computing(w, from, to), 1000, m.Speed)
		in, out := w.Cross[from], answer
		latency += compute + send(in, m) + send(answer, m) + 2000*int64(m.Latency)
		if k > 0 { // the link is as slow as its slower end
			p := machines[k-1]
			latency += max(0, send(in, p)-send(in, m)) + max(0, send(answer, p)-send(answer, m)) + 2000*int64(p.Latency)
		}
		if k < len(machines)-1 {
			in, out = in+answer, out+w.Cross[to]
		}
		period = max(period, compute, send(in, m), send(out, m))
	}
	return period, latency, true
}

// orders are all ways to choose k of n machines, in every order.
func orders(n, k int) [][]int {
	if k == 0 {
		return [][]int{nil}
	}
	var all [][]int
	for _, short := range orders(n, k-1) {
		for i := range n {
			if !slices.Contains(short, i) {
				all = append(all, append(slices.Clone(short), i))
			}
		}
	}
	return all
}

// bestPlaced tries all orders of k machines and all borders. Without a plan the
// period is MaxInt64.
func bestPlaced(w Work, inner []int, machines []Machine, k int) (period, latency int64) {
	period, latency = math.MaxInt64, math.MaxInt64
	ways := borderings(w, inner, k)
	for _, order := range orders(len(machines), k) {
		chosen := make([]Machine, k)
		for i, m := range order {
			chosen[i] = machines[m]
		}
		for _, borders := range ways {
			if p, l, fits := placed(w, borders, chosen); fits && (p < period || p == period && l < latency) {
				period, latency = p, l
			}
		}
	}
	return period, latency
}
