package text

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
)

func TestDecodersAnswerAsTheOracle(t *testing.T) {
	t.Parallel()
	var want struct {
		Tokens   [][]string
		Decoders map[string]struct {
			Decoder json.RawMessage
			Texts   []*string // nil where the library panics
		}
	}
	if err := json.NewDecoder(bytes.NewReader(readGzip(t, filepath.Join("testdata", "decoders.json.gz")))).Decode(&want); err != nil {
		t.Fatal(err)
	}
	if len(want.Decoders) < 15 || len(want.Tokens) < 500 {
		t.Fatalf("%d decoders and %d lists of tokens", len(want.Decoders), len(want.Tokens))
	}
	compared := 0
	for name, d := range want.Decoders {
		join, err := loadString(t, minimal("decoder", string(d.Decoder))).Joiner()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for i, tokens := range want.Tokens {
			if d.Texts[i] == nil {
				continue
			}
			compared++
			if got := join(tokens); got != *d.Texts[i] {
				t.Errorf("%s: %q gives %q, want %q", name, tokens, got, *d.Texts[i])
			}
		}
	}
	t.Logf("%d texts compared", compared)
}

func TestADecoderThatIsNotKnownIsAnErrorWhenItIsAskedFor(t *testing.T) {
	t.Parallel()
	for section, want := range map[string]string{
		`{"type": "CTC"}`:             `decoder.type: "CTC" is not supported`,
		`{"type": "Fuse", "more": 1}`: `"more" is not known here`,
		`{"type": "Strip", "content": "ab", "start": 1, "stop": 0}`:   `want one character`,
		`{"type": "Strip", "content": "a", "start": 1001, "stop": 0}`: `decoder.start`,
		`{"type": "Sequence", "decoders": [{"type": "Other"}]}`:       `decoders[0].type`,
		`{"type": "Sequence", "decoders": [` + strings.Repeat(`{"type": "Replace", "pattern": {"String": "a"}, "content": "aaaaaaaaaa"},`, 4) + `{"type": "Fuse"}]}`: "more than 4096 times longer",
	} {
		_, err := loadString(t, minimal("decoder", section)).Joiner()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", section, err, want)
		}
	}
}
