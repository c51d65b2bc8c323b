"""Asks the oracle for everything the tests of runtime/text compare with.

    pip install --no-deps --require-hashes -r requirements.txt
    python oracle.py ../../models ../../runtime/text/testdata

Run it again when a default model's tokenizer.json changes.

    python oracle.py ../../models FOLDER --random SEED
    DISTINFER_TEXT_ORACLE=FOLDER go test -run TestConfigs ../../runtime/text

compares 250 random configurations with the oracle.

    python oracle.py ../../models ../../runtime/text/testdata --show CONFIG N

prints what the oracle makes of text N under a configuration (bert-cased,
models/sst2-minilm, …): the tests know most answers only by their checksum.
"""

import gzip
import json
import pathlib
import struct
import sys
import zlib

import tokenizers
from tokenizers import Tokenizer, normalizers, pre_tokenizers

import configs
import corpus
import decoding
import families
import patterns
import random_configs

MODELS = ["sst2-minilm", "seed-rnn"]


def write(path, data, level=9):
    # mtime 0: the same answers make the same bytes.
    path.write_bytes(gzip.compress(data, level, mtime=0))
    print(f"{path.name}: {path.stat().st_size} bytes")


def uvarint(n):
    out = bytearray()
    while n >= 0x80:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def encode(tokenizer, text, pair=None):
    """The encoding, or None where the library fails."""
    try:
        return tokenizer.encode(text, pair)
    except BaseException as e:  # a panic of the Rust code is not an Exception
        if isinstance(e, (KeyboardInterrupt, SystemExit)):
            raise
        return None


def record(e):
    """The bytes a checksum is taken of: ids, type ids, masks, offsets, word ids, tokens."""
    if e is None:
        return b"error"
    n = len(e.ids)
    rows = [e.ids, e.type_ids, e.attention_mask, e.special_tokens_mask]
    places = [v & 0xFFFFFFFF for (start, end), word in zip(e.offsets, e.word_ids) for v in (start, end, -1 if word is None else word)]
    rows = b"".join(struct.pack(f"<{n}I", *row) for row in rows) + struct.pack(f"<{3 * n}I", *places)
    return rows + b"".join(t.encode() + b"\xff" for t in e.tokens)


def pieces(tokenizer, text):
    """What the normalizer and the pre-tokenizer alone make of a text."""
    if tokenizer.normalizer is not None:
        text = tokenizer.normalizer.normalize_str(text)
    if tokenizer.pre_tokenizer is None:
        found = [text] if text else []
    else:
        found = [p for p, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text) if p]
    return b"".join(p.encode() + b"\xff" for p in found) + b"\xfe"


def checksum(data, size):
    """The first bytes of a CRC-32: there are a million of them, and the files are to stay small."""
    return struct.pack("<I", zlib.crc32(data))[:size]


def answers(tokenizer, text):
    return checksum(pieces(tokenizer, text) + record(encode(tokenizer, text)), 2)


def full(tokenizer, texts):
    """Length and ids of each text, padding left out, and a checksum of everything."""
    out = []
    for text in texts:
        e = encode(tokenizer, text)
        ids = [i for i, m in zip(e.ids, e.attention_mask) if m]
        out.append(uvarint(len(ids)) + b"".join(uvarint(i) for i in ids))
        out.append(checksum(record(e), 3))
    return b"".join(out)


def sums(tokenizer, texts):
    return b"".join(checksum(record(encode(tokenizer, text)), 3) for text in texts)


def header(source):
    return zlib.crc32(source).to_bytes(4, "little")


def sentences(path):
    data = path.read_bytes()
    if path.suffix == ".gz":
        data = gzip.decompress(data)
    return [line.split("\t", 1)[1] for line in data.decode().split("\n")[1:] if line]


