package split

import (
	"bufio"
	"fmt"
	"io"
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
	d, p := r.drawing, r.drawing.planner
	out := bufio.NewWriter(w)
	line := func(format string, args ...any) { fmt.Fprintf(out, format+"\n", args...) }
	line("digraph %s {", quote(r.Manifest.Model.Name))
	line("  rankdir=TB; node [shape=box, fontname=sans]; edge [fontname=sans];")

	source := map[string]string{} // the picture's node that a value comes from
	for _, in := range p.g.Inputs {
		id := quote("input " + in.Name)
		source[in.Name] = id
		line("  %s [shape=ellipse, label=%s];", id, quote(in.String()))
	}
	for rank, part := range d.parts {
		s := r.Manifest.Stages[rank]
		arrived := map[string]bool{}
		for _, name := range part.inputs {
			arrived[name] = true
		}
		line("  subgraph cluster_%d {", rank)
		line("    label=%s;", quote(fmt.Sprintf("stage %d: %s of weights, %.1f%% of the cost", rank, humanize.Bytes(uint64(s.ParameterBytes)), 100*s.Cost)))
		made := map[string]string{}
		for _, i := range part.sub.Nodes {
			n := p.g.Nodes[i]
			id := quote(fmt.Sprintf("%d %d", rank, i))
			label := n.OpType
			if n.Name != "" {
				label += "\n" + n.Name
			}
			style := ""
			if p.g.Roles[i] != graph.Anchored {
				style = ", style=dashed" // it may stand in several stages
			}
			line("    %s [label=%s%s];", id, quote(label), style)
			for _, name := range n.Outputs {
				made[name] = id
			}
		}
		line("  }")
		for _, i := range part.sub.Nodes {
			id := quote(fmt.Sprintf("%d %d", rank, i))
			for _, name := range p.g.Deps[i] {
				switch {
				case made[name] != "":
					line("  %s -> %s;", made[name], id)
				case arrived[name] && p.g.Producer[name] == graph.FromInput:
					line("  %s -> %s;", source[name], id)
				case arrived[name]:
					label := fmt.Sprintf("%s\n%s", p.v.Specs[name], humanize.Bytes(uint64(p.v.Sizes[name])))
					line("  %s -> %s [penwidth=3, label=%s];", source[name], id, quote(label))
				}
			}
		}
		for _, name := range part.outputs {
			source[name] = made[name]
		}
	}
	for _, name := range p.g.Outputs {
		id := quote("output " + name)
		line("  %s [shape=ellipse, label=%s];", id, quote(p.v.Specs[name].String()))
		if source[name] != "" {
			line("  %s -> %s;", source[name], id)
		}
	}
	line("}")
	return out.Flush()
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
