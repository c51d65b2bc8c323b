"""What all peers have in common: the text classifier, by the tokenizers library and ONNX Runtime.

A peer gets its settings in environment variables, since some frameworks take no arguments of ours:

    MODEL      file of the model, with tokenizer.json and config.json beside it
    STAGES     folder of the same model, split (only for chained deployments)
    THREADS    threads of a session
    WORKERS    worker processes, where the framework has them
    PORT       where to listen for HTTP, on 127.0.0.1
"""

import json
import os
from pathlib import Path

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

# How many texts are computed at once at most: more, of unlike length, are mostly padding.
MAX_BATCH = 32


def setting(name: str, default: int) -> int:
    return int(os.environ.get(name, default))


def session(model: Path, threads: int, spin: bool = True) -> onnxruntime.InferenceSession:
    """Load a model. Threads that spin while they wait take the processor from other processes."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spin else "0")
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


def run(model: onnxruntime.InferenceSession, bag: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Run a model on those of the values that it takes. Some models want ids of 32 bits."""
    feed = {i.name: bag[i.name].astype(np.int32) if i.type == "tensor(int32)" else bag[i.name] for i in model.get_inputs()}
    names = [o.name for o in model.get_outputs()]
    return dict(zip(names, model.run(names, feed)))


class Texts:
    """Both ends of the classifier: text to inputs, logits to labels."""

    def __init__(self, folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        names = config.get("id2label") or {str(i): f"LABEL_{i}" for i in range(config.get("num_labels", 2))}
        self.labels = [names[str(i)] for i in range(len(names))]
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        if self.tokenizer.truncation is None and "max_position_embeddings" in config:
            self.tokenizer.enable_truncation(config["max_position_embeddings"])
        if self.tokenizer.padding is None:
            self.tokenizer.enable_padding(pad_id=config.get("pad_token_id") or 0)

    def inputs(self, texts: list[str]) -> dict[str, np.ndarray]:
        """Tokenise a batch, padded as tokenizer.json says: to its longest text unless that fixes a length."""
        encodings = self.tokenizer.encode_batch(texts)
        return {
            "input_ids": np.array([e.ids for e in encodings], np.int64),
            "attention_mask": np.array([e.attention_mask for e in encodings], np.int64),
            "token_type_ids": np.array([e.type_ids for e in encodings], np.int64),
        }

    def answers(self, outputs: dict[str, np.ndarray]) -> list[str]:
        return [self.labels[i] for i in outputs["logits"].argmax(axis=1)]


class Classifier:
    def __init__(self, spin: bool = True) -> None:
        model = Path(os.environ["MODEL"])
        self.texts = Texts(model.parent)
        self.session = session(model, setting("THREADS", 1), spin)

    def labels(self, texts: list[str]) -> list[str]:
        """Answer a batch, computed at once."""
        return self.texts.answers(run(self.session, self.texts.inputs(texts)))

    def labels_sorted(self, texts: list[str], piece: int) -> list[str]:
        """Answer a batch in pieces of texts of about equal length, so that little of it is padding."""
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        answers = [""] * len(texts)
        for start in range(0, len(order), piece):
            some = order[start : start + piece]
            for i, label in zip(some, self.labels([texts[i] for i in some])):
                answers[i] = label
        return answers
