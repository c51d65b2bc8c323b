package main_test

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/distinfer/distinfer/runtime/tensor"
)

// predictions asks a front for the scores of texts by label.
func predictions(t *testing.T, url string, texts []string) []map[string]float64 {
	t.Helper()
	body, err := json.Marshal(map[string]any{"inputs": texts})
	if err != nil {
		t.Fatal(err)
	}
	code, answer := fetch(t, "POST", url+"/predict", string(body))
	var results [][]struct {
		Label string
		Score float64
	}
	if err := json.Unmarshal([]byte(answer), &results); err != nil || code != 200 || len(results) != len(texts) {
		t.Fatalf("%d: %s (%v)", code, answer, err)
	}
	list := make([]map[string]float64, len(results))
	for i, r := range results {
		list[i] = map[string]float64{}
		for _, l := range r {
			list[i][l.Label] = l.Score
		}
	}
	return list
}

// furthest is how far a score moved at most, and whether a label flipped.
func furthest(a, b []map[string]float64) (move float64, flipped bool) {
	for i := range a {
		for label, score := range a[i] {
			move = max(move, math.Abs(score-b[i][label]))
			flipped = flipped || (score > 0.5) != (b[i][label] > 0.5)
		}
	}
	return move, flipped
}

func TestStagesSendWhatTheFrontAsksFor(t *testing.T) {
	t.Parallel()
	dir := split(t, "sst2-minilm", 3)
	var addresses []string
	for rank := range 3 {
		_, address := stage(t, dir, rank)
		addresses = append(addresses, address)
	}
	var texts []string
	for _, s := range dataset(t, "dev.tsv")[:24] {
		texts = append(texts, s.text)
	}
	// Fronts of different precision share the stages.
	_, url := front(t, dir, addresses)
	plain := predictions(t, url, texts)
	for encoding, bound := range map[string]float64{"float16": 2e-3, "int8": 0.1} {
		_, url := front(t, dir, addresses, "--activation-dtype", encoding)
		move, flipped := furthest(plain, predictions(t, url, texts))
		if flipped || move > bound || move == 0 {
			t.Errorf("%s: a score moves by %g, and a label flips is %v; the bound is %g", encoding, move, flipped, bound)
		}
		measured(t, "scores between three stages move by up to %.6f with --activation-dtype %s", move, encoding)
	}
	if again, _ := furthest(plain, predictions(t, url, texts)); again != 0 {
		t.Errorf("afterwards a score of float32 is off by %g", again)
	}
}

func TestAFrontFollowsItsEncoding(t *testing.T) {
	t.Parallel()
	dir := split(t, "sst2-minilm", 2)
	_, first := stage(t, dir, 0)
	_, second := stage(t, dir, 1)
	config := filepath.Join(t.TempDir(), "distinfer.yaml")
	write := func(wire string) {
		if err := os.WriteFile(config, fmt.Appendf(nil, "activation-dtype: %s\n", wire), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("float32")
	texts := []string{"a lovely film , and not a moment too long"}
	f, url := front(t, dir, []string{first, second}, "--config", config)
	plain := predictions(t, url, texts)
	write("int8")
	if err := f.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	f.entry(t, "front follows", 1)
	if move, _ := furthest(plain, predictions(t, url, texts)); move == 0 {
		t.Error("the scores are still those of float32")
	}
}

func TestAnUnknownEncodingIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "wrong.yaml"), []byte("activation-dtype: bfloat16\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"front", "--activation-dtype", "bfloat16"}, {"up", "--activation-dtype", "bfloat16"}, {"front", "--config", "wrong.yaml"}} {
		if r := run(t, dir, "", args...); r.code != 2 || !strings.Contains(r.stderr, `activation-dtype is "bfloat16"; it can be float32, float16 or int8`) {
			t.Errorf("%v: %+v", args, r)
		}
	}
}

func TestVerifySaysWhatEncodingsChange(t *testing.T) {
	t.Parallel()
	dir := split(t, "sst2-minilm", 3)
	var lines []string
	for _, s := range dataset(t, "dev.tsv")[:40] {
		lines = append(lines, s.text)
	}
	path := filepath.Join(t.TempDir(), "texts.txt")
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	var report struct {
		Bundle    string
		Encodings struct {
			Texts     int
			Encodings []struct {
				Encoding     string
				Flips        int
				LargestMove  float64   `json:"largest_move"`
				MeanMove     float64   `json:"mean_move"`
				BytesPerText []float64 `json:"bytes_per_text"`
			}
		}
	}
	if err := json.Unmarshal([]byte(ok(t, dir, "", "verify", dir, "--texts", path, "-o", "json")), &report); err != nil {
		t.Fatal(err)
	}
	w := report.Encodings
	if w.Texts != 40 || len(w.Encodings) != 3 || report.Bundle == "" {
		t.Fatalf("%+v", report)
	}
	plain := w.Encodings[0]
	if plain.Encoding != "float32" || plain.Flips != 0 || plain.LargestMove != 0 || len(plain.BytesPerText) != 2 {
		t.Errorf("%+v", plain)
	}
	for i, c := range []struct {
		name  string
		share float64 // of the bytes, at least and a little more at most
		move  float64
	}{{"float16", 0.5, 5e-3}, {"int8", 0.25, 0.2}} {
		e := w.Encodings[1+i]
		if e.Encoding != c.name || e.Flips > 1 || e.LargestMove > c.move || e.MeanMove <= 0 || e.MeanMove > e.LargestMove {
			t.Errorf("%+v", e)
		}
		for cut, n := range e.BytesPerText {
			if share := n / plain.BytesPerText[cut]; share < c.share || share > c.share+0.03 {
				t.Errorf("%s: %g of the bytes cross cut %d", c.name, share, cut)
			}
		}
	}
	out := ok(t, dir, strings.Join(lines[:3], "\n"), "verify", dir, "--texts", "-")
	for _, says := range []string{"on 3 texts", "labels that flip", "behind stage 1", "float16", "int8", "(50 %)"} {
		if !strings.Contains(out, says) {
			t.Errorf("does not say %q: %s", says, out)
		}
	}
}

