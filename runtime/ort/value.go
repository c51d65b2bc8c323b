package ort

/*
#include "capi.h"

static OrtStatus *tensor_of_strings(Api api, const int64_t *shape, size_t rank, OrtValue **v) {
	OrtAllocator *allocator = NULL;
	OrtStatus *s = GetAllocatorWithDefaultOptions(api, &allocator);
	return s != NULL ? s : CreateTensorAsOrtValue(api, allocator, shape, rank, ELEMENT_STRING, v);
}

// type_and_shape gives the element type and the rank, and as many dimensions as shape has
// places for.
static OrtStatus *type_and_shape(Api api, const OrtValue *v, int *type, int64_t *shape, size_t places, size_t *rank) {
	OrtTensorTypeAndShapeInfo *info = NULL;
	OrtStatus *s = GetTensorTypeAndShape(api, v, &info);
	if (s != NULL) return s;
	s = GetTensorElementType(api, info, type);
	if (s == NULL) s = GetDimensionsCount(api, info, rank);
	if (s == NULL) s = GetDimensions(api, info, shape, *rank < places ? *rank : places);
	ReleaseTensorTypeAndShapeInfo(api, info);
	return s;
}
*/
import "C"

import (
	"errors"
	"fmt"
	"runtime"
	"unsafe"

	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/runtime/ort/threads"
	"github.com/distinfer/distinfer/runtime/tensor"
)

// elementType is the library's number for an element type, or -1. Its numbers are
// those of onnx.proto up to 23; those behind came in another order.
func elementType(d tensor.DType) C.int {
	switch {
	case d > tensor.Undefined && d <= tensor.Float4E2M1:
		return C.int(d)
	case d == tensor.Uint2:
		return 24
	case d == tensor.Int2:
		return 25
	case d == tensor.Float8E8M0:
		return 26
	}
	return -1
}

// dtypeOf is the inverse of elementType; Undefined for a number that is not known.
func dtypeOf(n int) tensor.DType {
	for d := tensor.Float32; d <= tensor.Int2; d++ {
		if int(elementType(d)) == n {
			return d
		}
	}
	return tensor.Undefined
}

// A value is a tensor of the library's, an OrtValue.
type value = unsafe.Pointer

func of(v value) *C.OrtValue { return (*C.OrtValue)(v) }

// values are what one run owns, with the memory of Go's that they use.
type values struct {
	api  api
	list []value
	pins runtime.Pinner
}

func (vs *values) release(err error) {
	if errcode.Deadly(err) {
		threads.Keep(vs.pins) // by threads that may compute on
		return
	}
	for _, v := range vs.list {
		C.ReleaseValue(vs.api.c, of(v))
	}
	vs.pins.Unpin()
}

// over makes a value over the tensor's own memory, or of strings with a copy of
// them. It is valid until vs is released.
func (vs *values) over(t tensor.Tensor) (value, error) {
	if t.DType == tensor.String {
		return vs.strings(t)
	}
	dtype := elementType(t.DType)
	if dtype < 0 {
		return nil, fmt.Errorf("ONNX Runtime takes no tensors of type %s from outside", t.DType)
	}
	data := t.Data
	if len(data) == 0 {
		data = tensor.AlignedBytes(8) // a tensor without elements still needs an address
	}
	p := unsafe.Pointer(unsafe.SliceData(data))
	vs.pins.Pin(p)
	var v *C.OrtValue
	shape, rank := dims(t.Shape)
	err := vs.api.check(C.CreateTensorWithDataAsOrtValue(vs.api.c, vs.api.memory, p, C.size_t(len(t.Data)), shape, rank, dtype, &v))
	if err != nil {
		return nil, err
	}
	vs.list = append(vs.list, value(v))
	return value(v), nil
}

func dims(shape []int64) (*C.int64_t, C.size_t) {
	return (*C.int64_t)(unsafe.Pointer(unsafe.SliceData(shape))), C.size_t(len(shape))
}

