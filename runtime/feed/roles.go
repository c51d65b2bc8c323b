package feed

import (
	"regexp"
	"slices"
	"strings"

	"github.com/distinfer/distinfer/runtime/tensor"
)

// A role is what an input is for.
type role int

const (
	ids            role = iota + 1
	mask                // 1 for a token, 0 for padding
	unmasked            // 0 for a token, 1 for padding
	types               // of tokens: which of two texts
	positions           // of tokens
	globalMask          // 1 for tokens that all others attend to
	cache               // keys and values of earlier tokens, of which there are none
	cachePositions      // places of the tokens in the cache
	useCache            // whether there are earlier tokens
	keepLogits          // for how many of the last tokens there are to be logits; 0 is all
)

// roles are the names that exporters give to inputs: transformers', and those of BERT's first
// code. Other names are left alone, however near: key_padding_mask, say, is 1 for padding.
var roles = map[string]role{
	"input_ids": ids, "input_word_ids": ids, "input_token_ids": ids, "token_ids": ids, "input_tokens": ids, "tokens": ids, "ids": ids, "inputs": ids, "input": ids,
	"attention_mask": mask, "attn_mask": mask, "input_mask": mask, "mask": mask,
	"token_type_ids": types, "segment_ids": types, "input_type_ids": types, "token_types": types,
	"position_ids":          positions,
	"global_attention_mask": globalMask,
	"cache_position":        cachePositions,
	"use_cache_branch":      useCache,
	"logits_to_keep":        keepLogits, "num_logits_to_keep": keepLogits,
}

var (
	numbered = regexp.MustCompile(`[.:]\d+$`) // as PyTorch and TensorFlow number names
	cached   = regexp.MustCompile(`^(past|pkv|mems|kv_cache|key_cache|value_cache|past_key_values?|past_keys?|past_values?)([._].*)?$`)
	// Of layers that keep another state than keys and values, or those of an encoder.
	uncached = regexp.MustCompile(`encoder|cross|conv|ssm|recurrent|length|seq_len`)
)

// roleOf is the role of an input by its name; 0 when that does not say it.
func roleOf(s tensor.Spec, m Model) role {
	name := strings.TrimPrefix(strings.ToLower(s.Name), "serving_default_")
	if cached.MatchString(name) && (!uncached.MatchString(name) || strings.Contains(name, ".decoder.")) {
		return cache
	}
	r := roles[numbered.ReplaceAllString(name, "")]
	if r == mask && name == "input_mask" && m.Type == "xlnet" {
		return unmasked
	}
	return r
}

// integers reports whether an input takes integers that ids can be.
func integers(s tensor.Spec) bool { return s.DType == tensor.Int64 || s.DType == tensor.Int32 }

// masks are the types that a mask can have.
var masks = []tensor.DType{tensor.Int64, tensor.Int32, tensor.Int8, tensor.Uint8, tensor.Bool, tensor.Float32, tensor.Float16}

// check fails when an input has another type or rank than its role.
func (in input) check() error {
	rank, typed, want := []int{2}, integers(in.Spec), "int64 or int32"
	switch in.role {
	case mask, unmasked, globalMask:
		typed, want = slices.Contains(masks, in.DType), "integers, bool or float"
	case positions:
		rank = []int{2, 1}
	case cachePositions:
		rank = []int{1}
	case keepLogits:
		rank = []int{0, 1}
	case useCache:
		rank, typed, want = []int{1, 0}, in.DType == tensor.Bool, "bool"
	case cache:
		rank = nil // see cacheShape
		_, _, whole := in.DType.Integers()
		typed, want = !whole && in.DType != tensor.Bool && in.DType != tensor.String, "float"
	}
	switch {
	case !typed:
		return &Error{in.Spec, "it should be " + want, Shape}
	case in.AnyRank || rank != nil && !slices.Contains(rank, len(in.Dims)):
		return &Error{in.Spec, "it should have " + dimensions(rank), Shape}
	}
	return nil
}

func dimensions(rank []int) string {
	if slices.Contains(rank, 2) {
		return "the dimensions of a batch and a sequence"
	}
	return "one dimension at most, and a known one"
}

// perRow, as a dimension of a cache, is one for each row of the batch; beyond it, so many for each.
const perRow = -1

// cacheShape is the shape of a cache with nothing in it: 0 for what is earlier, and a negative
// number where the batch's rows count.
func cacheShape(s tensor.Spec, m Model) ([]int64, error) {
	shape := make([]int64, len(s.Dims))
	empty := false
	for i, d := range s.Dims {
		n, known := cacheDim(d, m)
		if !known && len(s.Dims) == 4 {
			n = []int64{perRow, m.Heads, 0, m.HeadSize}[i]
			known = i%2 == 0 || n > 0
		} else if !known && i == 0 {
			n, known = perRow, true
		}
		if i == 0 && d.IsFixed() && d.Size > 0 && len(s.Dims) == 4 {
			n = perRow // rows that the model fixes
		}
		if !known {
			return nil, &Error{s, "the size of its dimension " + d.String() + " is not known", Cache}
		}
		shape[i], empty = n, empty || n == 0
	}
	if !empty {
		return nil, &Error{s, "it is a cache of earlier tokens whose length is fixed, and not 0", Cache}
	}
	return shape, nil
}

// cacheDim is the size of a cache's dimension, if its name or the model says it.
func cacheDim(d tensor.Dim, m Model) (n int64, known bool) {
	name := strings.ToLower(d.Name)
	has := func(part string) bool { return strings.Contains(name, part) }
	switch {
	case d.IsFixed():
		return d.Size, true
	case has("past") || has("cache") || has("mem"):
		return 0, true
	case has("batch") && has("head"):
		return perRow * m.Heads, m.Heads > 0
	case has("batch"):
		return perRow, true
	case has("head") && (has("dim") || has("size")):
		return m.HeadSize, m.HeadSize > 0
	case has("head"):
		return m.Heads, m.Heads > 0
	}
	return 0, false
}

// empty is the shape of a cache for a number of rows.
func (in input) empty(rows int64) []int64 {
	shape := slices.Clone(in.cache)
	for i, n := range shape {
		if n < 0 {
			shape[i] = -n * rows
		}
	}
	return shape
}
