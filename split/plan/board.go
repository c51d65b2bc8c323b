package plan

import "slices"

// A board is a chain with the prices of its stages and hops on all kinds of
// machine. The kind behind the last is whoever asks the first machine.
type board struct {
	*placer
	*chain
	compute [][][]int64 // picoseconds, by kind and the places where a stage ends and begins
	period  [][][]int64 // the same with receiving and sending
	hop     [][][]int64 // picoseconds there and back, by kind, next kind and place
	periods []int64     // of the best plan, by number of stages
}

func (p *placer) newBoard(fine bool) *board {
	b := &board{placer: p, chain: p.work.chain(fine, p.most)}
	places := len(b.at)
	for _, k := range p.kinds {
		compute, period := make([][]int64, places), make([][]int64, places)
		for j := range places {
			compute[j], period[j] = nevers(j), nevers(j)
			for i, weights := range b.ending(j) {
				if k.Memory > 0 && weights > k.Memory {
					break
				}
				compute[j][i] = k.compute(b.time[j] - b.time[i])
				if b.legal(i, j) {
					in, out := p.work.traffic(b.at[i], b.at[j])
					period[j][i] = max(compute[j][i], k.transfer(in), k.transfer(out))
				}
			}
		}
		b.compute, b.period = append(b.compute, compute), append(b.period, period)
	}
	cross := p.work.Cross
	for _, from := range append(slices.Clone(p.kinds), kind{}) {
		var hops [][]int64
		for _, to := range p.kinds {
			hop := make([]int64, places)
			for i, border := range b.at {
				hop[i] = from.hop(to.Machine, cross[border], cross[len(cross)-1])
			}
			hops = append(hops, hop)
		}
		b.hop = append(b.hop, hops)
	}
	b.periods = nevers(p.stages + 1)
	rows := b.ways(p.stages, never, false)
	for k := range b.periods {
		b.periods[k], _, _ = b.best(rows, k)
	}
	return b
}

// ways finds the best way to each place (the last index) with up to k machines, by
// the state of those in use and the kind of the last, from the best ways with one
// machine less. The best has the smallest latency or else the smallest period, and
// no stage is slower than slowest.
func (b *board) ways(k int, slowest int64, latency bool) [][][]int64 {
	places := len(b.at)
	ways := make([][][]int64, len(b.sizes))
	ways[0] = make([][]int64, len(b.kinds)+1)
	ways[0][len(b.kinds)] = nevers(places)
	ways[0][len(b.kinds)][0] = 0
	begin := make([]int64, places) // the best that a stage can begin with
	for s, size := range b.sizes {
		if size == 0 || size > k {
			continue
		}
		ways[s] = make([][]int64, len(b.kinds))
		for t := range b.kinds {
			if b.count(s, t) == 0 {
				continue
			}
			copy(begin, nevers(places))
			for from, row := range ways[s-b.digits[t]] {
				for i, before := range row {
					if latency && before != never {
						before += b.hop[from][t][i]
					}
					begin[i] = min(begin[i], before)
				}
			}
			row := nevers(places)
			for j := range row {
				compute, period, least := b.compute[t][j], b.period[t][j], row[j]
				// Longer stages compute longer, and no way is faster than its last stage.
				for i := j - 1; i >= 0 && compute[i] < least && compute[i] <= slowest; i-- {
					switch {
					case begin[i] == never || period[i] > slowest:
					case latency:
						least = min(least, begin[i]+compute[i])
					default:
						least = min(least, max(begin[i], period[i]))
					}
				}
				row[j] = least
			}
			ways[s][t] = row
		}
	}
	return ways
}

// best is the best way to the end with k machines: its price, its state and the
// kind of its last machine.
func (b *board) best(ways [][][]int64, k int) (price int64, s, t int) {
	price = never
	for state, rows := range ways {
		for last, row := range rows {
			if end := len(b.at) - 1; row != nil && b.sizes[state] == k && row[end] < price {
				price, s, t = row[end], state, last
			}
		}
	}
	return price, s, t
}

// plan is the plan of k stages that has the smallest latency of those with the
// best period.
func (b *board) plan(k int) Plan {
	ways := b.ways(k, b.periods[k], true)
	latency, s, t := b.best(ways, k)
	j := len(b.at) - 1
	borders, kinds := []int{b.at[j]}, []int{}
	for s > 0 {
		i, from := b.back(ways, k, s, t, j)
		borders, kinds = append(borders, b.at[i]), append(kinds, t)
		s, t, j = s-b.digits[t], from, i
	}
	slices.Reverse(borders)
	slices.Reverse(kinds)

	p := b.work.plan(borders)
	p.Period, p.Latency = b.periods[k], latency
	used := make([]int, len(b.kinds))
	for i, t := range kinds {
		p.Stages[i].Machine = b.kinds[t].members[used[t]]
		p.Stages[i].Time = b.kinds[t].compute(p.Stages[i].Time)
		used[t]++
	}
	return p
}

// back finds where the last stage of a way begins, and on which kind of machine
// the stage before it is.
func (b *board) back(ways [][][]int64, k, s, t, j int) (begin, from int) {
	for i, period := range b.period[t][j] {
		for from, row := range ways[s-b.digits[t]] {
			if row != nil && row[i] != never && period <= b.periods[k] &&
				row[i]+b.hop[from][t][i]+b.compute[t][j][i] == ways[s][t][j] {
				return i, from
			}
		}
	}
	panic("a way without a beginning")
}
