package text

import (
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzEncode puts any text through every synthetic file.
func FuzzEncode(f *testing.F) {
	for i, s := range adversarialTexts(f) {
		if i%97 == 0 {
			f.Add(s)
		}
	}
	f.Add("\xff\xe4\xb8 \xed\xa0\x80 \xf0\x9f\x98")
	names, files := orderedConfigs(f, "configs")
	moreNames, moreFiles := orderedConfigs(f, "families")
	names, files = append(names, moreNames...), append(files, moreFiles...)
	toks := make([]*Tokenizer, len(files))
	for i := range files {
		toks[i] = loadString(f, files[i])
	}
	f.Fuzz(func(t *testing.T, text string) {
		for i, tok := range toks {
			e, err := everything(tok, text)
			if err != nil {
				continue // tested against the oracle
			}
			check(t, names[i], tok, e)
			again, err := everything(tok, strings.ToValidUTF8(text, "x"))
			if err == nil && utf8.ValidString(text) && describe(again, nil) != describe(e, nil) {
				t.Errorf("%s: a second time %s\nnot %s", names[i], describe(again, nil), describe(e, nil))
			}
		}
	})
}

// check holds an encoding to what is true of all.
func check(t *testing.T, name string, tok *Tokenizer, e Encoding) {
	t.Helper()
	n := len(e.IDs)
	if len(e.TypeIDs) != n || len(e.AttentionMask) != n || len(e.SpecialTokensMask) != n || len(e.Tokens) != n || len(e.Offsets) != n || len(e.Words) != n {
		t.Fatalf("%s: slices differ in length: %s", name, describe(e, nil))
	}
	kept := len(unpadded(e))
	if most, ok := tok.MaxLength(); ok && kept > most {
		t.Fatalf("%s: %d tokens, more than %d", name, kept, most)
	}
	for i := range n {
		if e.IDs[i] < 0 || e.AttentionMask[i]>>1 != 0 || e.SpecialTokensMask[i]>>1 != 0 || !utf8.ValidString(e.Tokens[i]) {
			t.Fatalf("%s: token %d: %s", name, i, describe(e, nil))
		}
		if e.AttentionMask[i] == 0 && e.SpecialTokensMask[i] == 0 {
			t.Fatalf("%s: padding not marked special: %s", name, describe(e, nil))
		}
	}
	if b, err := tok.Pad([]Encoding{e, e}); err == nil && (b.Rows != 2 || len(b.IDs) != 2*b.Length || b.Length < n) {
		t.Fatalf("%s: a batch of %d × %d from %d tokens", name, b.Rows, b.Length, n)
	}
}

// FuzzLoad loads any file; what loads must encode.
func FuzzLoad(f *testing.F) {
	_, files := orderedConfigs(f, "configs")
	for _, file := range files {
		f.Add(file)
	}
	for _, s := range hostile {
		f.Add(s.file)
	}
	f.Fuzz(func(t *testing.T, file string) {
		if len(file) > 1<<16 {
			return
		}
		if c, err := LoadConfig(strings.NewReader(file)); err == nil {
			if n := len(c.Labels()); n < 1000 {
				if _, err := c.Results(make([]float32, n), ByConfig); err != nil {
					t.Error(err)
				}
			}
		}
		tok, err := LoadTokenizer(strings.NewReader(file))
		if err != nil {
			if !strings.HasPrefix(err.Error(), "tokenizer.json: ") {
				t.Errorf("error without the file's name: %v", err)
			}
			return
		}
		for _, text := range []string{"", "The café [SEP] is it 中国, 42?", "a\u0301 \x80 [CLS"} {
			if e, err := everything(tok, text); err == nil {
				check(t, "fuzzed", tok, e)
			}
		}
	})
}
