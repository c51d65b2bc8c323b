package text

import (
	"math"
	"slices"
	"strings"

	"github.com/distinfer/distinfer/runtime/strictjson"
)

func loadModel(n strictjson.Value) (model, error) {
	o, err := n.Object()
	if err != nil {
		return nil, err
	}
	kinds := []string{"BPE", "WordPiece", "WordLevel", "Unigram"}
	var kind string
	if o.Has("type") {
		if kind = o.Choice("type", kinds...); o.Err() != nil {
			return nil, o.Err()
		}
	} else if kind = untaggedModel(o); !slices.Contains(kinds, kind) {
		return nil, n.Errorf("no \"type\", and by its fields it is none of %s", strings.Join(kinds, ", "))
	}
	switch kind {
	case "BPE":
		return loadBPE(o)
	case "Unigram":
		return loadUnigram(o)
	}
	vocab := strictjson.Read(o, "vocab", readVocabulary)
	unk := o.Text("unk_token")
	if kind == "WordLevel" {
		return &wordLevel{vocabulary: vocab, unk: unk}, o.Finish()
	}
	prefix := o.Text("continuing_subword_prefix")
	maxChars := min(o.Uint("max_input_chars_per_word", math.MaxUint64), math.MaxInt32)
	if err := o.Finish(); err != nil {
		return nil, err
	}
	return newWordPiece(vocab, unk, prefix, int(maxChars)), nil
}

func loadBPE(o *strictjson.Object) (model, error) {
	m := &bpe{vocabulary: strictjson.Read(o, "vocab", readVocabulary)}
	if f, ok := o.Optional("dropout"); ok && strings.Trim(f.String(), "0.") != "" {
		return nil, f.Errorf("dropout %s is not supported: it would make answers random (supported: null, 0)", f)
	}
	m.unk, m.hasUnk = o.OptionalText("unk_token")
	m.prefix, _ = o.OptionalText("continuing_subword_prefix")
	m.suffix, _ = o.OptionalText("end_of_word_suffix")
	m.fuseUnk = o.Flag("fuse_unk", false)
	m.byteFallback = o.Flag("byte_fallback", false)
	m.ignoreMerges = o.Flag("ignore_merges", false)
	merges, ok := o.Required("merges")
	if err := o.Finish(); err != nil || !ok {
		return nil, err
	}
	if err := m.readMerges(merges); err != nil {
		return nil, err
	}
	m.finish()
	return m, nil
}

func loadUnigram(o *strictjson.Object) (model, error) {
	unk, byteFallback := -1, false
	f, hasUnk := o.Optional("unk_id")
	if hasUnk {
		id, err := f.Uint(math.MaxInt32)
		if err != nil {
			return nil, err
		}
		unk = int(id)
	}
	if o.Has("byte_fallback") {
		byteFallback = o.Bool("byte_fallback")
	}
	vocab, ok := o.Required("vocab")
	if err := o.Finish(); err != nil || !ok {
		return nil, err
	}
	names, scores, err := readScores(vocab)
	if err != nil {
		return nil, err
	}
	if unk >= len(names) {
		return nil, f.Errorf("%d, but there are %d tokens", unk, len(names))
	}
	return newUnigram(names, scores, unk, byteFallback), nil
}

// untaggedModel returns the type that the Rust library assumes for a model without one: the first
// of BPE, WordPiece, WordLevel, Unigram that finds its fields.
func untaggedModel(o *strictjson.Object) string {
	given := func(keys ...string) bool {
		for _, k := range keys {
			if !o.Has(k) {
				return false
			}
		}
		return true
	}
	vocab, ok := o.Peek("vocab")
	switch {
	case !ok:
		return "nothing known"
	case given("merges"):
		return "BPE"
	case vocab.Kind() == '[':
		return "Unigram"
	case given("unk_token", "continuing_subword_prefix", "max_input_chars_per_word"):
		return "WordPiece"
	case given("unk_token"):
		return "WordLevel"
	}
	return "nothing known"
}
