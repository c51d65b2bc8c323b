package text

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// The answers in testdata are those of Hugging Face's tokenizers, written by
// scripts/tokenizer-oracle/oracle.py, which describes their form.

const models = "../../models"

// oracleFolder is testdata, or where oracle.py --random wrote.
func oracleFolder() string {
	if folder := os.Getenv("DISTINFER_TEXT_ORACLE"); folder != "" {
		return folder
	}
	return "testdata"
}

func readGzip(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	r, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	if data, err = io.ReadAll(r); err != nil {
		t.Fatal(err)
	}
	return data
}

func readOracle(t testing.TB, name string, v any) {
	t.Helper()
	if err := json.Unmarshal(readGzip(t, filepath.Join(oracleFolder(), name)), v); err != nil {
		t.Fatal(err)
	}
}

func adversarialTexts(t testing.TB) []string {
	var texts []string
	readOracle(t, "texts.json.gz", &texts)
	return texts
}

// sst2 reads the sentences of one of SST-2's files.
func sst2(t testing.TB, name string) []string {
	t.Helper()
	path := filepath.Join(models, "testdata", "sst2", name)
	var data []byte
	if strings.HasSuffix(name, ".gz") {
		data = readGzip(t, path)
	} else {
		var err error
		if data, err = os.ReadFile(path); err != nil {
			t.Fatal(err)
		}
	}
	lines := strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")[1:]
	for i, l := range lines {
		_, lines[i], _ = strings.Cut(l, "\t")
	}
	return lines
}

func loadString(t testing.TB, file string) *Tokenizer {
	t.Helper()
	tok, err := LoadTokenizer(strings.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// loadModelTokenizer loads a default model's tokenizer.json and returns its CRC-32.
func loadModelTokenizer(t testing.TB, name string) (*Tokenizer, uint32) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(models, name, "tokenizer.json"))
	if err != nil {
		t.Fatal(err)
	}
	return loadString(t, string(data)), crc32.ChecksumIEEE(data)
}

// record is record of oracle.py.
func record(dst []byte, e Encoding, err error) []byte {
	if err != nil {
		return append(dst, "error"...)
	}
	for _, row := range [][]int64{e.IDs, e.TypeIDs, e.AttentionMask, e.SpecialTokensMask} {
		for _, v := range row {
			dst = binary.LittleEndian.AppendUint32(dst, uint32(v))
		}
	}
	for i, o := range e.Offsets {
		dst = binary.LittleEndian.AppendUint32(dst, uint32(o.Start))
		dst = binary.LittleEndian.AppendUint32(dst, uint32(o.End))
		dst = binary.LittleEndian.AppendUint32(dst, uint32(e.Words[i]))
	}
	for _, s := range e.Tokens {
		dst = append(append(dst, s...), 0xFF)
	}
	return dst
}

// everything is what the oracle answers for a text: tokens, offsets and all.
func everything(tok *Tokenizer, text string) (Encoding, error) {
	return tok.encode(text, nil, wants{strings: true, places: true, padded: true})
}

// same tells whether what requests are served with agrees with everything.
func same(tok *Tokenizer, text string, e Encoding, err error) error {
	plain, plainErr := tok.Encode(text)
	withOffsets, offsetsErr := tok.EncodeOffsets(text)
	withTokens, tokensErr := tok.EncodeTokens(text)
	if err != nil {
		if plainErr == nil || offsetsErr == nil || tokensErr == nil {
			return errors.New("only some of them fail")
		}
		return nil
	}
	short := unpadded(e)
	switch {
	case plainErr != nil || plain.Tokens != nil || plain.Offsets != nil || plain.Words != nil || !slices.Equal(unpadded(plain), short):
		return fmt.Errorf("Encode differs: %s", describe(plain, plainErr))
	case offsetsErr != nil || withOffsets.Tokens != nil || !slices.Equal(unpadded(withOffsets), short) || len(withOffsets.Offsets) != len(withOffsets.IDs):
		return fmt.Errorf("EncodeOffsets differs: %s", describe(withOffsets, offsetsErr))
	case tokensErr != nil || withTokens.Offsets != nil || !slices.Equal(withTokens.IDs, e.IDs) || !slices.Equal(withTokens.Tokens, e.Tokens):
		return fmt.Errorf("EncodeTokens differs: %s", describe(withTokens, tokensErr))
	}
	return nil
}

