// Package report writes for people what splitting and verifying a model found.
package report

import (
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/split"
	"github.com/distinfer/distinfer/split/modelfolder"
)

// Split writes what splitting a model with the options gave.
func Split(w io.Writer, r *split.Report, o split.Options) error {
	if err := printAlternatives(w, r.Alternatives); err != nil {
		return err
	}
	m := r.Manifest
	verb := "into"
	if o.DryRun {
		verb = "would be cut into"
	}
	costs := "estimated"
	if o.Profile {
		costs = "measured"
	}
	fmt.Fprintf(w, "%s (%s, opset %s) %s %s, %s for %s\n\n",
		m.Model.Name, Bytes(m.Model.Bytes), opsets(m.Model.Opsets), verb, stages(len(m.Stages)), costs, sizes(m))
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "stage\tnodes\tparameters\tweights\tin\tout\tcost\t")
	for rank, st := range m.Stages {
		fmt.Fprintf(t, "%d\t%d\t%s\t%s\t%s\t%s\t%.1f%%\t\n", rank, st.Nodes, count(st.Parameters), Bytes(st.ParameterBytes),
			Bytes(st.BytesIn), Bytes(st.BytesOut), 100*st.Cost)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w)
	printLoaded(w, m.Stages)
	printModel(w, r)
	printRewritten(w, m.Rewritten)
	if r.NotRewritten != "" {
		fmt.Fprintf(w, "nothing was left out of the model, since its stages then failed: %s\n", r.NotRewritten)
	}
	if m.Rows != nil {
		printRows(w, *m.Rows)
	}
	if o.DryRun {
		return nil
	}
	fmt.Fprintln(w)
	if r.Verification != nil {
		Verification(w, r.Verification)
	} else {
		fmt.Fprintln(w, "not verified")
	}
	fmt.Fprintf(w, "written to %s (bundle %s)\n", r.Out, r.Bundle.Short())
	return nil
}

// printLoaded says what weights take in memory, where that is more than what is stored.
func printLoaded(w io.Writer, stages []bundle.Stage) {
	var loaded []string
	more := false
	for _, s := range stages {
		loaded = append(loaded, Bytes(s.Loaded()))
		more = more || s.Loaded() > s.ParameterBytes+s.ParameterBytes/5
	}
	if more {
		fmt.Fprintf(w, "in memory, the weights take %s: a processor computes half precision as float32\n", strings.Join(loaded, ", "))
	}
}

// printModel says which file was taken, what it answers, and where its text files are.
func printModel(w io.Writer, r *split.Report) {
	fmt.Fprintf(w, "model: %s", r.Model)
	if len(r.Others) > 0 {
		fmt.Fprintf(w, " (not taken: %s)", modelfolder.Listed(r.Others))
	}
	fmt.Fprintln(w)
	switch t := r.Texts; {
	case t.WhyNot != "":
		fmt.Fprintf(w, "texts: none, only tensors are answered: %s\n", t.WhyNot)
	case t.Served != nil:
		fmt.Fprintf(w, "texts: %s\n", served(*t.Served))
		fallthrough
	default:
		fmt.Fprintf(w, "text files: %s\n", byFolder(t.Files))
	}
	if s := r.Texts.Served; s != nil && s.Warning != "" {
		fmt.Fprintf(w, "warning: %s\n", s.Warning)
	}
}

// printRewritten says what is not computed.
func printRewritten(w io.Writer, list []bundle.Rewriting) {
	for _, r := range list {
		position := "position " + r.Position
		switch r.Position {
		case "0":
			position = "the first position"
		case "-1":
			position = "the last position"
		}
		fmt.Fprintf(w, "left out: %d nodes (%d products of matrices) compute %s only, which is all that is read of them\n", r.Nodes, r.Products, position)
	}
}

