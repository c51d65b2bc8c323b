package onnxfile

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

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
