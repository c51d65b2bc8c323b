package text

import (
	"fmt"
	"io"
	"math"

	"github.com/distinfer/distinfer/runtime/strictjson"
)

// maxPadding bounds the length to which a file may pad texts. Without a bound a hostile file would
// make every request allocate any amount.
const maxPadding = 1 << 16

// LoadTokenizer reads a tokenizer.json. An error names the place in the file
// and, for something this package does not know, what it does know.
func LoadTokenizer(r io.Reader) (*Tokenizer, error) {
	t, err := loadTokenizer(r)
	if err != nil {
		return nil, fmt.Errorf("tokenizer.json: %w", err)
	}
	return t, nil
}

func loadTokenizer(r io.Reader) (*Tokenizer, error) {
	file, err := strictjson.File(r)
	if err != nil {
		return nil, err
	}
	root, err := file.Object()
	if err != nil {
		return nil, err
	}
	t := &Tokenizer{layout: plainLayout(false), pairLayout: plainLayout(true), scratch: newScratchPool()}
	if f, ok := root.Take("version"); ok {
		if _, err := f.Choice("1.0"); err != nil {
			return nil, err
		}
	}
	t.decoder = spaced
	if f, ok := root.Optional("decoder"); ok {
		if _, err := f.Object(); err != nil {
			return nil, err
		}
		// Most models never need it.
		t.decoder, _, t.decoderError = loadDecoder(f)
	}
	if f, ok := root.Required("model"); ok {
		if t.model, err = loadModel(f); err != nil {
			return nil, err
		}
	}
	if f, ok := root.Optional("normalizer"); ok {
		if t.normalizer, err = loadNormalizer(f); err != nil {
			return nil, err
		}
		if growth(t.normalizer) > maxGrowth {
			return nil, f.Errorf("Replace, Prepend and the like can make a text more than %d times longer", maxGrowth)
		}
	}
	if f, ok := root.Optional("pre_tokenizer"); ok {
		if t.preTokenizer, err = loadPreTokenizer(f); err != nil {
			return nil, err
		}
		if preGrowth(t.preTokenizer) > maxGrowth {
			return nil, f.Errorf("ByteLevel and Metaspace can make a text more than %d times longer", maxGrowth)
		}
		t.tracks = needsOrigins(t.preTokenizer)
	}
	if f, ok := root.Optional("post_processor"); ok {
		p, err := loadPostProcessor(f)
		if err != nil {
			return nil, err
		}
		if t.layout, err = newLayout(p, false); err != nil {
			return nil, f.Errorf("%w", err)
		}
		if t.pairLayout, err = newLayout(p, true); err != nil {
			t.pairError = f.Errorf("%w", err)
		}
	}
	added, hasAdded := root.Optional("added_tokens")
	truncation, hasTruncation := root.Optional("truncation")
	padding, hasPadding := root.Optional("padding")
	if err := root.Finish(); err != nil {
		return nil, err
	}
	if hasAdded {
		if err := t.loadAdded(added); err != nil {
			return nil, err
		}
	}
	if hasTruncation {
		tr, err := loadTruncation(truncation)
		if err == nil {
			err = tr.check(t.layout)
		}
		if err != nil {
			return nil, truncation.Errorf("%w", err)
		}
		t.truncation = tr
	}
	if hasPadding {
		if t.padding, err = loadPadding(padding); err != nil {
			return nil, err
		}
	} else if id, ok := t.id("[PAD]"); ok {
		t.padding = &padder{id: int64(id), token: "[PAD]"}
	}
	t.cuts = newCuts(t)
	return t, nil
}

func loadTruncation(n strictjson.Value) (*truncation, error) {
	o, err := n.Object()
	if err != nil {
		return nil, err
	}
	t := &truncation{
		max:    int(min(o.Uint("max_length", math.MaxUint64), math.MaxInt32)), // no text has more tokens
		stride: int(min(o.Uint("stride", math.MaxUint64), math.MaxInt32)),
	}
	strategy := o.Choice("strategy", "LongestFirst", "OnlyFirst", "OnlySecond")
	t.onlyFirst, t.onlySecond = strategy == "OnlyFirst", strategy == "OnlySecond"
	if o.Has("direction") {
		t.left = o.Choice("direction", "Right", "Left") == "Left"
	}
	return t, o.Finish()
}

func loadPadding(n strictjson.Value) (*padder, error) {
	o, err := n.Object()
	if err != nil {
		return nil, err
	}
	p := &padder{given: true}
	p.left = o.Choice("direction", "Right", "Left") == "Left"
	p.id = int64(o.Uint32("pad_id"))
	p.typeID = int64(o.Uint32("pad_type_id"))
	p.token = o.Text("pad_token")
	if f, ok := o.Optional("pad_to_multiple_of"); ok {
		multiple, err := f.Uint(maxPadding)
		if err != nil {
			return nil, err
		}
		p.multiple = int(multiple)
	}
	if f, ok := o.Required("strategy"); ok {
		if f.Kind() == '{' {
			s, err := f.Object()
			if err != nil {
				return nil, err
			}
			p.fixed = int(s.Uint("Fixed", maxPadding))
			p.isFixed = true
			o.Fail(s.Finish())
		} else if _, err := f.Choice("BatchLongest"); err != nil {
			return nil, err
		}
	}
	return p, o.Finish()
}
