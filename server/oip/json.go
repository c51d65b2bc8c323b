package oip

import (
	"encoding/json"
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/runtime/strictjson"
	"github.com/distinfer/distinfer/runtime/tensor"
)

// fromJSON makes a tensor of its form in JSON: a list of its n elements, or lists of
// lists as its shape has it.
func fromJSON(d tensor.DType, shape []int64, n int64, data strictjson.Value) (tensor.Tensor, error) {
	if onlyBinary(d) {
		return tensor.Tensor{}, errcode.Errorf(errcode.Invalid, "%s has no form in JSON; send it as binary data, with the parameter binary_data_size", datatypes[d])
	}
	// Each element is a byte, and has a comma or a bracket before it but for a scalar.
	if n > int64(len(data.Raw())) {
		return tensor.Tensor{}, errcode.Errorf(errcode.Invalid, "shape %v asks for %d elements, the data has fewer", shape, n)
	}
	r := &reader{data.Decoder(), newElements(d, shape, n)}
	var err error
	switch {
	case data.Kind() != '[' && len(shape) == 0: // a scalar as such
		err = r.element()
	case data.Kind() != '[':
		err = errcode.Errorf(errcode.Invalid, "the data must be a list")
	case data.FirstKind() == '[':
		err = r.lists(shape)
	default:
		err = r.lists([]int64{n})
	}
	return r.elements.tensor, err
}

// A reader goes through JSON, and gathers the elements.
type reader struct {
	*jsontext.Decoder
	elements *elements
}

// lists reads lists as deep as the shape is long, which has tensor.MaxRank dimensions at most.
func (r *reader) lists(shape []int64) error {
	if len(shape) == 0 {
		return r.element()
	}
	if r.PeekKind() != '[' {
		return errcode.Errorf(errcode.Invalid, "the data is not nested as its shape %v has it; it can also be one flat list", r.elements.tensor.Shape)
	}
	if _, err := r.ReadToken(); err != nil {
		return err
	}
	for range shape[0] {
		if r.PeekKind() == ']' {
			return r.miscounted()
		}
		if err := r.lists(shape[1:]); err != nil {
			return err
		}
	}
	if r.PeekKind() != ']' {
		return r.miscounted()
	}
	_, err := r.ReadToken()
	return err
}

func (r *reader) miscounted() error {
	return errcode.Errorf(errcode.Invalid, "the data does not have as many elements as its shape %v", r.elements.tensor.Shape)
}

// element reads one element.
func (r *reader) element() error {
	if k := r.PeekKind(); k == '[' || k == '{' {
		return errcode.Errorf(errcode.Invalid, "the data is nested otherwise than its shape %v", r.elements.tensor.Shape)
	}
	text, err := r.ReadValue()
	if err != nil {
		return err
	}
	return r.elements.add(text)
}

// Elements are those of a tensor, set one after the other.
type elements struct {
	tensor tensor.Tensor
	count  int
	set    func(i int, text []byte) error
}

func newElements(d tensor.DType, shape []int64, n int64) *elements {
	e := &elements{tensor: tensor.Tensor{DType: d, Shape: shape}}
	switch d {
	case tensor.String:
		e.tensor.Strs = make([]string, n)
		e.set = func(i int, text []byte) error {
			if text[0] != '"' {
				return strconv.ErrSyntax // or null would be an empty string
			}
			e.tensor.Strs[i] = strictjson.Unquote(text)
			return nil
		}
	case tensor.Bool:
		set(e, n, func(text []byte) (bool, error) {
			if text[0] != 't' && text[0] != 'f' {
				return false, strconv.ErrSyntax
			}
			return text[0] == 't', nil
		})
	case tensor.Int8:
		set(e, n, signed[int8](8))
	case tensor.Int16:
		set(e, n, signed[int16](16))
	case tensor.Int32:
		set(e, n, signed[int32](32))
	case tensor.Int64:
		set(e, n, signed[int64](64))
	case tensor.Uint8:
		set(e, n, unsigned[uint8](8))
	case tensor.Uint16:
		set(e, n, unsigned[uint16](16))
	case tensor.Uint32:
		set(e, n, unsigned[uint32](32))
	case tensor.Uint64:
		set(e, n, unsigned[uint64](64))
	case tensor.Float32:
		set(e, n, float[float32](32))
	case tensor.Float64:
		set(e, n, float[float64](64))
	}
	return e
}

