"""Tokenizers of the families that Hugging Face's text classifiers have, trained here.

The components are those of the real files, the vocabularies small ones of SST-2
and of text in other scripts, so that the tests need no file of megabytes.
"""

import base64
import json
import unicodedata

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

import graphemes


def other_scripts():
    """Some text of every script, for the characters."""
    return ["Ünïcödé naïve café straße ÀÉÎÕÜ ñ œuvre", "Привет, мир! как дела", "Καλημέρα κόσμε", "你好世界 中文字符 我们 今天", "こんにちは世界 テキスト カタカナ", "안녕하세요 세계 한국어", "مرحبا بالعالم", "שלום עולם", "नमस्ते दुनिया क्षत्रिय", "สวัสดีชาวโลก", "👍🏽 😀 ❤️ 👨‍👩‍👧", "½ ² 123 4567 $5.99 #tag @you http://x.y/z?q=1"] * 20


def nmt_nfkc(lower=False):
    """A charsmap like SentencePiece's nmt_nfkc: NFKC, spaces for white space, and controls dropped."""
    out = {}
    for c in range(1, 0x30000):
        if 0xD800 <= c <= 0xDFFF:
            continue
        s = chr(c)
        if c in (0x200C, 0x200D):  # as in the real one, left alone
            continue
        if c < 0x20 and s not in "\t\n\f\r" or c in (0x7F, 0x8F, 0x9F):
            to = ""
        elif s.isspace() or c in (0x200B, 0x200E, 0x200F, 0xFEFF, 0xFFFD, 0x2581):
            to = " "
        else:
            to = unicodedata.normalize("NFKC", s)
            if lower:
                to = unicodedata.normalize("NFKC", to.casefold())
        if to != s and not 0xAC00 <= c <= 0xD7A3 and not 0x2F800 <= c <= 0x2FA1F:
            out[s] = to
    out["\r\n"] = " "
    # The real one has sequences too: they win over nothing, since the shortest key counts.
    for s in ["\u0344\u0301", "\u1100\u1161", "\u05d0\u05b7"]:
        out[s] = unicodedata.normalize("NFKC", s)
    return graphemes.charsmap(out)


