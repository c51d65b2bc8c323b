package text

import (
	"errors"
	"strings"
)

// A decoder turns tokens back into text, as the file's decoder section says.
type decoder func(tokens []string) string

// spaced is what a file without a decoder has.
func spaced(tokens []string) string { return strings.Join(tokens, " ") }

// cleanup is what the WordPiece decoder does to each token with its space, in this
// order.
var cleanup = []string{
	" .", ".", " ?", "?", " !", "!", " ,", ",", " ' ", "'", " n't", "n't", " 'm", "'m",
	" do not", " don't", " 's", "'s", " 've", "'ve", " 're", "'re",
}

// wordPieceDecoder puts a space before each token but the first and those with the
// prefix, which they lose.
func wordPieceDecoder(prefix string, clean bool) decoder {
	return func(tokens []string) string {
		var b strings.Builder
		for i, t := range tokens {
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
			b.WriteString(t)
		}
		return b.String()
	}
}

// loadDecoder reads the decoder section. One that is not known here is no error, since
// most models never need it; it is nil.
func loadDecoder(n node) (decoder, error) {
	o, err := n.object()
	if err != nil {
		return nil, err
	}
	if kind, ok := o.take("type"); !ok || string(kind.raw) != `"WordPiece"` {
		return nil, nil
	}
	prefix, clean := o.string("prefix"), o.boolean("cleanup")
	return wordPieceDecoder(prefix, clean), o.finish()
}

// Joiner returns what turns tokens back into text, as the file's decoder does. It fails
// for decoders that are not known here.
func (t *Tokenizer) Joiner() (func(tokens []string) string, error) {
	if t.decoder == nil {
		return nil, errors.New("tokenizer.json: decoder: only WordPiece and none (null) are supported")
	}
	return t.decoder, nil
}

// InnerPrefix is what pieces of a word that are not its first begin with; "" when the
// model does not mark them.
func (t *Tokenizer) InnerPrefix() string {
	if m, ok := t.model.(*wordPiece); ok {
		return m.prefix
	}
	return ""
}

// UnknownID is the id that stands for what is not in the vocabulary; ok is false when
// there is none.
func (t *Tokenizer) UnknownID() (id int64, ok bool) {
	switch m := t.model.(type) {
	case *wordPiece:
		return t.TokenID(m.unk)
	case *wordLevel:
		return t.TokenID(m.unk)
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
	most, bounded := t.MaxLength()
	if !bounded {
		return false, nil
	}
	whole := *t
	whole.truncation, whole.padding = nil, nil
	e, err := whole.Encode(text)
	return len(e.IDs) > most, err
}

// WithLowercase returns a Tokenizer that puts texts into lower case before all else.
func (t *Tokenizer) WithLowercase() *Tokenizer {
	with := *t
	with.normalizer = lowercase{}
	if t.normalizer != nil {
		with.normalizer = normalizerSequence{lowercase{}, t.normalizer}
	}
	return &with
}

// Valid is a text as Encode reads it: what is not UTF-8 is replaced.
func Valid(text string) string { return string(appendValid(nil, text)) }
