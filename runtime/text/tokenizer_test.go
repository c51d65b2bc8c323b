package text

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
)

func ExampleTokenizer_Encode() {
	tok, err := LoadTokenizer(strings.NewReader(`{
		"version": "1.0",
		"added_tokens": [],
		"truncation": {"max_length": 6, "strategy": "LongestFirst", "stride": 0},
		"normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null, "lowercase": true},
		"pre_tokenizer": {"type": "BertPreTokenizer"},
		"post_processor": {"type": "BertProcessing", "cls": ["[CLS]", 1], "sep": ["[SEP]", 2]},
		"model": {
			"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100,
			"vocab": {"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "cafe": 3, "##s": 4, "!": 5}
		}
	}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	e, err := tok.EncodeTokens("Cafés! Über alles")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(e.IDs)
	fmt.Println(e.Tokens)
	// Output:
	// [1 3 4 5 0 2]
	// [[CLS] cafe ##s ! [UNK] [SEP]]
}

func ExampleTokenizer_Pad() {
	tok, err := LoadTokenizer(strings.NewReader(`{
		"pre_tokenizer": {"type": "Whitespace"},
		"model": {"type": "WordLevel", "unk_token": "[UNK]", "vocab": {"[PAD]": 0, "[UNK]": 1, "good": 2, "not": 3}}
	}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	var batch []Encoding
	for _, s := range []string{"not good", "good"} {
		e, err := tok.Encode(s)
		if err != nil {
			fmt.Println(err)
			return
		}
		batch = append(batch, e)
	}
	b, err := tok.Pad(batch)
	fmt.Println(b.Rows, b.Length, b.IDs, b.AttentionMask, err)
	// Output: 2 2 [3 2 2 0] [1 1 1 0] <nil>
}

func encodeAll(t *testing.T, tok *Tokenizer, texts ...string) []Encoding {
	t.Helper()
	var out []Encoding
	for _, s := range texts {
		e, err := tok.Encode(s)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, e)
	}
	return out
}

func TestPad(t *testing.T) {
	noPad := loadString(t, minimal("", "x"))
	batch := encodeAll(t, noPad, "a b a", "b")
	if _, err := noPad.Pad(batch); err == nil {
		t.Error("texts of two lengths batched with nothing to pad with")
	}
	if b, err := noPad.Pad(batch[:1]); err != nil || b.Rows != 1 || b.Length != 3 {
		t.Errorf("one text: %+v, %v", b, err)
	}
	if b, err := noPad.Pad(nil); err != nil || b.Rows != 0 || b.Length != 0 {
		t.Errorf("no texts: %+v, %v", b, err)
	}
	b, err := noPad.WithPadID(7).Pad(batch)
	want := Batch{Rows: 2, Length: 3, IDs: []int64{1, 2, 1, 2, 7, 7}, TypeIDs: make([]int64, 6), AttentionMask: []int64{1, 1, 1, 1, 0, 0}}
	if err != nil || !reflect.DeepEqual(b, want) {
		t.Errorf("%+v, %v; want %+v", b, err, want)
	}

	left := loadString(t, minimal("padding", `{"strategy": "BatchLongest", "direction": "Left", "pad_to_multiple_of": 4, "pad_id": 5, "pad_type_id": 6, "pad_token": "p"}`))
	if left.WithPadID(9) != left {
		t.Error("WithPadID overrides the file's padding")
	}
	b, err = left.Pad(encodeAll(t, left, "a b a", "b"))
	want = Batch{
		Rows: 2, Length: 4, IDs: []int64{5, 1, 2, 1, 5, 5, 5, 2}, TypeIDs: []int64{6, 0, 0, 0, 6, 6, 6, 0},
		AttentionMask: []int64{0, 1, 1, 1, 0, 0, 0, 1},
	}
	if err != nil || !reflect.DeepEqual(b, want) {
		t.Errorf("%+v, %v; want %+v", b, err, want)
	}

	fixed := loadString(t, minimal("padding", `{"strategy": {"Fixed": 2}, "direction": "Right", "pad_id": 0, "pad_type_id": 0, "pad_token": "p"}`))
	if e := encodeAll(t, fixed, "a")[0]; len(e.IDs) != 2 || e.AttentionMask[1] != 0 {
		t.Errorf("not padded to the fixed length: %+v", e)
	}
	if _, err := fixed.Pad(encodeAll(t, fixed, "a b a")); err == nil {
		t.Error("a text longer than the fixed length was batched")
	}
	dynamic := fixed.WithDynamicPadding()
	if b, err := dynamic.Pad(encodeAll(t, dynamic, "a", "a b a")); err != nil || b.Length != 3 {
		t.Errorf("dynamic padding: %+v, %v", b, err)
	}
	if n, ok := noPad.MaxLength(); ok {
		t.Errorf("MaxLength %d without truncation", n)
	}
}

func TestWithMaxLength(t *testing.T) {
	tok := loadString(t, minimal("post_processor", bertProcessor))
	short, err := tok.WithMaxLength(4)
	if err != nil {
		t.Fatal(err)
	}
	if e := encodeAll(t, short, "a b a b a")[0]; !reflect.DeepEqual(e.IDs, []int64{2, 1, 2, 3}) {
		t.Error(e.IDs)
	}
	if n, ok := short.MaxLength(); n != 4 || !ok {
		t.Error(n, ok)
	}
	if e := encodeAll(t, tok, "a b a b a")[0]; len(e.IDs) != 7 {
		t.Error("WithMaxLength changed the Tokenizer it was called on")
	}
	if _, err := tok.WithMaxLength(1); err == nil {
		t.Error("no room for special tokens, and no error")
	}
	if id, ok := tok.TokenID("b"); id != 2 || !ok {
		t.Error(id, ok)
	}
	if _, ok := tok.TokenID("none"); ok {
		t.Error("an id for a token that is not there")
	}
}

func TestEncodeFails(t *testing.T) {
	tok := loadString(t, minimal("model", `{"type": "WordLevel", "vocab": {"a": 1}, "unk_token": "[UNK]"}`))
	if _, err := tok.Encode("a b"); err == nil || !strings.Contains(err.Error(), `"[UNK]"`) {
		t.Error(err)
	}
	overlap := loadString(t, minimal("added_tokens", "["+token("x", "rstrip")+","+token(" ", "lstrip")+"]"))
	if _, err := overlap.Encode("x   a x"); err == nil {
		t.Error("overlapping added tokens, and no error")
	}
}

// A hostile text must not take more than its length.
func TestLongTexts(t *testing.T) {
	toks := map[string]*Tokenizer{}
	toks["sst2-minilm"], _ = loadModelTokenizer(t, "sst2-minilm")
	names, files := orderedConfigs(t, "families")
	for i, name := range names {
		if i%oneOf() == 0 {
			toks[name] = loadString(t, files[i])
		}
	}
	marks := strings.Repeat("\u0345\u0301\u0334", 10_000)
	for name, tok := range toks {
		most, bounded := tok.MaxLength()
		for _, s := range []string{strings.Repeat("a", 1<<16), marks, strings.Repeat("[SEP", 1<<14), strings.Repeat(" ", 1<<16), strings.Repeat("\xf0\x9f", 1<<15), strings.Repeat("中", 1<<14), strings.Repeat("क्", 1<<15), strings.Repeat("ab", 1<<15)} {
			e, err := tok.EncodeOffsets(s)
			if err != nil || bounded && len(unpadded(e)) > most {
				t.Errorf("%s: %d tokens, %v", name, len(e.IDs), err)
			}
		}
	}
}

func TestEncodePair(t *testing.T) {
	tok := loadString(t, minimal("post_processor", bertProcessor))
	e, err := tok.EncodePair("a", "b b")
	if err != nil || !reflect.DeepEqual(e.IDs, []int64{2, 1, 3, 2, 2, 3}) || !reflect.DeepEqual(e.TypeIDs, []int64{0, 0, 0, 1, 1, 1}) {
		t.Error(e, err)
	}
	short, err := tok.WithMaxLength(5)
	if err != nil {
		t.Fatal(err)
	}
	if e, err := short.EncodePair("a a a", "b b b"); err != nil || !reflect.DeepEqual(e.IDs, []int64{2, 1, 3, 2, 3}) {
		t.Error(e, err)
	}
	if short, err = tok.WithMaxLength(2); err != nil {
		t.Fatal(err)
	}
	if _, err := short.EncodePair("a", "b"); err == nil {
		t.Error("a pair without room for its special tokens, and no error")
	}
	onlyFirst := loadString(t, minimal("truncation", `{"max_length": 3, "strategy": "OnlyFirst", "stride": 0}`))
	if _, err := onlyFirst.EncodePair("a", "b b b b"); err == nil {
		t.Error("shortening the first text is not enough, and no error")
	}
}

func ExampleTokenizer_EncodeOffsets() {
	tok, err := LoadTokenizer(strings.NewReader(`{
		"normalizer": {"type": "NFD"},
		"pre_tokenizer": {"type": "Whitespace"},
		"model": {"type": "WordPiece", "unk_token": "?", "continuing_subword_prefix": "##", "max_input_chars_per_word": 9, "vocab": {"?": 0, "in": 1, "Ko": 2, "##\u0308ln": 3}}
	}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	e, err := tok.EncodeOffsets("in Köln")
	fmt.Println(e.IDs, e.Offsets, e.Words, err)
	// Output: [1 2 3] [{0 2} {3 5} {4 7}] [0 1 1] <nil>
}

// The library's JSON parser rounds more than once; these are what it reads.
func TestParseScore(t *testing.T) {
	for s, want := range map[string]float64{
		"-9.267810821533203": -9.267810821533203, "-5.1234567890123456": -5.123456789012345, "0": 0, "-3": -3, "1e2": 100, "2.5e-1": 0.25, "-0.1": -0.1,
		"123456789012345678901234567890": 123456789012345677877719597056, "0e99999999999": 0, "1e-400": 0,
	} {
		if got, ok := parseScore(s); !ok || got != want {
			t.Errorf("%s: %v, %v", s, got, ok)
		}
	}
	for _, s := range []string{"1e309", "1e99999999999"} {
		if got, ok := parseScore(s); ok {
			t.Errorf("%s: %v", s, got)
		}
	}
}
