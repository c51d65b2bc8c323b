package tokenclass

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/distinfer/distinfer/runtime/classify/classifytest"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/runtime/text"
	"github.com/distinfer/distinfer/runtime/textmodel"
)

var labels = []string{"O", "B-POS", "I-POS", "B-NEG", "I-NEG"}

// made answers with logits that follow from ids and places, as in
// scripts/task-oracle/families.py.
type made struct{}

func (made) Run(_ context.Context, in tensor.Bag) (tensor.Bag, error) {
	ids, err := tensor.As[int64](in["input_ids"])
	if err != nil {
		return nil, err
	}
	mask, err := tensor.As[int64](in["attention_mask"])
	if err != nil {
		return nil, err
	}
	shape := in["input_ids"].Shape
	var logits []float32
	place := int64(0)
	for n, id := range ids {
		if int64(n)%shape[1] == 0 {
			place = 0
		}
		for k := range int64(len(labels)) {
			logits = append(logits, float32((id*31+place/3*17+k*4177+id*k*7)%9973)/1600)
		}
		place += mask[n] // padding on the left moves nothing
	}
	return tensor.Bag{"logits": tensor.Of([]int64{shape[0], shape[1], int64(len(labels))}, logits)}, nil
}

type expectedEntity struct {
	kind, word        string
	score             float64
	start, end, index int
}

func (e *expectedEntity) UnmarshalJSON(data []byte) error {
	return json.Unmarshal(data, &[]any{&e.kind, &e.score, &e.word, &e.start, &e.end, &e.index})
}

func readGzip(t *testing.T, path string, v any) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	r, err := gzip.NewReader(bytes.NewReader(data))
	if err == nil {
		data, err = io.ReadAll(r)
	}
	if err == nil {
		err = json.Unmarshal(data, v)
	}
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// tagger is one of a tokenizer.json, with the runner made.
func tagger(t *testing.T, tokenizer map[string]json.RawMessage) *Tagger {
	t.Helper()
	file, err := json.Marshal(tokenizer)
	if err != nil {
		t.Fatal(err)
	}
	b := classifytest.Model{
		Tokenizer: string(file),
		Config:    `{"max_position_embeddings": 64, "pad_token_id": 0, "id2label": {"0": "O", "1": "B-POS", "2": "I-POS", "3": "B-NEG", "4": "I-NEG"}}`,
		Inputs:    classifytest.BERTInputs[:2],
		Outputs:   []tensor.Spec{classifytest.Spec("logits", tensor.Float32, classifytest.Batch, classifytest.Sequence, tensor.Fixed(5))},
	}.Bundle(t)
	files, err := textmodel.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	tagger, err := New(b, files, made{})
	if err != nil {
		t.Fatal(err)
	}
	return tagger
}

func TestEntitiesOfEveryFamilyOfTokenizersAreThoseOfTransformers(t *testing.T) {
	t.Parallel()
	var want struct {
		Texts    []string
		Families map[string]struct {
			Decoder  json.RawMessage
			Entities map[Strategy][][]expectedEntity
		}
	}
	readGzip(t, filepath.Join("testdata", "families.json.gz"), &want)
	var tokenizers map[string]map[string]json.RawMessage
	readGzip(t, filepath.Join("..", "text", "testdata", "families.json.gz"), &tokenizers)
	if len(want.Families) < 7 {
		t.Fatalf("%d families", len(want.Families))
	}
	for family, of := range want.Families {
		for _, padding := range []string{"Right", "Left"} {
			t.Run(family+", padded "+padding, func(t *testing.T) {
				t.Parallel()
				file := map[string]json.RawMessage{}
				for key, value := range tokenizers[family] {
					file[key] = value
				}
				file["decoder"] = of.Decoder
				file["padding"] = json.RawMessage(fmt.Sprintf(`{"strategy": "BatchLongest", "direction": %q, "pad_to_multiple_of": null, "pad_id": 0, "pad_type_id": 0, "pad_token": "<pad>"}`, padding))
				tagger := tagger(t, file)
				var texts []textmodel.Text
				var places []int
				for i, s := range want.Texts {
					text, err := tagger.Encode(textmodel.Input{Text: s})
					if err == nil {
						texts, places = append(texts, text), append(places, i)
					} else if len(of.Entities[None][i]) > 0 { // a text without tokens has none
						t.Errorf("%q: %v", s, err)
					}
				}
				answers, _, err := tagger.Compute(t.Context(), texts)
				if err != nil {
					t.Fatal(err)
				}
				compared := 0
				for _, strategy := range Strategies() {
					for k, i := range places {
						s := want.Texts[i]
						got, err := tagger.Entities(s, answers[k], Options{Strategy: strategy, Ignore: []string{"O"}})
						if err != nil {
							t.Fatal(err)
						}
						compared += len(got)
						compare(t, fmt.Sprintf("%s: %q", strategy, s), got, of.Entities[strategy][i])
					}
				}
				if compared < 300 {
					t.Errorf("only %d entities", compared)
				}
			})
		}
	}
}

func compare(t *testing.T, what string, got []Entity, want []expectedEntity) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %d entities, want %d: %+v", what, len(got), len(want), got)
		return
	}
	for k, w := range want {
		g := got[k]
		index := -1
		if g.Index != nil {
			index = *g.Index
		}
		if (expectedEntity{g.Entity + g.Group, g.Word, w.score, g.Start, g.End, index}) != w || math.Abs(g.Score-w.score) > 2e-5 {
			t.Errorf("%s: got %+v, want %+v", what, g, w)
		}
	}
}

// What tokenizer_config.json calls the unknown token counts for more than tokenizer.json, as in
// transformers.
func TestTheUnknownTokenIsThatOfTokenizerConfig(t *testing.T) {
	t.Parallel()
	const tokenizer = `{"model": {"type": "WordLevel", "vocab": {"[UNK]": 0, "a": 1, "<unk>": 2}, "unk_token": "[UNK]"}, "pre_tokenizer": {"type": "Whitespace"}}`
	for config, want := range map[string]int64{`{}`: 0, `{"unk_token": "<unk>"}`: 2, `{"unk_token": {"content": "<unk>"}}`: 2, `{"unk_token": "none"}`: -1} {
		var files textmodel.Files
		var err error
		if files.Tokenizer, err = text.LoadTokenizer(strings.NewReader(tokenizer)); err != nil {
			t.Fatal(err)
		}
		if files.Tokens, err = text.LoadTokenizerConfig(strings.NewReader(config)); err != nil {
			t.Fatal(err)
		}
		if id, ok := unknownID(files); ok != (want >= 0) || ok && id != want {
			t.Errorf("%s: %d, %v", config, id, ok)
		}
	}
}