// served is such as "text-classification (negative, positive), of at most 512 tokens".
func served(s split.Served) string {
	what := s.Task
	switch {
	case len(s.Labels) > 0:
		what += " (" + modelfolder.Listed(s.Labels) + ")"
	case s.Dimension > 0:
		what += fmt.Sprintf(" (%d dimensions)", s.Dimension)
	}
	return fmt.Sprintf("%s, of at most %d tokens", what, s.MaxTokens)
}

// byFolder lists files by the folders that they are in.
func byFolder(paths []string) string {
	var folders []string
	names := map[string][]string{}
	for _, path := range paths {
		dir := filepath.Dir(path)
		if i := slices.IndexFunc(folders, func(f string) bool { return strings.HasPrefix(path, f+string(filepath.Separator)) }); i >= 0 {
			dir = folders[i]
		} else {
			folders = append(folders, dir)
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			name = path
		}
		names[dir] = append(names[dir], name)
	}
	var list []string
	for _, dir := range folders {
		list = append(list, strings.Join(names[dir], ", ")+" in "+dir)
	}
	return strings.Join(list, "; ")
}

// printRows says which texts are computed together, and warns when none are.
func printRows(w io.Writer, r bundle.Rows) {
	switch {
	case !r.Independent:
		fmt.Fprintf(w, "warning: each text is computed alone: %s\n", r.Reason)
	case r.Reason == "":
		fmt.Fprintf(w, "computed together: %s\n", r.Together())
	default:
		fmt.Fprintf(w, "computed together: %s (%s)\n", r.Together(), r.Reason)
	}
}

// printAlternatives shows what was compared for the given machines.
func printAlternatives(w io.Writer, list []split.Alternative) error {
	if len(list) == 0 {
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "\truns/s\tlatency\tmachines")
	for _, a := range list {
		mark := "  "
		if a.Best {
			mark = "* "
		}
		if a.WhyNot != "" {
			fmt.Fprintf(t, "%s%s\t-\t-\tthe model %s\n", mark, a.Arrangement, a.WhyNot)
			continue
		}
		fmt.Fprintf(t, "%s%s\t%.4g\t%s\t%s\n", mark, a.Arrangement, a.Throughput, a.Latency.Round(10*time.Microsecond), strings.Join(a.Machines, ", "))
	}
	fmt.Fprintln(t)
	return t.Flush()
}

func stages(n int) string {
	if n == 1 {
		return "1 stage"
	}
	return fmt.Sprintf("%d stages", n)
}

func opsets(list []bundle.Opset) string {
	s := ""
	for i, o := range list {
		if i > 0 {
			s += ", "
		}
		if o.Domain != "" && o.Domain != "ai.onnx" {
			s += o.Domain + " "
		}
		s += fmt.Sprint(o.Version)
	}
	return s
}

// sizes is such as "batch=1 sequence=128".
func sizes(m *bundle.Manifest) string {
	s := ""
	seen := map[string]bool{}
	for _, in := range m.Inputs {
		for _, d := range in.Dims {
			if n, ok := m.Reference[d.Name]; ok && !seen[d.Name] {
				seen[d.Name] = true
				if s != "" {
					s += " "
				}
				s += fmt.Sprintf("%s=%d", d.Name, n)
			}
		}
	}
	if s == "" {
		return "the sizes that the model fixes"
	}
	return s
}

// Bytes is a number of bytes for a person, in powers of 1000.
func Bytes(n int64) string {
	switch {
	case n < 1000:
		return fmt.Sprintf("%d B", n)
	case n < 1000*1000:
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	case n < 1000*1000*1000:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	}
	return fmt.Sprintf("%.1f GB", float64(n)/1e9)
}

// count is a number for a person.
func count(n int64) string {
	switch {
	case n < 10_000:
		return fmt.Sprint(n)
	case n < 1000*1000:
		return fmt.Sprintf("%.1fk", float64(n)/1e3)
	case n < 1000*1000*1000:
		return fmt.Sprintf("%.1fM", float64(n)/1e6)
	}
	return fmt.Sprintf("%.1fB", float64(n)/1e9)
}
