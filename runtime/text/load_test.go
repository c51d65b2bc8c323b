package text

import (
	"fmt"
	"strings"
	"testing"
)

// minimal is a small file with one part of it replaced or added.
func minimal(part, value string) string {
	parts := map[string]string{
		"version":       `"1.0"`,
		"pre_tokenizer": `{"type": "WhitespaceSplit"}`,
		"model":         `{"type": "WordLevel", "vocab": {"[UNK]": 0, "a": 1, "b": 2}, "unk_token": "[UNK]"}`,
	}
	if value == "" {
		delete(parts, part)
	} else {
		parts[part] = value
	}
	var b strings.Builder
	for _, key := range []string{"version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer", "post_processor", "decoder", "model", "extra"} {
		if v, ok := parts[key]; ok {
			fmt.Fprintf(&b, ",%q: %s", key, v)
		}
	}
	return "{" + b.String()[1:] + "}"
}

const bertProcessor = `{"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]}`

func token(content, flags string) string {
	all := map[string]string{"single_word": "false", "lstrip": "false", "rstrip": "false", "normalized": "false", "special": "false"}
	for _, f := range strings.Fields(flags) {
		all[f] = "true"
	}
	return fmt.Sprintf(`{"id": 9, "content": %q, "single_word": %s, "lstrip": %s, "rstrip": %s, "normalized": %s, "special": %s}`,
		content, all["single_word"], all["lstrip"], all["rstrip"], all["normalized"], all["special"])
}

