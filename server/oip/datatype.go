package oip

import (
	"slices"
	"strings"

	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/runtime/tensor"
)

// datatypes are the protocol's names of element types. It has no others.
var datatypes = map[tensor.DType]string{
	tensor.Bool:     "BOOL",
	tensor.Uint8:    "UINT8",
	tensor.Uint16:   "UINT16",
	tensor.Uint32:   "UINT32",
	tensor.Uint64:   "UINT64",
	tensor.Int8:     "INT8",
	tensor.Int16:    "INT16",
	tensor.Int32:    "INT32",
	tensor.Int64:    "INT64",
	tensor.Float16:  "FP16",
	tensor.BFloat16: "BF16",
	tensor.Float32:  "FP32",
	tensor.Float64:  "FP64",
	tensor.String:   "BYTES",
}

// parseDatatype is the element type of a name that a client sent.
func parseDatatype(name string) (tensor.DType, error) {
	var known []string
	for d, n := range datatypes {
		if n == name {
			return d, nil
		}
		known = append(known, n)
	}
	slices.Sort(known)
	return tensor.Undefined, errcode.Errorf(errcode.Invalid, "the datatype %.40q is not known; it can be %s", name, strings.Join(known, ", "))
}

// datatypeOf is the protocol's name of the element type of an input or output.
func datatypeOf(s tensor.Spec) (string, error) {
	name, ok := datatypes[s.DType]
	if !ok {
		return "", errcode.Errorf(errcode.Invalid, "%q of the model is %s, for which the protocol has no datatype; cast it in the model, or leave it out of the outputs that you name", s.Name, s.DType)
	}
	return name, nil
}

// onlyBinary reports whether a type has no form but the binary one.
func onlyBinary(d tensor.DType) bool { return d == tensor.Float16 || d == tensor.BFloat16 }
