"""What the Python originals answer: pipelines of transformers, SentenceTransformer and CrossEncoder.

Each is asked one text at a time, once with the torch model, and once with ONNX Runtime on the
exported file instead of it: what comes before and after the model is the library's in both.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import torch
import transformers
from transformers.modeling_outputs import BaseModelOutput, SequenceClassifierOutput

from texts import pairs, texts

onnxruntime.set_default_logger_severity(4)
NUMPY = {"tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(bool)": np.bool_}


class Session:
    """An exported file that is called as the model that it was made of."""

    def __init__(self, path: Path, config) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.config = config
        self.inputs = self.session.get_inputs()
        self.outputs = [o.name for o in self.session.get_outputs()]

    def feed(self, input_ids, attention_mask=None, token_type_ids=None, **_) -> dict:
        """Return the values of the file's inputs, as transformers makes them of a tokenizer's."""
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        first = torch.zeros_like(input_ids)
        first[:, 0] = 1
        start = self.config.__dict__.get("decoder_start_token_id")
        values = {
            "input_ids": input_ids, "attention_mask": mask, "global_attention_mask": first,
            "token_type_ids": torch.zeros_like(input_ids) if token_type_ids is None else token_type_ids,
            "position_ids": (mask.cumsum(-1) - 1).masked_fill(mask == 0, 1),
            "task_type_ids": torch.zeros_like(input_ids), "use_cache_branch": torch.zeros(1, dtype=torch.bool),
            "decoder_input_ids": torch.full_like(input_ids[:, :1], start or 0), "decoder_attention_mask": torch.ones_like(input_ids[:, :1]),
        }  # fmt: skip
        fed = {}
        for i in self.inputs:
            if i.name.startswith("past_key_values"):
                sizes = [d if isinstance(d, int) else (len(input_ids) if n == 0 else 0) for n, d in enumerate(i.shape)]
                fed[i.name] = np.zeros(sizes, NUMPY[i.type])
            else:
                fed[i.name] = values[i.name].numpy().astype(NUMPY[i.type])
        return fed

    def __call__(self, **inputs):
        made = dict(zip(self.outputs, self.session.run(None, self.feed(**inputs))))
        first = torch.from_numpy(made.get("logits", made.get("token_embeddings", made.get("last_hidden_state", next(iter(made.values()))))).astype(np.float32))
        if "logits" in made:
            return SequenceClassifierOutput(logits=first)
        return BaseModelOutput(last_hidden_state=first)


def labels(model, tokenizer, asked: list) -> list:
    pipeline = transformers.TextClassificationPipeline(model=model, tokenizer=tokenizer, device="cpu")
    rows = []
    for text in asked:
        row = pipeline({"text": text[0], "text_pair": text[1]} if isinstance(text, tuple) else text, top_k=None, truncation=True)
        rows.append({r["label"]: r["score"] for r in (row[0] if isinstance(row[0], list) else row)})
    return rows


def entities(model, tokenizer, asked: list) -> list:
    pipeline = transformers.TokenClassificationPipeline(model=model, tokenizer=tokenizer, aggregation_strategy="simple", device="cpu")
    return [[[e["entity_group"], float(e["score"]), e["word"], e["start"], e["end"]] for e in pipeline(text)] for text in asked]


def means(model, tokenizer, asked: list) -> list:
    """Return the mean of the token vectors, for models without files of sentence-transformers."""
    rows = []
    for text in asked:
        batch = tokenizer(text, truncation=True, return_tensors="pt")
        hidden = model(**batch)
        hidden = hidden.logits if hasattr(hidden, "logits") and hidden.logits is not None else hidden.last_hidden_state
        rows.append(hidden[0].mean(0).tolist())
    return rows


@torch.no_grad()
def answers(kind: str, model, tokenizer, library, prompt: str | None) -> list:
    """Return the answers of one of the originals; library is the SentenceTransformer or CrossEncoder."""
    if kind == "tokens":
        return entities(model, tokenizer, texts())
    if kind.startswith("embed"):
        return [library.encode(t, **({"prompt_name": prompt} if prompt else {})).tolist() for t in texts()]
    if kind == "features":
        return means(model, tokenizer, texts())
    if kind == "rerank":
        return [{"LABEL_0": float(library.predict([p])[0])} for p in pairs()]
    return labels(model, tokenizer, pairs() if kind == "pairs" else texts())


def instead(model: torch.nn.Module, session: Callable) -> None:
    """Have calls of the torch model answered by session."""
    model.forward = lambda input_ids=None, **more: session(input_ids=input_ids, **more)
