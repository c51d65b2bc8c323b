package feed

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/runtime/text"
)

var (
	batch, sequence, past = tensor.Named("batch_size"), tensor.Named("sequence_length"), tensor.Named("past_sequence_length")
	fixed                 = tensor.Fixed
	inputIDs              = spec("input_ids", batch, sequence)
	plain                 = Model{PadID: -1}
)

func spec(name string, dims ...tensor.Dim) tensor.Spec { return typed(name, tensor.Int64, dims...) }

func typed(name string, d tensor.DType, dims ...tensor.Dim) tensor.Spec {
	return tensor.Spec{Name: name, DType: d, Dims: dims}
}

// onLeft and onRight are two texts, one of them padded with 1. The other has the id 1 inside.
var (
	onRight = text.Batch{
		Rows: 2, Length: 4, IDs: []int64{5, 6, 1, 1, 7, 1, 8, 9}, TypeIDs: []int64{0, 1, 0, 0, 0, 0, 1, 1},
		AttentionMask: []int64{1, 1, 0, 0, 1, 1, 1, 1},
	}
	onLeft = text.Batch{
		Rows: 2, Length: 4, IDs: []int64{1, 1, 5, 6, 7, 1, 8, 9}, TypeIDs: []int64{0, 0, 0, 1, 0, 0, 1, 1},
		AttentionMask: []int64{0, 0, 1, 1, 1, 1, 1, 1},
	}
)

// show writes what an input is given.
func show(t testing.TB, x tensor.Tensor) string {
	t.Helper()
	if err := x.Check(); err != nil {
		t.Fatal(err)
	}
	var values any
	var err error
	switch x.DType {
	case tensor.Int64:
		values, err = tensor.As[int64](x)
	case tensor.Int32:
		values, err = tensor.As[int32](x)
	case tensor.Bool:
		values, err = tensor.As[bool](x)
	default:
		values, err = tensor.Widen(x)
	}
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%s%v%v", x.DType, x.Shape, values)
}

