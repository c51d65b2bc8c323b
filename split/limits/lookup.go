package limits

import (
	"slices"

	"github.com/distinfer/distinfer/split/generate"
	"github.com/distinfer/distinfer/split/graph"
)

// A lookup is a use of a table whose rows are known.
type lookup struct {
	at    string // the value with the places; "" when they are those of the sequence
	table string
	min   int64 // of the places that there are
	rows  int64
}

// tables are the operators that fail for a place that a table does not have, and whether a
// negative one counts from the end. The places themselves are in uses.
var tables = map[string]bool{
	"Gather": true, "GatherElements": true, "com.microsoft.GatherBlockQuantized": true,
	"RotaryEmbedding": false, "com.microsoft.RotaryEmbedding": false, "com.microsoft.EmbedLayerNormalization": false,
}

// implied are the operators that look up every place of the sequence without being told
// them, by the input with the table, unless the input with the places is there.
var implied = map[string]struct{ table, unless int }{
	"com.microsoft.EmbedLayerNormalization": {3, 8},
	"com.microsoft.RotaryEmbedding":         {2, -1},
	"com.microsoft.GroupQueryAttention":     {7, -1},
}

func (f *finder) findLookups() (list []lookup) {
	add := func(l lookup) {
		if !slices.ContainsFunc(list, func(o lookup) bool { return o.at == l.at && o.min == l.min && o.rows == l.rows }) {
			list = append(list, l)
		}
	}
	for i, n := range f.g.Nodes {
		if f.g.Roles[i] == graph.Constant {
			continue
		}
		name := n.FullName()
		if t, is := implied[name]; is && t.table < len(n.Inputs) && (t.unless < 0 || t.unless >= len(n.Inputs) || n.Inputs[t.unless] == "") {
			if rows, known := f.fixed(n.Inputs[t.table], 0); known {
				add(lookup{"", n.Inputs[t.table], 0, rows})
			}
		}
		negative, looksUp := tables[name]
		if !looksUp {
			continue
		}
		for k, at := range n.Inputs {
			data, axis, ok := generate.PlacesIn(n, k)
			if !ok || at == "" || data >= len(n.Inputs) || f.g.IsConstant(at) {
				continue
			}
			rows, known := f.fixed(n.Inputs[data], axis)
			if !known || rows == 0 {
				continue
			}
			l := lookup{at, n.Inputs[data], 0, rows}
			if negative {
				l.min = -rows
			}
			add(l)
		}
	}
	return list
}

// fixed is the size of a value along an axis, if that is the same in every run.
func (f *finder) fixed(name string, axis int64) (int64, bool) {
	spec, known := f.v.Specs[name]
	if axis < 0 {
		axis += int64(len(spec.Dims))
	}
	if !known || name == "" || axis < 0 || axis >= int64(len(spec.Dims)) || !spec.Dims[axis].IsFixed() {
		return 0, false
	}
	return spec.Dims[axis].Size, true
}