def byte_level(sentences, size, **pre):
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(**pre)
    t.decoder = decoders.ByteLevel()
    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    t.train_from_iterator(sentences, trainers.BpeTrainer(vocab_size=size, special_tokens=specials, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    return t


def unigram(sentences, size, normalizer, pre, specials, unk="<unk>"):
    t = Tokenizer(models.Unigram())
    t.normalizer, t.pre_tokenizer = normalizer, pre
    t.train_from_iterator(sentences, trainers.UnigramTrainer(vocab_size=size, special_tokens=specials, unk_token=unk, show_progress=False))
    return t


def edit(t, **parts):
    d = json.loads(t.to_str())
    d.update(parts)
    return d


def families(sentences):
    n, p = normalizers, pre_tokenizers
    some = sentences[:6000] + other_scripts()
    out = {}

    t = byte_level(some, 3000, add_prefix_space=False)
    t.add_special_tokens([AddedToken("<mask>", lstrip=True, special=True)])
    t.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), trim_offsets=True, add_prefix_space=False)
    t.enable_truncation(48)
    out["roberta"] = edit(t)
    strings = edit(t)
    strings["model"]["merges"] = ["#version: 0.2"] + [" ".join(m) for m in strings["model"]["merges"]]
    strings["truncation"] = None
    strings["post_processor"] = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
    strings["pre_tokenizer"]["add_prefix_space"] = True
    out["gpt2"] = strings
    bart = edit(t)
    bart["post_processor"] |= {"add_prefix_space": True}
    bart["pre_tokenizer"] |= {"add_prefix_space": True}
    bart["truncation"] = {"direction": "Left", "max_length": 21, "strategy": "LongestFirst", "stride": 3}
    out["bart-left"] = bart
    modern = edit(t)
    modern |= {"normalizer": {"type": "NFC"}, "truncation": None}
    modern["post_processor"] = {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "</s>", "type_id": 0}}],
        "pair": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "</s>", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}, {"SpecialToken": {"id": "</s>", "type_id": 1}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}, "</s>": {"id": "</s>", "ids": [2], "tokens": ["</s>"]}}}
    modern["model"]["ignore_merges"] = True
    out["modernbert"] = modern

    charsmap = n.Precompiled(nmt_nfkc())
    squeeze = n.Replace(__import__("tokenizers").Regex(" {2,}"), " ")
    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    both = lambda a, b, single, pair: processors.TemplateProcessing(single=single, pair=pair, special_tokens=[a, b])
    t = unigram(some, 3000, n.Sequence([charsmap, squeeze]), p.Sequence([p.WhitespaceSplit(), p.Metaspace()]), specials)
    t.add_special_tokens([AddedToken("<mask>", lstrip=True, special=True)])
    t.post_processor = both(("<s>", 0), ("</s>", 2), "<s> $A </s>", "<s> $A </s> </s> $B </s>")
    out["xlm-roberta"] = edit(t)

    t = unigram(some, 2000, n.Sequence([n.Replace("``", '"'), n.Replace("''", '"'), n.NFKD(), n.StripAccents(), n.Lowercase(), charsmap, squeeze]), p.Metaspace(), ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"])
    t.post_processor = both(("[CLS]", 2), ("[SEP]", 3), "[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1")
    t.enable_truncation(31)
    t.enable_padding(length=32, pad_id=0, pad_token="<pad>")
    out["albert"] = edit(t)

    t = unigram(some, 2500, n.Sequence([n.Strip(), charsmap, squeeze]), p.Sequence([p.Metaspace()]), ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"], "[UNK]")
    t.post_processor = both(("[CLS]", 1), ("[SEP]", 2), "[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1")
    old = edit(t)
    old["pre_tokenizer"]["pretokenizers"] = [{"type": "Metaspace", "replacement": "▁", "add_prefix_space": True}]
    out["deberta-v3"] = old

    t = unigram(some, 1500, charsmap, p.Metaspace(prepend_scheme="first", split=False), ["<pad>", "</s>", "<unk>"])
    t.post_processor = processors.TemplateProcessing(single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)])
    out["t5"] = edit(t)
    fallback = edit(t)
    vocab = fallback["model"]["vocab"]
    fallback["model"] |= {"byte_fallback": True, "vocab": vocab + [[f"<0x{b:02X}>", 0.0] for b in range(256)]}
    fallback["normalizer"] = {"type": "Sequence", "normalizers": [{"type": "Nmt"}, {"type": "NFKC"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]}
    fallback["pre_tokenizer"] = None
    out["unigram-bytes"] = fallback

    t = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    t.normalizer = n.Sequence([n.Prepend("▁"), n.Replace(" ", "▁")])
    t.train_from_iterator(sentences[:3000], trainers.BpeTrainer(vocab_size=1500, special_tokens=["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)], show_progress=False))
    out["llama"] = edit(t)
    partial = edit(t)
    for b in range(0x80, 0xC8):
        del partial["model"]["vocab"][f"<0x{b:02X}>"]
    out["bpe-some-bytes"] = partial

    for fuse in [True, False]:
        t = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=fuse, end_of_word_suffix="</w>"))
        t.normalizer, t.pre_tokenizer = n.BertNormalizer(), p.BertPreTokenizer()
        t.train_from_iterator(sentences[:3000], trainers.BpeTrainer(vocab_size=1200, special_tokens=["<unk>"], end_of_word_suffix="</w>", show_progress=False))
        out[f"openai-gpt-{fuse}"] = edit(t)
    t = Tokenizer(models.BPE(continuing_subword_prefix="##"))
    t.pre_tokenizer = p.Whitespace()
    t.train_from_iterator(sentences[:2000], trainers.BpeTrainer(vocab_size=900, continuing_subword_prefix="##", show_progress=False))
    out["bpe-prefix"] = edit(t)
    return out