// Positions are what the models of transformers make themselves, of texts with padding on
// either side: of the mask, and, in RoBERTa and its kin, of the ids.
func TestInputsAreFilled(t *testing.T) {
	t.Parallel()
	roberta := Model{Type: "roberta", PadID: 1}
	for name, c := range map[string]struct {
		input tensor.Spec
		model Model
		right string
		left  string // as right when empty
	}{
		"mask":                     {spec("attention_mask", batch, sequence), plain, "int64[2 4][1 1 0 0 1 1 1 1]", "int64[2 4][0 0 1 1 1 1 1 1]"},
		"mask with the past":       {spec("attention_mask", batch, tensor.Named("past_sequence_length + sequence_length")), plain, "int64[2 4][1 1 0 0 1 1 1 1]", "int64[2 4][0 0 1 1 1 1 1 1]"},
		"mask of int32":            {typed("attention_mask", tensor.Int32, batch, sequence), plain, "int32[2 4][1 1 0 0 1 1 1 1]", "int32[2 4][0 0 1 1 1 1 1 1]"},
		"mask of bool":             {typed("attention_mask", tensor.Bool, batch, sequence), plain, "bool[2 4][true true false false true true true true]", "bool[2 4][false false true true true true true true]"},
		"mask of float":            {typed("attention_mask", tensor.Float32, batch, sequence), plain, "float32[2 4][1 1 0 0 1 1 1 1]", "float32[2 4][0 0 1 1 1 1 1 1]"},
		"mask of float16":          {typed("attention_mask", tensor.Float16, batch, sequence), plain, "float16[2 4][1 1 0 0 1 1 1 1]", "float16[2 4][0 0 1 1 1 1 1 1]"},
		"mask of BERT's first":     {spec("input_mask:0", batch, sequence), plain, "int64[2 4][1 1 0 0 1 1 1 1]", "int64[2 4][0 0 1 1 1 1 1 1]"},
		"mask of XLNet":            {typed("input_mask", tensor.Float32, batch, sequence), Model{Type: "xlnet", PadID: -1}, "float32[2 4][0 0 1 1 0 0 0 0]", "float32[2 4][1 1 0 0 0 0 0 0]"},
		"types":                    {spec("token_type_ids", batch, sequence), plain, "int64[2 4][0 1 0 0 0 0 1 1]", "int64[2 4][0 0 0 1 0 0 1 1]"},
		"types by another name":    {spec("segment_ids", batch, sequence), plain, "int64[2 4][0 1 0 0 0 0 1 1]", "int64[2 4][0 0 0 1 0 0 1 1]"},
		"positions":                {spec("position_ids", batch, sequence), plain, "int64[2 4][0 1 0 0 0 1 2 3]", "int64[2 4][0 0 0 1 0 1 2 3]"},
		"positions of int32":       {typed("position_ids", tensor.Int32, batch, sequence), plain, "int32[2 4][0 1 0 0 0 1 2 3]", "int32[2 4][0 0 0 1 0 1 2 3]"},
		"positions of RoBERTa":     {spec("position_ids", batch, sequence), roberta, "int64[2 4][2 3 1 1 2 1 3 4]", "int64[2 4][1 1 2 3 2 1 3 4]"},
		"positions of YOSO":        {spec("position_ids", batch, sequence), Model{Type: "yoso", PadID: -1}, "int64[2 4][2 3 2 2 2 3 4 5]", "int64[2 4][2 2 2 3 2 3 4 5]"},
		"positions for all texts":  {spec("position_ids", fixed(1), sequence), plain, "int64[1 4][0 1 2 3]", ""},
		"positions of no text":     {spec("position_ids", sequence), plain, "int64[4][0 1 2 3]", ""},
		"global attention":         {spec("global_attention_mask", batch, sequence), Model{PadID: -1, GlobalFirst: true}, "int64[2 4][1 0 0 0 1 0 0 0]", "int64[2 4][0 0 1 0 1 0 0 0]"},
		"no global attention":      {spec("global_attention_mask", batch, sequence), plain, "int64[2 4][0 0 0 0 0 0 0 0]", ""},
		"places in the cache":      {spec("cache_position", sequence), plain, "int64[4][0 1 2 3]", ""},
		"no cache":                 {typed("use_cache_branch", tensor.Bool, fixed(1)), plain, "bool[1][false]", ""},
		"no cache, a scalar":       {typed("use_cache_branch", tensor.Bool), plain, "bool[][false]", ""},
		"all logits":               {spec("num_logits_to_keep"), plain, "int64[][0]", ""},
		"a cache":                  {typed("past_key_values.0.key", tensor.Float32, batch, fixed(2), past, fixed(8)), plain, "float32[2 2 0 8][]", ""},
		"a cache of halves":        {typed("past_key_values.11.value", tensor.Float16, batch, fixed(2), past, fixed(8)), plain, "float16[2 2 0 8][]", ""},
		"a cache of a decoder":     {typed("past_key_values.0.decoder.key", tensor.Float32, batch, fixed(2), past, fixed(8)), plain, "float32[2 2 0 8][]", ""},
		"a cache that is empty":    {typed("past_0", tensor.Float32, fixed(2), batch, fixed(3), fixed(0), fixed(8)), plain, "float32[2 2 3 0 8][]", ""},
		"a cache by config.json":   {typed("pkv_0", tensor.Float32, batch, tensor.Named("num_heads"), past, tensor.Named("head_dim")), Model{PadID: -1, Heads: 3, HeadSize: 5}, "float32[2 3 0 5][]", ""},
		"a cache without names":    {typed("past_key_values_key_0", tensor.Float32, tensor.Dim{}, tensor.Dim{}, tensor.Dim{}, tensor.Dim{}), Model{PadID: -1, Heads: 3, HeadSize: 5}, "float32[2 3 0 5][]", ""},
		"a cache of rows by heads": {typed("past_key_values.0.key", tensor.Float32, tensor.Named("batch_size x num_heads"), fixed(8), past), Model{PadID: -1, Heads: 4}, "float32[8 8 0][]", ""},
		"a cache of both":          {typed("past_key_values.0.key_value", tensor.Float32, batch, past, fixed(16)), plain, "float32[2 0 16][]", ""},
		"a memory":                 {typed("mems_0", tensor.Float32, tensor.Named("mem_len"), batch, fixed(16)), plain, "float32[0 2 16][]", ""},
	} {
		p, err := New([]tensor.Spec{c.input, inputIDs}, c.model)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if c.left == "" {
			c.left = c.right
		}
		for i, b := range []text.Batch{onRight, onLeft} {
			bag := p.Batch(b)
			if got, want := show(t, bag[c.input.Name]), []string{c.right, c.left}[i]; got != want {
				t.Errorf("%s: %s, want %s", name, got, want)
			}
			if ids, _ := tensor.As[int64](bag["input_ids"]); !slices.Equal(ids, b.IDs) {
				t.Errorf("%s: the ids are %v", name, ids)
			}
		}
	}
}

// Ids have many names, but only where nothing else can be meant.
func TestIdsAreFound(t *testing.T) {
	t.Parallel()
	attention := spec("attention_mask", batch, sequence)
	for _, c := range []struct {
		inputs []tensor.Spec
		want   string // "" is an error
	}{
		{[]tensor.Spec{attention, inputIDs}, "input_ids"},
		{[]tensor.Spec{spec("input.1", batch, sequence), attention}, "input.1"},
		{[]tensor.Spec{spec("serving_default_input_word_ids:0", batch, sequence), attention}, "serving_default_input_word_ids:0"},
		{[]tensor.Spec{spec("onnx::Gather_0", batch, sequence)}, "onnx::Gather_0"},
		{[]tensor.Spec{attention, spec("x", batch, sequence)}, "x"},
		{[]tensor.Spec{attention, spec("x", batch, sequence), spec("y", batch, sequence)}, ""},
		{[]tensor.Spec{inputIDs, spec("x", batch, sequence)}, ""},
		{[]tensor.Spec{attention, typed("x", tensor.Float32, batch, sequence)}, ""},
		{[]tensor.Spec{attention, spec("x", batch, sequence, sequence)}, ""},
		{[]tensor.Spec{attention}, ""},
		{[]tensor.Spec{inputIDs, spec("ids", batch, sequence)}, ""},
		{[]tensor.Spec{typed("inputs_embeds", tensor.Float32, batch, sequence, fixed(8)), attention}, ""},
	} {
		if got := IDs(c.inputs); got != c.want {
			t.Errorf("of %v: %q, want %q", c.inputs, got, c.want)
		}
	}
}

