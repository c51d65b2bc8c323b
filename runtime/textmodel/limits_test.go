package textmodel

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/classify/classifytest"
)

// A limitCase is what limits.py asked the Python libraries, by their versions.
type limitCase struct {
	Files        map[string]json.RawMessage `json:"files"`
	Transformers map[string]*seen           `json:"transformers"`
	Pair         map[string]*seen           `json:"pair"`
}

// seen is what a model reads of a text.
type seen struct {
	Tokens int     `json:"tokens"`
	First  []int64 `json:"first"`
	Last   []int64 `json:"last"`
}

func limitCases(t testing.TB) (text string, pair []string, cases map[string]limitCase) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "limits.json"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Text  string               `json:"text"`
		Pair  []string             `json:"pair"`
		Cases map[string]limitCase `json:"cases"`
	}
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	return file.Text, file.Pair, file.Cases
}

// ofFiles is a model of the files of a folder.
func ofFiles(t testing.TB, files map[string]json.RawMessage) *Model {
	t.Helper()
	m := classifytest.Usual
	m.Files = map[string]string{}
	for name, content := range files {
		switch name {
		case bundle.TokenizerName:
			m.Tokenizer = string(content)
		case bundle.ConfigName:
			m.Config = string(content)
		default:
			m.Files[name] = string(content)
		}
	}
	return model(t, m, numbered(2, false))
}

// TestTextsAreAsLongAsInTransformers compares with what the pipelines of transformers 4 and 5 have
// their models read. Where the model then fails for want of positions, as many as it has are read;
// and so many where no file says a length, though it could read more.
func TestTextsAreAsLongAsInTransformers(t *testing.T) {
	t.Parallel()
	text, pair, cases := limitCases(t)
	compared := 0
	for name, c := range cases {
		if c.Pair == nil {
			continue // is about sentence-transformers
		}
		compared++
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := ofFiles(t, c.Files)
			ids := encode(t, m, Input{Text: text})[0].encoding.IDs
			for version, want := range c.Transformers {
				if want == nil || name == "rotary positions only" {
					if len(ids) != 64 {
						t.Errorf("%d tokens of a model with 64 positions", len(ids))
					}
				} else {
					compareSeen(t, version, ids, *want)
				}
			}
			for version, want := range c.Pair {
				compareSeen(t, version, encode(t, m, Input{Text: pair[0], Pair: &pair[1]})[0].encoding.IDs, *want)
			}
		})
	}
	if compared < 28 {
		t.Errorf("only %d cases", compared)
	}
}

func compareSeen(t *testing.T, version string, ids []int64, want seen) {
	t.Helper()
	if len(ids) != want.Tokens || !slices.Equal(ids[:3], want.First) || !slices.Equal(ids[len(ids)-3:], want.Last) {
		t.Errorf("%d tokens %v … %v; %s: %d %v … %v", len(ids), ids[:3], ids[len(ids)-3:], version, want.Tokens, want.First, want.Last)
	}
}

func TestThereIsAlwaysALimitOfTokens(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("w1 w2 ", 5000)
	for name, c := range map[string]struct {
		config, tokenizer string
		flag, want        int
	}{
		"nothing says":                {`{}`, "", 0, DefaultMaxTokens},
		"the flag, nothing else":      {`{}`, "", 100, 100},
		"a longer flag, nothing else": {`{}`, "", 5000, 5000},
		"the flag is shorter":         {`{"max_position_embeddings": 64}`, "", 10, 10},
		"the flag is longer":          {`{"max_position_embeddings": 64}`, "", 100, 64},
		"the model reads very much":   {`{"max_position_embeddings": 4096}`, "", 0, 4096},
		"n_positions":                 {`{"model_type": "gpt2", "n_positions": 16}`, "", 0, 16},
		"n_ctx":                       {`{"model_type": "x", "n_ctx": 16}`, "", 0, 16},
		"n_ctx counts less":           {`{"n_positions": 20, "n_ctx": 16}`, "", 0, 20},
		"max_seq_len":                 {`{"max_seq_len": 16}`, "", 0, 16},
		"-1 is none":                  {`{"model_type": "xlnet", "max_position_embeddings": -1}`, "", 0, DefaultMaxTokens},
		"0 is none":                   {`{"max_position_embeddings": 0}`, "", 0, DefaultMaxTokens},
		"not a number, n_positions":   {`{"max_position_embeddings": NaN, "n_positions": 16}`, "", 0, 16},
		"as T5 with n_positions":      {`{"model_type": "t5", "n_positions": 512}`, "", 0, 512},
		"T5 with model_max_length":    {`{"model_type": "t5", "n_positions": 512}`, `{"model_max_length": 16}`, 0, 16},
		"model_max_length and flag":   {`{}`, `{"model_max_length": 16}`, 12, 12},
		"model_max_length of 1e30":    {`{}`, `{"model_max_length": 1000000000000000019884624838656}`, 0, DefaultMaxTokens},
		"a byte order mark":           {"\uFEFF" + `{"n_positions": 16}`, "\uFEFF" + `{"model_max_length": 12, "x": NaN}`, 0, 12},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := classifytest.Usual
			m.Config = c.config
			if c.tokenizer != "" {
				m.Files = map[string]string{bundle.TokenizerConfigName: c.tokenizer}
			}
			b := m.Bundle(t)
			files, err := Read(b)
			if err != nil {
				t.Fatal(err)
			}
			files.Limits.MaxTokens = c.flag
			made, err := New(b, files, numbered(2, false), "logits")
			if err != nil {
				t.Fatal(err)
			}
			if n := len(encode(t, made, Input{Text: long})[0].encoding.IDs); n != c.want {
				t.Errorf("%d tokens, want %d", n, c.want)
			}
		})
	}
}

func TestAWrongTokenizerConfigIsRefused(t *testing.T) {
	t.Parallel()
	for file, want := range map[string]string{
		`{"model_max_length": "long"}`: "tokenizer_config.json: model_max_length: must be a number, not a string",
		`{"truncation_side": "top"}`:   `tokenizer_config.json: truncation_side: "top" is not supported (supported: right, left)`,
		`{"padding_side": 1}`:          "tokenizer_config.json: padding_side: must be a string",
		`[]`:                           "tokenizer_config.json: must be an object",
		`{"model_max_length": 1}`:      "", // there are no special tokens
	} {
		m := classifytest.Usual
		m.Files = map[string]string{bundle.TokenizerConfigName: file}
		_, err := open(t, m, numbered(2, false))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", file, err, want)
		}
	}
}
