package scale

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/distinfer/distinfer/bench/stats"
)

// A row is one setup, with all that is known of it.
type row struct {
	setup
	Arrangement string   `json:"arrangement"`
	Preferred   bool     `json:"preferred"` // by the planner
	Samples     []sample `json:"samples"`
	// Efficiency is the throughput over as many times that of one machine in the
	// same round.
	Efficiency stats.Spread `json:"efficiency"`
	// Off is the prediction over the throughput.
	Off stats.Spread `json:"predicted_over_measured"`
}

// of is the spread of one of the numbers of the samples.
func (r *row) of(number func(sample) float64) stats.Spread {
	values := make([]float64, len(r.Samples))
	for i, s := range r.Samples {
		values[i] = number(s)
	}
	return stats.SpreadOf(values)
}

// busy is how much each machine used of its share, such as "98 71".
func (r *row) busy() string {
	var list []string
	for i := range r.Machines {
		list = append(list, fmt.Sprintf("%.0f", 100*r.of(func(s sample) float64 { return s.Busy[i] }).Median))
	}
	return strings.Join(list, " ")
}

func throughput(s sample) float64 { return s.Throughput }

// A report is all that was measured.
type report struct {
	Model     string      `json:"model"`
	Share     float64     `json:"processors_of_a_machine"`
	Period    string      `json:"period"`
	Sentences int         `json:"sentences_per_request"`
	Clients   int         `json:"clients_per_machine"`
	Cut       dims        `json:"cut_for"`
	Rows      []*row      `json:"rows"`
	Memory    []memoryRow `json:"memory,omitempty"`
}

func (b *bench) report(rows []*row) *report {
	for _, r := range rows {
		r.Arrangement = r.arrangement()
		r.compare(rows[0])
	}
	return &report{b.model, b.quota, b.period.String(), b.sentences, b.clients, b.dims, rows, nil}
}

// compare computes the ratios of a row to one machine.
func (r *row) compare(one *row) {
	var efficiency, off []float64
	for i, s := range r.Samples {
		efficiency = append(efficiency, s.Throughput/(float64(r.Machines)*one.Samples[i].Throughput))
		off = append(off, s.Predicted/s.Throughput)
	}
	r.Efficiency, r.Off = stats.SpreadOf(efficiency), stats.SpreadOf(off)
}

func (r *report) print(w io.Writer) error {
	fmt.Fprintf(w, "%s; a machine is %g of a processor, in each %s; %d clients a machine, %d sentences a request;\nmodels are cut for batches of %d texts of %d tokens, and the planner is asked about such as were computed,\non machines that have %.2f of this one's speed, as the single one turned out to have. Medians, with the least and the most. * is what the planner prefers.\n\n",
		filepath.Base(filepath.Dir(r.Model)), r.Share, r.Period, r.Clients, r.Sentences, r.Cut.Batch, r.Cut.Sequence, r.Rows[0].of(func(s sample) float64 { return s.Speed }).Median)
	t := stats.Table(w)
	fmt.Fprintln(t, "machines\t\tlinks\tsentences/s\tbatches\tpredicted\tpredicted/measured\tefficiency\tp50 ms\tone at a time, ms\t")
	for _, row := range r.Rows {
		mark := " "
		if row.Preferred {
			mark = "*"
		}
		fmt.Fprintf(t, "%d\t%s %s\t%s\t%s\t%.1f × %d\t%.1f\t%s\t%s\t%.0f\t%.0f\t\n", row.Machines, mark, row.Arrangement, linkText(row.Mbit),
			row.of(throughput).Text("%.1f"), row.of(func(s sample) float64 { return s.Texts }).Median, row.Samples[0].Dims.Sequence,
			row.of(func(s sample) float64 { return s.Predicted }).Median, row.Off.Text("%.2f"), row.Efficiency.Text("%.2f"),
			row.of(func(s sample) float64 { return s.P50 }).Median, row.of(func(s sample) float64 { return s.Alone }).Median)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprint(w, "\nProcessor time in ms for a sentence, how many processors others used, and how much the machines used of their share:\n\n")
	t = stats.Table(w)
	fmt.Fprintln(t, "machines\t\tlinks\tmachines\tfront\tload\tproxy\tothers\tbusy, each in %\t")
	for _, row := range r.Rows {
		median := func(number func(sample) float64) float64 { return row.of(number).Median }
		fmt.Fprintf(t, "%d\t%s\t%s\t%.2f\t%.2f\t%.2f\t%.2f\t%.2f\t%s\t\n", row.Machines, row.Arrangement, linkText(row.Mbit),
			median(func(s sample) float64 { return s.Machines }), median(func(s sample) float64 { return s.Front }),
			median(func(s sample) float64 { return s.Load }), median(func(s sample) float64 { return s.Proxy }),
			median(func(s sample) float64 { return s.Others }), row.busy())
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w)
	for _, line := range r.verdicts() {
		fmt.Fprintln(w, line)
	}
	return nil
}

func linkText(mbit int) string {
	if mbit == 0 {
		return "-"
	}
	return fmt.Sprintf("%d Mbit/s", mbit)
}

// verdicts hold what was measured against the goals.
func (r *report) verdicts() []string {
	preferred, pipelines, off, others := 1.0, 1.0, 0.0, 0.0
	for _, row := range r.Rows {
		others = max(others, row.of(func(s sample) float64 { return s.Others }).Most)
		if row.Machines > 1 { // one machine says how fast it is
			off = max(off, row.Off.Median-1, 1-row.Off.Median)
		}
		if row.Mbit > 0 || row.Machines > goalMachines {
			continue
		}
		if row.Preferred {
			preferred = min(preferred, row.Efficiency.Median)
		}
		if row.Pipeline {
			pipelines = min(pipelines, row.Efficiency.Median)
		}
	}
	goal := fmt.Sprintf("goal of an efficiency of %.2f up to %d machines", leastEfficiency, goalMachines)
	lines := []string{
		fmt.Sprintf("%s, as the planner prefers: %s (least %.2f)", goal, stats.Verdict(preferred >= leastEfficiency), preferred),
		fmt.Sprintf("%s, in pipelines: %s (least %.2f)", goal, stats.Verdict(pipelines >= leastEfficiency), pipelines),
		fmt.Sprintf("goal of predictions within %.0f%%: %s (farthest %.0f%%)", 100*mostOff, stats.Verdict(off <= mostOff), 100*off),
	}
	if others > mostOthers {
		lines = append(lines, fmt.Sprintf("something else used up to %.2f processors meanwhile: measure again when nothing does", others))
	}
	return lines
}

func (r *report) printMemory(w io.Writer) error {
	fmt.Fprint(w, "\nWith memory that does not hold the model:\n\n")
	t := stats.Table(w)
	fmt.Fprintln(t, "model\tmachines\tmemory of each\t\tsentences/s\tmost memory, MB\t")
	for _, m := range r.Memory {
		limit, outcome := "no limit", "serves"
		if m.Limit > 0 {
			limit = fmt.Sprintf("%.0f MB", float64(m.Limit)/1e6)
		}
		if m.Killed {
			outcome = "killed by the kernel"
		}
		var peaks []string
		for _, p := range m.Peaks {
			peaks = append(peaks, fmt.Sprintf("%.0f", p))
		}
		fmt.Fprintf(t, "%s\t%d\t%s\t%s\t%.1f\t%s\t\n", m.Model, m.Machines, limit, outcome, m.Throughput, strings.Join(peaks, ", "))
	}
	return t.Flush()
}
