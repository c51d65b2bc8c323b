package main_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/distinfer/distinfer/runtime/ort"
	"github.com/distinfer/distinfer/runtime/ort/orttest"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/runtime/text"
	"github.com/distinfer/distinfer/split/onnxfile/onnxtest"
)

// Whatever else is in the batch, an answer is within 1e-4 of the same text's alone, or the
// text is computed alone: for models whose rows depend on each other, that heed no mask,
// that are exact on one side of padding only, and whatever tokenizer.json says of the side.
func TestAnAnswerIsThatOfTheTextAlone(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		kind, direction string
		says            string // at the front's start
		which           string
	}{
		"any length":       {"nothing", "Right", "texts are computed together", "texts of any length, padded on either side"},
		"right, not left":  {"a place", "Left", "texts are computed together", "texts of any length, padded on the right"},
		"left, not right":  {"the last of the batch's tokens", "Right", "texts are computed together", "texts of any length, padded on the left"},
		"equal lengths":    {"padding", "Right", "texts are computed together", "texts of equal length"},
		"static integers":  {"padding that integers do not hold", "Left", "texts are computed together", "texts of equal length"},
		"rows by an id":    {"rows by an id", "Right", "every text is computed by itself", ""},
		"scales of all":    {"the largest of the batch", "Right", "every text is computed by itself", ""},
		"means of a batch": {"the mean of the batch", "Right", "every text is computed by itself", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			tokenizer := onnxtest.TextTokenizer(`{"strategy": "BatchLongest", "direction": "` + c.direction + `", "pad_to_multiple_of": null, "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"}`)
			for file, content := range map[string]string{"model.onnx": string(onnxtest.TextModel(c.kind)), "tokenizer.json": tokenizer, "config.json": onnxtest.TextConfig} {
				if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			said := ok(t, dir, "", "split", "model.onnx", "--stages", "1", "--out", "stages")
			if c.which == "" && !strings.Contains(said, "warning: each text is computed alone: of texts of equal length computed together, ") ||
				c.which != "" && !strings.Contains(said, "computed together: "+c.which) {
				t.Errorf("split says\n%s", said)
			}
			bundle := filepath.Join(dir, "stages")
			_, only := stage(t, bundle, 0)
			f, url := front(t, bundle, []string{only})
			if entry := f.entry(t, c.says, 1); c.which != "" && entry["which"] != c.which || c.which == "" && !strings.Contains(fmt.Sprint(entry["reason"]), "computed together") {
				t.Errorf("the front says %v", entry)
			}
			const n = 150
			wrong, worst := mixedTexts(t, dir, url, n)
			if wrong > 0 {
				t.Errorf("%d of %d answers are others than alone, by up to %.1g", wrong, n, worst)
			}
			batches, texts := batchesOf(t, url)
			if together := texts > batches; together != (c.which != "") {
				t.Errorf("%v texts in %v batches", texts, batches)
			}
			measured(t, "%s: %v texts in %v batches, largest difference %.1e", name, texts, batches, worst)
		})
	}
}

// mixedTexts asks a front for n texts at once, singles and pairs of all lengths, some with a
// token in them that ends a text, and counts the answers that are not those of the text alone.
func mixedTexts(t *testing.T, dir, url string, n int) (wrong int, worst float64) {
	t.Helper()
	file, err := os.Open(filepath.Join(dir, "tokenizer.json"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	tokenizer, err := text.LoadTokenizer(file)
	if err != nil {
		t.Fatal(err)
	}
	var inputs []tensor.Spec
	for _, name := range []string{"input_ids", "attention_mask"} {
		inputs = append(inputs, tensor.Spec{Name: name, DType: tensor.Int64, Dims: []tensor.Dim{tensor.Named("batch"), tensor.Named("sequence")}})
	}
	logits := tensor.Spec{Name: "logits", DType: tensor.Float32, Dims: []tensor.Dim{tensor.Named("batch"), tensor.Fixed(2)}}
	whole, err := orttest.Library(t).Open(filepath.Join(dir, "model.onnx"), inputs, []tensor.Spec{logits}, ort.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = whole.Close() }()

	random := rand.New(rand.NewPCG(3, 4))
	words := func() string {
		var list []string
		for range 1 + random.IntN(20) {
			if random.IntN(8) == 0 {
				list = append(list, "</s>")
				continue
			}
			list = append(list, fmt.Sprint("w", 3+random.IntN(onnxtest.Vocabulary-3)))
		}
		return strings.Join(list, " ")
	}
	type input struct {
		Text string  `json:"text"`
		Pair *string `json:"text_pair,omitempty"`
	}
	var mu sync.Mutex
	var all sync.WaitGroup
	slots := make(chan struct{}, 48)
	for range n {
		in := input{Text: words()}
		e, err := tokenizer.Encode(in.Text)
		if random.IntN(3) == 0 {
			second := words()
			in.Pair = &second
			e, err = tokenizer.EncodePair(in.Text, second)
		}
		if err != nil {
			t.Fatal(err)
		}
		shape := []int64{1, int64(len(e.IDs))}
		out, err := whole.Run(context.Background(), tensor.Bag{"input_ids": tensor.Of(shape, e.IDs), "attention_mask": tensor.Of(shape, e.AttentionMask)})
		if err != nil {
			t.Fatal(err)
		}
		want, err := tensor.As[float32](out["logits"])
		if err != nil {
			t.Fatal(err)
		}
		all.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			body, err := json.Marshal(map[string]any{"inputs": []input{in}})
			if err != nil {
				t.Error(err)
				return
			}
			status, answer := fetch(t, "POST", url+"/predict", string(body))
			var got [][]struct {
				Label string
				Score float64
			}
			if err := json.Unmarshal([]byte(answer), &got); status != 200 || err != nil || len(got) != 1 || len(got[0]) != 2 {
				t.Errorf("%s: %d %s", body, status, answer)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			far := 0.0
			for _, r := range got[0] {
				w := float64(want[map[string]int{"a": 0, "b": 1}[r.Label]])
				far = max(far, math.Abs(r.Score-w)/max(1, math.Abs(w)))
			}
			if worst = max(worst, far); far > tolerance {
				wrong++
			}
		})
	}
	all.Wait()
	return wrong, worst
}

// batchesOf is how many batches a front has had computed, and how many texts in them.
func batchesOf(t *testing.T, url string) (batches, texts float64) {
	t.Helper()
	_, metrics := fetch(t, "GET", url+"/metrics", "")
	read := func(name string) float64 {
		_, rest, _ := strings.Cut(metrics, "\n"+name+" ")
		value, _, _ := strings.Cut(rest, "\n")
		n, err := strconv.ParseFloat(value, 64)
		if err != nil {
			t.Fatalf("%s is %q", name, value)
		}
		return n
	}
	return read("distinfer_batch_texts_count"), read("distinfer_batch_texts_sum")
}