// pieces is pieces of oracle.py.
func pieces(dst []byte, tok *Tokenizer, text string) []byte {
	w := work{buffer: buffer{text: []byte(text), tracked: true}}
	w.setOrigins()
	if tok.normalizer != nil {
		normal := buffer{tracked: true}
		tok.normalizer.normalize(&normal, w.buffer)
		// The oracle is handed the normalised text as a text of its own.
		w.buffer = buffer{text: normal.text, tracked: true}
		w.setOrigins()
	}
	w.spans = appendSpan(nil, 0, len(w.text))
	if tok.preTokenizer != nil {
		tok.preTokenizer.apply(&w)
	}
	for _, p := range w.spans {
		dst = append(append(dst, w.text[p.start:p.end]...), 0xFF)
	}
	return append(dst, 0xFE)
}

// checksum is the first bytes of a CRC-32, as oracle.py keeps them.
func checksum(data []byte, size int) uint32 {
	return crc32.ChecksumIEEE(data) & (1<<(8*size) - 1)
}

// mismatches reports the first few of them in full.
type mismatches struct {
	t  testing.TB
	mu sync.Mutex
	n  int
}

func (m *mismatches) add(format string, args ...any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.n++; m.n <= 10 {
		m.t.Errorf(format, args...)
	}
}

func describe(e Encoding, err error) string {
	if err != nil {
		return "error: " + err.Error()
	}
	return fmt.Sprintf("\n ids     %v\n tokens  %+q\n types   %v\n mask    %v\n special %v\n offsets %v\n words   %v", e.IDs, e.Tokens, e.TypeIDs, e.AttentionMask, e.SpecialTokensMask, e.Offsets, e.Words)
}

// oneOf is how many texts there are for each that is compared: 1 where DISTINFER_TEXTS is all, as
// `make tokenizers` has it. The race detector sees in a part what it would see in all.
func oneOf() int {
	switch {
	case os.Getenv("DISTINFER_TEXTS") == "all":
		return 1
	case raceDetector:
		return 29
	}
	return 5
}

// spread runs f over one of several of 0..n-1, from first on, on a few goroutines, so that the
// race detector sees one Tokenizer in use by several.
func spread(n, first int, f func(i int)) {
	var wg sync.WaitGroup
	const workers = 4
	for w := range workers {
		wg.Go(func() {
			for i := first%oneOf() + w*oneOf(); i < n; i += workers * oneOf() {
				f(i)
			}
		})
	}
	wg.Wait()
}

// answer is one text's entry in a model's answers.
type answer struct {
	ids []int64 // nil: only the checksum is known
	sum uint32
}

// readAnswers reads the first n answers in full and the rest as checksums.
func readAnswers(t *testing.T, name string, crc uint32, full, sums int) []answer {
	t.Helper()
	data := readGzip(t, filepath.Join(oracleFolder(), name))
	if binary.LittleEndian.Uint32(data) != crc {
		t.Fatalf("%s: tokenizer.json has changed since the oracle was asked; run scripts/tokenizer-oracle/oracle.py", name)
	}
	r := bytes.NewReader(data[4:])
	number := func() uint64 {
		v, err := binary.ReadUvarint(r)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return v
	}
	out := make([]answer, full+sums)
	for i := range out {
		if i < full {
			out[i].ids = make([]int64, number())
			for j := range out[i].ids {
				out[i].ids[j] = int64(number())
			}
		}
		for j := range 3 {
			b, err := r.ReadByte()
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			out[i].sum |= uint32(b) << (8 * j)
		}
	}
	if r.Len() > 0 {
		t.Fatalf("%s: %d bytes too many", name, r.Len())
	}
	return out
}

