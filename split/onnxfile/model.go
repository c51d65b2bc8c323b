package onnxfile

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/distinfer/distinfer/runtime/tensor"
)

// maxDepth bounds how deep graphs may be nested in attributes of nodes.
const maxDepth = 32

// A File is a model file, mapped into memory. What was read from it is valid
// until Close.
type File struct {
	Model
	Data []byte // the whole file

	unmap bool
}

// Open maps and reads the model file at path.
func Open(path string) (*File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a regular file", path)
	case info.Size() == 0:
		return nil, fmt.Errorf("%s is not an ONNX model: the file is empty", path)
	}
	data, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_PRIVATE)
	if err != nil {
		return nil, fmt.Errorf("map %s: %w", path, err)
	}
	m, err := Parse(data)
	if err != nil {
		_ = unix.Munmap(data)
		return nil, fmt.Errorf("%s is not a valid ONNX model: %w", path, err)
	}
	return &File{Model: *m, Data: data, unmap: true}, nil
}

// Close unmaps the file.
func (f *File) Close() error {
	if !f.unmap {
		return nil
	}
	f.unmap = false
	return unix.Munmap(f.Data)
}

// A Model is a ModelProto.
type Model struct {
	IRVersion    int64
	ProducerName string
	Opsets       []Opset
	Graph        Graph

	// before and after are the model's other fields as they stand in the file,
	// on either side of the graph.
	before, after [][]byte
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

	quantization []named  // quantization_annotation, by tensor name
	sparse       []named  // sparse_initializer, by the name of its values
	other        [][]byte // name, doc_string, metadata_props and unknown fields
}

// named is a field that belongs to the value of that name.
type named struct {
	name string
	raw  []byte
}

// A Node is a NodeProto.
type Node struct {
	Name, OpType, Domain string

	// Inputs and Outputs are the names of its values; "" is an omitted one.
	Inputs, Outputs []string
	// Captures are the names its graphs (the bodies of If, Loop and Scan) use
	// from outside, in order of first use.
	Captures []string
	// Bodies is how many graphs it has.
	Bodies int
	// ExternalTensor is set when a tensor among its attributes, or in its
	// bodies, has its data in another file.
	ExternalTensor bool
	// Attributes are its attributes, undecoded.
	Attributes []Attribute

	raw []byte
}

// An Attribute is an AttributeProto. I is decoded, since costs need it; tensors and
// graphs are not.
type Attribute struct {
	Name   string
	I      int64
	Tensor []byte // a TensorProto, undecoded

	external bool // a tensor has its data in another file
}

// An Initializer is a TensorProto of a graph.
type Initializer struct {
	Name  string
	DType tensor.DType
	Dims  []int64
	// External tells where its data is when that is another file, else it is nil.
	External *External

	raw []byte
}

// Bytes is the size of the initializer's elements, or 0 for strings.
func (t Initializer) Bytes() int64 { return max(t.DType.Bytes(t.Elements()), 0) }

// Elements is the number of the initializer's elements.
func (t Initializer) Elements() int64 {
	n, err := tensor.Elements(t.Dims)
	if err != nil {
		return 0 // Parse refuses such dimensions
	}
	return n
}

// A ValueInfo is a ValueInfoProto.
type ValueInfo struct {
	Spec tensor.Spec
	// Tensor is false for sequences, maps, optionals and sparse tensors, and
	// when the file gives no type; Spec then has a name only.
	Tensor bool

	raw []byte
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
		}
		if graphs == 0 {
			m.before = append(m.before, f.raw)
		} else {
			m.after = append(m.after, f.raw)
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
	g := &Graph{}
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
			g.Nodes = append(g.Nodes, n)
		case 5: // initializer
			t, err := parseTensor(f)
			if err != nil {
				return fmt.Errorf("initializer %d %q: %w", len(g.Initializers), t.Name, err)
			}
			g.Initializers = append(g.Initializers, t)
		case 11, 12, 13: // input, output, value_info
			list := map[protowire.Number]*[]ValueInfo{11: &g.Inputs, 12: &g.Outputs, 13: &g.Values}[f.num]
			v, err := parseValueInfo(f)
			if err != nil {
				return fmt.Errorf("type of value %q: %w", v.Spec.Name, err)
			}
			*list = append(*list, v)
		case 14: // quantization_annotation; tensor_name = 1
			name, err := firstString(f.bytes)
			if err != nil {
				return err
			}
			g.quantization = append(g.quantization, named{name, f.raw})
		case 15: // sparse_initializer; values = 1, a TensorProto with name = 8
			n := named{raw: f.raw}
			err := fields(f.bytes, func(f field) error {
				if f.num != 1 || f.typ != protowire.BytesType {
					return nil
				}
				t, err := parseTensor(f)
				n.name = t.Name
				return err
			})
			if err != nil {
				return fmt.Errorf("sparse_initializer: %w", err)
			}
			g.sparse = append(g.sparse, n)
		default:
			g.other = append(g.other, f.raw)
		}
		return nil
	})
	return g, err
}

