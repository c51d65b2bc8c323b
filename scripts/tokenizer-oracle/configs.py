"""Small tokenizer.json files that between them use every component and option."""

import string

BERT = {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": True}


def vocabulary(prefix="##"):
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    singles = string.ascii_letters + string.digits + string.punctuation + "éèàüßñçøłαβγςσабвгאבגابتكلदहकกขあいアイ中国文日本한국가각①½²"
    tokens += list(singles) + [prefix + c for c in singles] + [prefix + "\u0301", "\u0301", prefix + "\u1161", "\u1100"]
    tokens += "the a an of and to in is it film movie good bad great very not one café naïve über".split()
    tokens += [prefix + t for t in "s ed ing ly er est un fi the of".split()]
    tokens += ["THE", "Film", "##", "x" * 5, "😀", prefix + "😀", "👍🏽", "[CLS", "CLS]"]
    return {t: i for i, t in enumerate(dict.fromkeys(tokens))}


def word_piece(**options):
    return {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100, "vocab": vocabulary()} | options


def added(content, **options):
    return {"id": 0, "content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False} | options


SPECIALS = [added(t, special=True) for t in ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]]


def template(*pieces, special=None):
    def piece(p):
        name, _, type_id = p.partition(":")
        kind = "Sequence" if name in "AB" else "SpecialToken"
        return {kind: {"id": name, "type_id": int(type_id or 0)}}

    special = special or {"[CLS]": [2], "[SEP]": [3]}
    return {
        "type": "TemplateProcessing",
        "single": [piece(p) for p in pieces],
        "pair": [piece(p) for p in ["[CLS]", "A", "[SEP]", "B:1", "[SEP]:1"] if p in "AB:1" or p.partition(":")[0] in special],
        "special_tokens": {k: {"id": k, "ids": v, "tokens": [k] * len(v)} for k, v in special.items()},
    }


BERT_PROCESSING = {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]}


def padding(strategy="BatchLongest", **options):
    return {"strategy": strategy, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"} | options


def truncation(n, **options):
    return {"direction": "Right", "max_length": n, "strategy": "LongestFirst", "stride": 0} | options


def file(**parts):
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": SPECIALS, "normalizer": BERT,
        "pre_tokenizer": {"type": "BertPreTokenizer"}, "post_processor": template("[CLS]", "A", "[SEP]"), "decoder": None, "model": word_piece(),
    } | parts


def normalizer(kind, **options):
    return {"type": kind} | options


def sequence(*normalizers):
    return {"type": "Sequence", "normalizers": list(normalizers)}


def pretokenizers(*list_):
    return {"type": "Sequence", "pretokenizers": list(list_)}


def split(pattern, behavior="Removed", invert=False):
    key = "Regex" if isinstance(pattern, tuple) else "String"
    return {"type": "Split", "pattern": {key: pattern[0] if key == "Regex" else pattern}, "behavior": behavior, "invert": invert}


