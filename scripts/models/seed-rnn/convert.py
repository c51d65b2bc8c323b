"""Convert the 2018 sentiment RNN to model.onnx, tokenizer.json and config.json, or check the result.

The source is models/testdata/seed-rnn: weights.npz (a TensorFlow BasicRNNCell and its output layer),
dictionary.json (word to id) and reference.tsv (what the original answers).

Examples:

    pip install -r requirements.txt
    python convert.py            # write models/seed-rnn
    python convert.py --check    # compare models/seed-rnn with reference.tsv
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer

MODELS = Path(__file__).resolve().parents[3] / "models"
SLOTS = 50
LABELS = ["negative", "positive"]
# The characters at which Python's str.split() splits: Unicode's White_Space and the four separators U+001C to U+001F.
# They stand in the class as themselves, so that every regular expression engine reads it alike.
WHITE_SPACE = "[\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+"
TOLERANCE = 1e-5


def build(weights: dict[str, np.ndarray]) -> onnx.ModelProto:
    """Return the ONNX model: embedding, tanh RNN over all slots, linear layer on the last state."""
    size = weights["embedding"].shape[1]
    kernel_input, kernel_state = weights["rnn_kernel"][:size], weights["rnn_kernel"][size:]
    hidden = kernel_state.shape[0]
    bias = np.concatenate([weights["rnn_bias"], np.zeros(hidden, np.float32)])
    initializers = {
        "embedding": weights["embedding"],
        "rnn.W": kernel_input.T[np.newaxis],
        "rnn.R": kernel_state.T[np.newaxis],
        "rnn.B": bias[np.newaxis],
        "axis_0": np.array([0], dtype=np.int64),
        "output.weight": weights["output_weight"],
        "output.bias": weights["output_bias"],
    }
    nodes = [
        helper.make_node("Transpose", ["input_ids"], ["slots"], name="/slots/Transpose", perm=[1, 0]),
        helper.make_node("Gather", ["embedding", "slots"], ["embedded"], name="/embedding/Gather", axis=0),
        helper.make_node(
            "RNN",
            ["embedded", "rnn.W", "rnn.R", "rnn.B"],
            ["", "states"],
            name="/rnn/RNN",
            hidden_size=hidden,
            activations=["Tanh"],
        ),
        helper.make_node("Squeeze", ["states", "axis_0"], ["last_state"], name="/rnn/Squeeze"),
        helper.make_node("MatMul", ["last_state", "output.weight"], ["product"], name="/output/MatMul"),
        helper.make_node("Add", ["product", "output.bias"], ["logits"], name="/output/Add"),
    ]
    graph = helper.make_graph(
        nodes,
        "seed-rnn",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", SLOTS])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", len(LABELS)])],
        [numpy_helper.from_array(value, name) for name, value in initializers.items()],
    )
    return helper.make_model(
        graph, producer_name="distinfer", ir_version=8, opset_imports=[helper.make_opsetid("", 17)]
    )


def tokenizer(dictionary: dict[str, int]) -> dict:
    """State the original's tokenisation in the vocabulary of Hugging Face's tokenizer.json."""
    words = sorted(dictionary, key=dictionary.__getitem__)
    return {
        "version": "1.0",
        "truncation": {"direction": "Right", "max_length": SLOTS, "strategy": "LongestFirst", "stride": 0},
        "padding": {
            "strategy": {"Fixed": SLOTS},
            "direction": "Left",
            "pad_to_multiple_of": None,
            "pad_id": 0,
            "pad_type_id": 0,
            "pad_token": words[0],
        },
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": {"type": "Split", "pattern": {"Regex": WHITE_SPACE}, "behavior": "Removed", "invert": False},
        "post_processor": None,
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": {word: dictionary[word] for word in words}, "unk_token": "UNK"},
    }


def config(weights: dict[str, np.ndarray]) -> dict:
    vocabulary, size = weights["embedding"].shape
    return {
        "model_type": "rnn",
        "problem_type": "single_label_classification",
        "id2label": {str(i): label for i, label in enumerate(LABELS)},
        "label2id": {label: i for i, label in enumerate(LABELS)},
        "vocab_size": vocabulary,
        "embedding_size": size,
        "hidden_size": weights["rnn_bias"].shape[0],
        "hidden_act": "tanh",
        "max_position_embeddings": SLOTS,
        "pad_token_id": 0,
    }


def put(path: Path, content: bytes) -> None:
    """Write a file under a temporary name, then rename it."""
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(content)
    os.replace(partial, path)


def convert(source: Path, out: Path) -> None:
    weights = dict(np.load(source / "weights.npz"))
    dictionary = json.loads((source / "dictionary.json").read_text(encoding="utf-8"))
    model = build(weights)
    onnx.checker.check_model(model, full_check=True)
    out.mkdir(parents=True, exist_ok=True)
    put(out / "model.onnx", model.SerializeToString(deterministic=True))
    put(out / "tokenizer.json", (json.dumps(tokenizer(dictionary), indent=1) + "\n").encode())
    put(out / "config.json", (json.dumps(config(weights), indent=2) + "\n").encode())
    print(f"wrote {out}")


def check_white_space(encoder: Tokenizer) -> int:
    """Return at how many code points the pre-tokenizer and str.split() differ."""
    points = (chr(i) for i in range(sys.maxunicode + 1) if not 0xD800 <= i <= 0xDFFF)
    texts = (f"a{point}b" for point in points)
    return sum([piece for piece, _ in encoder.pre_tokenizer.pre_tokenize_str(text)] != text.split() for text in texts)


def check(source: Path, out: Path) -> bool:
    """Compare the converted model with the original's answers; print the figures."""
    encoder = Tokenizer.from_file(str(out / "tokenizer.json"))
    dictionary = json.loads((source / "dictionary.json").read_text(encoding="utf-8"))
    session = onnxruntime.InferenceSession(out / "model.onnx", providers=["CPUExecutionProvider"])
    lines = (source / "reference.tsv").read_text(encoding="utf-8").rstrip("\n").split("\n")[1:]
    rows = [line.split("\t") for line in lines]
    texts = [json.loads(f'"{row[0]}"') for row in rows]
    expected = np.array([[float(row[1]), float(row[2])] for row in rows], dtype=np.float32)

    def original_ids(text: str) -> list[int]:
        ids = [dictionary.get(word, 3) for word in text.split()[:SLOTS]]
        return [0] * (SLOTS - len(ids)) + ids

    ids = [encoder.encode(text).ids for text in texts]
    wrong_ids = sum(got != original_ids(text) for got, text in zip(ids, texts))
    logits = session.run(["logits"], {"input_ids": np.array(ids, dtype=np.int64)})[0]
    wrong_labels = sum(LABELS[i] != row[3] for i, row in zip(logits.argmax(1), rows))
    difference = float(np.abs(logits - expected).max())
    wrong_points = check_white_space(encoder)
    print(f"rows: {len(rows)}")
    print(f"rows with other ids: {wrong_ids}")
    print(f"rows with another label: {wrong_labels}")
    print(f"largest absolute difference of a logit: {difference:.3g}")
    print(f"code points split differently from str.split(): {wrong_points}")
    return not wrong_ids and not wrong_labels and not wrong_points and difference <= TOLERANCE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, default=MODELS / "testdata" / "seed-rnn")
    parser.add_argument("--out", type=Path, default=MODELS / "seed-rnn")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 unless the model answers alike")
    args = parser.parse_args()
    if not args.check:
        convert(args.source, args.out)
    elif not check(args.source, args.out):
        sys.exit(1)


if __name__ == "__main__":
    main()
