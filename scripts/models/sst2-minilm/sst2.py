"""Read the SST-2 files that lie in models/testdata/sst2."""

from __future__ import annotations

import gzip
from pathlib import Path

DATA = Path(__file__).resolve().parents[3] / "models" / "testdata" / "sst2"
MODEL = Path(__file__).resolve().parents[3] / "models" / "sst2-minilm"

Example = tuple[int, str]


def read_split(folder: Path, split: str) -> list[Example]:
    """Return (label, sentence) of a split: train, dev or test."""
    path = folder / f"{split}.tsv"
    if path.exists():
        text = path.read_text(encoding="utf-8")
    else:
        text = gzip.decompress((folder / f"{split}.tsv.gz").read_bytes()).decode("utf-8")
    rows = [line.split("\t") for line in text.rstrip("\n").split("\n")[1:]]
    return [(int(label), sentence) for label, sentence in rows]
