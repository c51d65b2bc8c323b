package text

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/distinfer/distinfer/runtime/strictjson"
)

// A decoder is a step on the way from tokens back to text: what remains of them when
// the file's decoder section was followed is put together.
type decoder func(tokens []string) []string

// each makes a decoder of what is done to each token by itself.
func each(change func(i int, token string) string) decoder {
	return func(tokens []string) []string {
		changed := make([]string, len(tokens))
		for i, t := range tokens {
			changed[i] = change(i, t)
		}
		return changed
	}
}

// fused makes one token of all.
func fused(tokens []string) []string { return []string{strings.Join(tokens, "")} }

// spaced is what a file without a decoder has.
func spaced(tokens []string) []string { return []string{strings.Join(tokens, " ")} }

// cleanup is what the WordPiece decoder does to each token with its space, in this
// order.
var cleanup = []string{
	" .", ".", " ?", "?", " !", "!", " ,", ",", " ' ", "'", " n't", "n't", " 'm", "'m",
	" do not", " don't", " 's", "'s", " 've", "'ve", " 're", "'re",
}

// wordPieceDecoder puts a space before each token but the first and those with the
// prefix, which they lose.
func wordPieceDecoder(prefix string, clean bool) decoder {
	return each(func(i int, t string) string {
		if i > 0 {
			if rest, inner := strings.CutPrefix(t, prefix); inner {
				t = rest
			} else {
				t = " " + t
			}
		}
		if clean {
			for k := 0; k < len(cleanup); k += 2 {
				t = strings.ReplaceAll(t, cleanup[k], cleanup[k+1])
			}
		}
		return t
	})
}

// byteLevelDecoder makes bytes of the characters that stand for them. A token with any
// other character is taken as it is.
func byteLevelDecoder() decoder {
	bytes := map[rune]byte{}
	for b, r := range newByteRunes() {
		bytes[r] = byte(b)
	}
	return func(tokens []string) []string {
		var text []byte
		for _, t := range tokens {
			from := len(text)
			for _, r := range t {
				b, ok := bytes[r]
				if !ok {
					text = append(text[:from], t...)
					break
				}
				text = append(text, b)
			}
		}
		return []string{string(appendValid(nil, string(text)))}
	}
}

// metaspaceDecoder makes spaces of the replacement; those of the first token were put
// before the text, unless nothing is.
func metaspaceDecoder(m metaspace) decoder {
	return each(func(i int, t string) string {
		if i == 0 && m.prepend != prependNever {
			return strings.ReplaceAll(t, m.replacement, "")
		}
		return strings.ReplaceAll(t, m.replacement, " ")
	})
}

// suffixDecoder makes spaces of the marks of the ends of words, but the last.
func suffixDecoder(suffix string) decoder {
	return func(tokens []string) []string {
		return each(func(i int, t string) string {
			if i == len(tokens)-1 {
				return strings.ReplaceAll(t, suffix, "")
			}
			return strings.ReplaceAll(t, suffix, " ")
		})(tokens)
	}
}

// replaceDecoder replaces matches.
func replaceDecoder(old matcher, with string) decoder {
	return each(func(_ int, t string) string {
		var b strings.Builder
		for _, m := range old.matches(nil, []byte(t)) {
			if m.is {
				b.WriteString(with)
			} else {
				b.WriteString(t[m.start:m.end])
			}
		}
		return b.String()
	})
}

// stripDecoder removes at most a number of one character from the start and the end of tokens.
func stripDecoder(content string, start, stop int) decoder {
	return each(func(_ int, t string) string {
		for range start {
			t = strings.TrimPrefix(t, content)
		}
		for range stop {
			t = strings.TrimSuffix(t, content)
		}
		return t
	})
}

// byteFallbackDecoder puts neighbouring tokens such as <0xE3> together to characters. Of
// neighbours that do not make UTF-8 each becomes a U+FFFD.
func byteFallbackDecoder(tokens []string) []string {
	var decoded []string
	var bytes []byte
	end := func() {
		switch {
		case utf8.Valid(bytes) && len(bytes) > 0:
			decoded = append(decoded, string(bytes))
		default:
			for range bytes {
				decoded = append(decoded, "\uFFFD")
			}
		}
		bytes = bytes[:0]
	}
	for _, t := range tokens {
		if b, ok := tokenByte(t); ok {
			bytes = append(bytes, b)
			continue
		}
		end()
		decoded = append(decoded, t)
	}
	end()
	return decoded
}

// tokenByte reads a token such as <0xE3>.
func tokenByte(t string) (b byte, ok bool) {
	if len(t) != 6 || t[:3] != "<0x" || t[5] != '>' {
		return 0, false
	}
	v, err := strconv.ParseUint(strings.TrimPrefix(t[3:5], "+"), 16, 8)
	return byte(v), err == nil
}

// chained takes one step after the other.
func chained(steps []decoder) decoder {
	return func(tokens []string) []string {
		for _, step := range steps {
			tokens = step(tokens)
		}
		return tokens
	}
}

// maxStrip bounds the number of characters that a decoder may remove.
const maxStrip = 1000

