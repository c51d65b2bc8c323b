package onnxfile

import (
	"fmt"

	"github.com/distinfer/distinfer/runtime/tensor"
)

// A ValueInfo is a ValueInfoProto.
type ValueInfo struct {
	Spec tensor.Spec
	// Tensor is false for sequences, maps, optionals and sparse tensors, and
	// when the file gives no type; Spec then has a name only.
	Tensor bool
	// OtherKind is set when the file gives a type and it is none of a tensor.
	OtherKind bool

	raw []byte
}

// ValuesOf are the value infos of a name.
func (g *Graph) ValuesOf(name string) []ValueInfo {
	var list []ValueInfo
	for _, k := range g.values[name] {
		list = append(list, g.Values[k])
	}
	return list
}

func parseValueInfo(f field) (ValueInfo, error) {
	v := ValueInfo{raw: f.raw}
	err := fields(f.bytes, func(f field) error {
		switch f.num {
		case 1: // name
			return f.str(&v.Spec.Name)
		case 2: // type
			return fields(f.bytes, func(f field) error {
				switch f.num {
				case 1: // tensor_type
					v.Tensor = true
					return parseTensorType(f.bytes, &v.Spec)
				case 4, 5, 7, 8, 9: // sequence, map, opaque, sparse tensor, optional
					v.OtherKind = true
				}
				return nil
			})
		}
		return nil
	})
	return v, err
}

func parseTensorType(b []byte, spec *tensor.Spec) error {
	spec.AnyRank = true
	return fields(b, func(f field) error {
		switch f.num {
		case 1: // elem_type
			spec.DType = tensor.DType(f.value)
		case 2: // shape
			spec.AnyRank = false
			return fields(f.bytes, func(f field) error {
				if f.num != 1 { // dim
					return nil
				}
				if len(spec.Dims) == tensor.MaxRank {
					return fmt.Errorf("more than %d dimensions", tensor.MaxRank)
				}
				var d tensor.Dim
				err := fields(f.bytes, func(f field) error {
					switch f.num {
					case 1: // dim_value; exporters write 0 or -1 for "unknown"
						if n := int64(f.value); n > 0 {
							d = tensor.Fixed(n)
						}
					case 2: // dim_param
						var name string
						if err := f.str(&name); err != nil {
							return err
						}
						d = tensor.Named(name)
					}
					return nil
				})
				spec.Dims = append(spec.Dims, d)
				return err
			})
		}
		return nil
	})
}
