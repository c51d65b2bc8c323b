package text

import (
	"fmt"
	"io"
	"math"
	"strconv"

	"github.com/distinfer/distinfer/runtime/strictjson"
)

// TokenizerConfig is what a model's tokenizer_config.json says about how texts come to the model.
// Nil is a model without the file.
type TokenizerConfig struct {
	maxLength  int // 0: no limit
	truncation side
	padding    side
	padToken   string

	unknownToken string
	decoder      bool // added_tokens_decoder is there
}

// WithSpecialTokens is the file with what a special_tokens_map.json says. To transformers 4 and 5
// its tokens count for more than the file's own; but if that has an added_tokens_decoder, the map is
// not read. (Asked of 4.57 and 5.23.)
func (c *TokenizerConfig) WithSpecialTokens(r io.Reader) (*TokenizerConfig, error) {
	if c != nil && c.decoder {
		return c, nil
	}
	o, err := readPythonObject(r)
	if err != nil {
		return nil, fmt.Errorf("special_tokens_map.json: %w", err)
	}
	with := TokenizerConfig{}
	if c != nil {
		with = *c
	}
	for key, to := range map[string]*string{"pad_token": &with.padToken, "unk_token": &with.unknownToken} {
		token, err := readToken(o, key)
		if err != nil {
			return nil, fmt.Errorf("special_tokens_map.json: %w", err)
		}
		if token != "" {
			*to = token
		}
	}
	return &with, nil
}

// A side is the end of a text at which something is done.
type side int

const (
	unsaid side = iota
	right
	left
)

// unlimited is the model_max_length from which on transformers assumes no limit; it writes 1e30 for
// a model without one.
const unlimited = 1e20

// LoadTokenizerConfig reads a tokenizer_config.json. Keys without a meaning here are ignored.
func LoadTokenizerConfig(r io.Reader) (*TokenizerConfig, error) {
	c, err := loadTokenizerConfig(r)
	if err != nil {
		return nil, fmt.Errorf("tokenizer_config.json: %w", err)
	}
	return c, nil
}

// readPythonObject reads a file that Python wrote.
func readPythonObject(r io.Reader) (*strictjson.Object, error) {
	file, err := strictjson.PythonFile(r)
	if err != nil {
		return nil, err
	}
	return file.Object()
}

func loadTokenizerConfig(r io.Reader) (*TokenizerConfig, error) {
	o, err := readPythonObject(r)
	if err != nil {
		return nil, err
	}
	c := &TokenizerConfig{}
	for _, key := range []string{"model_max_length", "max_len"} { // the second is of old files
		f, ok := o.Optional(key)
		if !ok {
			continue
		}
		n, err := strconv.ParseFloat(f.String(), 64)
		if err != nil && !math.IsInf(n, 0) {
			return nil, f.Want("a number")
		}
		if n >= 1 && n <= unlimited {
			c.maxLength = int(min(n, math.MaxInt32))
		}
		break
	}
	if c.truncation, err = readSide(o, "truncation_side"); err != nil {
		return nil, err
	}
	if c.padding, err = readSide(o, "padding_side"); err != nil {
		return nil, err
	}
	if c.padToken, err = readToken(o, "pad_token"); err != nil {
		return nil, err
	}
	_, c.decoder = o.Optional("added_tokens_decoder")
	c.unknownToken, err = readToken(o, "unk_token")
	return c, err
}

// readToken reads the text of a token, which may be that of an AddedToken; "" is none.
func readToken(o *strictjson.Object, key string) (string, error) {
	f, ok := o.Optional(key)
	if !ok {
		return "", nil
	}
	if f.Kind() == '{' {
		token, err := f.Object()
		if err != nil {
			return "", err
		}
		if f, ok = token.Optional("content"); !ok {
			return "", nil
		}
	}
	return f.Text()
}

// readSide reads "left" or "right", if the key is there.
func readSide(o *strictjson.Object, key string) (side, error) {
	f, ok := o.Optional(key)
	if !ok {
		return unsaid, nil
	}
	name, err := f.Choice("right", "left")
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

// UnknownToken returns the token that stands for what the vocabulary does not have, which for
// transformers counts for more than the tokenizer's own.
func (c *TokenizerConfig) UnknownToken() (token string, ok bool) {
	if c == nil {
		return "", false
	}
	return c.unknownToken, c.unknownToken != ""
}

// TruncatesLeft reports whether texts that are too long lose their beginning; ok is false
// when the file does not say.
func (c *TokenizerConfig) TruncatesLeft() (is, ok bool) {
	if c == nil {
		return false, false
	}
	return c.truncation == left, c.truncation != unsaid
}

// PadsLeft reports whether padding is before a text; ok is false when the file does not say. It
// counts where the model fixes how long texts are: else the side is found by running the model.
func (c *TokenizerConfig) PadsLeft() (is, ok bool) {
	if c == nil {
		return false, false
	}
	return c.padding == left, c.padding != unsaid
}

// PadToken returns the token that texts are padded with; ok is false when the file does
// not say.
func (c *TokenizerConfig) PadToken() (token string, ok bool) {
	if c == nil {
		return "", false
	}
	return c.padToken, c.padToken != ""
}