func (vs *values) strings(t tensor.Tensor) (value, error) {
	var v *C.OrtValue
	shape, rank := dims(t.Shape)
	if err := vs.api.check(C.tensor_of_strings(vs.api.c, shape, rank, &v)); err != nil {
		return nil, err
	}
	vs.list = append(vs.list, value(v))
	for i, s := range t.Strs {
		var to *C.char
		if err := vs.api.check(C.GetResizedStringTensorElementBuffer(vs.api.c, v, C.size_t(i), C.size_t(len(s)), &to)); err != nil {
			return nil, err
		}
		copy(unsafe.Slice((*byte)(unsafe.Pointer(to)), len(s)), s)
	}
	return value(v), nil
}

// head is the element type and the shape of a tensor that the library made.
func (a api) head(v value) (dtype tensor.DType, number C.int, shape []int64, err error) {
	var yes C.int
	if err := a.check(C.IsTensor(a.c, of(v), &yes)); err != nil {
		return 0, 0, nil, err
	}
	if yes == 0 {
		return 0, 0, nil, errors.New("a sequence, map or optional cannot leave a stage")
	}
	var rank C.size_t
	shape = make([]int64, tensor.MaxRank)
	p, places := dims(shape)
	if err := a.check(C.type_and_shape(a.c, of(v), &number, p, places, &rank)); err != nil {
		return 0, 0, nil, err
	}
	if rank > places {
		return 0, 0, nil, fmt.Errorf("it has %d dimensions, more than %d", rank, places)
	}
	return dtypeOf(int(number)), number, shape[:rank:rank], nil
}

// size is how many bytes a tensor takes that the library made; of one of strings, its
// elements without what is in them.
func (a api) size(v value) (int64, error) {
	dtype, _, shape, err := a.head(v)
	if err != nil {
		return 0, err
	}
	n, err := tensor.Elements(shape)
	if err != nil {
		return 0, err
	}
	if dtype == tensor.String {
		return n * int64(unsafe.Sizeof("")), nil
	}
	return max(dtype.Bytes(n), 0), nil
}

// read copies a tensor that the library made.
func (a api) read(v value) (tensor.Tensor, error) {
	dtype, number, shape, err := a.head(v)
	if err != nil {
		return tensor.Tensor{}, err
	}
	t := tensor.Tensor{DType: dtype, Shape: shape}
	n, err := tensor.Elements(t.Shape)
	if err != nil {
		return tensor.Tensor{}, err
	}
	if t.DType == tensor.String {
		t.Strs, err = a.readStrings(v, int(n))
		return t, err
	}
	size := t.DType.Bytes(n)
	if size < 0 {
		return tensor.Tensor{}, fmt.Errorf("its element type (number %d in ONNX Runtime) is not known", number)
	}
	var data unsafe.Pointer
	if err := a.check(C.GetTensorMutableData(a.c, of(v), &data)); err != nil {
		return tensor.Tensor{}, err
	}
	t.Data = tensor.AlignedBytes(size)
	copy(t.Data, unsafe.Slice((*byte)(data), size))
	return t, nil
}

func (a api) readStrings(v value, n int) ([]string, error) {
	if n == 0 {
		return nil, nil
	}
	var size C.size_t
	if err := a.check(C.GetStringTensorDataLength(a.c, of(v), &size)); err != nil {
		return nil, err
	}
	buffer := make([]byte, size+1)
	offsets := make([]C.size_t, n)
	if err := a.check(C.GetStringTensorContent(a.c, of(v), unsafe.Pointer(&buffer[0]), size, &offsets[0], C.size_t(n))); err != nil {
		return nil, err
	}
	list := make([]string, n)
	for i := range list {
		end := size
		if i+1 < n {
			end = offsets[i+1]
		}
		list[i] = string(buffer[offsets[i]:end])
	}
	return list, nil
}
