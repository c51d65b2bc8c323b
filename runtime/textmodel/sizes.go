package textmodel

import (
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/runtime/text"
)

// A growth is how large a dimension of the inputs is for a batch: rows times the number of texts,
// and length times that of tokens, and a fixed part.
type growth struct{ rows, length, fixed int64 }

// growths finds how each named dimension of the inputs grows, from three batches. It is nil when
// one grows in another way.
func (m *Model) growths(inputs []tensor.Spec) map[string]growth {
	at := func(rows, length int) tensor.Sizes {
		rows, length = m.shape(rows, length)
		n := rows * length
		ones := make([]int64, n)
		for i := range ones {
			ones[i] = 1
		}
		b := text.Batch{Rows: rows, Length: length, IDs: make([]int64, n), TypeIDs: make([]int64, n), AttentionMask: ones}
		sizes, err := tensor.MatchAll(inputs, m.plan.Batch(b))
		if err != nil {
			return nil
		}
		return sizes
	}
	first, taller, longer, both := at(2, 3), at(3, 3), at(2, 4), at(5, 7)
	found := map[string]growth{}
	for name, size := range first {
		g := growth{rows: taller[name] - size, length: longer[name] - size}
		rows, length := m.shape(2, 3)
		g.fixed = size - g.rows*int64(rows) - g.length*int64(length)
		rows, length = m.shape(5, 7)
		if both[name] != g.at(int64(rows), int64(length)) {
			return nil
		}
		found[name] = g
	}
	return found
}

func (g growth) at(rows, length int64) int64 { return g.rows*rows + g.length*length + g.fixed }

// shape is what the model computes for so many texts and tokens.
func (m *Model) shape(rows, length int) (int, int) {
	if m.plan.Rows > 0 {
		rows = m.plan.Rows
	}
	if m.plan.Length > 0 {
		length = m.plan.Length
	}
	return rows, length
}

// Sizes are those of the inputs' dimensions in a batch of so many texts, the longest of so many
// tokens; nil when that is not known.
func (m *Model) Sizes(rows, length int) tensor.Sizes {
	rows, length = m.shape(rows, length)
	sizes := make(tensor.Sizes, len(m.grows))
	for name, g := range m.grows {
		sizes[name] = g.at(int64(rows), int64(length))
	}
	if len(sizes) == 0 {
		return nil
	}
	return sizes
}