func TestVerifyRefusesTextsThatItCannotCompareOn(t *testing.T) {
	t.Parallel()
	two, one := split(t, "seed-rnn", 2), split(t, "seed-rnn", 1)
	for _, c := range []struct {
		dir, stdin string
		args       []string
		code       int
		says       string
	}{
		{one, "a film", []string{"--texts", "-"}, 1, "nothing goes from stage to stage"},
		{two, "", []string{"--texts", "-"}, 1, "it has no texts"},
		{two, "a film\n\nanother", []string{"--texts", "-"}, 1, "line 2: the text is empty"},
		{two, "", []string{"--texts", "none.txt"}, 1, "none.txt"},
		{two, "", []string{"--column", "text"}, 2, "--texts"},
		{two, "", []string{"--texts", "-", "--format", "xml"}, 2, "xml"},
	} {
		if r := run(t, t.TempDir(), c.stdin, append([]string{"verify", c.dir}, c.args...)...); r.code != c.code || !strings.Contains(r.stderr, c.says) {
			t.Errorf("%v: %+v; want %q", c.args, r, c.says)
		}
	}
}

// A caller in another language can have the stages narrow what they send, and can
// send narrow tensors itself.
func TestAPythonClientSendsAndAsksForNarrowTensors(t *testing.T) {
	t.Parallel()
	f := newForeigner(t)
	dir := split(t, "sst2-minilm", 2)
	_, first := stage(t, dir, 0)
	_, second := stage(t, dir, 1)
	w := wholeModel(t, "sst2-minilm")
	sentence := dataset(t, "dev.tsv")[0].text
	e, err := w.tokenizer.Encode(sentence)
	if err != nil {
		t.Fatal(err)
	}
	shape := []int64{1, int64(len(e.IDs))}
	request := message(t, dir, tensor.Bag{"input_ids": tensor.Of(shape, e.IDs), "attention_mask": tensor.Of(shape, e.AttentionMask)}, second)
	for encoding, bound := range map[string]float64{"": 1e-4, "float32": 1e-4, "float16": 2e-2, "int8": 0.3} {
		request.Encoding = encoding
		got, err := tensor.As[float32](f.compute(t, first, request)["logits"])
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range w.logits(t, sentence) {
			if d := math.Abs(float64(got[i] - want)); !(d <= bound) {
				t.Errorf("%q: logit %d is %v, want %v", encoding, i, got[i], want)
			}
		}
	}
	request.Encoding = "float8"
	f.refused(t, first, request, "FAILED_PRECONDITION", "mismatch", `"float8"`)

	// Python narrows, the stage widens, Python gets the float32 back. These numbers are
	// rounded by neither encoding, but for the last one.
	dir = t.TempDir()
	model, cut := sameModel([]tensor.DType{tensor.Float32})
	if err := os.WriteFile(filepath.Join(dir, "model.onnx"), model, 0o600); err != nil {
		t.Fatal(err)
	}
	ok(t, dir, "", "split", "model.onnx", "--at", cut, "--no-verify")
	dir = filepath.Join(dir, "stages")
	_, first = stage(t, dir, 0)
	_, second = stage(t, dir, 1)
	rows := []float32{63.5, -1, 0.5, 0, 0, 0, 127, -127, 3, 2032, -16, 2000.0625}
	in := tensor.Bag{
		"flag": tensor.Of(nil, []bool{true}), "float320": tensor.Of(nil, []float32{-2}),
		"float321": tensor.Of([]int64{3}, []float32{254, 2, -4}), "float322": tensor.Of([]int64{2, 2, 3}, rows),
	}
	for _, encoding := range []string{"float16", "int8"} {
		out := f.computeNarrow(t, first, message(t, dir, in, second), encoding)
		want := slices.Clone(rows)
		want[len(want)-1] = 2000
		for name, values := range map[string][]float32{"float320": {-2}, "float321": {254, 2, -4}, "float322": want} {
			if got, err := tensor.As[float32](out[name+"_same"]); err != nil || !slices.Equal(got, values) {
				t.Errorf("%s of %s came back as %v (%v), want %v", name, encoding, got, err, values)
			}
		}
	}
}
