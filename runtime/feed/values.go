package feed

import (
	"slices"

	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/runtime/text"
)

// fromTwo are the models that leave their first two positions free.
var fromTwo = []string{"nystromformer", "yoso", "mra"}

// first is the position of the first token.
func first(m Model) int64 {
	switch {
	case m.PadID >= 0:
		return m.PadID + 1
	case slices.Contains(fromTwo, m.Type):
		return 2
	}
	return 0
}

// values are those of an input for a batch, row after row.
func (p *Plan) values(in input, b text.Batch) []int64 {
	switch in.role {
	case ids:
		return b.IDs
	case mask:
		return b.AttentionMask
	case types:
		return b.TypeIDs
	case unmasked:
		values := make([]int64, len(b.AttentionMask))
		for i, m := range b.AttentionMask {
			values[i] = 1 - m
		}
		return values
	case positions:
		if in.shared(p.ids()) {
			return rising(p.First, b.Length)
		}
		return p.positions(b)
	case cachePositions:
		return rising(0, b.Length)
	case globalMask:
		values := make([]int64, len(b.IDs))
		if p.model.GlobalFirst {
			for at := 0; at < len(values); at += b.Length {
				values[at+max(slices.Index(b.AttentionMask[at:at+b.Length], 1), 0)] = 1
			}
		}
		return values
	case useCache, keepLogits:
		return []int64{0}
	}
	return nil
}

// rising are n numbers from the first on.
func rising(first int64, n int) []int64 {
	values := make([]int64, n)
	for i := range values {
		values[i] = first + int64(i)
	}
	return values
}

// positions numbers the tokens of each row, on whichever side its padding is, as transformers does:
// those that the mask has, or, in RoBERTa and its kin, those other than the padding id. The
// others have the position of the first token (0), or that before it in those kin.
func (p *Plan) positions(b text.Batch) []int64 {
	values := make([]int64, len(b.IDs))
	rest := p.First
	if p.model.PadID >= 0 {
		rest = p.model.PadID
	}
	for from := 0; from < len(values); from += b.Length {
		next := p.First
		for i := from; i < from+b.Length; i++ {
			counts := b.AttentionMask[i] != 0
			if p.model.PadID >= 0 {
				counts = b.IDs[i] != p.model.PadID
			}
			if values[i] = rest; counts {
				values[i] = next
				next++
			}
		}
	}
	return values
}

// of is a tensor of numbers, in the type that the model wants.
func of(d tensor.DType, shape, values []int64) tensor.Tensor {
	switch d {
	case tensor.Int64:
		return tensor.Of(shape, values)
	case tensor.Int32:
		return tensor.Of(shape, as[int32](values))
	case tensor.Int8:
		return tensor.Of(shape, as[int8](values))
	case tensor.Uint8:
		return tensor.Of(shape, as[uint8](values))
	case tensor.Float32:
		return tensor.Of(shape, as[float32](values))
	case tensor.Bool:
		bits := make([]bool, len(values))
		for i, v := range values {
			bits[i] = v != 0
		}
		return tensor.Of(shape, bits)
	case tensor.Float16:
		halves := make([]uint16, len(values))
		for i, v := range values {
			halves[i] = tensor.ToFloat16(float32(v))
		}
		t := tensor.Of(shape, halves)
		t.DType = d
		return t
	}
	return tensor.Tensor{DType: d, Shape: shape, Data: []byte{}} // a cache with nothing in it
}

func as[T int32 | int8 | uint8 | float32](values []int64) []T {
	list := make([]T, len(values))
	for i, v := range values {
		list[i] = T(v)
	}
	return list
}