func TestInputsThatCannotBeFilledAreNamed(t *testing.T) {
	t.Parallel()
	float := tensor.Float32
	for _, c := range []struct {
		input tensor.Spec
		cause Cause
		says  string
	}{
		{spec("decoder_input_ids", batch, sequence), Decoder, "export the encoder alone"},
		{spec("decoder_attention_mask", batch, sequence), Decoder, "decoder"},
		{typed("encoder_hidden_states", float, batch, sequence, fixed(8)), Decoder, "decoder"},
		{typed("encoder_outputs", float, batch, sequence, fixed(8)), Decoder, "decoder"},
		{typed("past_key_values.0.encoder.key", float, batch, fixed(2), past, fixed(8)), Decoder, "decoder"},
		{typed("inputs_embeds", float, batch, sequence, fixed(8)), Embedded, "vectors"},
		{spec("labels", batch), Training, "for inference"},
		{spec("bbox", batch, sequence, fixed(4)), OtherKind, "places of words on a page"},
		{typed("pixel_values", float, batch, fixed(3), fixed(8), fixed(8)), OtherKind, "images or sound"},
		{spec("task_id"), Unknown, "a language or task"},
		{typed("key_padding_mask", tensor.Bool, batch, sequence), Unknown, "1 for padding"},
		{spec("anything", batch, sequence), Unknown, "its name does not say"},
		{spec("attention_mask", batch, fixed(1), sequence, sequence), Shape, "a batch and a sequence"},
		{spec("position_ids", fixed(3), batch, sequence), Shape, "a batch and a sequence"},
		{spec("past_key_values.0.key", batch, fixed(2), past, fixed(8)), Shape, "it should be float"},
		{typed("past_key_values.0.key", float, batch, fixed(2), fixed(16), fixed(8)), Cache, "length is fixed"},
		{typed("past_key_values.0.key", float, batch, tensor.Named("heads"), past, fixed(8)), Cache, "dimension heads is not known"},
		{typed("past_conv_state.0", float, batch, fixed(2), fixed(8)), Cache, "a state of earlier tokens"},
	} {
		_, err := New([]tensor.Spec{inputIDs, c.input}, plain)
		var e *Error
		if !errors.As(err, &e) || e.Cause != c.cause || e.Input.Name != c.input.Name || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), c.input.String()) {
			t.Errorf("%s: %v, want the cause %d and %q", c.input, err, c.cause, c.says)
		}
	}
	var none *NoIDsError
	if _, err := New(nil, plain); !errors.As(err, &none) {
		t.Errorf("without inputs: %v", err)
	}
}

func TestSizesThatTheModelFixes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		inputs       []tensor.Spec
		rows, length int // -1 is an error
	}{
		{[]tensor.Spec{inputIDs, spec("attention_mask", batch, sequence)}, 0, 0},
		{[]tensor.Spec{spec("input_ids", fixed(1), fixed(16)), spec("attention_mask", fixed(1), fixed(16)), spec("position_ids", fixed(1), fixed(16))}, 1, 16},
		{[]tensor.Spec{inputIDs, spec("attention_mask", batch, fixed(16))}, 0, 16},
		{[]tensor.Spec{inputIDs, spec("position_ids", fixed(1), fixed(16))}, 0, 16},
		{[]tensor.Spec{spec("input_ids", fixed(4), sequence), spec("position_ids", fixed(4), sequence)}, 4, 0},
		{[]tensor.Spec{inputIDs, typed("past_key_values.0.key", tensor.Float32, fixed(1), fixed(2), past, fixed(8))}, 1, 0},
		{[]tensor.Spec{spec("input_ids", batch, fixed(16)), spec("attention_mask", batch, fixed(12))}, -1, -1},
		{[]tensor.Spec{spec("input_ids", fixed(1), sequence), spec("attention_mask", fixed(2), sequence)}, -1, -1},
		{[]tensor.Spec{spec("input_ids", batch, fixed(0))}, -1, -1},
		{[]tensor.Spec{spec("input_ids", batch, fixed(1)), typed("past_key_values.0.key", tensor.Float32, batch, fixed(2), past, fixed(8))}, -1, -1},
	} {
		p, err := New(c.inputs, plain)
		if (err != nil) != (c.rows < 0) || err == nil && (p.Rows != c.rows || p.Length != c.length) {
			t.Errorf("%v: %+v, %v; want %d rows of %d", c.inputs, p, err, c.rows, c.length)
		}
	}
}
