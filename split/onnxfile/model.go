package onnxfile

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"unsafe"

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
	data, err := mapFile(path)
	if err != nil {
		return nil, err
	}
	m, err := Parse(data)
	if err != nil {
		_ = unix.Munmap(data)
		return nil, fmt.Errorf("%s is not a valid ONNX model: %w", path, err)
	}
	m.release = release
	return &File{Model: *m, Data: data, unmap: true}, nil
}

// SHA256 is the hash of the file in hexadecimal digits.
func (f *File) SHA256() string {
	h := sha256.New()
	_, _ = f.WriteTo(h) // a hash never fails
	return hex.EncodeToString(h.Sum(nil))
}

// mapFile maps a file that holds something into memory.
func mapFile(path string) ([]byte, error) {
	info, err := os.Stat(path) // before it is opened: to open a pipe would wait for a writer
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("there is no file %s", path)
	case err != nil:
		return nil, err
	case info.IsDir():
		return nil, fmt.Errorf("%s is a folder; give the model file in it, such as %s", path, filepath.Join(path, "model.onnx"))
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a regular file", path)
	case info.Size() == 0:
		return nil, fmt.Errorf("%s is not an ONNX model: the file is empty", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	data, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_PRIVATE)
	if err != nil {
		return nil, fmt.Errorf("map %s: %w", path, err)
	}
	return data, nil
}

// release tells the system that a part of a mapped file is not needed for now, so
// that copying a large model takes no memory. It can still be read.
func release(part []byte) {
	page := uintptr(os.Getpagesize())
	start := uintptr(unsafe.Pointer(unsafe.SliceData(part)))
	skip := (page - start%page) % page
	if uintptr(len(part)) < skip+page {
		return
	}
	inner := part[skip:]
	_ = unix.Madvise(inner[:len(inner)-len(inner)%int(page)], unix.MADV_DONTNEED) // it is only advice
}