def configs():
    n = normalizer
    lower, nfc, nfd, nfkc, nfkd, accents = (n(k) for k in ["Lowercase", "NFC", "NFD", "NFKC", "NFKD", "StripAccents"])
    out = {
        "bert-uncased": file(),
        "bert-cased": file(normalizer=BERT | {"lowercase": False}),
        "bert-cased-stripped": file(normalizer=BERT | {"lowercase": False, "strip_accents": True}),
        "bert-uncased-accents": file(normalizer=BERT | {"strip_accents": False}),
        "bert-no-chinese": file(normalizer=BERT | {"handle_chinese_chars": False}),
        "bert-no-clean": file(normalizer=BERT | {"clean_text": False}),
        "bert-nothing": file(normalizer=BERT | {"clean_text": False, "handle_chinese_chars": False, "lowercase": False}),
        "nfc": file(normalizer=nfc, pre_tokenizer={"type": "WhitespaceSplit"}),
        "nfd": file(normalizer=nfd, pre_tokenizer={"type": "WhitespaceSplit"}),
        "nfkc-lower": file(normalizer=sequence(nfkc, lower), pre_tokenizer={"type": "Whitespace"}),
        "nfkd-accents-lower": file(normalizer=sequence(nfkd, accents, lower), pre_tokenizer={"type": "Whitespace"}),
        "lower-nfd-accents-nfc": file(normalizer=sequence(lower, nfd, accents, nfc), pre_tokenizer=None),
        "accents-only": file(normalizer=accents, pre_tokenizer={"type": "Whitespace"}),
        "strip": file(normalizer=n("Strip", strip_left=True, strip_right=True), pre_tokenizer=None),
        "strip-left": file(normalizer=sequence(n("Strip", strip_left=True, strip_right=False), nfc), pre_tokenizer={"type": "Punctuation"}),
        "strip-right": file(normalizer=sequence(n("Strip", strip_left=False, strip_right=True), lower, sequence()), pre_tokenizer={"type": "Digits", "individual_digits": True}),
        "replace-string": file(normalizer=sequence(n("Replace", pattern={"String": "a"}, content="bb"), n("Replace", pattern={"String": "bb "}, content=""), nfd, lower)),
        "replace-regex": file(normalizer=sequence(n("Replace", pattern={"Regex": r"\s+"}, content=" "), n("Replace", pattern={"Regex": r"[^\p{L}\p{N}\p{P} ]{2,}|(?:ab?)+?c"}, content="é"), nfd)),
        "prepend": file(normalizer=sequence(n("Prepend", prepend="▁É"), nfd, lower), added_tokens=SPECIALS + [added("the"), added("film", normalized=True)]),
        "no-normalizer": file(normalizer=None),
        "bare": file(normalizer=None, pre_tokenizer=None, post_processor=None, added_tokens=[]),
        "whitespace": file(normalizer=None, pre_tokenizer={"type": "Whitespace"}, post_processor=None),
        "whitespace-split": file(normalizer=None, pre_tokenizer={"type": "WhitespaceSplit"}, post_processor=BERT_PROCESSING),
        "digits": file(pre_tokenizer=pretokenizers({"type": "Whitespace"}, {"type": "Digits", "individual_digits": False})),
        "delimiter": file(pre_tokenizer=pretokenizers({"type": "CharDelimiterSplit", "delimiter": "é"}, {"type": "CharDelimiterSplit", "delimiter": " "}), normalizer=nfc),
        "regex-classes": file(normalizer=None, pre_tokenizer=split((r"\p{Lu}\p{Ll}*|\p{Nd}{1,3}|\p{Mn}+|[\p{S}\-_.]+?|\w+|\S",), "Isolated")),
        "regex-invert": file(normalizer=None, pre_tokenizer=split((r"(?:[\p{L}\p{M}]+|\d\d?|[^\s\w])",), "Removed", True)),
        "regex-categories": file(normalizer=None, pre_tokenizer=pretokenizers(split((r"\p{Z}|\p{Cc}|\p{Cf}",), "MergedWithNext"), split((r"\p{Lo}+|\p{Lm}|\p{Sc}|\p{Sk}",), "Contiguous"), split((".{7}",), "Isolated"))),
        "types": file(post_processor=template("[CLS]:3", "A:7", "[SEP]:9")),
        "template-twice": file(post_processor=template("A:1", "[SEP]", "A:2", special={"[SEP]": [3, 3, 9]})),
        "template-empty": file(post_processor=template(special={"[SEP]": [3]})),
        "bert-processing": file(post_processor=BERT_PROCESSING, truncation=truncation(9)),
        "roberta-processing": file(post_processor={"type": "RobertaProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2], "trim_offsets": True, "add_prefix_space": False}),
        "processors": file(post_processor={"type": "Sequence", "processors": [BERT_PROCESSING, template("A:1", "[SEP]:2"), BERT_PROCESSING]}, truncation=truncation(12)),
        "processors-roberta": file(post_processor={"type": "Sequence", "processors": [
            BERT_PROCESSING, template("A:1", "[SEP]:2", "A"), {"type": "RobertaProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2], "trim_offsets": True, "add_prefix_space": True},
        ]}),
        "truncate-left": file(truncation=truncation(8, direction="Left"), padding=padding({"Fixed": 10}, direction="Left", pad_id=7, pad_type_id=5, pad_token="<p>")),
        "truncate-right": file(truncation=truncation(8, stride=3), padding=padding({"Fixed": 6})),
        "truncate-first": file(truncation=truncation(8, strategy="OnlyFirst")),
        "truncate-second": file(truncation=truncation(8, strategy="OnlySecond")),
        "truncate-to-nothing": file(truncation=truncation(2, stride=5)),
        "truncate-bare": file(truncation=truncation(5, stride=4), post_processor=None),
        "pad-multiple": file(truncation=truncation(21), padding=padding(pad_to_multiple_of=8, pad_id=4)),
        "pad-fixed-multiple": file(truncation=truncation(10), padding=padding({"Fixed": 10}, pad_to_multiple_of=8, direction="Left")),
        "pad-multiple-of-0": file(padding=padding(pad_to_multiple_of=0)),
        "added": file(added_tokens=SPECIALS + [
            added("<l>", lstrip=True), added("<r>", rstrip=True), added("<lr>", lstrip=True, rstrip=True), added("tok", single_word=True), added("<tok>", special=True),
            added("New Tok", normalized=True), added("newtok", normalized=True, single_word=True), added("Émile", normalized=True, lstrip=True), added("émi"), added("the", single_word=True, rstrip=True),
        ]),
        "added-cased": file(normalizer=nfc, added_tokens=[added("Émile", normalized=True, rstrip=True), added("[MASK]", special=True, normalized=True, lstrip=True), added("New", single_word=True, normalized=True), added("New Tok"), added("\u0301"), added("中", single_word=True)]),
        "added-spaces": file(normalizer=None, added_tokens=[added(" a"), added("  ", normalized=True), added("[SEP]", rstrip=True), added("b ", lstrip=True)]),
        "short-words": file(model=word_piece(max_input_chars_per_word=4)),
        "no-prefix": file(model=word_piece(continuing_subword_prefix="", vocab=vocabulary(""))),
        "no-unknown": file(model=word_piece(unk_token="<none>")),
        "word-level": file(model={"type": "WordLevel", "unk_token": "[UNK]", "vocab": vocabulary()}),
        "untagged-word-piece": file(model={k: v for k, v in word_piece().items() if k != "type"}),
        "untagged-word-level": file(model={"unk_token": "[UNK]", "vocab": vocabulary()}, added_tokens=[]),
    }
    for i, behavior in enumerate(["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"]):
        out[f"split-{behavior}"] = file(pre_tokenizer=split("e", behavior))
        out[f"split-{behavior}-inverted"] = file(normalizer=nfkc, pre_tokenizer=split((r"[^a-zA-Z0-9\s]",), behavior, True))
        out[f"punctuation-{behavior}"] = file(normalizer=lower, pre_tokenizer={"type": "Punctuation", "behavior": behavior})
    return out