// hostile files, and merely unsupported ones, with part of the error each must
// be refused with.
var hostile = []struct{ file, want string }{
	{"", "it ends too early"},
	{"null", "must be an object, not null"},
	{"[]", "must be an object, not a list"},
	{"{}", `"model" is missing`},
	{"{} {}", "something follows the JSON"},
	{"\xff", "not JSON: invalid"},
	{strings.Repeat("[", 1000), "nested deeper than 32 levels"},
	{minimal("extra", "1"), `"extra" is not known here`},
	{minimal("version", `"2.0"`), `version: "2.0" is not supported (supported: 1.0)`},
	{minimal("version", `1.0`), "version: must be a string, not a number"},
	{minimal("decoder", `"\ud800"`), "invalid surrogate pair"},
	{minimal("decoder", "\"\xff\""), "invalid UTF-8"},
	{`{"model": 1, "model": 2}`, "model: is given twice"},

	{minimal("model", `{"type": "Char"}`), `model.type: "Char" is not supported (supported: BPE, WordPiece, WordLevel, Unigram)`},
	{minimal("model", `{"vocab": {}}`), `by its fields it is none of BPE, WordPiece, WordLevel, Unigram`},
	{minimal("model", `{"type": "BPE"}`), `model: "vocab" is missing`},
	{minimal("model", `{"type": "BPE", "vocab": {}}`), `model: "merges" is missing`},
	{minimal("model", `{"vocab": {}, "merges": [["a", "b"]]}`), `model.merges[0]: not all of "a", "b"`},
	{minimal("model", `{"type": "BPE", "vocab": {}, "merges": ["a"]}`), `model.merges[0]: want two tokens, not 1`},
	{minimal("model", `{"type": "BPE", "vocab": {"a": 0, "aa": 1}, "merges": ["a a", ["a", "a"]]}`), `model.merges[1]: want what the others are`},
	{minimal("model", `{"type": "BPE", "vocab": {"a": 0}, "merges": [[1, 2]]}`), `model.merges[0]`},
	{minimal("model", `{"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": ["a b"], "continuing_subword_prefix": "##"}`), `model.merges[0]: its second part is shorter`},
	{minimal("model", `{"type": "BPE", "vocab": {}, "merges": [], "dropout": 0.1}`), `model.dropout: dropout 0.1 is not supported`},
	{minimal("model", `{"type": "BPE", "vocab": {}, "merges": [], "dropout": 0.0, "fuse_unk": null}`), ""},
	{minimal("model", `{"type": "BPE", "vocab": {}, "merges": [], "cache": 1}`), `model: "cache" is not known here`},
	{minimal("model", `{"vocab": [], "unk_id": 0}`), `model.unk_id: 0, but there are 0 tokens`},
	{minimal("model", `{"type": "Unigram", "vocab": [["a"]]}`), `model.vocab: [0]: want a token and its score`},
	{minimal("model", `{"type": "Unigram", "vocab": [["a", 1], ["b", 1e999]]}`), `model.vocab: [1]: the score 1e999 is out of range`},
	{minimal("model", `{"type": "Unigram", "vocab": {}}`), "model.vocab: must be a list"},
	{minimal("model", `{"type": "Unigram", "vocab": [], "alpha": 0.1}`), `model: "alpha" is not known here`},
	{minimal("model", `{"type": "WordLevel", "vocab": {"a": -1}, "unk_token": "a"}`), `model.vocab: the id of "a"`},
	{minimal("model", `{"type": "WordLevel", "vocab": {"a": null}, "unk_token": "a"}`), `model.vocab: the id of "a"`},
	{minimal("model", `{"type": "WordLevel", "vocab": {"a": 1.0}, "unk_token": "a"}`), `model.vocab: the id of "a"`},
	{minimal("model", `{"type": "WordLevel", "vocab": {"a": 4294967296}, "unk_token": "a"}`), `model.vocab: the id of "a"`},
	{minimal("model", `{"type": "WordLevel", "vocab": {"a": {"b": 1}}, "unk_token": "a"}`), `model.vocab: the id of "a"`},
	{minimal("model", `{"type": "WordLevel", "vocab": {}, "unk_token": null}`), "model.unk_token: must be a string, not null"},
	{minimal("model", `{"type": "WordPiece", "vocab": {}, "unk_token": "a"}`), `model: "continuing_subword_prefix" is missing`},
	{minimal("model", `{"type": "WordLevel", "vocab": {}, "unk_token": "a", "dropout": 0.1}`), `model: "dropout" is not known here`},

	{minimal("normalizer", `{"type": "Unknown"}`), `normalizer.type: "Unknown" is not supported (supported: BertNormalizer,`},
	{minimal("normalizer", `{"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Precompiled"}]}`), `normalizer.normalizers[1]: "precompiled_charsmap" is missing`},
	{minimal("normalizer", `{"type": "Precompiled", "precompiled_charsmap": ""}`), "normalizer.precompiled_charsmap: not a charsmap"},
	{minimal("normalizer", `{"type": "Precompiled", "precompiled_charsmap": "!"}`), "normalizer.precompiled_charsmap: not base64"},
	{minimal("normalizer", `{"type": "Precompiled", "precompiled_charsmap": "BAAAAAAAAAA="}`), "ends within a node"},
	{minimal("normalizer", `{"type": "Precompiled", "precompiled_charsmap": "AAABAAAAAAA="}`), "not a charsmap"},
	{minimal("pre_tokenizer", `{"type": "Metaspace", "replacement": "ab"}`), `"replacement" is "ab", want one character`},
	{minimal("pre_tokenizer", `{"type": "Metaspace", "replacement": "_", "add_prefix_space": false}`), `"prepend_scheme" is not "never"`},
	{minimal("pre_tokenizer", `{"type": "Metaspace", "replacement": "_", "prepend_scheme": "last"}`), `prepend_scheme: "last" is not supported`},
	{minimal("pre_tokenizer", `{"type": "ByteLevel", "add_prefix_space": true}`), `"trim_offsets" is missing`},
	{minimal("pre_tokenizer", `{"type": "Sequence", "pretokenizers": [`+strings.Repeat(`{"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true},`, 40)+`{"type": "Whitespace"}]}`), "pre_tokenizer: ByteLevel and Metaspace can make a text more than 4096 times longer"},
	{minimal("normalizer", `{"type": "NFC", "x": 1}`), `normalizer: "x" is not known here`},
	{minimal("normalizer", `{"strip_left": true, "strip_right": true}`), `normalizer: "type" is missing`},
	{minimal("normalizer", `{"type": "BertNormalizer", "clean_text": 1, "handle_chinese_chars": true, "lowercase": true}`), "normalizer.clean_text: must be true or false, not a number"},
	{minimal("normalizer", `{"type": "Prepend", "prepend": ""}`), `an empty "prepend" is not supported`},
	{minimal("normalizer", `{"type": "Replace", "pattern": {"String": ""}, "content": ""}`), "an empty pattern is not supported"},
	{minimal("normalizer", `{"type": "Replace", "pattern": {"Regex": "x*"}, "content": ""}`), "can match the empty text"},
	{minimal("normalizer", `{"type": "Replace", "pattern": {"Glob": "x"}, "content": ""}`), `normalizer.pattern: "String" is missing`},
	{minimal("normalizer", `{"type": "Sequence", "normalizers": [`+strings.Repeat(`{"type": "Replace", "pattern": {"String": "a"}, "content": "aa"},`, 40)+`{"type": "NFC"}]}`), "normalizer: Replace, Prepend and the like can make a text more than 4096 times longer"},
	{minimal("normalizer", `{"type": "Replace", "pattern": "x", "content": ""}`), "normalizer.pattern: must be an object, not a string"},

	{minimal("pre_tokenizer", `{"type": "Sequence", "pretokenizers": [{"type": "Whitespace"}, {"type": "UnicodeScripts"}]}`), `pre_tokenizer.pretokenizers[1].type: "UnicodeScripts" is not supported (supported: BertPreTokenizer,`},
	{minimal("pre_tokenizer", `{"type": "Digits"}`), `pre_tokenizer: "individual_digits" is missing`},
	{minimal("pre_tokenizer", `{"type": "CharDelimiterSplit", "delimiter": "ab"}`), "want one character"},
	{minimal("pre_tokenizer", `{"type": "Punctuation", "behavior": "Keep"}`), `pre_tokenizer.behavior: "Keep" is not supported (supported: Removed, Isolated,`},
	{minimal("pre_tokenizer", `{"type": "Split", "pattern": {"Regex": "\\s+(?!\\S)"}, "behavior": "Removed", "invert": false}`), "pre_tokenizer.pattern.Regex: regex"},

	{minimal("post_processor", `{"type": "ByteLevel"}`), `post_processor: "trim_offsets" is missing`},
	{minimal("post_processor", `{"type": "BertProcessing", "sep": ["[SEP]"], "cls": ["[CLS]", 2]}`), "post_processor.sep: want a token and its id"},
	{minimal("post_processor", `{"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "X", "type_id": 0}}], "pair": [], "special_tokens": {}}`), `post_processor.single[0]: special token "X" is not among special_tokens`},
	{minimal("post_processor", `{"type": "TemplateProcessing", "single": [{"Sequence": {"id": "B", "type_id": 0}}], "pair": [], "special_tokens": {}}`), `post_processor.single[0]: sequence "B" is not supported here`},
	{minimal("post_processor", `{"type": "TemplateProcessing", "single": [], "pair": [], "special_tokens": {"X": {"id": "X", "ids": [1, 2], "tokens": ["x"]}}}`), "post_processor.special_tokens.X: 2 ids for 1 tokens"},
	{minimal("post_processor", `{"type": "Sequence", "processors": [{"type": "TemplateProcessing", "single": [], "pair": [], "special_tokens": {}}, {"type": "TemplateProcessing", "single": [], "pair": [], "special_tokens": {}}]}`), "post_processor: a TemplateProcessing after another"},

	{minimal("post_processor", `{"type": "TemplateProcessing", "single": [{"Sequence": {"id": "A", "type_id": 0}}`+strings.Repeat(`,{"Sequence": {"id": "A", "type_id": 0}}`, 64)+`], "pair": [], "special_tokens": {}}`), `"single" has 65 pieces, more than 64`},

	{minimal("added_tokens", `[{"id": 1, "content": "x"}]`), `added_tokens[0]: "single_word" is missing`},
	{minimal("added_tokens", "["+token("x", "")+","+token("y", "normalized")+","+token("x", "special")+"]"), ""},
	{strings.Replace(minimal("added_tokens", "["+token("X", "normalized")+","+token("x", "normalized")+"]"), `"pre_tok`, `"normalizer": {"type": "Lowercase"}, "pre_tok`, 1), `added_tokens[1]: added token "x" is the same as an earlier one`},
	{strings.Replace(minimal("added_tokens", "["+token(" ", "normalized")+"]"), `"pre_tok`, `"normalizer": {"type": "Strip", "strip_left": true, "strip_right": true}, "pre_tok`, 1), `added_tokens[0]: added token " " is empty once normalised`},

	{minimal("truncation", `{"max_length": 5, "strategy": "longest_first", "stride": 0}`), `truncation.strategy: "longest_first" is not supported`},
	{minimal("truncation", `{"max_length": 5, "strategy": "LongestFirst", "stride": 5}`), "truncation: stride 5 is not less than max_length 5"},
	{minimal("truncation", `{"max_length": -1, "strategy": "LongestFirst", "stride": 0}`), "truncation.max_length: want an integer from 0"},
	{strings.Replace(minimal("truncation", `{"max_length": 1, "strategy": "LongestFirst", "stride": 0}`), `"pre_tok`, `"post_processor": `+bertProcessor+`, "pre_tok`, 1), "truncation: max_length 1 is less than the 2 special tokens"},
	{minimal("padding", `{"strategy": {"Fixed": 1152921504606846976}, "direction": "Right", "pad_id": 0, "pad_type_id": 0, "pad_token": ""}`), "padding.strategy.Fixed: want an integer from 0 to 65536"},
	{minimal("padding", `{"strategy": "BatchLongest", "direction": "Right", "pad_to_multiple_of": 1e9, "pad_id": 0, "pad_type_id": 0, "pad_token": ""}`), "padding.pad_to_multiple_of: want an integer from 0 to 65536"},
	{minimal("padding", `{"strategy": "Longest", "direction": "Right", "pad_id": 0, "pad_type_id": 0, "pad_token": ""}`), `padding.strategy: "Longest" is not supported (supported: BatchLongest)`},
}

