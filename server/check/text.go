package check

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/dustin/go-humanize"
)

// WriteText writes a report for people.
func WriteText(w io.Writer, r Report) error {
	var b strings.Builder
	writeMean(&b, r)
	writeCluster(&b, r)
	b.WriteByte('\n')
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "rank\taddress\thost\tstate\ttransport\tbundle\tonnxruntime\tthreads\tmemory\truns\tround trip\tto next")
	for _, p := range r.Replicas {
		fmt.Fprintf(t, "%d\t%s\t%s\n", p.Rank, p.Address, strings.Join(row(r, p), "\t"))
	}
	_ = t.Flush() // to memory
	gap := "\n"
	for _, l := range r.Links {
		if l.From == Here && l.Error == "" && l.RoundTrip > 0 {
			fmt.Fprintf(&b, "%sfrom here to %s: %s\n", gap, l.To, speed(l))
			gap = ""
		}
	}
	if len(r.Problems) > 0 {
		fmt.Fprintf(&b, "\n%s:\n", problems(len(r.Problems)))
	}
	for _, p := range r.Problems {
		fmt.Fprintf(&b, "\n%s: %s\n  remedy: %s\n", p.Where, p.What, p.Remedy)
	}
	fmt.Fprintf(&b, "\n%s\n", verdict(r))
	var lines []string
	for line := range strings.Lines(b.String()) { // the table pads its last column
		lines = append(lines, strings.TrimRight(line, " \n"))
	}
	_, err := io.WriteString(w, strings.Join(lines, "\n")+"\n")
	return err
}

func writeMean(w io.Writer, r Report) {
	if len(r.Paths) == 0 {
		fmt.Fprintf(w, "mean of %d random numbers: %.6f here; no path over all ranks to compute it on\n", r.Numbers, r.Mean)
		return
	}
	var means []string
	for _, p := range r.Paths {
		m := fmt.Sprintf("%.6f", p.Mean)
		if p.Error != "" {
			m = "none"
		}
		if !slices.Contains(means, m) {
			means = append(means, m)
		}
	}
	over := "one path"
	if n := len(r.Paths); n > 1 {
		over = fmt.Sprintf("%d paths", n)
	}
	fmt.Fprintf(w, "mean of %d random numbers: %s from the stages (over %s), %.6f here\n", r.Numbers, strings.Join(means, ", "), over, r.Mean)
}

func writeCluster(w io.Writer, r Report) {
	model := "no model"
	switch {
	case slices.ContainsFunc(r.Replicas, func(p Replica) bool { return p.State == OtherBundle }) && r.Bundle == "":
		model = "different bundles"
	case r.Bundle != "":
		model = "bundle " + r.Bundle.Short()
		if r.Model != "" {
			model = r.Model + ", " + model
		}
	}
	ranks := "1 rank"
	if r.Ranks != 1 {
		ranks = fmt.Sprintf("%d ranks", r.Ranks)
	}
	fmt.Fprintf(w, "%s; %s; distinfer %s, stage protocol %d\n", model, ranks, r.Distinfer, r.Protocol)
}

// row is a replica's line of the table, after rank and address.
func row(r Report, p Replica) []string {
	h := p.Holds
	if h == nil {
		return []string{"-", string(p.State), "-", "-", "-", "-", "-", "-", "-", "-"}
	}
	memory := "-"
	if h.MemoryUsed > 0 {
		memory = fmt.Sprintf("%s, %s free", bytes(h.MemoryUsed), bytes(h.MemoryAvailable))
	}
	bundle := "-"
	if h.Bundle != "" {
		bundle = h.Bundle.Short()
	}
	return []string{
		h.Hostname, string(p.State), p.Transport, bundle, h.ONNXRuntime, strconv.Itoa(h.Threads), memory,
		fmt.Sprintf("%d, %d wait", h.Running, h.Waiting), fmt.Sprintf("%.1f ms", p.RoundTrip), toNext(r, p),
	}
}

// toNext is the slowest measured link from a replica to the next rank, or that one
// does not work.
func toNext(r Report, p Replica) string {
	if p.Rank == r.Ranks-1 {
		return ""
	}
	var slowest *Link
	for _, l := range r.Links {
		switch {
		case l.From != Place{p.Rank, p.Address}:
		case l.Error != "":
			return "no way"
		case l.RoundTrip == 0:
		case slowest == nil, l.BytesPerSecond < slowest.BytesPerSecond:
			slowest = &l
		}
	}
	if slowest == nil {
		return "-"
	}
	return speed(*slowest)
}

func speed(l Link) string {
	s := fmt.Sprintf("%.1f ms", l.RoundTrip)
	if l.BytesPerSecond == 0 {
		return s
	}
	bound := ""
	if l.AtLeast {
		bound = "at least "
	}
	return fmt.Sprintf("%s, %s%s/s", s, bound, humanize.Bytes(uint64(l.BytesPerSecond)))
}

func problems(n int) string {
	if n == 1 {
		return "1 problem"
	}
	return fmt.Sprintf("%d problems", n)
}

// verdict says whether the model can be served.
func verdict(r Report) string {
	switch {
	case r.CanServe && r.OK:
		return "All is well: the model can be served."
	case r.CanServe:
		return "The model can still be served: every rank has a replica that can be used."
	case r.OK:
		return "All is well, but no stage has a model yet: copy the bundle, and start the stages without --no-model."
	}
	var without []string
	for rank := range r.Ranks {
		if !slices.ContainsFunc(r.Replicas, func(p Replica) bool { return p.Rank == rank && p.State == OK }) {
			without = append(without, strconv.Itoa(rank))
		}
	}
	switch len(without) {
	case 0:
		return "The model cannot be served: no replica of the last rank is reached from the first."
	case 1:
		return "The model cannot be served: no replica of rank " + without[0] + " can be used."
	}
	return "The model cannot be served: no replicas of ranks " + strings.Join(without, ", ") + " can be used."
}
