package text

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxPadding bounds the length a file may have texts padded to: without a
// bound a hostile file would have every request allocate what it likes.
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
	data, err := readJSON(r)
	if err != nil {
		return nil, err
	}
	root, err := firstValue(data).object()
	if err != nil {
		return nil, err
	}
	t := &Tokenizer{layout: plainLayout(false), pairLayout: plainLayout(true), scratch: newScratchPool()}
	if f, ok := root.take("version"); ok {
		if _, err := f.choice([]string{"1.0"}); err != nil {
			return nil, err
		}
	}
	t.decoder = spaced
	if f, ok := root.optional("decoder"); ok {
		if _, err := f.object(); err != nil {
			return nil, err
		}
		// Most models never need it.
		t.decoder, _, t.decoderError = loadDecoder(f)
	}
	if f, ok := root.required("model"); ok {
		if t.model, err = loadModel(f); err != nil {
			return nil, err
		}
	}
	if f, ok := root.optional("normalizer"); ok {
		if t.normalizer, err = loadNormalizer(f); err != nil {
			return nil, err
		}
		if growth(t.normalizer) > maxGrowth {
			return nil, f.errorf("Replace, Prepend and the like can make a text more than %d times longer", maxGrowth)
		}
	}
	if f, ok := root.optional("pre_tokenizer"); ok {
		if t.preTokenizer, err = loadPreTokenizer(f); err != nil {
			return nil, err
		}
		if preGrowth(t.preTokenizer) > maxGrowth {
			return nil, f.errorf("ByteLevel and Metaspace can make a text more than %d times longer", maxGrowth)
		}
		t.tracks = needsOrigins(t.preTokenizer)
	}
	if f, ok := root.optional("post_processor"); ok {
		p, err := loadPostProcessor(f)
		if err != nil {
			return nil, err
		}
		if t.layout, err = newLayout(p, false); err != nil {
			return nil, f.errorf("%w", err)
		}
		if t.pairLayout, err = newLayout(p, true); err != nil {
			t.pairError = f.errorf("%w", err)
		}
	}
	added, hasAdded := root.optional("added_tokens")
	truncation, hasTruncation := root.optional("truncation")
	padding, hasPadding := root.optional("padding")
	if err := root.finish(); err != nil {
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
			return nil, truncation.errorf("%w", err)
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

// firstValue is the root of a file, without the white space before it.
func firstValue(data []byte) node {
	for len(data) > 0 && (data[0] == ' ' || data[0] == '\t' || data[0] == '\n' || data[0] == '\r') {
		data = data[1:]
	}
	return node{raw: data}
}

func loadModel(n node) (model, error) {
	o, err := n.object()
	if err != nil {
		return nil, err
	}
	kinds := []string{"BPE", "WordPiece", "WordLevel", "Unigram"}
	var kind string
	if _, ok := o.fields["type"]; ok {
		if kind = o.choice("type", kinds...); o.err != nil {
			return nil, o.err
		}
	} else if kind = untaggedModel(o); !slices.Contains(kinds, kind) {
		return nil, n.errorf("no \"type\", and by its fields it is none of %s", strings.Join(kinds, ", "))
	}
	switch kind {
	case "BPE":
		return o.bpe()
	case "Unigram":
		return o.unigram()
	}
	vocab := requiredValue(o, "vocab", node.vocabulary)
	unk := o.string("unk_token")
	if kind == "WordLevel" {
		return &wordLevel{vocabulary: vocab, unk: unk}, o.finish()
	}
	prefix := o.string("continuing_subword_prefix")
	maxChars := min(o.uint("max_input_chars_per_word", math.MaxUint64), math.MaxInt32)
	if err := o.finish(); err != nil {
		return nil, err
	}
	return newWordPiece(vocab, unk, prefix, int(maxChars)), nil
}

func (o *object) bpe() (model, error) {
	m := &bpe{vocabulary: requiredValue(o, "vocab", node.vocabulary)}
	if f, ok := o.optional("dropout"); ok && strings.Trim(string(f.raw), "0.") != "" {
		return nil, f.errorf("dropout %s is not supported: it would make answers random (supported: null, 0)", f.raw)
	}
	m.unk, m.hasUnk = o.optionalString("unk_token")
	m.prefix, _ = o.optionalString("continuing_subword_prefix")
	m.suffix, _ = o.optionalString("end_of_word_suffix")
	m.fuseUnk = o.flag("fuse_unk", false)
	m.byteFallback = o.flag("byte_fallback", false)
	m.ignoreMerges = o.flag("ignore_merges", false)
	merges, ok := o.required("merges")
	if err := o.finish(); err != nil || !ok {
		return nil, err
	}
	if err := merges.merges(m); err != nil {
		return nil, err
	}
	m.finish()
	return m, nil
}

func (o *object) unigram() (model, error) {
	unk, byteFallback := -1, false
	f, hasUnk := o.optional("unk_id")
	if hasUnk {
		id, err := f.uint(math.MaxInt32)
		if err != nil {
			return nil, err
		}
		unk = int(id)
	}
	if _, ok := o.fields["byte_fallback"]; ok {
		byteFallback = o.boolean("byte_fallback")
	}
	vocab, ok := o.required("vocab")
	if err := o.finish(); err != nil || !ok {
		return nil, err
	}
	names, scores, err := vocab.scores()
	if err != nil {
		return nil, err
	}
	if unk >= len(names) {
		return nil, f.errorf("%d, but there are %d tokens", unk, len(names))
	}
	return newUnigram(names, scores, unk, byteFallback), nil
}

// untaggedModel tells what the Rust library takes a model without a type for:
// the first of BPE, WordPiece, WordLevel, Unigram that finds its fields.
func untaggedModel(o *object) string {
	given := func(keys ...string) bool {
		for _, k := range keys {
			if _, ok := o.fields[k]; !ok {
				return false
			}
		}
		return true
	}
	vocab, ok := o.fields["vocab"]
	switch {
	case !ok:
		return "nothing known"
	case given("merges"):
		return "BPE"
	case vocab.raw[0] == '[':
		return "Unigram"
	case given("unk_token", "continuing_subword_prefix", "max_input_chars_per_word"):
		return "WordPiece"
	case given("unk_token"):
		return "WordLevel"
	}
	return "nothing known"
}

func loadNormalizer(n node) (normalizer, error) {
	o, err := n.object()
	if err != nil {
		return nil, err
	}
	var made normalizer
	switch o.choice("type", "BertNormalizer", "Lowercase", "StripAccents", "NFC", "NFD", "NFKC", "NFKD",
		"Strip", "Replace", "Prepend", "Precompiled", "Nmt", "ByteLevel", "Sequence") {
	case "BertNormalizer":
		b := bertNormalizer{
			clean:   o.boolean("clean_text"),
			chinese: o.boolean("handle_chinese_chars"),
			lower:   o.boolean("lowercase"),
		}
		b.strip = b.lower
		if f, ok := o.optional("strip_accents"); ok {
			if b.strip, err = f.boolean(); err != nil {
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
		made = stripSpace{left: o.boolean("strip_left"), right: o.boolean("strip_right")}
	case "Replace":
		made = replace{old: o.pattern("pattern"), with: []byte(o.string("content"))}
	case "Prepend":
		s := o.string("prepend")
		if s == "" && o.err == nil {
			// The Rust library loses count of its alignments and panics in the next normalizer.
			o.fail(o.errorf("an empty \"prepend\" is not supported"))
		}
		made = prepend(s)
	case "Precompiled":
		made, err = o.precompiled()
		o.failIf(err)
	case "Nmt":
		made = nmt{}
	case "ByteLevel":
		made = byteLevelNormalizer{newByteRunes()}
	case "Sequence":
		var all normalizerSequence
		for _, f := range o.array("normalizers") {
			next, err := loadNormalizer(f)
			if err != nil {
				return nil, err
			}
			all = append(all, next)
		}
		made = all
	}
	return made, o.finish()
}

func loadPreTokenizer(n node) (preTokenizer, error) {
	o, err := n.object()
	if err != nil {
		return nil, err
	}
	var made preTokenizer
	switch o.choice("type", "BertPreTokenizer", "Whitespace", "WhitespaceSplit", "Punctuation", "Digits",
		"Split", "CharDelimiterSplit", "ByteLevel", "Metaspace", "Sequence") {
	case "BertPreTokenizer":
		made = cutting{bertPreTokenizer{}}
	case "Whitespace":
		made = cutting{whitespaceWords{}}
	case "WhitespaceSplit":
		made = cutting{whitespaceSplit{}}
	case "Punctuation":
		b := isolated
		if _, ok := o.fields["behavior"]; ok {
			b = o.behavior()
		}
		made = cutting{delimiterSplit{delimiter: bitMatcher(isPunct), behavior: b}}
	case "Digits":
		b := contiguous
		if o.boolean("individual_digits") {
			b = isolated
		}
		made = cutting{delimiterSplit{delimiter: bitMatcher(isNumeric), behavior: b}}
	case "Split":
		made = cutting{delimiterSplit{delimiter: o.pattern("pattern"), behavior: o.behavior(), invert: o.boolean("invert")}}
	case "CharDelimiterSplit":
		s := o.string("delimiter")
		if utf8.RuneCountInString(s) != 1 && o.err == nil {
			o.fail(o.errorf("\"delimiter\" is %q, want one character", s))
		}
		made = cutting{delimiterSplit{delimiter: literalMatcher(s), behavior: removed}}
	case "ByteLevel":
		p := byteLevel{bytes: newByteRunes(), prefix: o.boolean("add_prefix_space"), words: o.flag("use_regex", true)}
		o.boolean("trim_offsets") // is the post-processor's
		made = p
	case "Metaspace":
		made = o.metaspace()
	case "Sequence":
		var all preTokenizerSequence
		for _, f := range o.array("pretokenizers") {
			next, err := loadPreTokenizer(f)
			if err != nil {
				return nil, err
			}
			all = append(all, next)
		}
		made = all
	}
	return made, o.finish()
}

func (o *object) metaspace() metaspace {
	m := metaspace{replacement: o.string("replacement"), split: o.flag("split", true)}
	if utf8.RuneCountInString(m.replacement) != 1 {
		o.fail(o.errorf("\"replacement\" is %q, want one character", m.replacement))
	}
	if _, ok := o.fields["prepend_scheme"]; ok {
		switch o.choice("prepend_scheme", "always", "first", "never") {
		case "first":
			m.prepend = prependFirst
		case "never":
			m.prepend = prependNever
		}
	}
	// Files of before prepend_scheme have add_prefix_space.
	if !o.flag("add_prefix_space", true) && m.prepend != prependNever {
		o.fail(o.errorf("\"add_prefix_space\" is false, but \"prepend_scheme\" is not \"never\""))
	}
	if f, ok := o.optional("str_rep"); ok {
		_, err := f.string()
		o.failIf(err)
	}
	return m
}

// needsOrigins tells whether what p does depends on where in the text a piece is.
func needsOrigins(p preTokenizer) bool {
	switch p := p.(type) {
	case preTokenizerSequence:
		return slices.ContainsFunc(p, needsOrigins)
	case metaspace:
		return p.prepend == prependFirst
	}
	return false
}

func (o *object) precompiled() (normalizer, error) {
	f, ok := o.required("precompiled_charsmap")
	if !ok {
		return nil, o.err
	}
	s, err := f.string()
	if err != nil {
		return nil, err
	}
	p, err := newPrecompiled(s)
	if err != nil {
		return nil, f.errorf("%w", err)
	}
	return p, nil
}

func (o *object) behavior() behavior {
	names := []string{
		removed: "Removed", isolated: "Isolated", mergedWithPrevious: "MergedWithPrevious",
		mergedWithNext: "MergedWithNext", contiguous: "Contiguous",
	}
	name := o.choice("behavior", names...)
	for b, n := range names {
		if n == name {
			return behavior(b)
		}
	}
	return removed
}

// pattern reads {"String": …} or {"Regex": …}.
func (o *object) pattern(key string) matcher {
	p := requiredValue(o, key, node.object)
	if p == nil {
		return nil
	}
	if f, ok := p.take("Regex"); ok {
		s, err := f.string()
		o.failIf(err)
		o.failIf(p.finish())
		m, err := compileRegex(s)
		if err != nil {
			o.fail(f.errorf("%w", err))
		}
		return m
	}
	literal := p.string("String")
	o.failIf(p.finish())
	if literal == "" {
		o.fail(p.errorf("an empty pattern is not supported"))
	}
	return literalMatcher(literal)
}

func loadPostProcessor(n node) (postProcessor, error) {
	o, err := n.object()
	if err != nil {
		return nil, err
	}
	var made postProcessor
	switch kind := o.choice("type", "BertProcessing", "RobertaProcessing", "ByteLevel", "TemplateProcessing", "Sequence"); kind {
	case "BertProcessing", "RobertaProcessing":
		p := bertProcessing{
			sep: requiredValue(o, "sep", node.literal),
			cls: requiredValue(o, "cls", node.literal),
		}
		if kind == "RobertaProcessing" {
			p.roberta = &byteLevelProcessing{trim: o.boolean("trim_offsets"), prefixed: o.boolean("add_prefix_space")}
		}
		made = p
	case "ByteLevel":
		made = byteLevelProcessing{trim: o.boolean("trim_offsets"), prefixed: o.boolean("add_prefix_space")}
		o.flag("use_regex", true) // is the pre-tokenizer's
	case "TemplateProcessing":
		made = o.template()
	case "Sequence":
		var all postProcessorSequence
		for _, f := range o.array("processors") {
			next, err := loadPostProcessor(f)
			if err != nil {
				return nil, err
			}
			all = append(all, next)
		}
		made = all
	}
	return made, o.finish()
}

// literal reads ["[SEP]", 102].
func (n node) literal() (literal, error) {
	pair, err := n.array()
	if err != nil {
		return literal{}, err
	}
	if len(pair) != 2 {
		return literal{}, n.errorf("want a token and its id")
	}
	token, err := pair[0].string()
	if err != nil {
		return literal{}, err
	}
	id, err := pair[1].uint32()
	return literal{token, id}, err
}

func (o *object) template() templateProcessing {
	var t templateProcessing
	special := map[string][]literal{}
	if list := requiredValue(o, "special_tokens", node.object); list != nil {
		for key, f := range list.fields {
			tokens, err := f.specialToken()
			o.failIf(err)
			special[key] = tokens
		}
	}
	t.single, t.pair = o.pieces("single", special), o.pieces("pair", special)
	return t
}

func (o *object) pieces(key string, special map[string][]literal) template {
	var t template
	list := o.array(key)
	if len(list) > maxPieces {
		o.fail(o.errorf("%q has %d pieces, more than %d", key, len(list), maxPieces))
		return t
	}
	for _, f := range list {
		piece, err := f.templatePiece(special)
		o.failIf(err)
		t.count += len(piece.tokens)
		t.pieces = append(t.pieces, piece)
	}
	if t.count > maxLiterals {
		o.fail(o.errorf("%q has %d special tokens, more than %d", key, t.count, maxLiterals))
	}
	return t
}

func (n node) specialToken() ([]literal, error) {
	o, err := n.object()
	if err != nil {
		return nil, err
	}
	o.string("id")
	ids, names := o.array("ids"), o.array("tokens")
	if err := o.finish(); err != nil {
		return nil, err
	}
	if len(ids) != len(names) {
		return nil, n.errorf("%d ids for %d tokens", len(ids), len(names))
	}
	out := make([]literal, len(ids))
	for i := range ids {
		if out[i].id, err = ids[i].uint32(); err != nil {
			return nil, err
		}
		if out[i].token, err = names[i].string(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// templatePiece reads {"Sequence": {"id": "A", "type_id": 0}} or {"SpecialToken": …}.
func (n node) templatePiece(special map[string][]literal) (templatePiece, error) {
	o, err := n.object()
	if err != nil {
		return templatePiece{}, err
	}
	var piece templatePiece
	key := "SpecialToken"
	if _, ok := o.fields["Sequence"]; ok {
		key, piece.text = "Sequence", true
	}
	in := requiredValue(o, key, node.object)
	if err := o.finish(); err != nil {
		return piece, err
	}
	id := in.string("id")
	piece.typeID = in.uint32("type_id")
	if err := in.finish(); err != nil {
		return piece, err
	}
	if piece.text {
		if id != "A" && (id != "B" || !n.inPair()) {
			return piece, n.errorf("sequence %q is not supported here (supported: A)", id)
		}
		if id == "B" {
			piece.which = 1
		}
		return piece, nil
	}
	var ok bool
	if piece.tokens, ok = special[id]; !ok {
		return piece, n.errorf("special token %q is not among special_tokens", id)
	}
	return piece, nil
}

// inPair tells whether a piece is one of a template for two texts.
func (n node) inPair() bool {
	return strings.HasSuffix(n.path[:strings.LastIndexByte(n.path, '[')], ".pair")
}

// loadAdded follows AddedVocabulary::add_tokens: the ids in the file are not
// what counts. A token of the vocabulary has its id there; others are numbered
// on, in the order of the file.
func (t *Tokenizer) loadAdded(n node) error {
	list, err := n.array()
	if err != nil {
		return err
	}
	nextID := uint64(t.model.size())
	byContent := map[string]uint32{}
	byID := map[uint32]addedToken{}
	paths := map[uint32]node{}
	var order []uint32
	for _, f := range list {
		o, err := f.object()
		if err != nil {
			return err
		}
		o.uint32("id")
		token := addedToken{
			content:    o.string("content"),
			singleWord: o.boolean("single_word"),
			lstrip:     o.boolean("lstrip"),
			rstrip:     o.boolean("rstrip"),
			normalized: o.boolean("normalized"),
			special:    o.boolean("special"),
		}
		if err := o.finish(); err != nil {
			return err
		}
		if token.content == "" {
			continue // ignored there too
		}
		id, known := byContent[token.content]
		if !known {
			if id, known = t.model.id(token.content); !known {
				if nextID > math.MaxUint32 {
					return f.errorf("no id left")
				}
				id = uint32(nextID)
				nextID++
			}
		}
		token.id = id
		byContent[token.content] = id
		if _, again := byID[id]; !again {
			order = append(order, id)
		}
		byID[id], paths[id] = token, f
	}
	t.addedIDs = byContent
	for _, id := range order {
		token := byID[id]
		trie, pattern := &t.special, []byte(token.content)
		if token.normalized {
			trie = &t.normalized
			if t.normalizer != nil {
				var normal buffer
				t.normalizer.normalize(&normal, buffer{text: pattern})
				pattern = normal.text
			}
		}
		if len(pattern) == 0 {
			return paths[id].errorf("added token %q is empty once normalised", token.content)
		}
		if *trie == nil {
			*trie = newTokenTrie()
		}
		if !(*trie).add(pattern, token) {
			return paths[id].errorf("added token %q is the same as an earlier one once normalised", token.content)
		}
	}
	return nil
}

func loadTruncation(n node) (*truncation, error) {
	o, err := n.object()
	if err != nil {
		return nil, err
	}
	t := &truncation{
		max:    int(min(o.uint("max_length", math.MaxUint64), math.MaxInt32)), // no text has more tokens
		stride: int(min(o.uint("stride", math.MaxUint64), math.MaxInt32)),
	}
	strategy := o.choice("strategy", "LongestFirst", "OnlyFirst", "OnlySecond")
	t.onlyFirst, t.onlySecond = strategy == "OnlyFirst", strategy == "OnlySecond"
	if _, ok := o.fields["direction"]; ok {
		t.left = o.choice("direction", "Right", "Left") == "Left"
	}
	return t, o.finish()
}

func loadPadding(n node) (*padder, error) {
	o, err := n.object()
	if err != nil {
		return nil, err
	}
	p := &padder{given: true}
	p.left = o.choice("direction", "Right", "Left") == "Left"
	p.id = int64(o.uint32("pad_id"))
	p.typeID = int64(o.uint32("pad_type_id"))
	p.token = o.string("pad_token")
	if f, ok := o.optional("pad_to_multiple_of"); ok {
		multiple, err := f.uint(maxPadding)
		if err != nil {
			return nil, err
		}
		p.multiple = int(multiple)
	}
	if f, ok := o.required("strategy"); ok {
		if f.raw[0] == '{' {
			s, err := f.object()
			if err != nil {
				return nil, err
			}
			p.fixed = int(s.uint("Fixed", maxPadding))
			p.isFixed = true
			o.failIf(s.finish())
		} else if _, err := f.choice([]string{"BatchLongest"}); err != nil {
			return nil, err
		}
	}
	return p, o.finish()
}
