package main_test

import (
	"context"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/distinfer/distinfer/runtime/tensor"
)

// The scales of the int8 model are constants, so that an answer is the same
// whatever else is in the batch and however much it is padded; and it is right
// about as often as the model that it was made from.
func TestTheInt8ModelAnswersAloneAsInAnyBatch(t *testing.T) {
	t.Parallel()
	w := wholeModel(t, "sst2-minilm-int8")
	samples := dataset(t, "dev.tsv")
	alone := make([][]float32, len(samples))
	ids := make([][]int64, len(samples))
	right := 0
	for i, s := range samples {
		alone[i] = w.logits(t, s.text)
		e, err := w.tokenizer.Encode(s.text)
		if err != nil {
			t.Fatal(err)
		}
		ids[i] = e.IDs
		results, err := w.config.Results(alone[i])
		if err != nil {
			t.Fatal(err)
		}
		if results[0].Label == s.label {
			right++
		}
	}
	// At most half a point below the 0.9106 of sst2-minilm.
	accuracy := float64(right) / float64(len(samples))
	if accuracy < 0.9056 {
		t.Errorf("accuracy %.4f is too far below that of the float32 model", accuracy)
	}

	random := rand.New(rand.NewPCG(1, 2))
	largest, same, compared := 0.0, 0, 0
	for range 60 {
		rows := random.Perm(len(samples))[:1+random.IntN(16)]
		width := 0
		for _, i := range rows {
			width = max(width, len(ids[i]))
		}
		width += random.IntN(4) * random.IntN(12) // often more padding than is needed
		for k, logits := range w.batch(t, ids, rows, width) {
			i := rows[k]
			want, errWant := w.config.Results(alone[i])
			got, errGot := w.config.Results(logits)
			if errWant != nil || errGot != nil {
				t.Fatal(errWant, errGot)
			}
			largest = max(largest, sameResults(t, samples[i].text, want, got))
			compared++
			if math.Float32bits(logits[0]) == math.Float32bits(alone[i][0]) && math.Float32bits(logits[1]) == math.Float32bits(alone[i][1]) {
				same++
			}
		}
	}
	measured(t, "sst2-minilm-int8: dev accuracy %.4f; of %d answers in random batches %d have the same bits as alone, largest difference of a score %.1e",
		accuracy, compared, same, largest)
}

// batch gives the logits of some of the texts, padded to a width and computed together.
func (w *whole) batch(t *testing.T, ids [][]int64, rows []int, width int) [][]float32 {
	t.Helper()
	padded := make([]int64, len(rows)*width)
	mask := make([]int64, len(rows)*width)
	for k, i := range rows {
		copy(padded[k*width:], ids[i])
		for j := range ids[i] {
			mask[k*width+j] = 1
		}
	}
	shape := []int64{int64(len(rows)), int64(width)}
	out, err := w.session.Run(context.Background(), tensor.Bag{"input_ids": tensor.Of(shape, padded), "attention_mask": tensor.Of(shape, mask)})
	if err != nil {
		t.Fatal(err)
	}
	values, err := tensor.As[float32](out["logits"])
	if err != nil {
		t.Fatal(err)
	}
	var logits [][]float32
	for k := range rows {
		logits = append(logits, values[2*k:2*k+2])
	}
	return logits
}
