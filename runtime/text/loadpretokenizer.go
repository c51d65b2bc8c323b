package text

import (
	"slices"
	"unicode/utf8"

	"github.com/distinfer/distinfer/runtime/strictjson"
)

func loadPreTokenizer(n strictjson.Value) (preTokenizer, error) {
	o, err := n.Object()
	if err != nil {
		return nil, err
	}
	var made preTokenizer
	switch o.Choice("type", "BertPreTokenizer", "Whitespace", "WhitespaceSplit", "Punctuation", "Digits",
		"Split", "CharDelimiterSplit", "ByteLevel", "Metaspace", "Sequence") {
	case "BertPreTokenizer":
		made = cutting{bertPreTokenizer{}}
	case "Whitespace":
		made = cutting{whitespaceWords{}}
	case "WhitespaceSplit":
		made = cutting{whitespaceSplit{}}
	case "Punctuation":
		b := isolated
		if o.Has("behavior") {
			b = readBehavior(o)
		}
		made = cutting{delimiterSplit{delimiter: bitMatcher(isPunct), behavior: b}}
	case "Digits":
		b := contiguous
		if o.Bool("individual_digits") {
			b = isolated
		}
		made = cutting{delimiterSplit{delimiter: bitMatcher(isNumeric), behavior: b}}
	case "Split":
		made = cutting{delimiterSplit{delimiter: readPattern(o, "pattern"), behavior: readBehavior(o), invert: o.Bool("invert")}}
	case "CharDelimiterSplit":
		s := o.Text("delimiter")
		if utf8.RuneCountInString(s) != 1 && o.Err() == nil {
			o.Fail(o.Errorf("\"delimiter\" is %q, want one character", s))
		}
		made = cutting{delimiterSplit{delimiter: literalMatcher(s), behavior: removed}}
	case "ByteLevel":
		p := byteLevel{bytes: newByteRunes(), prefix: o.Bool("add_prefix_space"), words: o.Flag("use_regex", true)}
		o.Bool("trim_offsets") // is the post-processor's
		made = p
	case "Metaspace":
		made = loadMetaspace(o)
	case "Sequence":
		var all preTokenizerSequence
		for _, f := range o.List("pretokenizers") {
			next, err := loadPreTokenizer(f)
			if err != nil {
				return nil, err
			}
			all = append(all, next)
		}
		made = all
	}
	return made, o.Finish()
}

func loadMetaspace(o *strictjson.Object) metaspace {
	m := metaspace{replacement: o.Text("replacement"), split: o.Flag("split", true)}
	if utf8.RuneCountInString(m.replacement) != 1 {
		o.Fail(o.Errorf("\"replacement\" is %q, want one character", m.replacement))
	}
	if o.Has("prepend_scheme") {
		switch o.Choice("prepend_scheme", "always", "first", "never") {
		case "first":
			m.prepend = prependFirst
		case "never":
			m.prepend = prependNever
		}
	}
	// Files of before prepend_scheme have add_prefix_space.
	if !o.Flag("add_prefix_space", true) && m.prepend != prependNever {
		o.Fail(o.Errorf("\"add_prefix_space\" is false, but \"prepend_scheme\" is not \"never\""))
	}
	if f, ok := o.Optional("str_rep"); ok {
		_, err := f.Text()
		o.Fail(err)
	}
	return m
}

// needsOrigins reports whether p depends on where in the text a piece is.
func needsOrigins(p preTokenizer) bool {
	switch p := p.(type) {
	case preTokenizerSequence:
		return slices.ContainsFunc(p, needsOrigins)
	case metaspace:
		return p.prepend == prependFirst
	}
	return false
}

func readBehavior(o *strictjson.Object) behavior {
	names := []string{
		removed: "Removed", isolated: "Isolated", mergedWithPrevious: "MergedWithPrevious",
		mergedWithNext: "MergedWithNext", contiguous: "Contiguous",
	}
	name := o.Choice("behavior", names...)
	for b, n := range names {
		if n == name {
			return behavior(b)
		}
	}
	return removed
}

// readPattern reads {"String": …} or {"Regex": …}.
func readPattern(o *strictjson.Object, key string) matcher {
	p := strictjson.Read(o, key, strictjson.Value.Object)
	if p == nil {
		return nil
	}
	if f, ok := p.Take("Regex"); ok {
		s, err := f.Text()
		o.Fail(err)
		o.Fail(p.Finish())
		m, err := compileRegex(s)
		if err != nil {
			o.Fail(f.Errorf("%w", err))
		}
		return m
	}
	literal := p.Text("String")
	o.Fail(p.Finish())
	if literal == "" {
		o.Fail(p.Errorf("an empty pattern is not supported"))
	}
	return literalMatcher(literal)
}
