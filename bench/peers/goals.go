package peers

import (
	"fmt"
	"io"
	"math"

	"github.com/distinfer/distinfer/bench/stats"
)

// The names that goals are set for.
const (
	twoStages     = "distinfer-2"
	oneStage      = "distinfer-1"
	withoutGC     = "distinfer-2-nogc"
	twoStagesInt8 = "distinfer-2-int8"
	aloneName     = "onnxruntime"
	originalName  = "tensorflow-2018"
)

// A goal is what a ratio should be.
type goal struct {
	what string
	is   stats.Spread
	most bool // the bound is the most that it may be, and not the least
	than float64
}

func (g goal) met() bool {
	if g.most {
		return g.is.Median <= g.than
	}
	return g.is.Median >= g.than
}

// list is the goals of docs/performance.md, as far as what they speak of was
// measured.
func (r *report) list() []goal {
	us, front, alone, int8, peers := r.find(twoStages), r.find(oneStage), r.find(aloneName), r.find(twoStagesInt8), r.peers()
	var goals []goal
	add := func(what string, is stats.Spread, most bool, than float64) {
		if !math.IsNaN(is.Median) {
			goals = append(goals, goal{what, is, most, than})
		}
	}
	if us != nil {
		if alone != nil {
			add("req/s at 128 / ONNX Runtime alone, all texts sorted", ratio(us, alone, 128, rate), false, 0.95)
			add("req/s at 32 / ONNX Runtime alone, 32 texts at hand", ratio(us, alone, 32, rate), false, 0.95)
			add("p50 at 1 / ONNX Runtime alone, same threads", ratio(us, alone, 1, p50), true, 1.10)
		}
		if front != nil {
			add("req/s at 128 / our front over the unsplit model", ratio(us, front, 128, rate), false, 1)
			add("req/s at 32 / our front over the unsplit model", ratio(us, front, 32, rate), false, 1)
		}
		if free := r.find(withoutGC); free != nil {
			add("p99 at 1 / without garbage collection", ratio(us, free, 1, p99), true, 1.10)
			add("p99 at 32 / without garbage collection", ratio(us, free, 32, p99), true, 1.10)
		}
		add("req/s at 32 / the best peer", lowest(us, peers, 32, rate), false, 1.3)
		add("req/s at 128 / the best peer", lowest(us, peers, 128, rate), false, 1.5)
		add("p50 at 1 / the best peer", highest(us, peers, 1, p50), true, 1)
		if original := r.find(originalName); original != nil {
			add("req/s at 32 / the 2018 system", ratio(us, original, 32, rate), false, 20)
			add("p50 at 1 / the 2018 system", ratio(us, original, 1, p50), true, 0.1)
			add("memory / the 2018 system", ratioOfRounds(us, original, func(r round) float64 { return float64(r.Memory) }), true, 0.1)
		}
	}
	if int8 != nil {
		add("int8, req/s at 32 / the best float32 peer", lowest(int8, peers, 32, rate), false, 2)
	}
	return goals
}

func (r *report) goals(w io.Writer) error {
	goals := r.list()
	if len(goals) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	t := stats.List(w)
	fmt.Fprintln(t, "goal, two stages\tis\tshould be\t")
	for _, g := range goals {
		bound := "at least"
		if g.most {
			bound = "at most"
		}
		fmt.Fprintf(t, "%s\t%s\t%s %.2f\t%s\n", g.what, g.is, bound, g.than, stats.Verdict(g.met()))
	}
	return t.Flush()
}