func compare(t *testing.T, tok *Tokenizer, texts []string, want []answer) {
	t.Helper()
	bad := mismatches{t: t}
	spread(len(texts), 0, func(i int) {
		e, err := everything(tok, texts[i])
		if checksum(record(nil, e, err), 3) == want[i].sum {
			if i%8 == 0 { // four times the work
				if err := same(tok, texts[i], e, err); err != nil {
					bad.add("text %d %+q: %v", i, texts[i], err)
				}
			}
			return
		}
		wanted := fmt.Sprintf("checksum %06x", want[i].sum)
		if want[i].ids != nil {
			wanted = fmt.Sprintf("(padding left out)\n ids     %v", want[i].ids)
		}
		bad.add("text %d %+q\nwant %s\ngot %s", i, texts[i], wanted, describe(e, err))
	})
	t.Logf("%d texts, %d mismatches", len(texts), bad.n)
}

func unpadded(e Encoding) []int64 {
	var ids []int64
	for i, id := range e.IDs {
		if e.AttentionMask[i] == 1 {
			ids = append(ids, id)
		}
	}
	return ids
}

// TestModels compares the tokenizers of the default models with the oracle, on
// all of SST-2 and on the adversarial texts.
func TestModels(t *testing.T) {
	for _, name := range []string{"sst2-minilm", "seed-rnn"} {
		tok, crc := loadModelTokenizer(t, name)
		t.Run(name+"/sst2", func(t *testing.T) {
			texts := append(sst2(t, "dev.tsv"), sst2(t, "test.tsv")...)
			full := len(texts)
			texts = append(texts, sst2(t, "train.tsv.gz")...)
			compare(t, tok, texts, readAnswers(t, name+".sst2.gz", crc, full, len(texts)-full))
		})
		t.Run(name+"/adversarial", func(t *testing.T) {
			texts := adversarialTexts(t)
			compare(t, tok, texts, readAnswers(t, name+".texts.gz", crc, len(texts), 0))
		})
	}
}

// orderedConfigs reads the synthetic files in the order of their answers.
func orderedConfigs(t testing.TB, set string) (names []string, files []string) {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(readGzip(t, filepath.Join(oracleFolder(), set+".json.gz"))))
	if _, err := dec.Token(); err != nil {
		t.Fatal(err)
	}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			t.Fatal(err)
		}
		var file json.RawMessage
		if err := dec.Decode(&file); err != nil {
			t.Fatal(err)
		}
		names, files = append(names, name.(string)), append(files, string(file))
	}
	return names, files
}

// TestConfigs compares every component and option with the oracle, on the
// adversarial texts: what normalizer and pre-tokenizer make of them, the whole
// encoding, and that of pairs.
func TestConfigs(t *testing.T) { testFiles(t, "configs") }

// TestFamilies compares tokenizers like those of RoBERTa, XLM-R, ALBERT, DeBERTa,
// T5 and others.
func TestFamilies(t *testing.T) { testFiles(t, "families") }