def characters():
    """For each component, a checksum of what it does to each 4096 code points in turn."""
    n, p = normalizers, pre_tokenizers
    components = {
        "Lowercase": n.Lowercase(), "NFC": n.NFC(), "NFD": n.NFD(), "NFKC": n.NFKC(), "NFKD": n.NFKD(), "StripAccents": n.StripAccents(), "Strip": n.Strip(),
        "BertNormalizer": n.BertNormalizer(), "BertNormalizer cased": n.BertNormalizer(lowercase=False),
        "BertPreTokenizer": p.BertPreTokenizer(), "Whitespace": p.Whitespace(), "WhitespaceSplit": p.WhitespaceSplit(), "Punctuation": p.Punctuation(), "Digits": p.Digits(True),
    }
    out = {}
    for name, c in components.items():
        sums = []
        for start in range(0, 0x110000, 0x1000):
            sum_ = 0
            for cp in range(start, start + 0x1000):
                if 0xD800 <= cp <= 0xDFFF:
                    continue
                if hasattr(c, "normalize_str"):
                    data = c.normalize_str("a" + chr(cp) + "\u0323" if "NF" in name else chr(cp)).encode() + b"\xff"
                else:
                    data = b"".join(t.encode() + b"\xff" for t, _ in c.pre_tokenize_str("a" + chr(cp) + "a"))
                sum_ = zlib.crc32(data, sum_)
            sums.append(sum_)
        out[name] = sums
    return out


def main():
    models, target = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    if tokenizers.__version__ != "0.23.3":
        raise SystemExit("install requirements.txt first")
    train, dev, test = (sentences(models / "testdata" / "sst2" / name) for name in ["train.tsv.gz", "dev.tsv", "test.tsv"])
    texts = corpus.texts(train)
    option = sys.argv[3] if len(sys.argv) > 3 else ""
    if option == "--show":
        show(models, texts, sys.argv[4], int(sys.argv[5]))
        return
    target.mkdir(exist_ok=True)
    if option == "--random":
        write_configs(target, "configs", random_configs.configs(int(sys.argv[4])), texts[::7])
        return
    write_configs(target, "configs", configs.configs(), texts)
    trained = families.families(train)
    write_configs(target, "families", trained, texts)
    write(target / "decoders.json.gz", json.dumps(decoding.decoded(trained, texts), ensure_ascii=False).encode())
    write(target / "patterns.json.gz", json.dumps(patterns.split(texts), ensure_ascii=False).encode())
    write(target / "utf8.json.gz", json.dumps([[b.hex(), s] for b, s in corpus.broken_utf8()]).encode())
    write(target / "characters.json.gz", json.dumps(characters()).encode())
    for name in MODELS:
        source = (models / name / "tokenizer.json").read_bytes()
        tokenizer = Tokenizer.from_str(source.decode())
        write(target / f"{name}.texts.gz", header(source) + full(tokenizer, texts))
        write(target / f"{name}.sst2.gz", header(source) + full(tokenizer, dev + test) + sums(tokenizer, train))
    print(f"{len(train)} + {len(dev)} + {len(test)} sentences")


def write_configs(target, name, files, texts, level=9):
    write(target / "texts.json.gz", json.dumps(texts, ensure_ascii=False).encode(), level)
    write(target / f"{name}.json.gz", json.dumps(files, ensure_ascii=False).encode(), level)
    out, pairs = [], []
    for file in files.values():
        tokenizer = Tokenizer.from_str(json.dumps(file))
        out += [answers(tokenizer, text) for text in texts]
        # Each eleventh text, with one from the other end of the list.
        pairs += [checksum(record(encode(tokenizer, texts[i], texts[-1 - i])), 2) for i in range(0, len(texts), 11)]
    write(target / f"{name}.answers.gz", b"".join(out), level)
    write(target / f"{name}.pairs.gz", b"".join(pairs), level)
    print(f"{len(texts)} texts, {len(files)} configurations")


def show(models, texts, name, n):
    if name.startswith("models/"):
        tokenizer = Tokenizer.from_file(str(models / name.removeprefix("models/") / "tokenizer.json"))
    else:
        tokenizer = Tokenizer.from_str(json.dumps(configs.configs()[name]))
    print("text   ", ascii(texts[n]))
    print("pieces ", [ascii(p.decode()) for p in pieces(tokenizer, texts[n])[:-1].split(b"\xff")[:-1]])
    e = encode(tokenizer, texts[n])
    if e is None:
        print("error")
        return
    for field in ["ids", "tokens", "type_ids", "attention_mask", "special_tokens_mask", "offsets", "word_ids"]:
        print(field, getattr(e, field))


if __name__ == "__main__":
    main()
