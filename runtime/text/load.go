package text

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

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

func loadPostProcessor(n strictjson.Value) (postProcessor, error) {
	o, err := n.Object()
	if err != nil {
		return nil, err
	}
	var made postProcessor
	switch kind := o.Choice("type", "BertProcessing", "RobertaProcessing", "ByteLevel", "TemplateProcessing", "Sequence"); kind {
	case "BertProcessing", "RobertaProcessing":
		p := bertProcessing{
			sep: strictjson.Read(o, "sep", readLiteral),
			cls: strictjson.Read(o, "cls", readLiteral),
		}
		if kind == "RobertaProcessing" {
			p.roberta = &byteLevelProcessing{trim: o.Bool("trim_offsets"), prefixed: o.Bool("add_prefix_space")}
		}
		made = p
	case "ByteLevel":
		made = byteLevelProcessing{trim: o.Bool("trim_offsets"), prefixed: o.Bool("add_prefix_space")}
		o.Flag("use_regex", true) // is the pre-tokenizer's
	case "TemplateProcessing":
		made = loadTemplate(o)
	case "Sequence":
		var all postProcessorSequence
		for _, f := range o.List("processors") {
			next, err := loadPostProcessor(f)
			if err != nil {
				return nil, err
			}
			all = append(all, next)
		}
		made = all
	}
	return made, o.Finish()
}

// readLiteral reads ["[SEP]", 102].
func readLiteral(n strictjson.Value) (literal, error) {
	pair, err := n.List()
	if err != nil {
		return literal{}, err
	}
	if len(pair) != 2 {
		return literal{}, n.Errorf("want a token and its id")
	}
	token, err := pair[0].Text()
	if err != nil {
		return literal{}, err
	}
	id, err := pair[1].Uint32()
	return literal{token, id}, err
}

func loadTemplate(o *strictjson.Object) templateProcessing {
	var t templateProcessing
	special := map[string][]literal{}
	if list := strictjson.Read(o, "special_tokens", strictjson.Value.Object); list != nil {
		for key, f := range list.Fields() {
			tokens, err := readSpecialToken(f)
			o.Fail(err)
			special[key] = tokens
		}
	}
	t.single, t.pair = loadPieces(o, "single", special), loadPieces(o, "pair", special)
	return t
}

func loadPieces(o *strictjson.Object, key string, special map[string][]literal) template {
	var t template
	list := o.List(key)
	if len(list) > maxPieces {
		o.Fail(o.Errorf("%q has %d pieces, more than %d", key, len(list), maxPieces))
		return t
	}
	for _, f := range list {
		piece, err := readPiece(f, key == "pair", special)
		o.Fail(err)
		t.count += len(piece.tokens)
		t.pieces = append(t.pieces, piece)
	}
	if t.count > maxLiterals {
		o.Fail(o.Errorf("%q has %d special tokens, more than %d", key, t.count, maxLiterals))
	}
	return t
}

func readSpecialToken(n strictjson.Value) ([]literal, error) {
	o, err := n.Object()
	if err != nil {
		return nil, err
	}
	o.Text("id")
	ids, names := o.List("ids"), o.List("tokens")
	if err := o.Finish(); err != nil {
		return nil, err
	}
	if len(ids) != len(names) {
		return nil, n.Errorf("%d ids for %d tokens", len(ids), len(names))
	}
	out := make([]literal, len(ids))
	for i := range ids {
		if out[i].id, err = ids[i].Uint32(); err != nil {
			return nil, err
		}
		if out[i].token, err = names[i].Text(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// readPiece reads {"Sequence": {"id": "A", "type_id": 0}} or {"SpecialToken": …}.
func readPiece(n strictjson.Value, inPair bool, special map[string][]literal) (templatePiece, error) {
	o, err := n.Object()
	if err != nil {
		return templatePiece{}, err
	}
	var piece templatePiece
	key := "SpecialToken"
	if o.Has("Sequence") {
		key, piece.text = "Sequence", true
	}
	in := strictjson.Read(o, key, strictjson.Value.Object)
	if err := o.Finish(); err != nil {
		return piece, err
	}
	id := in.Text("id")
	piece.typeID = in.Uint32("type_id")
	if err := in.Finish(); err != nil {
		return piece, err
	}
	if piece.text {
		if id != "A" && (id != "B" || !inPair) {
			return piece, n.Errorf("sequence %q is not supported here (supported: A)", id)
		}
		if id == "B" {
			piece.which = 1
		}
		return piece, nil
	}
	var ok bool
	if piece.tokens, ok = special[id]; !ok {
		return piece, n.Errorf("special token %q is not among special_tokens", id)
	}
	return piece, nil
}

// loadAdded follows AddedVocabulary::add_tokens, which ignores the ids in the file. A token of the
// vocabulary keeps its id; others get the following numbers, in the order of the file.
func (t *Tokenizer) loadAdded(n strictjson.Value) error {
	list, err := n.List()
	if err != nil {
		return err
	}
	nextID := uint64(t.model.size())
	byContent := map[string]uint32{}
	byID := map[uint32]addedToken{}
	paths := map[uint32]strictjson.Value{}
	var order []uint32
	for _, f := range list {
		o, err := f.Object()
		if err != nil {
			return err
		}
		o.Uint32("id")
		token := addedToken{
			content:    o.Text("content"),
			singleWord: o.Bool("single_word"),
			lstrip:     o.Bool("lstrip"),
			rstrip:     o.Bool("rstrip"),
			normalized: o.Bool("normalized"),
			special:    o.Bool("special"),
		}
		if err := o.Finish(); err != nil {
			return err
		}
		if token.content == "" {
			continue // ignored there too
		}
		id, known := byContent[token.content]
		if !known {
			if id, known = t.model.id(token.content); !known {
				if nextID > math.MaxUint32 {
					return f.Errorf("no id left")
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
			return paths[id].Errorf("added token %q is empty once normalised", token.content)
		}
		if *trie == nil {
			*trie = newTokenTrie()
		}
		if !(*trie).add(pattern, token) {
			return paths[id].Errorf("added token %q is the same as an earlier one once normalised", token.content)
		}
	}
	return nil
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
