package report

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/split/verify"
)

// Verified writes what the verification of a bundle found.
func Verified(w io.Writer, b *bundle.Bundle, v *verify.Result) error {
	_, err := fmt.Fprintf(w, "%s: %s in %s (bundle %s); every file is the one the manifest speaks of\n", b.Dir, b.Model.Name, stages(len(b.Stages)), b.ID.Short())
	if len(v.Extra) > 0 {
		fmt.Fprintf(w, "not part of the bundle: %s\n", strings.Join(v.Extra, ", "))
	}
	Verification(w, v)
	return err
}

// Verification writes what was verified, and what was not.
func Verification(w io.Writer, v *verify.Result) {
	differences := fmt.Sprintf("(largest difference %.1e absolute, %.1e relative)", v.MaxAbsolute, v.MaxRelative)
	switch {
	case v.Against == verify.AgainstWhole:
		fmt.Fprintf(w, "verified: chain equals whole on %s %s\n", ranOn(v), differences)
	case v.Against == verify.AgainstExpected:
		fmt.Fprintf(w, "verified: the stages give the expected outputs, on %s in all %s\n", ranOn(v), differences)
	case v.StagesRun > 0:
		fmt.Fprintf(w, "verified: %s, loaded and run, with the declared types and shapes\n", stages(v.StagesRun))
	}
	if a := v.Amplified; a != nil {
		fmt.Fprintf(w, "rounding: output %q differs by up to %.1e, as the whole model itself does under a change of %.0e (by up to %.1e): the model amplifies rounding, as with dynamic quantisation; computed without graph optimisations, chain and whole differ by %.1e\n",
			a.Output, a.Difference, a.Change, a.Own, a.Plain)
	}
	for _, sentence := range v.Unverified {
		fmt.Fprintf(w, "not verified: %s\n", sentence)
	}
}

// ranOn is what the stages ran on.
func ranOn(v *verify.Result) string {
	t := v.Texts
	if t == nil {
		return counted(v.Runs, "input")
	}
	var kinds []string
	if len(v.Sizes) > 0 {
		kinds = append(kinds, counted(len(v.Sizes), "generated size"))
	}
	if len(v.Given) > 0 {
		kinds = append(kinds, counted(len(v.Given), "given input"))
	}
	texts := fmt.Sprintf("%s of up to %d tokens, alone", counted(t.Alone, "text"), t.Longest)
	if t.Batches > 0 {
		texts += " and in " + counted(t.Batches, "batch")
	}
	return strings.Join(append([]string{texts}, kinds...), "; ")
}

// counted is such as "3 batches".
func counted(n int, what string) string {
	switch {
	case n == 1:
	case strings.HasSuffix(what, "ch"):
		what += "es"
	default:
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

// Encodings writes what each encoding between stages changes.
func Encodings(w io.Writer, r *verify.EncodingReport) error {
	fmt.Fprintf(w, "\nwith each encoding between the stages, on %d texts:\n\n", r.Texts)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprint(t, "encoding\tlabels that flip\ta score moves\tin the mean")
	for rank := range r.Encodings[0].BytesPerText {
		fmt.Fprintf(t, "\tbehind stage %d", rank)
	}
	for _, e := range r.Encodings {
		fmt.Fprintf(t, "\n%s\t%d (%.2f %%)\tup to %.6f\t%.6f", e.Encoding, e.Flips, 100*float64(e.Flips)/float64(r.Texts), e.LargestMove, e.MeanMove)
		for i, n := range e.BytesPerText {
			fmt.Fprintf(t, "\t%s a text (%.0f %%)", Bytes(int64(n)), 100*n/max(r.Encodings[0].BytesPerText[i], 1))
		}
	}
	fmt.Fprintln(t)
	return t.Flush()
}
