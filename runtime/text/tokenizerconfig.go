package text

import (
	"fmt"
	"io"
	"math"
	"strconv"
)

// TokenizerConfig is what a model's tokenizer_config.json says of how texts come to the
// model. Nil is a model without the file.
type TokenizerConfig struct {
	maxLength  int // 0: no limit
	truncation side
	padToken   string
}

// A side is the end of a text at which something is done.
type side int

const (
	unsaid side = iota
	right
	left
)

// unlimited is the model_max_length from which transformers takes it for none; it writes
// 1e30 for a model of which it knows none.
const unlimited = 1e20

// LoadTokenizerConfig reads a tokenizer_config.json. Keys that ask for nothing here are
// passed over.
func LoadTokenizerConfig(r io.Reader) (*TokenizerConfig, error) {
	c, err := loadTokenizerConfig(r)
	if err != nil {
		return nil, fmt.Errorf("tokenizer_config.json: %w", err)
	}
	return c, nil
}

func loadTokenizerConfig(r io.Reader) (*TokenizerConfig, error) {
	o, err := readPythonObject(r)
	if err != nil {
		return nil, err
	}
	c := &TokenizerConfig{}
	for _, key := range []string{"model_max_length", "max_len"} { // the second is of old files
		f, ok := o.optional(key)
		if !ok {
			continue
		}
		n, err := strconv.ParseFloat(string(f.raw), 64)
		if err != nil && !math.IsInf(n, 0) {
			return nil, f.want("a number")
		}
		if n >= 1 && n <= unlimited {
			c.maxLength = int(min(n, math.MaxInt32))
		}
		break
	}
	if c.truncation, err = o.side("truncation_side"); err != nil {
		return nil, err
	}
	// It has to be a side, but which is found out by running the model.
	if _, err = o.side("padding_side"); err != nil {
		return nil, err
	}
	if f, ok := o.optional("pad_token"); ok {
		if f.raw[0] == '{' { // an AddedToken
			token, err := f.object()
			if err != nil {
				return nil, err
			}
			if f, ok = token.optional("content"); !ok {
				return c, nil
			}
		}
		if c.padToken, err = f.string(); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// side reads "left" or "right", if the key is there.
func (o *object) side(key string) (side, error) {
	f, ok := o.optional(key)
	if !ok {
		return unsaid, nil
	}
	name, err := f.choice([]string{"right", "left"})
	if name == "left" {
		return left, err
	}
	return right, err
}

// MaxLength returns model_max_length, the most tokens of a text, special tokens included;
// ok is false when there is no limit.
func (c *TokenizerConfig) MaxLength() (n int, ok bool) {
	if c == nil {
		return 0, false
	}
	return c.maxLength, c.maxLength > 0
}

// TruncatesLeft reports whether texts that are too long lose their beginning; ok is false
// when the file does not say.
func (c *TokenizerConfig) TruncatesLeft() (is, ok bool) {
	if c == nil {
		return false, false
	}
	return c.truncation == left, c.truncation != unsaid
}

// PadToken returns the token that texts are padded with; ok is false when the file does
// not say.
func (c *TokenizerConfig) PadToken() (token string, ok bool) {
	if c == nil {
		return "", false
	}
	return c.padToken, c.padToken != ""
}
