package peers

import (
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/distinfer/distinfer/bench/stats"
)

// The quantities that are compared.
func rate(f figure) float64 { return f.Rate }
func p50(f figure) float64  { return f.P50 }
func p99(f figure) float64  { return f.P99 }

// over is the spread of a quantity over the rounds, at one concurrency.
func (c *contestant) over(concurrency int, of func(figure) float64) stats.Spread {
	var values []float64
	for _, r := range c.Rounds {
		if f, ok := r.Figures[concurrency]; ok {
			values = append(values, of(f))
		}
	}
	return stats.SpreadOf(values)
}

// ratio is the spread of a quantity of one contestant to another's, of the same
// repeat each: what the machine did meanwhile, it did to both. It leaves out
// repeats in which one of them was not measured.
func ratio(a, b *contestant, concurrency int, of func(figure) float64) stats.Spread {
	return ratioOfRounds(a, b, func(r round) float64 { return of(r.Figures[concurrency]) })
}

func ratioOfRounds(a, b *contestant, of func(round) float64) stats.Spread {
	var ratios []float64
	for _, x := range a.Rounds {
		for _, y := range b.Rounds {
			if x.Repeat == y.Repeat && of(x) > 0 && of(y) > 0 {
				ratios = append(ratios, of(x)/of(y))
			}
		}
	}
	return stats.SpreadOf(ratios)
}

// lowest is, in each repeat, the ratio to that of the others which makes it lowest;
// highest to that which makes it highest.
func lowest(a *contestant, others []*contestant, concurrency int, of func(figure) float64) stats.Spread {
	return extreme(a, others, concurrency, of, slices.Min)
}

func highest(a *contestant, others []*contestant, concurrency int, of func(figure) float64) stats.Spread {
	return extreme(a, others, concurrency, of, slices.Max)
}

func extreme(a *contestant, others []*contestant, concurrency int, of func(figure) float64, choose func([]float64) float64) stats.Spread {
	var chosen []float64
	for _, x := range a.Rounds {
		var ratios []float64
		for _, b := range others {
			if r := ratio(&contestant{Rounds: []round{x}}, b, concurrency, of).Median; !math.IsNaN(r) {
				ratios = append(ratios, r)
			}
		}
		if len(ratios) > 0 {
			chosen = append(chosen, choose(ratios))
		}
	}
	return stats.SpreadOf(chosen)
}

// A report is all that was measured.
type report struct {
	Model         string        `json:"model"`
	Texts         string        `json:"texts"`
	Processors    int           `json:"processors"`
	Runtime       string        `json:"onnxruntime"`
	Seconds       float64       `json:"seconds"`
	Concurrencies []int         `json:"concurrencies"`
	Contestants   []*contestant `json:"contestants"`
}

func (r *report) find(name string) *contestant {
	for _, c := range r.Contestants {
		if c.Name == name && len(c.Rounds) > 0 {
			return c
		}
	}
	return nil
}

// peers are the others that were measured.
func (r *report) peers() []*contestant {
	return slices.DeleteFunc(slices.Clone(r.Contestants), func(c *contestant) bool { return c.Ours || c.Alone || len(c.Rounds) == 0 })
}

func (r *report) print(w io.Writer) error {
	fmt.Fprintf(w, "%s, texts of %s in a shuffled order; %d processors, ONNX Runtime %s; %g s a measurement; medians of the repeats\n\n",
		r.Model, r.Texts, r.Processors, r.Runtime, r.Seconds)
	for _, part := range []func(io.Writer) error{r.figures, r.ratios, r.goals, r.notes} {
		if err := part(w); err != nil {
			return err
		}
	}
	return nil
}

func (r *report) figures(w io.Writer) error {
	t := stats.Table(w)
	fmt.Fprint(t, "requests at a time\t")
	for _, c := range r.Concurrencies {
		fmt.Fprintf(t, "%d: req/s\tp50 ms\tp99 ms\t", c)
	}
	fmt.Fprintln(t, "right\tmemory MB\tstart s\tclient µs/req\t")
	for _, c := range r.Contestants {
		if len(c.Rounds) == 0 {
			continue
		}
		fmt.Fprintf(t, "%s\t", c.Name)
		right, client := 1.0, 0.0
		for _, n := range r.Concurrencies {
			fmt.Fprintf(t, "%s\t%s\t%s\t", number(c.over(n, rate).Median), number(c.over(n, p50).Median),
				number(c.over(n, p99).Median))
			right = min(right, c.over(n, func(f figure) float64 { return f.Right }).Least)
			client = max(client, c.over(n, func(f figure) float64 { return f.ClientCPU }).Median)
		}
		var memory, startup []float64
		for _, round := range c.Rounds {
			memory, startup = append(memory, float64(round.Memory)/1e6), append(startup, round.Startup)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t\n", percent(right), number(stats.SpreadOf(memory).Median), number(stats.SpreadOf(startup).Median), number(client))
	}
	return t.Flush()
}

// number writes three digits or so; nothing for what was not measured.
func number(v float64) string {
	switch {
	case v == 0 || math.IsNaN(v):
		return "–"
	case v < 10:
		return fmt.Sprintf("%.2f", v)
	case v < 100:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}

// percent does not round up to all.
func percent(share float64) string { return fmt.Sprintf("%.2f %%", math.Floor(share*1e4)/1e2) }

// ratios compare each contestant with distinfer in two stages.
func (r *report) ratios(w io.Writer) error {
	us := r.find(twoStages)
	if us == nil {
		return nil
	}
	fmt.Fprintf(w, "\n%s / the other: median (least–most) of the repeats\n", twoStages)
	t := stats.Table(w)
	fmt.Fprint(t, "\t")
	for _, n := range r.Concurrencies {
		fmt.Fprintf(t, "%d: req/s\tp50\t", n)
	}
	fmt.Fprintln(t)
	for _, c := range r.Contestants {
		if c == us || len(c.Rounds) == 0 {
			continue
		}
		fmt.Fprintf(t, "%s\t", c.Name)
		for _, n := range r.Concurrencies {
			fmt.Fprintf(t, "%s\t%s\t", ratio(us, c, n, rate), ratio(us, c, n, p50))
		}
		fmt.Fprintln(t)
	}
	return t.Flush()
}

// notes say what the names stand for and what went wrong.
func (r *report) notes(w io.Writer) error {
	fmt.Fprintln(w)
	for _, c := range r.Contestants {
		fmt.Fprintf(w, "%s: %s\n", c.Name, c.About)
		if c.Failed != "" {
			fmt.Fprintf(w, "  FAILED: %s\n", c.Failed)
		}
		for _, n := range r.Concurrencies {
			for _, round := range c.Rounds {
				if f := round.Figures[n]; f.Trouble != "" {
					fmt.Fprintf(w, "  at %d, repeat %d, %s right; else: %.200s\n", n, round.Repeat+1, percent(f.Right), f.Trouble)
				}
			}
		}
	}
	return nil
}
