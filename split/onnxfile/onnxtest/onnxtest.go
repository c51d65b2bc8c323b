// Package onnxtest builds small ONNX models for tests.
package onnxtest

import (
	"encoding/binary"
	"math"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"
)

// A Message is a protobuf message under construction.
type Message []byte

// Text appends a string field.
func (m Message) Text(num protowire.Number, s string) Message {
	return protowire.AppendString(protowire.AppendTag(m, num, protowire.BytesType), s)
}

// Int appends an integer field.
func (m Message) Int(num protowire.Number, n int64) Message {
	return protowire.AppendVarint(protowire.AppendTag(m, num, protowire.VarintType), uint64(n))
}

// Embed appends a message field.
func (m Message) Embed(num protowire.Number, sub Message) Message {
	return protowire.AppendBytes(protowire.AppendTag(m, num, protowire.BytesType), sub)
}

// A Graph collects the parts of a GraphProto.
type Graph struct{ msg Message }

type anyRank struct{}

// AnyRank says that not even the number of dimensions is known.
var AnyRank any = anyRank{}

// Value makes a ValueInfoProto. A dimension is an int, a string for a named one,
// nil for an unknown one, or, alone, AnyRank; without dimensions the value is a
// scalar.
func Value(name string, dtype int64, dims ...any) Message {
	var shape Message
	ranked := true
	for _, d := range dims {
		var dim Message
		switch d := d.(type) {
		case int:
			dim = dim.Int(1, int64(d))
		case string:
			dim = dim.Text(2, d)
		case anyRank:
			ranked = false
		}
		shape = shape.Embed(1, dim)
	}
	tensor := Message{}.Int(1, dtype)
	if ranked {
		tensor = tensor.Embed(2, shape)
	}
	return Message{}.Text(1, name).Embed(2, Message{}.Embed(1, tensor))
}

// Input declares an input of the graph.
func (g *Graph) Input(name string, dtype int64, dims ...any) {
	g.msg = g.msg.Embed(11, Value(name, dtype, dims...))
}

// Output declares an output of the graph.
func (g *Graph) Output(name string, dtype int64, dims ...any) {
	g.msg = g.msg.Embed(12, Value(name, dtype, dims...))
}

// Raw appends a field as it is given.
func (g *Graph) Raw(num protowire.Number, sub Message) { g.msg = g.msg.Embed(num, sub) }

// Floats adds an initializer of float32.
func (g *Graph) Floats(name string, dims []int64, values []float32) {
	var data []byte
	for _, v := range values {
		data = binary.LittleEndian.AppendUint32(data, math.Float32bits(v))
	}
	g.tensor(name, 1, dims, data)
}

// Ints adds an initializer of int64.
func (g *Graph) Ints(name string, dims []int64, values ...int64) {
	var data []byte
	for _, v := range values {
		data = binary.LittleEndian.AppendUint64(data, uint64(v))
	}
	g.tensor(name, 7, dims, data)
}

func (g *Graph) tensor(name string, dtype int64, dims []int64, data []byte) {
	var m Message
	for _, d := range dims {
		m = m.Int(1, d)
	}
	m = m.Int(2, dtype).Text(8, name)
	m = protowire.AppendBytes(protowire.AppendTag(m, 9, protowire.BytesType), data)
	g.msg = g.msg.Embed(5, m)
}

// Sparse adds a sparse initializer of float32: the values at the given places of the
// flattened tensor.
func (g *Graph) Sparse(name string, dims, places []int64, values []float32) {
	var v, i Graph
	v.Floats(name, []int64{int64(len(values))}, values)
	i.Ints("", []int64{int64(len(places))}, places...)
	m := Message{}.Embed(1, v.tensorOnly()).Embed(2, i.tensorOnly())
	for _, d := range dims {
		m = m.Int(3, d)
	}
	g.msg = g.msg.Embed(15, m)
}