// set has elements read by parse. What is no number fails with it, since the JSON is valid.
func set[T tensor.Element](e *elements, n int64, parse func([]byte) (T, error)) {
	values := make([]T, n)
	e.tensor = tensor.Of(e.tensor.Shape, values)
	e.set = func(i int, text []byte) (err error) {
		values[i], err = parse(text)
		return err
	}
}

func signed[T int8 | int16 | int32 | int64](bits int) func([]byte) (T, error) {
	return func(text []byte) (T, error) {
		v, err := strconv.ParseInt(strictjson.Whole(string(text)), 10, bits)
		return T(v), err
	}
}

func unsigned[T uint8 | uint16 | uint32 | uint64](bits int) func([]byte) (T, error) {
	return func(text []byte) (T, error) {
		v, err := strconv.ParseUint(strictjson.Whole(string(text)), 10, bits)
		return T(v), err
	}
}

func float[T float32 | float64](bits int) func([]byte) (T, error) {
	return func(text []byte) (T, error) {
		v, err := strconv.ParseFloat(string(text), bits)
		return T(v), err
	}
}

func (e *elements) add(text []byte) error {
	if err := e.set(e.count, text); err != nil {
		return errcode.Errorf(errcode.Invalid, "element %d is %.40s, which is not %s", e.count, text, datatypes[e.tensor.DType])
	}
	e.count++
	return nil
}

// toJSON is a tensor as a flat list in JSON.
func toJSON(t tensor.Tensor) ([]byte, error) {
	switch t.DType {
	case tensor.String:
		for i, s := range t.Strs {
			if !utf8.ValidString(s) {
				return nil, errcode.Errorf(errcode.Invalid, "element %d is not UTF-8, which JSON cannot say; %s", i, askForBinary)
			}
		}
		if len(t.Strs) == 0 {
			return []byte("[]"), nil
		}
		return json.Marshal(t.Strs)
	case tensor.Bool:
		return list(t, strconv.AppendBool)
	case tensor.Int8:
		return list(t, appendInt[int8])
	case tensor.Int16:
		return list(t, appendInt[int16])
	case tensor.Int32:
		return list(t, appendInt[int32])
	case tensor.Int64:
		return list(t, appendInt[int64])
	case tensor.Uint8:
		return list(t, appendUint[uint8])
	case tensor.Uint16:
		return list(t, appendUint[uint16])
	case tensor.Uint32:
		return list(t, appendUint[uint32])
	case tensor.Uint64:
		return list(t, appendUint[uint64])
	case tensor.Float32:
		return floats[float32](t, 32)
	case tensor.Float64:
		return floats[float64](t, 64)
	}
	return nil, errcode.Errorf(errcode.Invalid, "%s has no form in JSON; %s", datatypes[t.DType], askForBinary)
}

const askForBinary = "ask for it as binary data, with the parameter binary_data of the output or binary_data_output of the request"

func appendInt[T int8 | int16 | int32 | int64](to []byte, v T) []byte {
	return strconv.AppendInt(to, int64(v), 10)
}

func appendUint[T uint8 | uint16 | uint32 | uint64](to []byte, v T) []byte {
	return strconv.AppendUint(to, uint64(v), 10)
}

func list[T tensor.Element](t tensor.Tensor, one func([]byte, T) []byte) ([]byte, error) {
	values, err := tensor.As[T](t)
	if err != nil {
		return nil, err
	}
	text := []byte{'['}
	for i, v := range values {
		if i > 0 {
			text = append(text, ',')
		}
		text = one(text, v)
	}
	return append(text, ']'), nil
}

func floats[T float32 | float64](t tensor.Tensor, bits int) ([]byte, error) {
	values, err := tensor.As[T](t)
	if err != nil {
		return nil, err
	}
	for i, v := range values {
		if f := float64(v); math.IsNaN(f) || math.IsInf(f, 0) {
			return nil, errcode.Errorf(errcode.Invalid, "element %d is %v, which JSON cannot say; %s", i, f, askForBinary)
		}
	}
	return list(t, func(to []byte, v T) []byte { return strconv.AppendFloat(to, float64(v), 'g', -1, bits) })
}
