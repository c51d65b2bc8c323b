package split

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// at are the cuts behind the given values or nodes.
func (p *planner) at(cuts []cut, names []string) ([]cut, error) {
	places := map[int]string{}
	for _, name := range names {
		at, err := p.place(name)
		if err != nil {
			return nil, err
		}
		switch other, taken := places[at]; {
		case at == 0:
			return nil, fmt.Errorf("cannot cut behind %s: nothing but cheap arithmetic is before it, so no stage could end there", name)
		case at == len(cuts)-1:
			return nil, fmt.Errorf("cannot cut behind %s: nothing is behind it, so no stage could begin there", name)
		case taken:
			return nil, fmt.Errorf("cannot cut behind %s: it is the same place as %s", name, other)
		case cuts[at].banned != "":
			return nil, fmt.Errorf("cannot cut behind %s: %q would cross the cut, which is not a dense tensor", name, cuts[at].banned)
		}
		places[at] = name
	}
	borders := cuts[:1:1]
	for _, at := range slices.Sorted(maps.Keys(places)) {
		borders = append(borders, cuts[at])
	}
	return append(borders, cuts[len(cuts)-1]), nil
}

// place is how many anchored nodes there are up to the given value or node.
func (p *planner) place(name string) (int, error) {
	if _, ok := p.g.Producer[name]; ok {
		return p.position[name], nil
	}
	found, at := 0, 0
	for _, n := range p.g.Nodes {
		if n.Name == name && name != "" {
			found++
			for _, out := range n.Outputs {
				at = max(at, p.position[out])
			}
		}
	}
	switch {
	case found == 1:
		return at, nil
	case found > 1:
		return 0, fmt.Errorf("cannot cut behind %s: %d nodes have that name; name a value that the node makes", name, found)
	}
	return 0, &PlaceError{name, p.similar(name)}
}

// A PlaceError is about a name of Options.At that the model has not.
type PlaceError struct {
	Name    string
	Similar []string // names of the model that hold this one
}

// Error implements error.
func (e *PlaceError) Error() string {
	message := fmt.Sprintf("cannot cut behind %s: the model has no value and no node of that name", e.Name)
	if len(e.Similar) > 0 {
		message += "; similar are " + strings.Join(e.Similar, ", ")
	}
	return message
}

// similar lists names that hold the one that was not found.
func (p *planner) similar(name string) []string {
	var list []string
	for _, n := range p.g.Nodes {
		for _, candidate := range append([]string{n.Name}, n.Outputs...) {
			if candidate != "" && strings.Contains(strings.ToLower(candidate), strings.ToLower(name)) && !slices.Contains(list, candidate) {
				list = append(list, candidate)
			}
		}
		if len(list) > 4 {
			break
		}
	}
	return list
}
