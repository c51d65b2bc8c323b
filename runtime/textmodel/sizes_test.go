package textmodel

import (
	"maps"
	"testing"

	"github.com/distinfer/distinfer/runtime/feed"
	"github.com/distinfer/distinfer/runtime/tensor"
)

func TestSizesOfABatchAreThoseOfItsInputs(t *testing.T) {
	t.Parallel()
	batch, sequence := tensor.Named("batch"), tensor.Named("sequence")
	of := func(name string, dims ...tensor.Dim) tensor.Spec {
		return tensor.Spec{Name: name, DType: tensor.Int64, Dims: dims}
	}
	cache := tensor.Spec{Name: "past_key_values.0.key", DType: tensor.Float32, Dims: []tensor.Dim{batch, tensor.Fixed(2), tensor.Named("past"), tensor.Fixed(4)}}
	for name, c := range map[string]struct {
		inputs []tensor.Spec
		want   tensor.Sizes // of 3 texts of 11 tokens
	}{
		"usual":   {[]tensor.Spec{of("input_ids", batch, sequence), of("attention_mask", batch, sequence)}, tensor.Sizes{"batch": 3, "sequence": 11}},
		"sum":     {[]tensor.Spec{of("input_ids", batch, sequence), of("attention_mask", batch, tensor.Named("past + sequence")), cache}, tensor.Sizes{"batch": 3, "sequence": 11, "past": 0, "past + sequence": 11}},
		"shared":  {[]tensor.Spec{of("input_ids", batch, sequence), of("position_ids", tensor.Fixed(1), sequence)}, tensor.Sizes{"batch": 3, "sequence": 11}},
		"length":  {[]tensor.Spec{of("input_ids", batch, tensor.Fixed(16))}, tensor.Sizes{"batch": 3}},
		"rows":    {[]tensor.Spec{of("input_ids", tensor.Fixed(4), sequence)}, tensor.Sizes{"sequence": 11}},
		"nothing": {[]tensor.Spec{of("input_ids", tensor.Fixed(4), tensor.Fixed(16))}, nil},
	} {
		plan, err := feed.New(c.inputs, feed.Model{PadID: -1})
		if err != nil {
			t.Fatal(name, err)
		}
		m := &Model{plan: plan}
		m.grows = m.growths(c.inputs)
		if got := m.Sizes(3, 11); !maps.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
