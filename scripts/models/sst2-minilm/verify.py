"""Compare model.onnx with PyTorch running the same weights, rounded to float16 as they are stored.

Compares the logits on all sentences of the dev set, and on random ids with padding for several
batch sizes and every length from 1 to 512. Exits 1 if a logit differs by 1e-4 or more.

Example:

    python verify.py --checkpoint build/checkpoint
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from tokenizers import Tokenizer
from transformers import BertForSequenceClassification

from sst2 import DATA, MODEL, read_split

TOLERANCE = 1e-4
Feed = dict[str, np.ndarray]


@torch.no_grad()
def rounded(checkpoint: Path) -> BertForSequenceClassification:
    """Load a checkpoint and round it as export.py does."""
    model = BertForSequenceClassification.from_pretrained(checkpoint).eval()
    embeddings = model.bert.embeddings
    embeddings.position_embeddings.weight += embeddings.token_type_embeddings.weight[0]
    embeddings.token_type_embeddings.weight.zero_()
    for parameter in model.parameters():
        if parameter.ndim == 2:
            parameter.copy_(parameter.half().float())
    return model


def difference(model: BertForSequenceClassification, session: onnxruntime.InferenceSession, feed: Feed) -> float:
    """Return the largest absolute difference of a logit."""
    with torch.no_grad():
        expected = model(**{name: torch.from_numpy(value) for name, value in feed.items()}).logits.numpy()
    return float(np.abs(session.run(["logits"], feed)[0] - expected).max())


def dev_feeds(data: Path, tokenizer: Tokenizer) -> Iterator[Feed]:
    """The dev set in batches of seven, padded to the longest."""
    sentences = [sentence for _, sentence in read_split(data, "dev")]
    for start in range(0, len(sentences), 7):
        batch = tokenizer.encode_batch(sentences[start : start + 7])
        yield {
            "input_ids": np.array([encoding.ids for encoding in batch], dtype=np.int64),
            "attention_mask": np.array([encoding.attention_mask for encoding in batch], dtype=np.int64),
        }


def random_feeds(batch: int, lengths: list[int]) -> Iterator[Feed]:
    """Random ids; each row but the first is padded by a random number of slots."""
    rng = np.random.default_rng(batch)
    for length in lengths:
        used = rng.integers(1, length + 1, size=(batch, 1))
        used[0] = length
        mask = (np.arange(length) < used).astype(np.int64)
        yield {"input_ids": rng.integers(1, 30522, size=(batch, length)) * mask, "attention_mask": mask}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, default=Path("build/checkpoint"), help="folder that train.py wrote")
    parser.add_argument("--model", type=Path, default=MODEL, help="folder that export.py wrote")
    parser.add_argument("--data", type=Path, default=DATA, help="folder with dev.tsv")
    args = parser.parse_args()

    model = rounded(args.checkpoint)
    session = onnxruntime.InferenceSession(args.model / "model.onnx", providers=["CPUExecutionProvider"])
    tokenizer = Tokenizer.from_file(str(args.model / "tokenizer.json"))
    some = sorted({*range(1, 33), *range(48, 513, 58), 512})
    cases = {
        "dev set": dev_feeds(args.data, tokenizer),
        "batch 1, lengths 1 to 512": random_feeds(1, list(range(1, 513))),
        "batch 2, some lengths": random_feeds(2, some),
        "batch 7, some lengths": random_feeds(7, some),
    }
    worst = 0.0
    for name, feeds in cases.items():
        largest = max(difference(model, session, feed) for feed in feeds)
        print(f"{name}: largest absolute difference {largest:.3g}", flush=True)
        worst = max(worst, largest)
    if worst >= TOLERANCE:
        sys.exit(1)


if __name__ == "__main__":
    main()
