package oip

import (
	"fmt"
	"math"
	"slices"
	"time"

	"google.golang.org/grpc/encoding"
	grpcproto "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/server/oip/oippb"
)

// A codec is gRPC's own for protobuf, but that it refuses requests that would become many
// times what they take on the network.
type codec struct{ encoding.CodecV2 }

func newCodec() codec { return codec{encoding.GetCodecV2(grpcproto.Name)} }

// Unmarshal implements encoding.CodecV2.
func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	if _, is := v.(*oippb.ModelInferRequest); is {
		whole := data.MaterializeToBuffer(mem.DefaultBufferPool())
		defer whole.Free()
		if n := messagesIn(whole.ReadOnlyData(), 2); n > maxObjects {
			return fmt.Errorf("the request has %d inputs, outputs and parameters, more than %d", n, maxObjects)
		}
		data = mem.BufferSlice{whole}
	}
	return c.CodecV2.Unmarshal(data, v)
}

// messagesIn counts the fields of a ModelInferRequest that become messages or slices when
// it is read: those with a length, but for the contents of tensors and names, and those
// within them to a depth.
func messagesIn(b []byte, depth int) (n int) {
	for len(b) > 0 {
		number, kind, size := protowire.ConsumeTag(b)
		if size < 0 {
			return n // which reading it says again
		}
		b = b[size:]
		if size = protowire.ConsumeFieldValue(number, kind, b); size < 0 {
			return n
		}
		// Of a request inputs, outputs, parameters and raw data, of the former two parameters.
		if kind == protowire.BytesType && number >= 2 {
			n++
			if value, _ := protowire.ConsumeBytes(b); depth > 1 && (number == 5 || number == 6) {
				n += messagesIn(value, depth-1)
			}
		}
		b = b[size:]
	}
	return n
}

// fromMessage reads a request.
func fromMessage(e *entry, in *oippb.ModelInferRequest, allowed time.Duration) (*request, error) {
	q := &request{inputs: tensor.Bag{}}
	params := fromMessageParameters(in.GetParameters())
	err := params.check("the request")
	if err != nil {
		return nil, err
	}
	if q.allowed, err = params.timeout(allowed); err != nil {
		return nil, err
	}
	raw := in.GetRawInputContents()
	if len(raw) > 0 && len(raw) != len(in.GetInputs()) {
		return nil, errcode.Errorf(errcode.Invalid, "there are %d inputs and %d raw_input_contents; send one for each input, in their order, or none and the contents of each", len(in.GetInputs()), len(raw))
	}
	for i, input := range in.GetInputs() {
		d := declaration{input.GetName(), input.GetDatatype(), append([]int64{}, input.GetShape()...), fromMessageParameters(input.GetParameters())}
		spec, n, err := e.accept(d, q.inputs)
		if err != nil {
			return nil, err
		}
		var t tensor.Tensor
		switch c := input.GetContents(); {
		case len(raw) > 0 && given(c) != nil:
			err = errcode.Errorf(errcode.Invalid, "there are contents beside raw_input_contents; send one or the other")
		case len(raw) > 0:
			t, err = fromRaw(spec.DType, d.shape, n, raw[i])
		default:
			t, err = fromContents(spec.DType, d.shape, n, c)
		}
		if err != nil {
			return nil, fmt.Errorf("the input %q: %w", d.name, err)
		}
		q.inputs[d.name] = t
	}
	for _, output := range in.GetOutputs() {
		spec, err := e.output(output.GetName(), fromMessageParameters(output.GetParameters()), q.outputs)
		if err != nil {
			return nil, err
		}
		q.outputs = append(q.outputs, spec)
	}
	if len(in.GetOutputs()) == 0 {
		q.outputs = e.outputs
	}
	return q, nil
}

func fromMessageParameters(in map[string]*oippb.InferParameter) parameters {
	p := make(parameters, len(in))
	for name, v := range in {
		switch c := v.GetParameterChoice().(type) {
		case *oippb.InferParameter_BoolParam:
			p[name] = c.BoolParam
		case *oippb.InferParameter_Int64Param:
			p[name] = c.Int64Param
		case *oippb.InferParameter_Uint64Param:
			p[name] = c.Uint64Param
		case *oippb.InferParameter_DoubleParam:
			p[name] = c.DoubleParam
		case *oippb.InferParameter_StringParam:
			p[name] = c.StringParam
		default:
			p[name] = nil
		}
	}
	return p
}

// given are the names of the contents that have elements.
func given(c *oippb.InferTensorContents) (names []string) {
	for _, f := range []struct {
		name string
		n    int
	}{
		{"bool_contents", len(c.GetBoolContents())},
		{"int_contents", len(c.GetIntContents())},
		{"int64_contents", len(c.GetInt64Contents())},
		{"uint_contents", len(c.GetUintContents())},
		{"uint64_contents", len(c.GetUint64Contents())},
		{"fp32_contents", len(c.GetFp32Contents())},
		{"fp64_contents", len(c.GetFp64Contents())},
		{"bytes_contents", len(c.GetBytesContents())},
	} {
		if f.n > 0 {
			names = append(names, f.name)
		}
	}
	return names
}

// contentsOf are the names of the contents that a type has.
var contentsOf = map[tensor.DType]string{
	tensor.Bool: "bool_contents",
	tensor.Int8: "int_contents", tensor.Int16: "int_contents", tensor.Int32: "int_contents", tensor.Int64: "int64_contents",
	tensor.Uint8: "uint_contents", tensor.Uint16: "uint_contents", tensor.Uint32: "uint_contents", tensor.Uint64: "uint64_contents",
	tensor.Float32: "fp32_contents", tensor.Float64: "fp64_contents", tensor.String: "bytes_contents",
}

