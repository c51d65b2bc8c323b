package text

import (
	"github.com/distinfer/distinfer/runtime/strictjson"
)

func loadNormalizer(n strictjson.Value) (normalizer, error) {
	o, err := n.Object()
	if err != nil {
		return nil, err
	}
	var made normalizer
	switch o.Choice("type", "BertNormalizer", "Lowercase", "StripAccents", "NFC", "NFD", "NFKC", "NFKD",
		"Strip", "Replace", "Prepend", "Precompiled", "Nmt", "ByteLevel", "Sequence") {
	case "BertNormalizer":
		b := bertNormalizer{
			clean:   o.Bool("clean_text"),
			chinese: o.Bool("handle_chinese_chars"),
			lower:   o.Bool("lowercase"),
		}
		b.strip = b.lower
		if f, ok := o.Optional("strip_accents"); ok {
			if b.strip, err = f.Bool(); err != nil {
				return nil, err
			}
		}
		made = b
	case "Lowercase":
		made = lowercase{}
	case "StripAccents":
		made = stripAccents{}
	case "NFC":
		made = unicodeForm{compose: true}
	case "NFD":
		made = unicodeForm{}
	case "NFKC":
		made = unicodeForm{compat: true, compose: true}
	case "NFKD":
		made = unicodeForm{compat: true}
	case "Strip":
		made = stripSpace{left: o.Bool("strip_left"), right: o.Bool("strip_right")}
	case "Replace":
		made = replace{old: readPattern(o, "pattern"), with: []byte(o.Text("content"))}
	case "Prepend":
		s := o.Text("prepend")
		if s == "" && o.Err() == nil {
			// The Rust library loses count of its alignments and panics in the next normalizer.
			o.Fail(o.Errorf("an empty \"prepend\" is not supported"))
		}
		made = prepend(s)
	case "Precompiled":
		made, err = loadPrecompiled(o)
		o.Fail(err)
	case "Nmt":
		made = nmt{}
	case "ByteLevel":
		made = byteLevelNormalizer{newByteRunes()}
	case "Sequence":
		var all normalizerSequence
		for _, f := range o.List("normalizers") {
			next, err := loadNormalizer(f)
			if err != nil {
				return nil, err
			}
			all = append(all, next)
		}
		made = all
	}
	return made, o.Finish()
}

func loadPrecompiled(o *strictjson.Object) (normalizer, error) {
	f, ok := o.Required("precompiled_charsmap")
	if !ok {
		return nil, o.Err()
	}
	s, err := f.Text()
	if err != nil {
		return nil, err
	}
	p, err := newPrecompiled(s)
	if err != nil {
		return nil, f.Errorf("%w", err)
	}
	return p, nil
}
