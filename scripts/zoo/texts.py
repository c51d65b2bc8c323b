"""The texts that the zoo is asked, and those that its tokenizers are trained on."""

from __future__ import annotations

import gzip
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SST2 = ROOT / "models" / "testdata" / "sst2"

AWKWARD = [
    "Angela Merkel met Barack Obama at Google in Berlin, Germany.", "Café crème brûlée, naïve façade", "日本語のテキスト and English",
    "emoji 😀 family 👨‍👩‍👧", "don't can't it's we've n't", "a", ".", "The  double   spaced text ", "UPPER lower MiXeD",
    "[SEP] within [CLS] a text </s> and <s> more <|endoftext|>", "  leading, tab\tand\nnewline", "straße İstanbul ΣΊΣΥΦΟΣ e\u0301",
    "a lovely film , " * 40, "great " * 200, "word" * 60,
]
# So that tokenizers know some characters that SST-2 does not have.
FOREIGN = ["日本語のテキスト", "Café crème brûlée, naïve façade", "emoji 😀 and 👍", "Привет, мир!", "straße, İstanbul"]


def dev() -> list[str]:
    """Return the sentences of SST-2's dev set."""
    lines = (SST2 / "dev.tsv").read_text(encoding="utf-8").rstrip("\n").split("\n")[1:]
    return [line.split("\t")[1] for line in lines]


def texts() -> list[str]:
    """Return the 30 texts that every model is asked."""
    some = dev()
    return [*some[:14], " ".join(some[20:30]), *AWKWARD]


def pairs() -> list[tuple[str, str]]:
    """Return each text with another one."""
    some = texts()
    return [(a, some[(7 * i + 3) % len(some)]) for i, a in enumerate(some)]


def corpus() -> list[str]:
    """Return what tokenizers are trained on."""
    rows = gzip.decompress((SST2 / "train.tsv.gz").read_bytes()).decode().rstrip("\n").split("\n")[1:]
    return [row.split("\t")[1].strip() for row in rows[::10]] + FOREIGN * 40
