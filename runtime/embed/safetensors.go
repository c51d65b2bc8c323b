package embed

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/distinfer/distinfer/runtime/tensor"
)

// weights is a tensor of a module.
type weights struct {
	shape  []int
	values []float32
}

// readWeights reads a file of safetensors: the length of a JSON header in 8 bytes, the header with
// types, shapes and places, and the numbers.
func readWeights(data []byte) (map[string]weights, error) {
	if len(data) < 8 {
		return nil, errors.New("not safetensors: it ends too early")
	}
	size, data := binary.LittleEndian.Uint64(data), data[8:]
	if size > uint64(len(data)) {
		return nil, errors.New("not safetensors: its header is longer than the file")
	}
	var header map[string]json.RawMessage
	if err := json.Unmarshal(data[:size], &header); err != nil {
		return nil, fmt.Errorf("not safetensors: %w", err)
	}
	delete(header, "__metadata__")
	data = data[size:]
	tensors := map[string]weights{}
	for name, raw := range header {
		var t struct {
			DType   string `json:"dtype"`
			Shape   []int  `json:"shape"`
			Offsets [2]int `json:"data_offsets"`
		}
		if err := json.Unmarshal(raw, &t); err != nil {
			return nil, fmt.Errorf("tensor %q: %w", name, err)
		}
		from, to := t.Offsets[0], t.Offsets[1]
		if from < 0 || to < from || to > len(data) {
			return nil, fmt.Errorf("tensor %q lies outside of the file", name)
		}
		values, err := widen(t.DType, data[from:to])
		if err == nil && !holds(t.Shape, len(values)) {
			err = fmt.Errorf("has shape %v and %d numbers", t.Shape, len(values))
		}
		if err != nil {
			return nil, fmt.Errorf("tensor %q: %w", name, err)
		}
		tensors[name] = weights{t.Shape, values}
	}
	return tensors, nil
}

// holds reports whether a tensor of a shape has n numbers.
func holds(shape []int, n int) bool {
	elements := 1
	for _, d := range shape {
		if d < 0 || d > 0 && elements > math.MaxInt32/d {
			return false
		}
		elements *= d
	}
	return elements == n
}

// widen reads numbers of a type.
func widen(dtype string, data []byte) ([]float32, error) {
	size := map[string]int{"F16": 2, "BF16": 2, "F32": 4, "F64": 8}[dtype]
	if size == 0 {
		return nil, fmt.Errorf("is of the type %.20q; supported are F16, BF16, F32 and F64", dtype)
	}
	if len(data)%size != 0 {
		return nil, fmt.Errorf("%d bytes are no %s numbers", len(data), dtype)
	}
	values := make([]float32, 0, len(data)/size)
	for b := range slices.Chunk(data, size) {
		var v float32
		switch dtype {
		case "F16":
			v = tensor.FromFloat16(binary.LittleEndian.Uint16(b))
		case "BF16":
			v = math.Float32frombits(uint32(binary.LittleEndian.Uint16(b)) << 16)
		case "F32":
			v = math.Float32frombits(binary.LittleEndian.Uint32(b))
		case "F64":
			v = float32(math.Float64frombits(binary.LittleEndian.Uint64(b)))
		}
		values = append(values, v)
	}
	return values, nil
}
