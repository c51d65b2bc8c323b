package text

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
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

// BenchmarkScripts encodes texts in several scripts, short and long, and as one word that
// does not end, with every tokenizer of the oracle's folder.
// scripts/tokenizer-oracle/speed.py compares with the library.
func BenchmarkScripts(b *testing.B) {
	data, err := os.ReadFile(filepath.Join("testdata", "scripts.json"))
	if err != nil {
		b.Fatal(err)
	}
	var samples map[string]string
	if err := json.Unmarshal(data, &samples); err != nil {
		b.Fatal(err)
	}
	set := "families"
	if oracleFolder() != "testdata" {
		set = "configs"
	}
	names, files := orderedConfigs(b, set)
	for i, name := range names {
		b.Run(name, func(b *testing.B) {
			tok := loadString(b, files[i])
			tok.truncation = nil
			for _, script := range slices.Sorted(maps.Keys(samples)) {
				sample := samples[script]
				word := strings.ReplaceAll(sample, " ", "")
				for kind, text := range map[string]string{
					"short": strings.Repeat(sample, 1+(4<<10)/len(sample)),
					"long":  strings.Repeat(sample, 1+(100<<10)/len(sample)),
					"word":  strings.Repeat(word, 1+(100<<10)/len(word)),
				} {
					b.Run(script+"/"+kind, func(b *testing.B) {
						start := cpuTime(b)
						for b.Loop() {
							if _, err := tok.Encode(text); err != nil {
								b.Fatal(err)
							}
						}
						b.ReportMetric(float64(b.N*len(text))/1e6/(cpuTime(b)-start).Seconds(), "MB/cpu-s")
					})
				}
			}
		})
	}
}

// cpuTime is the time that processors spent on this process, which on a machine that is
// shared says more than the time that went by.
func cpuTime(b *testing.B) time.Duration {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &now); err != nil {
		b.Fatal(err)
	}
	return time.Duration(now.Nano())
}

// BenchmarkLongText encodes 4 MB for a model that reads 512 tokens: sentences, one word that
// does not end, and Chinese without a space.
func BenchmarkLongText(b *testing.B) {
	toks := map[string]*Tokenizer{}
	toks["sst2-minilm"], _ = loadModelTokenizer(b, "sst2-minilm")
	names, files := orderedConfigs(b, "families")
	for i, name := range names {
		toks[name] = loadString(b, files[i])
	}
	for _, name := range []string{"sst2-minilm", "roberta", "xlm-roberta", "llama"} {
		tok, err := toks[name].WithMaxLength(512)
		if err != nil {
			b.Fatal(err)
		}
		for kind, sample := range map[string]string{"sentences": benchSentence + " ", "word": "a", "chinese": "今天天气很好，我们去公园。"} {
			text := strings.Repeat(sample, (4<<20)/len(sample))
			b.Run(name+"/"+kind, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if _, err := tok.Encode(text); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
