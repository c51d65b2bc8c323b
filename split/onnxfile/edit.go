package onnxfile

import (
	"encoding/binary"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/distinfer/distinfer/runtime/tensor"
)

// Types of attributes, as AttributeProto numbers them.
const (
	intAttribute  = 2
	intsAttribute = 7
)

// A MadeAttribute is an attribute of a node that is made: an integer, or a list of them.
type MadeAttribute struct {
	Name string
	I    int64
	Ints []int64 // nil: it is an integer
}

func (a MadeAttribute) raw() []byte {
	b := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), a.Name)
	kind := uint64(intAttribute)
	if a.Ints != nil {
		kind = intsAttribute
		for _, n := range a.Ints {
			b = protowire.AppendVarint(protowire.AppendTag(b, 8, protowire.VarintType), uint64(n))
		}
	} else {
		b = protowire.AppendVarint(protowire.AppendTag(b, 3, protowire.VarintType), uint64(a.I))
	}
	return protowire.AppendVarint(protowire.AppendTag(b, 20, protowire.VarintType), kind)
}

// MakeNode makes a node of one of ONNX's own operators.
func MakeNode(op, name string, inputs, outputs []string, attributes ...MadeAttribute) Node {
	var b []byte
	text := func(num protowire.Number, s string) {
		b = protowire.AppendString(protowire.AppendTag(b, num, protowire.BytesType), s)
	}
	for _, s := range inputs {
		text(1, s)
	}
	for _, s := range outputs {
		text(2, s)
	}
	text(3, name)
	text(4, op)
	for _, a := range attributes {
		b = appendMessage(b, 5, a.raw())
	}
	return reparsed(appendMessage(nil, 1, b))
}

// WithInputs is the node with other inputs, and otherwise as the file has it.
func (n Node) WithInputs(inputs []string) Node {
	_, _, k := protowire.ConsumeTag(n.raw)
	body, _ := protowire.ConsumeBytes(n.raw[k:])
	var b []byte
	for _, s := range inputs {
		b = protowire.AppendString(protowire.AppendTag(b, 1, protowire.BytesType), s)
	}
	_ = fields(body, func(f field) error { // it was read before
		if f.num != 1 {
			b = append(b, f.raw...)
		}
		return nil
	})
	made := reparsed(appendMessage(nil, 1, b))
	made.Index = n.Index
	return made
}

// reparsed reads a node that was just written.
func reparsed(raw []byte) Node {
	_, _, k := protowire.ConsumeTag(raw)
	body, _ := protowire.ConsumeBytes(raw[k:])
	n, _ := parseNode(field{num: 1, typ: protowire.BytesType, bytes: body, raw: raw}, 0)
	return n
}

// Ints is an attribute of the node that is a list of integers, nil when it is missing.
func (n *Node) Ints(attribute string) (list []int64) {
	n.attribute(attribute, func(f field) {
		if f.num == 8 {
			_ = f.ints(&list, len(f.raw)+len(list))
		}
	})
	return list
}

// Text is an attribute of the node that is a string, "" when it is missing.
func (n *Node) Text(attribute string) (s string) {
	n.attribute(attribute, func(f field) {
		if f.num == 4 {
			_ = f.str(&s)
		}
	})
	return s
}

// Has reports whether the node has an attribute.
func (n *Node) Has(attribute string) bool {
	return slices.ContainsFunc(n.Attributes, func(a Attribute) bool { return a.Name == attribute })
}

// attribute reads the fields of an attribute. The node was read before, so nothing fails.
func (n *Node) attribute(name string, read func(field)) {
	_, _, k := protowire.ConsumeTag(n.raw)
	body, _ := protowire.ConsumeBytes(n.raw[k:])
	_ = fields(body, func(f field) error {
		if f.num != 5 {
			return nil
		}
		if is, _ := stringIn(f.bytes, 1); is == name {
			return fields(f.bytes, func(f field) error {
				read(f)
				return nil
			})
		}
		return nil
	})
}

// MakeInts makes an initializer of int64.
func MakeInts(name string, dims []int64, values ...int64) Initializer {
	var b, data []byte
	for _, d := range dims {
		b = protowire.AppendVarint(protowire.AppendTag(b, 1, protowire.VarintType), uint64(d))
	}
	b = protowire.AppendVarint(protowire.AppendTag(b, 2, protowire.VarintType), uint64(tensor.Int64))
	b = protowire.AppendString(protowire.AppendTag(b, 8, protowire.BytesType), name)
	for _, v := range values {
		data = binary.LittleEndian.AppendUint64(data, uint64(v))
	}
	b = protowire.AppendBytes(protowire.AppendTag(b, rawData, protowire.BytesType), data)
	raw := appendMessage(nil, 5, b)
	t, _ := parseTensor(field{num: 5, typ: protowire.BytesType, bytes: b, raw: raw})
	return t
}

// Opset is the version of ONNX's own operators that the model relies on, 1 when it names none.
func (m *Model) Opset() int64 {
	for _, o := range m.Opsets {
		if o.Domain == "" || o.Domain == "ai.onnx" {
			return o.Version
		}
	}
	return 1
}

// With is the model with other nodes and outputs and with more initializers. What the file says of
// the type of a value that is changed is left out. Weights are not copied.
func (m *Model) With(nodes []Node, added []Initializer, outputs []ValueInfo, changed func(name string) bool) *Model {
	made := *m
	g := m.Graph
	g.Nodes = slices.Clone(nodes)
	for i := range g.Nodes {
		g.Nodes[i].Index = i
	}
	g.Initializers = slices.Concat(m.Graph.Initializers, added)
	g.Outputs = outputs
	g.Values, g.values = nil, map[string][]int{}
	for _, v := range m.Graph.Values {
		if !changed(v.Spec.Name) {
			g.values[v.Spec.Name] = append(g.values[v.Spec.Name], len(g.Values))
			g.Values = append(g.Values, v)
		}
	}
	made.Graph = g
	return &made
}

// Content reads the elements of an initializer that the file has itself.
func (t *Initializer) Content() (tensor.Tensor, error) {
	_, _, k := protowire.ConsumeTag(t.raw)
	body, _ := protowire.ConsumeBytes(t.raw[k:])
	_, content, err := ParseTensor(body)
	return content, err
}
