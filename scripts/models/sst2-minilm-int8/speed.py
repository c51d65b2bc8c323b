"""Compare the speed of models on SST-2's dev sentences, in ONNX Runtime and in this process.

Each round runs every model in turn: all sentences sorted by length in batches of 8, then the first
sentences one at a time. The figures are medians of the rounds, and their ratios to the first model.
On a machine that others use, too, --clock processor counts the time that this process computed.

Example:

    python speed.py
    python speed.py --threads 2 ../../../models/sst2-minilm/model.onnx build/float32.onnx
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

sys.path.append(str(Path(__file__).resolve().parents[1] / "sst2-minilm"))
from sst2 import DATA, MODEL, read_split  # noqa: E402

CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}
Feed = dict[str, np.ndarray]


def feeds(rows: list[list[int]], size: int) -> list[Feed]:
    """Pad rows of token ids to batches of a size."""
    batches = []
    for start in range(0, len(rows), size):
        group = rows[start : start + size]
        width = max(len(ids) for ids in group)
        batches.append(
            {
                "input_ids": np.array([ids + [0] * (width - len(ids)) for ids in group], dtype=np.int64),
                "attention_mask": np.array(
                    [[1] * len(ids) + [0] * (width - len(ids)) for ids in group], dtype=np.int64
                ),
            }
        )
    return batches


def rate(session: onnxruntime.InferenceSession, batches: list[Feed], clock: str) -> float:
    """Return how many sentences a second are answered."""
    started = CLOCKS[clock]()
    for feed in batches:
        session.run(["logits"], feed)
    return sum(len(feed["input_ids"]) for feed in batches) / (CLOCKS[clock]() - started)


def load(path: Path, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = [MODEL / "model.onnx", MODEL.with_name("sst2-minilm-int8") / "model.onnx"]
    parser.add_argument("models", type=Path, nargs="*", default=default, help="model files; the first is compared with")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--single", type=int, default=200, help="how many sentences are answered one at a time")
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    args = parser.parse_args()

    tokenizer = Tokenizer.from_file(str(MODEL / "tokenizer.json"))
    tokenizer.no_padding()
    rows = [encoding.ids for encoding in tokenizer.encode_batch([text for _, text in read_split(DATA, "dev")])]
    work = {"sorted, 8 a batch": feeds(sorted(rows, key=len), 8), "one at a time": feeds(rows[: args.single], 1)}
    sessions = {path: load(path, args.threads) for path in args.models}
    rates: dict[tuple[Path, str], list[float]] = {(path, name): [] for path in sessions for name in work}
    for session in sessions.values():
        rate(session, work["one at a time"][:10], args.clock)
    for _ in range(args.rounds):
        for path, session in sessions.items():
            for name, batches in work.items():
                rates[path, name].append(rate(session, batches, args.clock))

    print(f"sentences a second, {args.threads} threads, {args.clock} time, medians of {args.rounds} rounds")
    for path in sessions:
        cells = []
        for name in work:
            median, first = (statistics.median(rates[p, name]) for p in (path, args.models[0]))
            cells.append(f"{name}: {median:6.1f} (x {median / first:.2f})")
        print(f"{'/'.join(path.parts[-2:]):36}", "   ".join(cells))


if __name__ == "__main__":
    main()
