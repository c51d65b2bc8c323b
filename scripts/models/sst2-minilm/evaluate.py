"""Print the accuracy of an exported model on SST-2, run in ONNX Runtime.

Works for every folder with model.onnx and tokenizer.json, models/seed-rnn too.

Example:

    python evaluate.py --split dev
    python evaluate.py --model ../../../models/seed-rnn --split dev --split test
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

from sst2 import DATA, MODEL, read_split


def accuracy(session: onnxruntime.InferenceSession, tokenizer: Tokenizer, examples: list[tuple[int, str]]) -> float:
    """Return the share of right answers over batches of sentences of like length."""
    wanted = [value.name for value in session.get_inputs()]
    encoded = sorted(
        ((tokenizer.encode(sentence).ids, label) for label, sentence in examples), key=lambda row: len(row[0])
    )
    right = 0
    for start in range(0, len(encoded), 8):
        rows = encoded[start : start + 8]
        width = max(len(ids) for ids, _ in rows)
        feed = {
            "input_ids": np.array([ids + [0] * (width - len(ids)) for ids, _ in rows], dtype=np.int64),
            "attention_mask": np.array([[1] * len(ids) + [0] * (width - len(ids)) for ids, _ in rows], dtype=np.int64),
        }
        logits = session.run(["logits"], {name: feed[name] for name in wanted})[0]
        right += int((logits.argmax(axis=1) == [label for _, label in rows]).sum())
    return right / len(encoded)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=MODEL, help="folder with model.onnx and tokenizer.json")
    parser.add_argument("--data", type=Path, default=DATA, help="folder with dev.tsv and test.tsv")
    parser.add_argument("--split", action="append", choices=["dev", "test"], help="default: dev")
    args = parser.parse_args()

    session = onnxruntime.InferenceSession(args.model / "model.onnx", providers=["CPUExecutionProvider"])
    tokenizer = Tokenizer.from_file(str(args.model / "tokenizer.json"))
    for split in args.split or ["dev"]:
        examples = read_split(args.data, split)
        print(f"{split}: {accuracy(session, tokenizer, examples):.4f} of {len(examples)} sentences")


if __name__ == "__main__":
    main()
