package main_test

import (
	"context"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/runtime/text"
)

// Nobody's answer depends on the texts beside it, nor on padding: those of the int8
// model because its scales are constants.
func TestAnswersDoNotDependOnBatchMates(t *testing.T) {
	t.Parallel()
	for _, model := range []string{"sst2-minilm", "sst2-minilm-int8"} {
		t.Run(model, func(t *testing.T) {
			t.Parallel()
			w := wholeModel(t, model)
			samples := dataset(t, "dev.tsv")
			random := rand.New(rand.NewPCG(1, 2))
			random.Shuffle(len(samples), func(i, j int) { samples[i], samples[j] = samples[j], samples[i] })
			count, batches := 64, 16
			if allSentences() {
				count, batches = 250, 60
			}
			samples = samples[:count]
			alone := make([][]float32, len(samples))
			ids := make([][]int64, len(samples))
			for i, s := range samples {
				alone[i] = w.logits(t, s.text)
				e, err := w.tokenizer.Encode(s.text)
				if err != nil {
					t.Fatal(err)
				}
				ids[i] = e.IDs
			}
			largest, same, compared := 0.0, 0, 0
			for range batches {
				rows := random.Perm(len(samples))[:1+random.IntN(16)]
				width := 0
				for _, i := range rows {
					width = max(width, len(ids[i]))
				}
				width += random.IntN(4) * random.IntN(12) // often more padding than is needed
				for k, logits := range w.batch(t, ids, rows, width) {
					i := rows[k]
					want, errWant := w.config.Results(alone[i], text.ByConfig)
					got, errGot := w.config.Results(logits, text.ByConfig)
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
			measured(t, "%s: of %d answers in random batches %d have the same bits as alone, largest difference of a score %.1e", model, compared, same, largest)
		})
	}
}

// The int8 model is right about as often as the one that it was made from: at most
// half a point below its 0.9106.
func TestTheInt8ModelIsAccurate(t *testing.T) {
	t.Parallel()
	w := wholeModel(t, "sst2-minilm-int8")
	samples := devSet(t)
	right := 0
	for _, s := range samples {
		if w.results(t, s.text)[0].Label == s.label {
			right++
		}
	}
	accuracy := float64(right) / float64(len(samples))
	measured(t, "sst2-minilm-int8: accuracy %.4f on %d sentences of SST-2's dev set", accuracy, len(samples))
	if accuracy < 0.9056 {
		t.Errorf("accuracy %.4f is too far below that of the float32 model", accuracy)
	}
}

// A front says at start that the model's answers depend on what is computed together,
// and has nothing computed together.
func TestTheTextsOfAModelThatDependsOnItsBatchAreComputedAlone(t *testing.T) {
	t.Parallel()
	bundle := split(t, "seed-rnn", 1)
	manifest := filepath.Join(bundle, "manifest.json")
	data, err := os.ReadFile(manifest)
	if err != nil {
		t.Fatal(err)
	}
	noted := regexp.MustCompile(`(?s)"rows": \{.*?\}`).ReplaceAllString(string(data), `"rows": {"independent": false, "reason": "as told"}`)
	if err := os.WriteFile(manifest, []byte(noted), 0o600); err != nil {
		t.Fatal(err)
	}
	_, only := stage(t, bundle, 0)
	f, url := front(t, bundle, []string{only}, "--log-level", "debug")
	if warning := f.entry(t, "every text is computed by itself", 1); warning["reason"] != "as told" {
		t.Errorf("the warning is %v", warning)
	}
	const texts = 3
	if status, body := fetch(t, "POST", url+"/predict", `{"inputs": ["a lovely film", "a waste of time", "piece of art"]}`); status != 200 {
		t.Fatalf("%d %s", status, body)
	}
	if batch := f.entry(t, "batch", texts); batch["texts"] != 1.0 {
		t.Errorf("the last of %d batches is %v", texts, batch)
	}
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
