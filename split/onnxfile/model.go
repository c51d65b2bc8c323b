package onnxfile

import (
	"errors"
	"fmt"
	"slices"
)

// maxDepth bounds how deep graphs may be nested in attributes of nodes.
const maxDepth = 32

// A Model is a ModelProto.
type Model struct {
	IRVersion    int64
	ProducerName string
	Opsets       []Opset
	Graph        Graph

	functions []function
	// before and after are the model's other fields as they stand in the file,
	// on either side of the graph.
	before, after ranges
	release       func([]byte) // nil unless the model is a mapped file
}

// ranges are parts of a file, in order. Parts that touch are one.
type ranges [][]byte

func (r *ranges) add(raw []byte) {
	if n := len(*r); n > 0 && len(raw) > 0 {
		last := (*r)[n-1]
		if whole := last[:cap(last)]; len(whole) > len(last) && &whole[len(last)] == &raw[0] {
			(*r)[n-1] = whole[:len(last)+len(raw)]
			return
		}
	}
	*r = append(*r, raw)
}

// An Opset is a version of a domain's operators that the model relies on.
type Opset struct {
	Domain  string `json:"domain"`
	Version int64  `json:"version"`
}

// A Graph is a GraphProto.
type Graph struct {
	Nodes        []Node
	Initializers []Initializer
	Inputs       []ValueInfo
	Outputs      []ValueInfo
	Values       []ValueInfo // value_info: what is known of intermediate values

	values       map[string][]int    // index of Values by name
	quantization map[string][][]byte // quantization_annotation by tensor name
	other        ranges              // name, doc_string, metadata_props and unknown fields
}

// Parse reads a model from memory, which it keeps referring to.
func Parse(data []byte) (*Model, error) {
	m := &Model{}
	graphs := 0
	err := fields(data, func(f field) error {
		switch f.num {
		case 1: // ir_version
			m.IRVersion = int64(f.value)
		case 2: // producer_name
			if err := f.str(&m.ProducerName); err != nil {
				return err
			}
		case 7: // graph
			if err := f.wantBytes(); err != nil {
				return err
			}
			if graphs++; graphs > 1 {
				return errors.New("it has more than one graph")
			}
			g, err := parseGraph(f.bytes, 0)
			if err != nil {
				return fmt.Errorf("graph: %w", err)
			}
			m.Graph = *g
			return nil
		case 8: // opset_import
			o, err := parseOpset(f)
			if err != nil {
				return fmt.Errorf("opset_import: %w", err)
			}
			m.Opsets = append(m.Opsets, o)
		case 20: // training_info speaks of the whole model and cannot be cut
			return nil
		case 25: // functions
			fn, err := parseFunction(f)
			if err != nil {
				return fmt.Errorf("function %d %q: %w", len(m.functions), fn.name, err)
			}
			m.functions = append(m.functions, fn)
			return nil
		}
		if graphs == 0 {
			m.before.add(f.raw)
		} else {
			m.after.add(f.raw)
		}
		return nil
	})
	switch {
	case err != nil:
		return nil, err
	case graphs == 0:
		return nil, errors.New("it holds no graph")
	case m.IRVersion <= 0:
		return nil, errors.New("it has no ir_version")
	case len(m.Graph.Nodes) == 0:
		return nil, errors.New("its graph has no nodes")
	}
	return m, nil
}

// Functions are the names of the operators that the model itself defines.
func (m *Model) Functions() []string {
	names := make([]string, len(m.functions))
	for i, fn := range m.functions {
		names[i] = fn.name
	}
	return names
}

func parseOpset(f field) (o Opset, err error) {
	if err := f.wantBytes(); err != nil {
		return o, err
	}
	err = fields(f.bytes, func(f field) error {
		switch f.num {
		case 1:
			return f.str(&o.Domain)
		case 2:
			o.Version = int64(f.value)
		}
		return nil
	})
	return o, err
}

func parseGraph(b []byte, depth int) (*Graph, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("graphs are nested more than %d deep", maxDepth)
	}
	g := &Graph{values: map[string][]int{}, quantization: map[string][][]byte{}}
	var sparse []Initializer
	err := fields(b, func(f field) error {
		switch f.num {
		case 1, 5, 11, 12, 13, 14, 15:
			if err := f.wantBytes(); err != nil {
				return err
			}
		}
		switch f.num {
		case 1: // node
			n, err := parseNode(f, depth)
			if err != nil {
				return fmt.Errorf("node %d: %w", len(g.Nodes), err)
			}
			n.Index = len(g.Nodes)
			g.Nodes = append(g.Nodes, n)
		case 5: // initializer
			t, err := parseTensor(f)
			if err != nil {
				return fmt.Errorf("initializer %d %q: %w", len(g.Initializers), t.Name, err)
			}
			g.Initializers = append(g.Initializers, t)
		case 11, 12, 13: // input, output, value_info
			v, err := parseValueInfo(f)
			if err != nil {
				return fmt.Errorf("type of value %q: %w", v.Spec.Name, err)
			}
			switch f.num {
			case 11:
				g.Inputs = append(g.Inputs, v)
			case 12:
				g.Outputs = append(g.Outputs, v)
			default:
				g.values[v.Spec.Name] = append(g.values[v.Spec.Name], len(g.Values))
				g.Values = append(g.Values, v)
			}
		case 14: // quantization_annotation; tensor_name = 1
			name, err := stringIn(f.bytes, 1)
			if err != nil {
				return err
			}
			g.quantization[name] = append(g.quantization[name], f.raw)
		case 15: // sparse_initializer
			t, err := parseSparse(f)
			if err != nil {
				return fmt.Errorf("sparse_initializer %d %q: %w", len(sparse), t.Name, err)
			}
			sparse = append(sparse, t)
		default:
			g.other.add(f.raw)
		}
		return nil
	})
	g.Initializers = append(g.Initializers, sparse...)
	return g, err
}

// external reports whether a tensor of the graph has its data in another file.
func (g *Graph) external() bool {
	return slices.ContainsFunc(g.Initializers, func(t Initializer) bool { return t.external }) ||
		slices.ContainsFunc(g.Nodes, func(n Node) bool { return n.external })
}

// free are the names that a body uses from outside.
func (g *Graph) free() []string {
	own := map[string]bool{"": true}
	for _, v := range g.Inputs {
		own[v.Spec.Name] = true
	}
	for _, t := range g.Initializers {
		own[t.Name] = true
	}
	for _, n := range g.Nodes {
		for _, name := range n.Outputs {
			own[name] = true
		}
	}
	var free []string
	use := func(names []string) {
		for _, name := range names {
			if !own[name] {
				own[name] = true // once is enough
				free = append(free, name)
			}
		}
	}
	for _, n := range g.Nodes {
		use(n.Inputs)
		use(n.Captures)
	}
	for _, v := range g.Outputs {
		use([]string{v.Spec.Name})
	}
	return free
}
