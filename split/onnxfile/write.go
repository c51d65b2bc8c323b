package onnxfile

import (
	"fmt"
	"io"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/distinfer/distinfer/runtime/tensor"
)

// A Subgraph is a part of a model, to be written as a model of its own.
type Subgraph struct {
	Nodes        []int // indices into Graph.Nodes, ascending
	Initializers []int // indices into Graph.Initializers, ascending
	Inputs       []ValueInfo
	Outputs      []ValueInfo
	Added        []AddedNode // behind the others

	// Data is the name of the file that initializers with external data have it
	// in (see WriteData), or else Inline holds their data by name.
	Data   string
	Inline map[string][]byte
}

// An AddedNode is a node that the model does not have.
type AddedNode struct {
	OpType          string
	Inputs, Outputs []string
}

func (n AddedNode) raw() []byte {
	var node []byte
	text := func(num protowire.Number, s string) {
		node = protowire.AppendString(protowire.AppendTag(node, num, protowire.BytesType), s)
	}
	for _, name := range n.Inputs {
		text(1, name)
	}
	for _, name := range n.Outputs {
		text(2, name)
	}
	text(4, n.OpType)
	return appendMessage(nil, 1, node)
}

// Declare makes the ValueInfo of a value from its Spec. A Spec without an
// element type declares a value without a type, which a runtime has to infer.
func Declare(s tensor.Spec) ValueInfo {
	var info []byte
	info = protowire.AppendTag(info, 1, protowire.BytesType)
	info = protowire.AppendString(info, s.Name)
	if s.DType != tensor.Undefined {
		var typ []byte
		typ = protowire.AppendTag(typ, 1, protowire.VarintType)
		typ = protowire.AppendVarint(typ, uint64(s.DType))
		if !s.AnyRank {
			var shape []byte
			for _, d := range s.Dims {
				var dim []byte
				switch {
				case d.IsFixed():
					dim = protowire.AppendTag(dim, 1, protowire.VarintType)
					dim = protowire.AppendVarint(dim, uint64(d.Size))
				case d.Name != "":
					dim = protowire.AppendTag(dim, 2, protowire.BytesType)
					dim = protowire.AppendString(dim, d.Name)
				}
				shape = appendMessage(shape, 1, dim)
			}
			typ = appendMessage(typ, 2, shape)
		}
		info = appendMessage(info, 2, appendMessage(nil, 1, typ))
	}
	// The field's number is its place's: input or output. It is put before the
	// payload when it is written.
	return ValueInfo{Spec: s, Tensor: s.DType != tensor.Undefined, raw: appendMessage(nil, 11, info)}
}

func appendMessage(b []byte, num protowire.Number, msg []byte) []byte {
	b = protowire.AppendTag(b, num, protowire.BytesType)
	return protowire.AppendBytes(b, msg)
}

// Write writes the subgraph as a model: the model's own fields and those of its
// graph as they stand in the file, with fewer nodes, initializers and value
// infos. The same model and subgraph give the same bytes.
func (m *Model) Write(w io.Writer, s Subgraph) error {
	g := &m.Graph
	var parts [][]byte
	add := func(raw []byte) { parts = append(parts, raw) }

	have := map[string]bool{}
	for _, i := range s.Nodes {
		n := &g.Nodes[i]
		add(n.raw)
		for _, name := range n.Outputs {
			have[name] = true
		}
	}
	for _, n := range s.Added {
		add(n.raw())
	}
	for _, raw := range g.other {
		add(raw)
	}
	annotated := map[string]bool{}
	extents := map[int]extent{}
	for _, x := range g.extents(s) {
		extents[x.initializer] = x
	}
	for _, i := range s.Initializers {
		t := g.Initializers[i]
		x, external := extents[i]
		switch data, inline := s.Inline[t.Name]; {
		case !external:
			add(t.raw)
		case inline:
			add(t.inlined(data))
		default:
			add(t.relocated(s.Data, x))
		}
		annotated[g.Initializers[i].Name] = true
	}
	for _, v := range s.Inputs {
		add(v.as(11))
		annotated[v.Spec.Name] = true
	}
	for _, v := range s.Outputs {
		add(v.as(12))
		delete(have, v.Spec.Name) // a graph output must not have a value_info as well
		annotated[v.Spec.Name] = true
	}
	for _, v := range g.Values {
		if have[v.Spec.Name] {
			add(v.raw)
			annotated[v.Spec.Name] = true
		}
	}
	for _, q := range g.quantization {
		if annotated[q.name] || have[q.name] {
			add(q.raw)
		}
	}
	size := 0
	for _, p := range parts {
		size += len(p)
	}

	head := protowire.AppendTag(nil, 7, protowire.BytesType)
	head = protowire.AppendVarint(head, uint64(size))
	for _, group := range [][][]byte{m.before, {head}, parts, m.after} {
		for _, p := range group {
			if _, err := w.Write(p); err != nil {
				return fmt.Errorf("write model: %w", err)
			}
		}
	}
	return nil
}

// as is the value info as a field of the given number.
func (v ValueInfo) as(num protowire.Number) []byte {
	_, _, n := protowire.ConsumeTag(v.raw)
	return append(protowire.AppendTag(nil, num, protowire.BytesType), v.raw[n:]...)
}
