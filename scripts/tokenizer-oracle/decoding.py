"""What decoders make of tokens: those of real encodings, and such as no encoding gives."""

import json
import random

from tokenizers import Regex, Tokenizer, decoders, models

AWKWARD = ["", " ", "a", "▁", "▁▁", "▁a▁b", "##a", "##", "a##", "Ġ", "Ġword", "Ċ", "é", "Ã©", "Ã", "ĠÃ", "æĹ¥", "日本", "Ġ日", "</w>", "a</w>", "</w></w>", "<0x0A>", "<0xE6>", "<0x97>", "<0xA5>", "<0xFF>", "<0xG1>", "<0x+F>", "<0x1>", "<0X0A>", " .", " n't", "'s", " do not", "n't", ",", "\ufffd", "x" * 40, "\n", "<s>", "</s>", "[UNK]"]


def steps():
    d = decoders
    llama = d.Sequence([d.Replace("▁", " "), d.ByteFallback(), d.Fuse(), d.Strip(" ", 1, 0)])
    return {
        "none": None, "ByteLevel": d.ByteLevel(), "Metaspace": d.Metaspace(), "Metaspace first": d.Metaspace(prepend_scheme="first"),
        "Metaspace never": d.Metaspace("_", prepend_scheme="never"), "WordPiece": d.WordPiece(), "WordPiece as it is": d.WordPiece("@@", False),
        "BPEDecoder": d.BPEDecoder(), "BPEDecoder every": d.BPEDecoder(""), "ByteFallback": d.ByteFallback(), "Fuse": d.Fuse(), "llama": llama,
        "Replace": d.Replace("a", "aé"), "Replace by regex": d.Replace(Regex(r"\s+"), "_"), "Strip": d.Sequence([d.Fuse(), d.Strip("a", 2, 1)]),
        "a sequence of sequences": d.Sequence([d.Sequence([d.Replace("Ġ", "▁"), d.Metaspace(prepend_scheme="never")]), d.ByteLevel()]),
        "nothing": d.Sequence([]),
    }


def decoded(families, texts):
    """Lists of tokens, and what each decoder makes of each; None where the library fails."""
    chance = random.Random(7)
    lists = [[], *([t] for t in AWKWARD), *(chance.choices(AWKWARD, k=chance.randint(2, 9)) for _ in range(300))]
    for name in ["roberta", "xlm-roberta", "llama", "bpe-prefix", "openai-gpt-True"]:
        tokenizer = Tokenizer.from_str(json.dumps(families[name]))
        lists += [tokenizer.encode(text).tokens for text in texts[5::211] if len(text) < 300]
    found = {}
    for name, step in steps().items():
        section, rows = None, []
        if step is not None:
            tokenizer = Tokenizer(models.BPE())
            tokenizer.decoder = step
            section = json.loads(tokenizer.to_str())["decoder"]
        for tokens in lists:
            try:
                rows.append(" ".join(tokens) if step is None else step.decode(tokens))
            except BaseException as e:  # a panic of the Rust code is not an Exception
                if isinstance(e, (KeyboardInterrupt, SystemExit)):
                    raise
                rows.append(None)
        found[name] = {"decoder": section, "texts": rows}
    return {"tokens": lists, "decoders": found}
