package split

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/split/enginetest"
	"github.com/distinfer/distinfer/split/onnxfile/decodertest"
)

// decoder writes a small decoder model.
func decoder(t *testing.T, o decodertest.Options) (path string) {
	t.Helper()
	dir := t.TempDir()
	if err := decodertest.Write(dir, decodertest.Tiny, o); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "model.onnx")
}

// Decoders of every precision, of ONNX's own operators and of ONNX Runtime's, give in stages what
// they give whole.
func TestDecodersAreSplit(t *testing.T) {
	t.Parallel()
	e := enginetest.New(t)
	for _, p := range decodertest.Precisions {
		for _, fused := range []bool{false, true} {
			t.Run(fmt.Sprint(p, " fused=", fused), func(t *testing.T) {
				t.Parallel()
				path := decoder(t, decodertest.Options{Precision: p, Fused: fused, PositionIDs: fused})
				r, err := Split(context.Background(), path, e, Options{Stages: 3, Out: filepath.Join(t.TempDir(), "stages"), Verify: true})
				if err != nil {
					t.Fatal(err)
				}
				if v := r.Verification; v.Runs == 0 || len(v.Unverified) > 0 {
					t.Errorf("%+v", v)
				}
				for rank, s := range r.Manifest.Stages {
					if len(s.Activations) == 0 {
						t.Errorf("the memory of stage %d is not estimated", rank)
					}
				}
			})
		}
	}
}

// Both kinds of operators compute the same, so that what is measured of one means something.
func TestFusedDecodersAnswerLikePlainOnes(t *testing.T) {
	t.Parallel()
	e := enginetest.New(t)
	in := tensor.Bag{
		"input_ids":      tensor.Of([]int64{2, 5}, []int64{1, 2, 3, 4, 5, 70, 80, 90, 256, 256}),
		"attention_mask": tensor.Of([]int64{2, 5}, []int64{1, 1, 1, 1, 1, 1, 1, 1, 0, 0}),
	}
	dims := []tensor.Dim{tensor.Named("batch_size"), tensor.Named("sequence_length")}
	inputs := []tensor.Spec{{Name: "input_ids", DType: tensor.Int64, Dims: dims}, {Name: "attention_mask", DType: tensor.Int64, Dims: dims}}
	outputs := []tensor.Spec{{Name: "last_hidden_state", DType: tensor.Float32, Dims: append(dims, tensor.Fixed(int64(decodertest.Tiny.Hidden)))}}
	var answers [][]float32
	for _, fused := range []bool{false, true} {
		s, err := e.Open(decoder(t, decodertest.Options{Precision: decodertest.Float32, Fused: fused}), inputs, outputs)
		if err != nil {
			t.Fatal(err)
		}
		out, err := s.Run(context.Background(), in)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := tensor.As[float32](out["last_hidden_state"])
		if err != nil {
			t.Fatal(err)
		}
		answers = append(answers, answer)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for i, x := range answers[0] {
		padding := i >= 8*decodertest.Tiny.Hidden
		if d := x - answers[1][i]; !padding && (d > 1e-4 || d < -1e-4) {
			t.Fatalf("number %d is %v plain and %v fused", i, x, answers[1][i])
		}
	}
}
