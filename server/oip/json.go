package oip

import (
	"bytes"
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/runtime/tensor"
)

// fromJSON makes a tensor of its form in JSON: a list of its n elements, or lists of
// lists as its shape has it. The JSON is valid.
func fromJSON(d tensor.DType, shape []int64, n int64, data []byte) (tensor.Tensor, error) {
	if onlyBinary(d) {
		return tensor.Tensor{}, errcode.Errorf(errcode.Invalid, "%s has no form in JSON; send it as binary data, with the parameter binary_data_size", datatypes[d])
	}
	// Each element is a byte, and has a comma or a bracket before it but for a scalar.
	if n > int64(len(data)) {
		return tensor.Tensor{}, errcode.Errorf(errcode.Invalid, "shape %v asks for %d elements, the data has fewer", shape, n)
	}
	r := &reader{data: data, elements: newElements(d, shape, n)}
	var err error
	switch {
	case !r.next('[') && len(shape) == 0: // a scalar as such
		err = r.element()
	case !r.next('['):
		err = errcode.Errorf(errcode.Invalid, "the data must be a list")
	case r.nested():
		err = r.lists(shape)
	default:
		err = r.lists([]int64{n})
	}
	return r.elements.tensor, err
}

// A reader goes through valid JSON, and gathers the elements.
type reader struct {
	data     []byte
	at       int
	elements *elements
}

// next reports whether the next byte that is no space is c.
func (r *reader) next(c byte) bool {
	for r.at < len(r.data) && bytes.IndexByte([]byte(" \t\r\n"), r.data[r.at]) >= 0 {
		r.at++
	}
	return r.at < len(r.data) && r.data[r.at] == c
}

func (r *reader) skip(c byte) bool {
	found := r.next(c)
	if found {
		r.at++
	}
	return found
}

// nested reports whether the list that comes holds lists.
func (r *reader) nested() bool {
	ahead := *r
	return ahead.skip('[') && ahead.next('[')
}

// lists reads lists as deep as the shape is long, which has tensor.MaxRank dimensions at most.
func (r *reader) lists(shape []int64) error {
	if len(shape) == 0 {
		return r.element()
	}
	if !r.skip('[') {
		return errcode.Errorf(errcode.Invalid, "the data is not nested as its shape %v has it; it can also be one flat list", r.elements.tensor.Shape)
	}
	for i := int64(0); ; i++ {
		if r.next(']') && i == shape[0] {
			r.at++
			return nil
		}
		if i == shape[0] || r.next(']') || i > 0 && !r.skip(',') {
			return errcode.Errorf(errcode.Invalid, "the data does not have as many elements as its shape %v", r.elements.tensor.Shape)
		}
		if err := r.lists(shape[1:]); err != nil {
			return err
		}
	}
}

// element reads one element.
func (r *reader) element() error {
	if r.next('[') || r.next('{') {
		return errcode.Errorf(errcode.Invalid, "the data is nested otherwise than its shape %v", r.elements.tensor.Shape)
	}
	from := r.at
	if r.skip('"') {
		for r.data[r.at] != '"' {
			if r.data[r.at] == '\\' {
				r.at++
			}
			r.at++
		}
		r.at++
	} else {
		for r.at < len(r.data) && bytes.IndexByte([]byte(",] \t\r\n"), r.data[r.at]) < 0 {
			r.at++
		}
	}
	return r.elements.add(r.data[from:r.at])
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
			return json.Unmarshal(text, &e.tensor.Strs[i])
		}
	case tensor.Bool:
		set(e, n, func(s string) (bool, error) {
			if s != "true" && s != "false" {
				return false, strconv.ErrSyntax
			}
			return s == "true", nil
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
func set[T tensor.Element](e *elements, n int64, parse func(string) (T, error)) {
	values := make([]T, n)
	e.tensor = tensor.Of(e.tensor.Shape, values)
	e.set = func(i int, text []byte) (err error) {
		values[i], err = parse(string(text))
		return err
	}
}

func signed[T int8 | int16 | int32 | int64](bits int) func(string) (T, error) {
	return func(s string) (T, error) {
		v, err := strconv.ParseInt(integral(s), 10, bits)
		return T(v), err
	}
}

func unsigned[T uint8 | uint16 | uint32 | uint64](bits int) func(string) (T, error) {
	return func(s string) (T, error) {
		v, err := strconv.ParseUint(integral(s), 10, bits)
		return T(v), err
	}
}

// integral is a number of JSON without a point and an exponent, if it is whole: 3.0 and 3e0
// are the integer 3 there. From 2^53 on, where floats are not exact, it is as it was.
func integral(s string) string {
	if !strings.ContainsAny(s, ".eE") {
		return s
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || f != math.Trunc(f) || math.Abs(f) >= 1<<53 {
		return s
	}
	return strconv.FormatInt(int64(f), 10)
}

func float[T float32 | float64](bits int) func(string) (T, error) {
	return func(s string) (T, error) {
		v, err := strconv.ParseFloat(s, bits)
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
