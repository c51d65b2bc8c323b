package split

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/dustin/go-humanize"

	"github.com/distinfer/distinfer/split/graph"
)

// A drawing holds what a picture of a plan shows.
type drawing struct {
	planner *planner
	parts   []part
}

// Dot writes the plan as a graph in the language of Graphviz
// (https://graphviz.org/doc/info/lang.html): a cluster a stage, with its nodes, and
// an arrow a value that crosses a cut, with its type and size.
func (r *Report) Dot(w io.Writer) error {
	p := r.drawing.planner
	out := bufio.NewWriter(w)
	d := dotWriter{planner: p, out: out, source: map[string]string{}}
	d.line("digraph %s {", quote(r.Manifest.Model.Name))
	d.line("  rankdir=TB; node [shape=box, fontname=sans]; edge [fontname=sans];")
	for _, in := range p.g.Inputs {
		id := quote("input " + in.Name)
		d.source[in.Name] = id
		d.line("  %s [shape=ellipse, label=%s];", id, quote(in.String()))
	}
	for rank, part := range r.drawing.parts {
		s := r.Manifest.Stages[rank]
		d.line("  subgraph cluster_%d {", rank)
		d.line("    label=%s;", quote(fmt.Sprintf("stage %d: %s of weights, %.1f%% of the cost", rank, humanize.Bytes(uint64(s.ParameterBytes)), 100*s.Cost)))
		made := d.nodes(rank, part)
		d.line("  }")
		d.arrows(rank, part, made)
		for _, name := range part.outputs {
			d.source[name] = made[name]
		}
	}
	for _, name := range p.g.Outputs {
		id := quote("output " + name)
		d.line("  %s [shape=ellipse, label=%s];", id, quote(p.v.Specs[name].String()))
		if d.source[name] != "" {
			d.line("  %s -> %s;", d.source[name], id)
		}
	}
	d.line("}")
	return out.Flush()
}

// A dotWriter writes a picture.
type dotWriter struct {
	planner *planner
	out     io.Writer
	source  map[string]string // the picture's node that a value comes from
}

func (d *dotWriter) line(format string, args ...any) { fmt.Fprintf(d.out, format+"\n", args...) }

// dotID names the i-th node of the model as it stands in a stage.
func dotID(rank, i int) string { return quote(fmt.Sprintf("%d %d", rank, i)) }

// nodes writes the nodes of a stage, and returns which of them makes which value.
func (d *dotWriter) nodes(rank int, part part) map[string]string {
	made := map[string]string{}
	for _, i := range part.sub.Nodes {
		n := d.planner.g.Nodes[i]
		label := n.OpType
		if n.Name != "" {
			label += "\n" + n.Name
		}
		style := ""
		if d.planner.g.Roles[i] != graph.Anchored {
			style = ", style=dashed" // it may stand in several stages
		}
		d.line("    %s [label=%s%s];", dotID(rank, i), quote(label), style)
		for _, name := range n.Outputs {
			made[name] = dotID(rank, i)
		}
	}
	return made
}

// arrows writes an arrow for each value that a node of a stage uses.
func (d *dotWriter) arrows(rank int, part part, made map[string]string) {
	p := d.planner
	for _, i := range part.sub.Nodes {
		for _, name := range p.g.Deps[i] {
			switch arrived := slices.Contains(part.inputs, name); {
			case made[name] != "":
				d.line("  %s -> %s;", made[name], dotID(rank, i))
			case arrived && p.g.Producer[name] == graph.FromInput:
				d.line("  %s -> %s;", d.source[name], dotID(rank, i))
			case arrived:
				label := fmt.Sprintf("%s\n%s", p.v.Specs[name], humanize.Bytes(uint64(p.v.Sizes[name])))
				d.line("  %s -> %s [penwidth=3, label=%s];", d.source[name], dotID(rank, i), quote(label))
			}
		}
	}
}

// quote writes a string as an ID of the language, which knows no escapes but \" and
// those for line ends.
func quote(s string) string {
	if strings.ContainsAny(s, "\x00") {
		s = strconv.Quote(s)
	}
	s = strings.ReplaceAll(s, `\`, `\\`)
	s = strings.ReplaceAll(s, `"`, `\"`)
	return `"` + strings.ReplaceAll(s, "\n", `\n`) + `"`
}