// WriteTo writes the whole file as it stands.
func (f *File) WriteTo(w io.Writer) (int64, error) {
	err := f.copyTo(w, f.Data)
	return int64(len(f.Data)), err
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

// An operator is what a node calls: one of ONNX's own or of another domain, or a
// function of the model.
type operator struct{ domain, name string }

func newOperator(domain, name string) operator {
	if domain == "ai.onnx" { // the other name of ONNX's own domain
		domain = ""
	}
	return operator{domain, name}
}

// A function is a FunctionProto: an operator that the model itself defines.
type function struct {
	operator
	calls    []operator // of its nodes, and of their bodies
	external bool       // a tensor in it has its data in another file
	raw      []byte
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

// A Node is a NodeProto.
type Node struct {
	Name, OpType, Domain string
	Index                int // its place among the graph's nodes in the file

	// Inputs and Outputs are the names of its values; "" is an omitted one.
	Inputs, Outputs []string
	// Captures are the names its graphs (the bodies of If, Loop and Scan) use
	// from outside, in order of first use.
	Captures []string
	// Bodies is how many graphs it has.
	Bodies int
	// Attributes are its attributes, undecoded.
	Attributes []Attribute

	calls    []operator // what the nodes of its bodies call
	external bool       // a tensor in it has its data in another file
	raw      []byte
}

// String names a node for a person.
func (n Node) String() string {
	if n.Name != "" {
		return fmt.Sprintf("node %q (%s)", n.Name, n.OpType)
	}
	return fmt.Sprintf("node %d (%s)", n.Index, n.OpType)
}

// Standard reports whether the node's operator is one of ONNX's own.
func (n Node) Standard() bool { return n.Domain == "" || n.Domain == "ai.onnx" }

// FullName is the node's operator, with its domain unless that is ONNX's own.
func (n Node) FullName() string {
	if n.Standard() {
		return n.OpType
	}
	return n.Domain + "." + n.OpType
}

// Int is an attribute of the node that is an integer, or what is given when it is missing.
func (n Node) Int(attribute string, missing int64) int64 {
	for _, a := range n.Attributes {
		if a.Name == attribute {
			return a.I
		}
	}
	return missing
}

// An Attribute is an AttributeProto. I is decoded, since costs need it; tensors and
// graphs are not.
type Attribute struct {
	Name   string
	I      int64
	Tensor []byte // a TensorProto, undecoded
}

// An Initializer is a TensorProto of a graph, or a SparseTensorProto.
type Initializer struct {
	Name  string
	DType tensor.DType
	Dims  []int64
	// External tells where its data is when that is another file, else it is nil.
	External *External
	// Sparse is set for a SparseTensorProto. Its data, too, may be elsewhere.
	Sparse bool

	payload  []byte // the data, when it stands in the file as it is in memory
	external bool   // External is set, or that of a part of a sparse tensor
	raw      []byte
}

// Bytes is the size of the initializer's elements, or 0 for strings. For a sparse
// one it is what its parts take.
func (t Initializer) Bytes() int64 {
	if t.Sparse {
		return int64(len(t.raw))
	}
	if n := t.DType.Bytes(t.Elements()); n >= 0 {
		return n
	}
	if t.External != nil { // a type of a later version of the format
		return max(t.External.Length, 0)
	}
	return 0
}

// Elements is the number of the initializer's elements.
func (t Initializer) Elements() int64 {
	n, err := tensor.Elements(t.Dims)
	if err != nil {
		return 0 // Parse refuses such dimensions
	}
	return n
}

// RawData is the initializer's data, little-endian; nil when it is in another file, sparse, or
// written as numbers.
func (t Initializer) RawData() []byte {
	if int64(len(t.payload)) != t.Bytes() {
		return nil
	}
	return t.payload
}

// A ValueInfo is a ValueInfoProto.
type ValueInfo struct {
	Spec tensor.Spec
	// Tensor is false for sequences, maps, optionals and sparse tensors, and
	// when the file gives no type; Spec then has a name only.
	Tensor bool
	// OtherKind is set when the file gives a type and it is none of a tensor.
	OtherKind bool

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
			name, err := firstString(f.bytes)
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

// ValuesOf are the value infos of a name.
func (g *Graph) ValuesOf(name string) []ValueInfo {
	var list []ValueInfo
	for _, k := range g.values[name] {
		list = append(list, g.Values[k])
	}
	return list
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

func parseFunction(f field) (function, error) {
	fn := function{raw: f.raw}
	if err := f.wantBytes(); err != nil {
		return fn, err
	}
	nodes := 0
	err := fields(f.bytes, func(f field) error {
		switch f.num {
		case 1:
			return f.str(&fn.name)
		case 10:
			return f.str(&fn.domain)
		case 7: // node
			if err := f.wantBytes(); err != nil {
				return err
			}
			n, err := parseNode(f, 0)
			if err != nil {
				return fmt.Errorf("node %d: %w", nodes, err)
			}
			nodes++
			fn.calls = n.operators(fn.calls)
			fn.external = fn.external || n.external
		case 11: // attribute_proto: attributes with default values
			if err := f.wantBytes(); err != nil {
				return err
			}
			var n Node
			if err := n.parseAttribute(f, 0, map[string]bool{}); err != nil {
				return err
			}
			fn.calls = append(fn.calls, n.calls...)
			fn.external = fn.external || n.external
		}
		return nil
	})
	fn.operator = newOperator(fn.domain, fn.name)
	return fn, err
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
			return n.parseAttribute(f, depth, captured)
		case 7:
			return f.str(&n.Domain)
		}
		return nil
	})
	if err == nil && n.OpType == "" {
		err = errors.New("it has no op_type")
	}
	return n, err
}

// operators appends what the node and its bodies call.
func (n *Node) operators(to []operator) []operator {
	return append(append(to, newOperator(n.Domain, n.OpType)), n.calls...)
}

// AppendKind appends all that the file says of the node but its name, those of its
// values, and its documentation.
func (n *Node) AppendKind(to []byte) []byte {
	_, _, k := protowire.ConsumeTag(n.raw)
	body, _ := protowire.ConsumeBytes(n.raw[k:])
	_ = fields(body, func(f field) error { // it was read before
		switch f.num {
		case 1, 2, 3, 6: // input, output, name, doc_string
		default:
			to = append(to, f.raw...)
		}
		return nil
	})
	return to
}

// AppendContent appends all that the file says of the initializer but its name.
func (t *Initializer) AppendContent(to []byte) []byte {
	m := tensorMessage
	if t.Sparse {
		m = sparseMessage
	}
	return append(to, edit(t.raw, m, func(Initializer) ([]byte, []protowire.Number) { return []byte{}, []protowire.Number{8} })...)
}

// parseAttribute adds an attribute to the node.
func (n *Node) parseAttribute(f field, depth int, captured map[string]bool) error {
	var a Attribute
	err := fields(f.bytes, func(f field) error {
		switch f.num {
		case 5, 6, 10, 11, 22, 23:
			if err := f.wantBytes(); err != nil {
				return err
			}
		}
		switch f.num {
		case 1:
			return f.str(&a.Name)
		case 3:
			a.I = int64(f.value)
		case 5, 10: // t, tensors
			if f.num == 5 {
				a.Tensor = f.bytes
			}
			t, err := parseTensor(f)
			n.external = n.external || t.external
			return err
		case 22, 23: // sparse_tensor, sparse_tensors
			t, err := parseSparse(f)
			n.external = n.external || t.external
			return err
		case 6, 11: // g, graphs
			body, err := parseGraph(f.bytes, depth+1)
			if err != nil {
				return err
			}
			n.Bodies++
			n.external = n.external || body.external()
			for _, inner := range body.Nodes {
				n.calls = inner.operators(n.calls)
			}
			for _, name := range body.free() {
				if !captured[name] {
					captured[name] = true
					n.Captures = append(n.Captures, name)
				}
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("attribute %q: %w", a.Name, err)
	}
	n.Attributes = append(n.Attributes, a)
	return nil
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

func parseTensor(f field) (Initializer, error) {
	t := Initializer{raw: f.raw}
	var entries []field
	payloads := 0
	var floats, doubles []byte // packed, and so as they are in memory
	err := fields(f.bytes, func(f field) error {
		switch f.num {
		case 1: // dims
			return f.ints(&t.Dims, tensor.MaxRank)
		case 2: // data_type
			t.DType = tensor.DType(f.value)
		case 3: // segment, which nothing writes or reads
			return errors.New("it is a segment of a tensor, which is not supported")
		case 8:
			return f.str(&t.Name)
		case 4, 5, 6, 7, 9, 10, 11: // the data, by type
			payloads++
			switch {
			case f.typ != protowire.BytesType:
			case f.num == 9:
				t.payload = f.bytes
			case f.num == 4:
				floats = f.bytes
			case f.num == 10:
				doubles = f.bytes
			}
		case 13: // external_data
			entries = append(entries, f)
		case 14: // data_location; EXTERNAL = 1
			t.external = f.value == 1
		}
		return nil
	})
	if err == nil {
		_, err = tensor.Elements(t.Dims)
	}
	if err == nil && t.external {
		if t.External, err = parseExternal(entries); err == nil {
			err = t.checkExternal()
		}
	}
	switch t.DType {
	case tensor.Float32, tensor.Complex64:
		if t.payload == nil {
			t.payload = floats
		}
	case tensor.Float64, tensor.Complex128:
		if t.payload == nil {
			t.payload = doubles
		}
	case tensor.String:
		t.payload = nil
	}
	if t.external || payloads != 1 || int64(len(t.payload)) != t.Bytes() {
		t.payload = nil
	}
	return t, err
}

// parseSparse reads a SparseTensorProto: its values, a tensor that has the name,
// where they are, and the dimensions of the whole.
func parseSparse(f field) (Initializer, error) {
	t := Initializer{Sparse: true, raw: f.raw}
	err := fields(f.bytes, func(f field) error {
		switch f.num {
		case 1, 2: // values, indices
			if err := f.wantBytes(); err != nil {
				return err
			}
			part, err := parseTensor(f)
			if f.num == 1 {
				t.Name, t.DType = part.Name, part.DType
			}
			t.external = t.external || part.external
			return err
		case 3:
			return f.ints(&t.Dims, tensor.MaxRank)
		}
		return nil
	})
	if err == nil {
		_, err = tensor.Elements(t.Dims)
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
				switch f.num {
				case 1: // tensor_type
					v.Tensor = true
					return parseTensorType(f.bytes, &v.Spec)
				case 4, 5, 7, 8, 9: // sequence, map, opaque, sparse tensor, optional
					v.OtherKind = true
				}
				return nil
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
				if len(spec.Dims) == tensor.MaxRank {
					return fmt.Errorf("more than %d dimensions", tensor.MaxRank)
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
