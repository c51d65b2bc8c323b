package textmodel

import (
	"fmt"
	"slices"
	"testing"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/classify/classifytest"
	"github.com/distinfer/distinfer/runtime/ort"
	"github.com/distinfer/distinfer/runtime/ort/orttest"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/split/onnxfile/onnxtest"
)

// decoder is a model as decoders are exported, with positions and a cache: its logits are the sum
// of a text's ids, and that of its positions, each of them squared, behind those of the cache.
func decoder() []byte {
	var g onnxtest.Graph
	const float, integer = int64(tensor.Float32), int64(tensor.Int64)
	g.Input("input_ids", integer, "batch", "sequence")
	g.Input("attention_mask", integer, "batch", "past + sequence")
	g.Input("position_ids", integer, "batch", "sequence")
	g.Input("past_key_values.0.key", float, "batch", 1, "past", 2)
	var ids, places []float32
	for i := range 20 {
		ids = append(ids, float32(i), 0)
	}
	for i := range 8 {
		places = append(places, 0, float32(i*i))
	}
	g.Floats("ids", []int64{20, 2}, ids)
	g.Floats("places", []int64{8, 2}, places)
	g.Ints("one", []int64{1}, 1)
	g.Ints("two", []int64{1}, 2)
	g.Node("Gather", []string{"ids", "input_ids"}, []string{"token"})
	g.Node("Gather", []string{"places", "position_ids"}, []string{"place"})
	g.Node("Add", []string{"token", "place"}, []string{"both"})
	g.Node("Unsqueeze", []string{"both", "one"}, []string{"new"})
	g.Node("Concat", []string{"past_key_values.0.key", "new"}, []string{"present.0.key"}, onnxtest.IntAttr("axis", 2))
	g.Node("Squeeze", []string{"present.0.key", "one"}, []string{"all"})
	g.Node("Cast", []string{"attention_mask"}, []string{"mask"}, onnxtest.IntAttr("to", float))
	g.Node("Unsqueeze", []string{"mask", "two"}, []string{"wide"})
	g.Node("Mul", []string{"all", "wide"}, []string{"seen"})
	g.Node("ReduceSum", []string{"seen", "one"}, []string{"logits"}, onnxtest.IntAttr("keepdims", 0))
	g.Output("logits", float, "batch", 2)
	g.Output("present.0.key", float, "batch", 1, "past + sequence", 2)
	return g.Model()
}

func TestADecoderWithPositionsAndACacheIsFilled(t *testing.T) {
	t.Parallel()
	library := orttest.Library(t)
	batch, sequence := classifytest.Batch, classifytest.Sequence
	past, all := tensor.Named("past"), tensor.Named("past + sequence")
	m := classifytest.Usual
	m.Inputs = []tensor.Spec{
		classifytest.Spec("input_ids", tensor.Int64, batch, sequence),
		classifytest.Spec("attention_mask", tensor.Int64, batch, all),
		classifytest.Spec("position_ids", tensor.Int64, batch, sequence),
		classifytest.Spec("past_key_values.0.key", tensor.Float32, batch, tensor.Fixed(1), past, tensor.Fixed(2)),
	}
	m.Outputs = []tensor.Spec{
		classifytest.Spec("logits", tensor.Float32, batch, tensor.Fixed(2)),
		classifytest.Spec("present.0.key", tensor.Float32, batch, tensor.Fixed(1), all, tensor.Fixed(2)),
	}
	m.Limits = &tensor.Limits{Values: []tensor.ValueLimit{{Input: "position_ids", Min: -8, Max: 7, Table: "places (8 rows)"}}}
	session, err := library.OpenBytes("decoder", decoder(), m.Inputs, m.Outputs, ort.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = session.Close() })
	// The last is cut to the eight positions that there are.
	texts := []string{"w1", "w9 w8 w7 w6 w5", "w0 w2", "w1 w1 w1 w1 w1 w1 w1 w1 w1 w1"}
	want := [][]float32{{11, 0}, {85, 30}, {22, 1}, {88, 140}}
	for _, side := range []string{bundle.Right, bundle.Left} {
		m.Rows = &bundle.Rows{Independent: true, Padding: []string{side}}
		made := model(t, m, session)
		if !made.Mixes() {
			t.Fatalf("texts of different lengths are not padded on the %s", side)
		}
		answers := compute(t, made, texts...)
		for i, text := range texts {
			answers = append(answers, compute(t, made, text)...)
			for _, a := range []Answer{answers[i], answers[len(texts)+i]} {
				if a.Err != nil || !slices.Equal(a.Values, want[i]) {
					t.Errorf("padded on the %s, %q: %s, %v; want %v", side, text, fmt.Sprint(a.Values), a.Err, want[i])
				}
			}
		}
	}
}