// firstString is the string in field 1 of a message.
func firstString(b []byte) (s string, err error) {
	err = fields(b, func(f field) error {
		if f.num == 1 {
			return f.str(&s)
		}
		return nil
	})
	return s, err
}

func parseNode(f field, depth int) (Node, error) {
	n := Node{raw: f.raw}
	captured := map[string]bool{}
	err := fields(f.bytes, func(f field) error {
		var s string
		switch f.num {
		case 1: // input
			if err := f.str(&s); err != nil {
				return err
			}
			n.Inputs = append(n.Inputs, s)
		case 2: // output
			if err := f.str(&s); err != nil {
				return err
			}
			n.Outputs = append(n.Outputs, s)
		case 3:
			return f.str(&n.Name)
		case 4:
			return f.str(&n.OpType)
		case 5: // attribute
			if err := f.wantBytes(); err != nil {
				return err
			}
			a, err := parseAttribute(f.bytes, func(body *Graph) {
				n.Bodies++
				n.ExternalTensor = n.ExternalTensor || body.hasExternal()
				for _, name := range body.free() {
					if !captured[name] {
						captured[name] = true
						n.Captures = append(n.Captures, name)
					}
				}
			}, depth)
			if err != nil {
				return fmt.Errorf("attribute %q: %w", a.Name, err)
			}
			n.Attributes = append(n.Attributes, a)
			n.ExternalTensor = n.ExternalTensor || a.external
		case 7:
			return f.str(&n.Domain)
		}
		return nil
	})
	return n, err
}

func parseAttribute(b []byte, body func(*Graph), depth int) (a Attribute, err error) {
	err = fields(b, func(f field) error {
		switch f.num {
		case 1:
			return f.str(&a.Name)
		case 3:
			a.I = int64(f.value)
		case 5, 10: // t, tensors
			if err := f.wantBytes(); err != nil {
				return err
			}
			if f.num == 5 {
				a.Tensor = f.bytes
			}
			t, err := parseTensor(f)
			a.external = a.external || t.External != nil
			return err
		case 6, 11: // g, graphs
			if err := f.wantBytes(); err != nil {
				return err
			}
			g, err := parseGraph(f.bytes, depth+1)
			if err != nil {
				return err
			}
			body(g)
		}
		return nil
	})
	return a, err
}

// hasExternal reports whether a tensor of the graph has its data in another
// file.
func (g *Graph) hasExternal() bool {
	return slices.ContainsFunc(g.Initializers, func(t Initializer) bool { return t.External != nil }) ||
		slices.ContainsFunc(g.Nodes, func(n Node) bool { return n.ExternalTensor })
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
	for _, t := range g.sparse {
		own[t.name] = true
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

func parseTensor(f field) (Initializer, error) {
	t := Initializer{raw: f.raw}
	var entries []field
	external := false
	err := fields(f.bytes, func(f field) error {
		switch f.num {
		case 1: // dims
			return f.ints(&t.Dims)
		case 2: // data_type
			t.DType = tensor.DType(f.value)
		case 8:
			return f.str(&t.Name)
		case 13: // external_data
			entries = append(entries, f)
		case 14: // data_location; EXTERNAL = 1
			external = f.value == 1
		}
		return nil
	})
	if err == nil {
		_, err = tensor.Elements(t.Dims)
	}
	if err == nil && external {
		t.External, err = parseExternal(entries)
	}
	return t, err
}

func parseValueInfo(f field) (ValueInfo, error) {
	v := ValueInfo{raw: f.raw}
	err := fields(f.bytes, func(f field) error {
		switch f.num {
		case 1: // name
			return f.str(&v.Spec.Name)
		case 2: // type
			return fields(f.bytes, func(f field) error {
				if f.num != 1 { // tensor_type
					return nil
				}
				v.Tensor = true
				return parseTensorType(f.bytes, &v.Spec)
			})
		}
		return nil
	})
	return v, err
}

func parseTensorType(b []byte, spec *tensor.Spec) error {
	spec.AnyRank = true
	return fields(b, func(f field) error {
		switch f.num {
		case 1: // elem_type
			spec.DType = tensor.DType(f.value)
		case 2: // shape
			spec.AnyRank = false
			return fields(f.bytes, func(f field) error {
				if f.num != 1 { // dim
					return nil
				}
				var d tensor.Dim
				err := fields(f.bytes, func(f field) error {
					switch f.num {
					case 1: // dim_value; exporters write 0 or -1 for "unknown"
						if n := int64(f.value); n > 0 {
							d = tensor.Fixed(n)
						}
					case 2: // dim_param
						var name string
						if err := f.str(&name); err != nil {
							return err
						}
						d = tensor.Named(name)
					}
					return nil
				})
				spec.Dims = append(spec.Dims, d)
				return err
			})
		}
		return nil
	})
}

// SparseNames are the names of the graph's sparse initializers.
func (g *Graph) SparseNames() []string {
	names := make([]string, len(g.sparse))
	for i, s := range g.sparse {
		names[i] = s.name
	}
	return names
}