// decoders are the known decoders by type; more is how much longer a step may make a text.
var decoders = map[string]func(o *strictjson.Object) (d decoder, more int){
	"WordPiece": func(o *strictjson.Object) (decoder, int) {
		return wordPieceDecoder(o.Text("prefix"), o.Bool("cleanup")), 2
	},
	"ByteLevel": func(o *strictjson.Object) (decoder, int) {
		for _, without := range []string{"add_prefix_space", "trim_offsets", "use_regex"} { // effect on decoding
			o.Flag(without, true)
		}
		return byteLevelDecoder(), 3
	},
	"Metaspace":    func(o *strictjson.Object) (decoder, int) { return metaspaceDecoder(loadMetaspace(o)), 1 },
	"BPEDecoder":   func(o *strictjson.Object) (decoder, int) { return suffixDecoder(o.Text("suffix")), 2 },
	"Fuse":         func(*strictjson.Object) (decoder, int) { return fused, 1 },
	"ByteFallback": func(*strictjson.Object) (decoder, int) { return byteFallbackDecoder, 1 },
	"Replace": func(o *strictjson.Object) (decoder, int) {
		pattern, content := readPattern(o, "pattern"), o.Text("content")
		return replaceDecoder(pattern, content), max(1, len(content))
	},
	"Strip": func(o *strictjson.Object) (decoder, int) {
		content := o.Text("content")
		if utf8.RuneCountInString(content) != 1 {
			o.Fail(o.Errorf("\"content\" is %q, want one character", content))
		}
		return stripDecoder(content, int(o.Uint("start", maxStrip)), int(o.Uint("stop", maxStrip))), 1
	},
}

// loadDecoder reads the decoder section. Its steps together make a text at most that number of
// times longer.
func loadDecoder(n strictjson.Value) (d decoder, more int, err error) {
	o, err := n.Object()
	if err != nil {
		return nil, 0, err
	}
	if kind, ok := o.Peek("type"); ok && kind.String() == `"Sequence"` {
		o.Take("type")
		var steps []decoder
		more = 1
		for _, f := range o.List("decoders") {
			step, times, err := loadDecoder(f)
			if err != nil {
				return nil, 0, err
			}
			if more *= times; more > maxGrowth {
				return nil, 0, f.Errorf("the decoders up to here can make a text more than %d times longer", maxGrowth)
			}
			steps = append(steps, step)
		}
		return chained(steps), more, o.Finish()
	}
	load := decoders[o.Choice("type", append(slices.Sorted(maps.Keys(decoders)), "Sequence")...)]
	if load == nil {
		return nil, 0, o.Err()
	}
	d, more = load(o)
	return d, more, o.Finish()
}

// Joiner returns what turns tokens back into text, as the file's decoder does. It fails
// when that is not known here.
func (t *Tokenizer) Joiner() (func(tokens []string) string, error) {
	if t.decoderError != nil {
		return nil, fmt.Errorf("tokenizer.json: %w", t.decoderError)
	}
	return func(tokens []string) string { return strings.Join(t.decoder(tokens), "") }, nil
}

// InnerPrefix is what pieces of a word that are not its first begin with; "" when the
// model does not mark them.
func (t *Tokenizer) InnerPrefix() string {
	switch m := t.model.(type) {
	case *wordPiece:
		return m.prefix
	case *bpe:
		return m.prefix
	}
	return ""
}

// UnknownID is the id that stands for what is not in the vocabulary; ok is false when
// there is none. Where the model has none, as BPE of bytes, it is that of an added token
// <unk> or [UNK], which is what other files of the model name then.
func (t *Tokenizer) UnknownID() (id int64, ok bool) {
	unk := ""
	switch m := t.model.(type) {
	case *wordPiece:
		unk = m.unk
	case *wordLevel:
		unk = m.unk
	case *bpe:
		unk = m.unk
	case *unigram:
		return int64(m.unk), m.unk >= 0
	}
	if id, ok := t.TokenID(unk); ok && unk != "" {
		return id, true
	}
	for _, name := range []string{"<unk>", "[UNK]"} {
		if id, ok := t.addedIDs[name]; ok {
			return int64(id), true
		}
	}
	return 0, false
}

// Tokens returns the text of every token that Encode may give, by id.
func (t *Tokenizer) Tokens() map[int64]string {
	tokens := make(map[int64]string, t.model.size()+len(t.addedIDs))
	if m, ok := t.model.(interface{ entries() vocabulary }); ok {
		for token, id := range m.entries() {
			tokens[int64(id)] = token
		}
	}
	for token, id := range t.addedIDs {
		tokens[int64(id)] = token
	}
	return tokens
}

func (v vocabulary) entries() vocabulary { return v }

// Truncates reports whether Encode leaves out some of a text.
func (t *Tokenizer) Truncates(text string) (bool, error) {
	if t.truncation == nil {
		return false, nil
	}
	with, tr := *t, *t.truncation
	tr.onlyFirst, tr.onlySecond = false, false // which would fail
	with.truncation, with.padding = &tr, nil
	e, err := with.Encode(text)
	return e.Truncated, err
}

// WithLowercase returns a Tokenizer that puts texts into lower case before all else.
func (t *Tokenizer) WithLowercase() *Tokenizer {
	with := *t
	with.normalizer = lowercase{}
	if t.normalizer != nil {
		with.normalizer = normalizerSequence{lowercase{}, t.normalizer}
	}
	if t.cuts != nil {
		with.cuts = newCuts(&with)
	}
	return &with
}

// Valid is a text as Encode reads it: what is not UTF-8 is replaced.
func Valid(text string) string { return string(appendValid(nil, text)) }
