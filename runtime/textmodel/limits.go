package textmodel

import (
	"fmt"
	"slices"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/feed"
	"github.com/distinfer/distinfer/runtime/text"
)

// Limits are what the operator says of long texts.
type Limits struct {
	// MaxTokens is the most tokens of a text, special tokens included: texts are cut there
	// although the model reads longer ones. 0 leaves that to the model's files, and is
	// DefaultMaxTokens where these name no limit.
	MaxTokens int
	// Refuse has texts that are too long refused, as a errcode.TooLarge, and not cut.
	Refuse bool
}

// A MaxTokensError says that texts cannot be cut to Limits.MaxTokens: the model's special tokens
// alone are more.
type MaxTokensError struct {
	MaxTokens int
	Err       error
}

func (e *MaxTokensError) Error() string {
	return fmt.Sprintf("cut texts to %d tokens: %v", e.MaxTokens, e.Err)
}

// Unwrap returns the tokenizer's error.
func (e *MaxTokensError) Unwrap() error { return e.Err }

// DefaultMaxTokens is the most tokens of a text where neither a file nor the operator names
// a limit. It is what most encoders that read any length were trained with, at most; the
// memory that a model takes grows with the square of it.
const DefaultMaxTokens = 2048

// fit adapts a tokenizer to the model it is used with.
func fit(files Files, b *bundle.Bundle, plan *feed.Plan) (*text.Tokenizer, error) {
	t, err := limit(files, b, plan)
	if err != nil {
		return nil, err
	}
	if id, ok := files.Config.PadTokenID(); ok {
		t = t.WithPadID(id)
	} else if token, ok := files.Tokens.PadToken(); ok {
		if id, ok := t.TokenID(token); ok {
			t = t.WithPadID(id)
		}
	}
	return fitLength(t, files.TokenizerConfig, plan)
}

// fitLength has texts cut and padded to the length that the model fixes, if it does: on the side that
// the files say.
func fitLength(t *text.Tokenizer, tc *text.TokenizerConfig, plan *feed.Plan) (*text.Tokenizer, error) {
	if plan.Length == 0 {
		return t, nil
	}
	cut, err := within(t, plan.Length, t.TruncatesLeft())
	if err != nil {
		return nil, fmt.Errorf("truncate texts to the %d tokens that the model fixes: %w", plan.Length, err)
	}
	left, said := tc.PadsLeft()
	if !said {
		left = t.PadsLeft()
	}
	if t, err = cut.WithFixedPadding(plan.Length, left); err != nil {
		return nil, fmt.Errorf("the model takes texts of exactly %d tokens, and %w; name the padding token's id as pad_token_id in config.json, and split the model again", plan.Length, err)
	}
	return t, nil
}

// limit makes the tokenizer cut texts to what the model reads. docs/reference/models.md has the table:
// a file of the task says the length, else tokenizer_config.json or, where there is none,
// tokenizer.json, as in sentence-transformers and transformers; never more than the model has positions, nor than
// the operator wants; and some limit there always is.
func limit(files Files, b *bundle.Bundle, plan *feed.Plan) (*text.Tokenizer, error) {
	t, tc := files.Tokenizer, files.TokenizerConfig
	left, said := tc.TruncatesLeft()
	switch {
	case files.Left != nil:
		left = *files.Left
	case !said:
		left = t.TruncatesLeft()
	}
	from, n := bundle.SentenceConfigName+": max_seq_length", files.Length
	if n == 0 {
		from = bundle.TokenizerConfigName + ": model_max_length"
		n, _ = tc.MaxLength()
	}
	var err error
	switch {
	case n > 0:
		if t, err = t.WithTruncation(n, left); err != nil {
			return nil, fmt.Errorf("%s: %w", from, err)
		}
	case tc != nil:
		t = t.WithoutTruncation() // transformers passes over the length that tokenizer.json says
	}
	_, truncates := t.MaxLength()
	if n, ok := files.Config.MaxPositions(); ok && (!truncates || !files.Config.Relative()) {
		if t, err = within(t, n, left); err != nil {
			return nil, fmt.Errorf("truncate texts to the %d positions of the model: %w", n, err)
		}
	}
	if n, ok := positions(b, plan); ok {
		if t, err = within(t, n, left); err != nil {
			return nil, fmt.Errorf("truncate texts to the %d positions of the model's table: %w", n, err)
		}
	}
	if n := files.Limits.MaxTokens; n > 0 {
		if t, err = within(t, n, left); err != nil {
			return nil, &MaxTokensError{n, err}
		}
	} else if _, truncates := t.MaxLength(); !truncates {
		return within(t, DefaultMaxTokens, left)
	}
	return t, nil
}

// within is a tokenizer that truncates to no more than n tokens.
func within(t *text.Tokenizer, n int, left bool) (*text.Tokenizer, error) {
	have, truncates := t.MaxLength()
	switch {
	case !truncates:
		return t.WithTruncation(n, left)
	case have > n:
		return t.WithMaxLength(n)
	}
	return t, nil
}

// fitPadding has a tokenizer pad as far as a batch needs it, on a side on which that changes
// no answer: that of its file, where there is a choice. Without such a side it pads nothing.
// Without a mask, and where the model fixes the length, padding is part of what the model
// reads, and as the file says. mixes reports that texts of different lengths may be padded.
func fitPadding(t *text.Tokenizer, rows bundle.Rows, plan *feed.Plan) (_ *text.Tokenizer, mixes bool) {
	switch {
	case plan.Mask == "" || plan.Length > 0:
		return t, false
	case len(rows.Padding) == 0:
		return t.WithoutPadding(), false
	}
	side := bundle.Right
	if t.PadsLeft() {
		side = bundle.Left
	}
	if !slices.Contains(rows.Padding, side) {
		t = t.WithPaddingLeft(!t.PadsLeft())
	}
	return t.WithDynamicPadding(), true
}
