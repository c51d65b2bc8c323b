package ort

import (
	"fmt"
	"slices"
	"strings"

	binding "github.com/yalue/onnxruntime_go"

	"github.com/distinfer/distinfer/runtime/tensor"
)

// values are the binding's values that one run owns.
type values []binding.Value

func (vs values) destroy() {
	for _, v := range vs {
		_ = v.Destroy()
	}
}

// toValue makes a value of ONNX Runtime over the tensor's own memory. The
// tensor must stay alive and in place until the value is destroyed.
func toValue(t tensor.Tensor) (binding.Value, error) {
	if t.DType == tensor.String {
		return toStrings(t)
	}
	if len(t.Shape) == 0 {
		return toScalar(t)
	}
	data := t.Data
	if len(data) == 0 {
		data = make([]byte, 16) // a tensor without elements still needs an address
	}
	v, err := binding.NewCustomDataTensor(binding.Shape(t.Shape), data, binding.TensorElementDataType(t.DType))
	if err != nil {
		return nil, clean(err)
	}
	return v, nil
}

func toStrings(t tensor.Tensor) (binding.Value, error) {
	if i := slices.IndexFunc(t.Strs, func(s string) bool { return strings.IndexByte(s, 0) >= 0 }); i >= 0 {
		return nil, fmt.Errorf("string %d holds a NUL character, which ONNX Runtime's C interface cuts off", i)
	}
	v, err := binding.NewStringTensor(binding.Shape(t.Shape))
	if err != nil {
		return nil, clean(err)
	}
	if err := v.SetContents(t.Strs); err != nil {
		_ = v.Destroy()
		return nil, clean(err)
	}
	return v, nil
}

// The binding has no tensors of rank 0, but scalars of the types Go has.
func toScalar(t tensor.Tensor) (binding.Value, error) {
	switch t.DType {
	case tensor.Float32:
		return newScalar[float32](t)
	case tensor.Float64:
		return newScalar[float64](t)
	case tensor.Int8:
		return newScalar[int8](t)
	case tensor.Int16:
		return newScalar[int16](t)
	case tensor.Int32:
		return newScalar[int32](t)
	case tensor.Int64:
		return newScalar[int64](t)
	case tensor.Uint8:
		return newScalar[uint8](t)
	case tensor.Uint16:
		return newScalar[uint16](t)
	case tensor.Uint32:
		return newScalar[uint32](t)
	case tensor.Uint64:
		return newScalar[uint64](t)
	case tensor.Bool:
		return newScalar[bool](t)
	}
	return nil, fmt.Errorf("scalars of type %s are not supported", t.DType)
}

type scalarElement interface {
	tensor.Element
	binding.TensorData
}

func newScalar[T scalarElement](t tensor.Tensor) (binding.Value, error) {
	data, err := tensor.As[T](t)
	if err != nil {
		return nil, err
	}
	v, err := binding.NewScalar(data[0])
	if err != nil {
		return nil, clean(err)
	}
	return v, nil
}

// fromScalar copies the value of a scalar into t, which toScalar made it from.
func fromScalar(v binding.Value, t tensor.Tensor) error {
	switch s := v.(type) {
	case *binding.Scalar[float32]:
		return setScalar(t, s.GetData())
	case *binding.Scalar[float64]:
		return setScalar(t, s.GetData())
	case *binding.Scalar[int8]:
		return setScalar(t, s.GetData())
	case *binding.Scalar[int16]:
		return setScalar(t, s.GetData())
	case *binding.Scalar[int32]:
		return setScalar(t, s.GetData())
	case *binding.Scalar[int64]:
		return setScalar(t, s.GetData())
	case *binding.Scalar[uint8]:
		return setScalar(t, s.GetData())
	case *binding.Scalar[uint16]:
		return setScalar(t, s.GetData())
	case *binding.Scalar[uint32]:
		return setScalar(t, s.GetData())
	case *binding.Scalar[uint64]:
		return setScalar(t, s.GetData())
	case *binding.Scalar[bool]:
		return setScalar(t, s.GetData())
	}
	return fmt.Errorf("a scalar came back as %T", v)
}

func setScalar[T tensor.Element](t tensor.Tensor, value T) error {
	data, err := tensor.As[T](t)
	if err != nil {
		return err
	}
	data[0] = value
	return nil
}

// autoAllocates reports whether the binding can read an output of this type
// that ONNX Runtime allocated: it knows only the types that Go has.
func autoAllocates(d tensor.DType) bool {
	switch d {
	case tensor.Float32, tensor.Float64, tensor.Int8, tensor.Int16, tensor.Int32, tensor.Int64,
		tensor.Uint8, tensor.Uint16, tensor.Uint32, tensor.Uint64, tensor.Bool, tensor.String:
		return true
	}
	return false
}

// fromValue takes the tensor out of an output that ONNX Runtime allocated. The
// binding has already copied it into Go's memory.
func fromValue(v binding.Value) (tensor.Tensor, error) {
	shape := []int64(v.GetShape())
	switch v := v.(type) {
	case *binding.Tensor[float32]:
		return tensor.Of(shape, v.GetData()), nil
	case *binding.Tensor[float64]:
		return tensor.Of(shape, v.GetData()), nil
	case *binding.Tensor[int8]:
		return tensor.Of(shape, v.GetData()), nil
	case *binding.Tensor[int16]:
		return tensor.Of(shape, v.GetData()), nil
	case *binding.Tensor[int32]:
		return tensor.Of(shape, v.GetData()), nil
	case *binding.Tensor[int64]:
		return tensor.Of(shape, v.GetData()), nil
	case *binding.Tensor[uint8]:
		return tensor.Of(shape, v.GetData()), nil
	case *binding.Tensor[uint16]:
		return tensor.Of(shape, v.GetData()), nil
	case *binding.Tensor[uint32]:
		return tensor.Of(shape, v.GetData()), nil
	case *binding.Tensor[uint64]:
		return tensor.Of(shape, v.GetData()), nil
	case *binding.Tensor[bool]:
		return tensor.Of(shape, v.GetData()), nil
	case *binding.StringTensor:
		strs, err := v.GetContents()
		if err != nil {
			return tensor.Tensor{}, clean(err)
		}
		return tensor.Tensor{DType: tensor.String, Shape: shape, Strs: strs}, nil
	}
	return tensor.Tensor{}, fmt.Errorf("a value of kind %s cannot leave a stage", v.GetONNXType())
}
