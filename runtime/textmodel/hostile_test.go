package textmodel

import (
	"strings"
	"testing"

	"github.com/distinfer/distinfer/runtime/text"
)

// hostile are values that no key of these files is meant to have.
var hostile = []string{
	"null", "true", `""`, `"x"`, "[]", "{}", "-1", "0", "1.5", "1e9", "1e308", "1e999", "-1e999", "NaN", "Infinity", "9223372036854775807", "9223372036854775808",
	strings.Repeat("9", 400), `[1, "a", null]`, `{"content": 1}`, `{"content": "\ud800"}`, `{"0": "a", "1": 2}`, `{"-1": "a"}`, `{"99999999999999999999": "a"}`,
	strings.Repeat("[", 5000) + strings.Repeat("]", 5000), strings.Repeat(`{"a":`, 5000) + "1" + strings.Repeat("}", 5000),
}

// keys are what is read of config.json, tokenizer_config.json and special_tokens_map.json.
var keys = []string{
	"model_type", "architectures", "id2label", "label2id", "problem_type", "num_labels", "pad_token_id", "max_position_embeddings", "n_positions", "n_ctx", "max_seq_len",
	"hidden_size", "num_attention_heads", "num_key_value_heads", "head_dim", "position_biased_input", "sentence_transformers",
	"model_max_length", "max_len", "truncation_side", "padding_side", "pad_token", "unk_token", "added_tokens_decoder",
}

// read reads the three files, and fits a length to them as a front does. What it may not do is panic.
func read(t *testing.T, config, tokenizerConfig, special string) {
	t.Helper()
	c, err := text.LoadConfig(strings.NewReader(config))
	if err == nil {
		c.ModelType()
		c.Architecture()
		c.KeyValues()
		c.PositionsFrom()
		c.PadTokenID()
	} else {
		oneLine(t, err)
	}
	tc, err := text.LoadTokenizerConfig(strings.NewReader(tokenizerConfig))
	if err != nil {
		oneLine(t, err)
		tc = nil
	}
	with, err := tc.WithSpecialTokens(strings.NewReader(special))
	if err != nil {
		oneLine(t, err)
		return
	}
	with.PadToken()
	with.UnknownToken()
	if n, ok := with.MaxLength(); ok && n < 1 {
		t.Errorf("a limit of %d tokens, of %.200q", n, tokenizerConfig)
	}
}

// oneLine fails unless an error is one line of a length that people read.
func oneLine(t *testing.T, err error) {
	t.Helper()
	if s := err.Error(); len(s) > 1000 || strings.ContainsAny(s, "\n\x00") {
		t.Errorf("an error of %d bytes: %.300q", len(s), s)
	}
}

func TestHostileValuesGiveAClearError(t *testing.T) {
	t.Parallel()
	for _, key := range keys {
		for _, value := range hostile {
			object := `{"` + key + `": ` + value + `}`
			read(t, object, object, object)
		}
	}
	for _, file := range append(hostile, "", "{", `{"a": 1, "a": 2}`, "\x00", "\xff\xfe{\x00}\x00", `{"a": 1} 2`) {
		read(t, file, file, file)
	}
}

func FuzzTextFiles(f *testing.F) {
	f.Add(`{"id2label": {"0": "a"}, "n_positions": 16}`, `{"model_max_length": 1e30, "pad_token": {"content": "x"}}`, `{"pad_token": "x"}`)
	for _, key := range keys {
		object := `{"` + key + `": 1e999}`
		f.Add(object, object, object)
	}
	f.Fuzz(func(t *testing.T, config, tokenizerConfig, special string) { read(t, config, tokenizerConfig, special) })
}