func testFiles(t *testing.T, set string) {
	texts := adversarialTexts(t)
	answers := readGzip(t, filepath.Join(oracleFolder(), set+".answers.gz"))
	pairs := readGzip(t, filepath.Join(oracleFolder(), set+".pairs.gz"))
	names, files := orderedConfigs(t, set)
	each := (len(texts) + 10) / 11 // pairs of a file
	if len(answers) != 2*len(texts)*len(names) || len(pairs) != 2*each*len(names) {
		t.Fatalf("%d answers and %d pairs for %d texts and %d files", len(answers)/2, len(pairs)/2, len(texts), len(names))
	}
	total := 0
	for c, name := range names {
		t.Run(name, func(t *testing.T) {
			tok := loadString(t, files[c])
			bad := mismatches{t: t}
			defer func() { total += bad.n }()
			spread(len(texts), c, func(i int) {
				e, err := everything(tok, texts[i])
				cut := pieces(nil, tok, texts[i])
				got := checksum(record(cut, e, err), 2)
				if want := binary.LittleEndian.Uint16(answers[2*(c*len(texts)+i):]); got != uint32(want) {
					bad.add("text %d %+q\nwant checksum %04x (oracle.py --show %s %d)\ngot %04x %+q %s", i, texts[i], want, name, i, got, cut, describe(e, err))
				} else if i%8 == 0 { // four times the work
					if err := same(tok, texts[i], e, err); err != nil {
						bad.add("text %d %+q: %v", i, texts[i], err)
					}
				}
			})
			if tok.truncation != nil && tok.truncation.check(tok.pairLayout) != nil {
				return // refused; the library counts below zero and does not truncate at all
			}
			spread(each, c, func(i int) {
				a, b := texts[11*i], texts[len(texts)-1-11*i]
				e, err := tok.encode(a, &b, wants{strings: true, places: true, padded: true})
				got := checksum(record(nil, e, err), 2)
				if want := binary.LittleEndian.Uint16(pairs[2*(c*each+i):]); got != uint32(want) {
					bad.add("pair %d %+q %+q\nwant checksum %04x\ngot %04x %s", 11*i, a, b, want, got, describe(e, err))
				}
			})
		})
	}
	t.Logf("%d files × %d texts and some pairs, %d mismatches", len(names), len(texts), total)
}

// TestCharacters puts every code point through every component.
func TestCharacters(t *testing.T) {
	var want map[string][]uint32
	readOracle(t, "characters.json.gz", &want)
	normalizers := map[string]normalizer{
		"Lowercase": lowercase{}, "StripAccents": stripAccents{}, "Strip": stripSpace{true, true},
		"NFC": unicodeForm{false, true}, "NFD": unicodeForm{false, false}, "NFKC": unicodeForm{true, true}, "NFKD": unicodeForm{true, false},
		"BertNormalizer": bertNormalizer{true, true, true, true}, "BertNormalizer cased": bertNormalizer{true, true, false, false},
	}
	cutters := map[string]cutter{
		"BertPreTokenizer": bertPreTokenizer{}, "Whitespace": whitespaceWords{}, "WhitespaceSplit": whitespaceSplit{},
		"Punctuation": delimiterSplit{delimiter: bitMatcher(isPunct), behavior: isolated},
		"Digits":      delimiterSplit{delimiter: bitMatcher(isNumeric), behavior: isolated},
	}
	for name, sums := range want {
		for block, sum := range sums {
			if block%oneOf() != 0 && (raceDetector || block >= 0x20) { // beyond, there is little
				continue
			}
			var got uint32
			for r := rune(block << 12); r < rune(block+1)<<12; r++ {
				if 0xD800 <= r && r <= 0xDFFF {
					continue
				}
				var out []byte
				if n, ok := normalizers[name]; ok {
					in := string(r)
					if strings.HasPrefix(name, "NF") {
						in = "a" + in + "\u0323"
					}
					var normal buffer
					n.normalize(&normal, buffer{text: []byte(in)})
					out = append(out, normal.text...)
					out = append(out, 0xFF)
				} else {
					s := []byte("a" + string(r) + "a")
					for _, p := range cutters[name].cut(nil, s, 0) {
						out = append(append(out, s[p.start:p.end]...), 0xFF)
					}
				}
				got = crc32.Update(got, crc32.IEEETable, out)
			}
			if got != sum {
				t.Errorf("%s: some of U+%04X to U+%04X differ", name, block<<12, block<<12|0xFFF)
			}
		}
	}
	t.Logf("%d components × %d code points", len(want), 0x110000-0x800)
}

func TestInvalidUTF8(t *testing.T) {
	var cases [][2]string
	readOracle(t, "utf8.json.gz", &cases)
	for _, c := range cases {
		in, err := hex.DecodeString(c[0])
		if err != nil {
			t.Fatal(err)
		}
		if got := string(appendValid(nil, string(in))); got != c[1] {
			t.Errorf("% x: want %+q, got %+q", in, c[1], got)
		}
	}
	t.Logf("%d byte strings", len(cases))
}