func TestLoadRefuses(t *testing.T) {
	for _, c := range hostile {
		_, err := LoadTokenizer(strings.NewReader(c.file))
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", c.file, err)
		case c.want != "" && err == nil:
			t.Errorf("%s: loaded; want %q", c.file, c.want)
		case err != nil && (!strings.HasPrefix(err.Error(), "tokenizer.json: ") || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s:\nwant %q\ngot  %v", c.file, c.want, err)
		}
	}
}

func TestRegexRefuses(t *testing.T) {
	for _, pattern := range []string{
		"", "^a", `\Aa`, `a\z`, `\ba`, `$`, `a|$`, `a$*`, `(?i)a`, `(?i:é)`, `(?i:ss)`, `(?i:Fi)`, `(?i:[a]ff)`, `(?i:[a-c])`, `(?i:[^a])`, `(?i:a+)`, `(?i:a`, `(?i:a(b))`, `(?i:)`, `a(?=b)`, `(?>a)`, `\s+(?!\S)`, `|\s+(?!\S)|\s+`, `a\|\s+(?!\S)|\s+`, `[a|\s+(?!\S)|\s`, `(?<n>a)`, `(a)\1`, `a*`, `a|`, `(a*)+b`, `(?:a?)*b`, "a**", "a+{2}", "a{2}?b", "a{2}*", "a{2}++", "a{0,2}+b", "(?:ab){2}+", "a{,2}b", "a{", "a}", "]", "[a", "[]a]", "[[:alpha:]]", "[a[:b]]",
		"a++a", "a?+a", "[ab]*+b", "a++b?a", "a++(?:b|[a-c])", "(?:a++)b", "(?:a++|c)", "(?:ab)++", `a++$b`, `\s++$\n`,
		"[a-\\d]", "[\\d-a]", "[b-a]", "[a-c-e]", "[[a]-c]", `[\p{Zl}-\x{2030}]`, "[a&&]", "[&&a]", "[a&&^b]", "[a&&-b]", "[a&&&b]", "[a&&", `\x41`, `\u004`, `\u00zz`, `\uD800`, `\h`, `\R`, `\p{H}`, `\p{Greek}`, `\p{^L}`, `\p{w}`, `\p{[w]}`, `\pL`, `\p{Lu`, `\`, "a)", "(a", "a{101}", "a{0,99999999999999999999}", `\p{}`, "[a-", `[\`,
		strings.Repeat("a", 2000), strings.Repeat("(", 100) + "a" + strings.Repeat(")", 100),
	} {
		if _, err := compileRegex(pattern); err == nil {
			t.Errorf("%q is accepted", pattern)
		}
	}
}

// Regexes are compared with the oracle in TestConfigs; this is only that the
// fast path for single sets and package regexp agree.
func TestSetMatcher(t *testing.T) {
	for _, pattern := range []string{`\s+`, `\w`, `[a-cé\d]+`, `[^\p{L}]`, `\P{Lu}+`, `\.`} {
		fast, err := compileRegex(pattern)
		if err != nil {
			t.Fatal(err)
		}
		slow, err := compileRegex("(?:" + pattern + ")")
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range []string{"", "a", "abc. É é  x1\t½", "   ", "é", "中a中"} {
			f, w := fast.matches(nil, []byte(s)), slow.matches(nil, []byte(s))
			if fmt.Sprint(f) != fmt.Sprint(w) {
				t.Errorf("%s on %q: %v, not %v", pattern, s, f, w)
			}
		}
	}
}
