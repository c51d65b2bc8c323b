package text

import (
	"strings"
	"testing"
)

// About 25 tokens, as a sentence of SST-2's dev set has on average.
const benchSentence = "it 's a charming and often affecting journey , told with wit , warmth and an unerring eye for the absurd ."

func BenchmarkEncode(b *testing.B) {
	texts := map[string]string{
		"ascii":  benchSentence,
		"accent": strings.ReplaceAll(benchSentence, "a", "à"),
		"cjk":    strings.Repeat("日本語のテキスト", 3),
	}
	for _, model := range []string{"sst2-minilm", "seed-rnn"} {
		tok, _ := loadModelTokenizer(b, model)
		for name, text := range texts {
			b.Run(model+"/"+name, func(b *testing.B) {
				b.ReportAllocs()
				n := 0
				for b.Loop() {
					e, err := tok.Encode(text)
					if err != nil {
						b.Fatal(err)
					}
					n = len(e.IDs)
				}
				b.ReportMetric(float64(n), "tokens")
			})
		}
	}
}

func BenchmarkEncodeSST2Dev(b *testing.B) {
	toks := map[string]*Tokenizer{}
	toks["sst2-minilm"], _ = loadModelTokenizer(b, "sst2-minilm")
	names, files := orderedConfigs(b, "families")
	for i, name := range names {
		toks[name] = loadString(b, files[i])
	}
	texts := sst2(b, "dev.tsv")
	run := func(name string, encode func(string) (Encoding, error)) {
		b.Run(name, func(b *testing.B) {
			i, n := 0, 0
			for b.Loop() {
				e, err := encode(texts[i])
				if err != nil {
					b.Fatal(err)
				}
				n += len(e.IDs)
				i = (i + 1) % len(texts)
			}
			b.ReportMetric(float64(n)/float64(b.N), "tokens/op")
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "texts/s")
		})
	}
	for _, name := range []string{"sst2-minilm", "roberta", "gpt2", "xlm-roberta", "albert", "deberta-v3", "t5", "llama"} {
		run(name, toks[name].Encode)
	}
	run("sst2-minilm/offsets", toks["sst2-minilm"].EncodeOffsets)
}

func BenchmarkPad(b *testing.B) {
	tok, _ := loadModelTokenizer(b, "sst2-minilm")
	var batch []Encoding
	for _, s := range []string{benchSentence, "good", "a much longer sentence " + benchSentence, "not bad"} {
		e, err := tok.Encode(s)
		if err != nil {
			b.Fatal(err)
		}
		batch = append(batch, e)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := tok.Pad(batch); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLoadTokenizer(b *testing.B) {
	for b.Loop() {
		loadModelTokenizer(b, "sst2-minilm")
	}
}