// fromContents makes a tensor of n elements of typed contents.
func fromContents(d tensor.DType, shape []int64, n int64, c *oippb.InferTensorContents) (tensor.Tensor, error) {
	if onlyBinary(d) {
		return tensor.Tensor{}, errcode.Errorf(errcode.Invalid, "%s has no contents of its own; send it in raw_input_contents", datatypes[d])
	}
	if names := given(c); len(names) > 1 || len(names) == 1 && names[0] != contentsOf[d] {
		return tensor.Tensor{}, errcode.Errorf(errcode.Invalid, "%s has its elements in %s, not in %q", datatypes[d], contentsOf[d], names)
	}
	t := tensor.Tensor{DType: d, Shape: shape}
	var err error
	switch d {
	case tensor.Bool:
		t.Data, err = elementsOf[bool](n, c.GetBoolContents())
	case tensor.Int8:
		t.Data, err = narrow[int8](n, c.GetIntContents())
	case tensor.Int16:
		t.Data, err = narrow[int16](n, c.GetIntContents())
	case tensor.Int32:
		t.Data, err = elementsOf[int32](n, c.GetIntContents())
	case tensor.Int64:
		t.Data, err = elementsOf[int64](n, c.GetInt64Contents())
	case tensor.Uint8:
		t.Data, err = narrow[uint8](n, c.GetUintContents())
	case tensor.Uint16:
		t.Data, err = narrow[uint16](n, c.GetUintContents())
	case tensor.Uint32:
		t.Data, err = elementsOf[uint32](n, c.GetUintContents())
	case tensor.Uint64:
		t.Data, err = elementsOf[uint64](n, c.GetUint64Contents())
	case tensor.Float32:
		t.Data, err = elementsOf[float32](n, c.GetFp32Contents())
	case tensor.Float64:
		t.Data, err = elementsOf[float64](n, c.GetFp64Contents())
	case tensor.String:
		for _, b := range c.GetBytesContents() {
			t.Strs = append(t.Strs, string(b))
		}
		err = count(n, len(t.Strs))
	}
	return t, err
}

func count(n int64, got int) error {
	if int64(got) != n {
		return errcode.Errorf(errcode.Invalid, "its shape asks for %d elements, there are %d", n, got)
	}
	return nil
}

// elementsOf is the memory of the elements.
func elementsOf[T tensor.Element](n int64, values []T) ([]byte, error) {
	return tensor.Of([]int64{int64(len(values))}, values).Data, count(n, len(values))
}

// narrow is the memory of elements of a type that is smaller than that of its contents.
func narrow[T int8 | int16 | uint8 | uint16, From int32 | uint32](n int64, values []From) ([]byte, error) {
	small := make([]T, len(values))
	for i, v := range values {
		if small[i] = T(v); From(small[i]) != v {
			return nil, errcode.Errorf(errcode.Invalid, "element %d is %d, which does not fit", i, v)
		}
	}
	return elementsOf(n, small)
}

// toMessage writes an answer, with typed contents if so asked and possible, else raw.
func toMessage(e *entry, id string, typed bool, outputs []tensor.Spec, answer []tensor.Tensor) (*oippb.ModelInferResponse, error) {
	typed = typed && !slices.ContainsFunc(outputs, func(s tensor.Spec) bool { return onlyBinary(s.DType) })
	out := &oippb.ModelInferResponse{ModelName: e.name, ModelVersion: version, Id: id}
	size := 0
	for i, t := range answer {
		o := &oippb.ModelInferResponse_InferOutputTensor{Name: outputs[i].Name, Datatype: datatypes[t.DType], Shape: t.Shape}
		var err error
		if typed {
			o.Contents, err = toContents(t)
		} else {
			var raw []byte
			raw, err = toRaw(t)
			out.RawOutputContents = append(out.RawOutputContents, raw)
		}
		if err != nil {
			return nil, fmt.Errorf("the output %q: %w", outputs[i].Name, err)
		}
		out.Outputs = append(out.Outputs, o)
		size += int(t.Bytes())
	}
	if size > math.MaxInt32 {
		return nil, errcode.Errorf(errcode.TooLarge, "the outputs take %d bytes, more than a message can have; name the outputs that you need", size)
	}
	return out, nil
}

func toContents(t tensor.Tensor) (*oippb.InferTensorContents, error) {
	c := &oippb.InferTensorContents{}
	var err error
	switch t.DType {
	case tensor.Bool:
		c.BoolContents, err = tensor.As[bool](t)
	case tensor.Int8:
		c.IntContents, err = widen[int8, int32](t)
	case tensor.Int16:
		c.IntContents, err = widen[int16, int32](t)
	case tensor.Int32:
		c.IntContents, err = tensor.As[int32](t)
	case tensor.Int64:
		c.Int64Contents, err = tensor.As[int64](t)
	case tensor.Uint8:
		c.UintContents, err = widen[uint8, uint32](t)
	case tensor.Uint16:
		c.UintContents, err = widen[uint16, uint32](t)
	case tensor.Uint32:
		c.UintContents, err = tensor.As[uint32](t)
	case tensor.Uint64:
		c.Uint64Contents, err = tensor.As[uint64](t)
	case tensor.Float32:
		c.Fp32Contents, err = tensor.As[float32](t)
	case tensor.Float64:
		c.Fp64Contents, err = tensor.As[float64](t)
	case tensor.String:
		for _, s := range t.Strs {
			c.BytesContents = append(c.BytesContents, []byte(s))
		}
	}
	return c, err
}

func widen[T int8 | int16 | uint8 | uint16, To int32 | uint32](t tensor.Tensor) ([]To, error) {
	small, err := tensor.As[T](t)
	wide := make([]To, len(small))
	for i, v := range small {
		wide[i] = To(v)
	}
	return wide, err
}
