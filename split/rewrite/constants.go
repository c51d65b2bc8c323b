package rewrite

import (
	"io"

	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/split/onnxfile"
)

// mostConstant bounds the elements of a constant that is read.
const mostConstant = 64

// mostDeep bounds how many nodes are looked through, one behind the other.
const mostDeep = 16

// ints are the elements of a constant of integers.
func (f *facts) ints(name string) ([]int64, bool) { return f.intsWithin(name, mostDeep) }

func (f *facts) intsWithin(name string, depth int) ([]int64, bool) {
	if name == "" || depth == 0 || !f.Graph.IsConstant(name) {
		return nil, false
	}
	n := f.producer(name)
	if n == nil {
		return f.initializer(name)
	}
	switch n.OpType {
	case "Constant":
		return constantNode(n)
	case "Identity", "Unsqueeze", "Squeeze", "Reshape", "Cast":
		return f.intsWithin(n.Inputs[0], depth-1)
	case "Concat":
		var all []int64
		for _, in := range n.Inputs {
			part, ok := f.intsWithin(in, depth-1)
			if !ok || f.rank(in) > 1 {
				return nil, false
			}
			all = append(all, part...)
		}
		return all, true
	}
	return nil, false
}

// integer is a constant of one integer.
func (f *facts) integer(name string) (int64, bool) {
	list, ok := f.ints(name)
	if !ok || len(list) != 1 {
		return 0, false
	}
	return list[0], true
}

// list is an attribute of integers, which in later versions of an operator is an input.
func (f *facts) list(n *onnxfile.Node, attribute string, input int) ([]int64, bool) {
	if n.Has(attribute) {
		return n.Ints(attribute), true
	}
	if input < len(n.Inputs) {
		return f.ints(n.Inputs[input])
	}
	return nil, false
}

func (f *facts) initializer(name string) ([]int64, bool) {
	i, ok := f.Graph.Initializer[name]
	if !ok {
		return nil, false
	}
	if _, input := f.Graph.Declared[name]; input {
		return nil, false // a caller may give another
	}
	t := f.Graph.Model.Graph.Initializers[i]
	if t.Sparse || t.Elements() > mostConstant {
		return nil, false
	}
	if t.External == nil {
		content, err := t.Content()
		return integers(content, err)
	}
	if f.Data == nil {
		return nil, false
	}
	r, err := f.Data.Data(t)
	if err != nil {
		return nil, false
	}
	data, err := io.ReadAll(r)
	return integers(tensor.Tensor{DType: t.DType, Shape: t.Dims, Data: data}, err)
}

func constantNode(n *onnxfile.Node) ([]int64, bool) {
	for _, a := range n.Attributes {
		switch a.Name {
		case "value":
			_, t, err := onnxfile.ParseTensor(a.Tensor)
			return integers(t, err)
		case "value_int":
			return []int64{a.I}, true
		case "value_ints":
			list := n.Ints("value_ints")
			return list, len(list) <= mostConstant
		}
	}
	return nil, false
}

// integers are the elements of a small tensor of integers.
func integers(t tensor.Tensor, err error) ([]int64, bool) {
	if err != nil || t.Check() != nil || len(t.Data) > 8*mostConstant {
		return nil, false
	}
	switch t.DType {
	case tensor.Int64:
		list, err := tensor.As[int64](t)
		return list, err == nil
	case tensor.Int32:
		short, err := tensor.As[int32](t)
		list := make([]int64, len(short))
		for i, v := range short {
			list[i] = int64(v)
		}
		return list, err == nil
	}
	return nil, false
}
