package generate

import (
	"fmt"
	"slices"
	"strings"

	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/split/graph"
)

// A Trial is one set of sizes.
type Trial struct {
	Sizes       tensor.Sizes
	Lead, Other int64 // of dimensions that have no name: the first of an input, and the others
	Late        bool  // to be tried only when the model accepts no other
	Empty       bool  // inputs without elements
}

// Trials are the sizes that inputs are generated at: single items, odd ones, and
// the sizes in between; large ones, as some models take only those, such as of
// images; those that the costs were estimated at; and none at all.
func (g *Generator) Trials() []Trial {
	names, leading := graph.DimNames(g.inputs)
	var list []Trial
	add := func(t Trial, except func(name string) bool) {
		t.Sizes = tensor.Sizes{}
		for _, n := range names {
			t.Sizes[n] = t.Other
			if leading[n] || except(n) {
				t.Sizes[n] = t.Lead
			}
		}
		addUp(t.Sizes)
		list = append(list, t)
	}
	nothing := func(string) bool { return false }
	for _, t := range []Trial{{Lead: 1, Other: 1}, {Lead: 2, Other: 7}, {Lead: 3, Other: 16}, {Lead: 1, Other: 33}, {Lead: 5, Other: 12}, {Lead: 2, Other: 64}} {
		add(t, nothing)
	}
	// Sound and images of usual sizes, to models that take nothing smaller; at last
	// with what is not of the first input (such as a state) as small as can be.
	others, _ := graph.DimNames(g.inputs[min(1, len(g.inputs)):])
	for _, except := range []func(string) bool{nothing, func(n string) bool { return slices.Contains(others, n) }} {
		for _, size := range []int64{224, 512, 576, 16000} {
			add(Trial{Lead: 1, Other: size, Late: true}, except)
		}
	}
	if len(names) == 0 && !anyRank(g.inputs) {
		return list[:2] // twice at the only size there is
	}
	if len(g.reference) > 0 {
		list = append(list, Trial{Sizes: g.reference, Lead: 1, Other: 4})
	}
	// A size of 0 in the file means that the size is not known; to some models it
	// means 0.
	empty := Trial{Sizes: tensor.Sizes{}, Lead: 1, Other: 1, Late: true, Empty: true}
	for _, n := range names {
		empty.Sizes[n] = 1
	}
	for _, s := range g.inputs {
		for i, d := range s.Dims {
			if d.Name == graph.UnnamedDim(s.Name, i) {
				empty.Sizes[d.Name] = 0
			}
		}
	}
	return append(list, empty)
}

func anyRank(specs []tensor.Spec) bool {
	return slices.ContainsFunc(specs, func(s tensor.Spec) bool { return s.AnyRank })
}

// addUp gives a dimension whose name is a sum of others, such as "past + 1", the
// size it then has.
func addUp(sizes tensor.Sizes) {
	for name := range sizes {
		terms := strings.Split(name, "+")
		var sum int64
		for _, term := range terms {
			term = strings.TrimSpace(term)
			n, ok := sizes[term]
			if !ok {
				if _, err := fmt.Sscanf(term, "%d", &n); err != nil {
					sum = -1
					break
				}
			}
			sum += n
		}
		if len(terms) > 1 && sum > 0 {
			sizes[name] = sum
		}
	}
}