// External adds an initializer whose data is in another file. A length below 0 is
// left out.
func (g *Graph) External(name string, dtype int64, dims []int64, location string, offset, length int64) {
	var m Message
	for _, d := range dims {
		m = m.Int(1, d)
	}
	m = m.Int(2, dtype).Text(8, name)
	entry := func(key, value string) { m = m.Embed(13, Message{}.Text(1, key).Text(2, value)) }
	entry("location", location)
	if offset != 0 {
		entry("offset", strconv.FormatInt(offset, 10))
	}
	if length >= 0 {
		entry("length", strconv.FormatInt(length, 10))
	}
	g.msg = g.msg.Embed(5, m.Int(14, 1))
}

// Tensor makes an attribute that holds the tensor of the graph's only initializer.
func (g *Graph) Tensor(name string) Message {
	return Message{}.Text(1, name).Embed(5, g.tensorOnly()).Int(20, 4)
}

func (g *Graph) tensorOnly() Message {
	_, _, n := protowire.ConsumeTag(g.msg)
	tensor, _ := protowire.ConsumeBytes(g.msg[n:])
	return tensor
}

// IntAttr makes an attribute that holds an integer.
func IntAttr(name string, value int64) Message {
	return Message{}.Text(1, name).Int(3, value).Int(20, 2)
}

// IntsAttr makes an attribute that holds integers.
func IntsAttr(name string, values ...int64) Message {
	m := Message{}.Text(1, name)
	for _, v := range values {
		m = m.Int(8, v)
	}
	return m.Int(20, 7)
}

// GraphAttr makes an attribute that holds a graph.
func GraphAttr(name string, body *Graph) Message {
	return Message{}.Text(1, name).Embed(6, body.Bytes("body")).Int(20, 5)
}

// Node adds a node of ONNX's own operators.
func (g *Graph) Node(op string, inputs, outputs []string, attrs ...Message) {
	g.Call("", op, inputs, outputs, attrs...)
}

// Call adds a node of an operator of the given domain.
func (g *Graph) Call(domain, op string, inputs, outputs []string, attrs ...Message) {
	var m Message
	for _, s := range inputs {
		m = m.Text(1, s)
	}
	for _, s := range outputs {
		m = m.Text(2, s)
	}
	m = m.Text(3, "").Text(4, op).Text(7, domain)
	for _, a := range attrs {
		m = m.Embed(5, a)
	}
	g.msg = g.msg.Embed(1, m)
}

// Bytes is the graph as a GraphProto.
func (g *Graph) Bytes(name string) Message { return append(Message{}, g.msg...).Text(2, name) }

// opset is an import of ONNX's own operators.
func opset(version int64) Message { return Message{}.Text(1, "").Int(2, version) }

// Model is the graph as a ModelProto of opset 17.
func (g *Graph) Model() Message { return g.ModelAt(8, 17) }

// ModelAt is the graph as a ModelProto of the given versions.
func (g *Graph) ModelAt(ir, version int64) Message {
	return Message{}.Int(1, ir).Text(2, "onnxtest").Embed(7, g.Bytes("graph")).Embed(8, opset(version))
}

// WithFunction adds a local function to a model: the nodes of body, as an
// operator of the given domain.
func (m Message) WithFunction(domain, name string, inputs, outputs []string, body *Graph) Message {
	return m.WithOverload(domain, name, "", inputs, outputs, body)
}

// WithOverload is WithFunction for one of several functions of a name.
func (m Message) WithOverload(domain, name, overload string, inputs, outputs []string, body *Graph) Message {
	f := Message{}.Text(1, name)
	if overload != "" {
		f = f.Text(13, overload)
	}
	for _, s := range inputs {
		f = f.Text(4, s)
	}
	for _, s := range outputs {
		f = f.Text(5, s)
	}
	for b := []byte(body.msg); len(b) > 0; {
		num, _, n := protowire.ConsumeTag(b)
		node, k := protowire.ConsumeBytes(b[n:])
		if num == 1 { // a node of a graph is field 7 of a function
			f = f.Embed(7, node)
		}
		b = b[n+k:]
	}
	own := Message{}.Text(1, domain).Int(2, 1)
	f = f.Embed(9, opset(17)).Embed(9, own).Text(10, domain)
	return m.Embed(25, f).Embed(8, own)
}
