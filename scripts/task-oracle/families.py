"""Write the entities that transformers finds with the tokenizers of several families.

There is no model: logits follow from ids and places (see logits), as the test computes them
too. The tokenizers are those of runtime/text/testdata. The expectations go to
runtime/tokenclass/testdata/families.json.gz.

Example:

    python families.py
"""

from __future__ import annotations

import gzip
import json
import tempfile
import warnings
from types import SimpleNamespace

import numpy as np
import torch
from tokenizers import Tokenizer, decoders
from transformers import PreTrainedTokenizerFast, TokenClassificationPipeline
from transformers.pipelines.token_classification import AggregationStrategy

from expect import AWKWARD, ROOT, STRATEGIES, texts

LABELS = ["O", "B-POS", "I-POS", "B-NEG", "I-NEG"]
METASPACE = decoders.Metaspace()
LLAMA = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
# By family, the token for what is unknown, and the decoder that real files have and these do not.
FAMILIES = {
    "roberta": ("<unk>", None), "gpt2": ("<unk>", None), "xlm-roberta": ("<unk>", METASPACE), "albert": ("<unk>", METASPACE),
    "deberta-v3": ("[UNK]", METASPACE), "llama": ("<unk>", LLAMA), "bpe-prefix": (None, decoders.WordPiece()),
}
MORE = ["<unk>", "a <unk> b<unk>c", "naïve café\u3000日本語", "  two  spaces ", "Привет,мир!", "don't; can't.it's"]


def logits(ids: list[int]) -> np.ndarray:
    """Return numbers that differ from token to token and do not tie; the test has the same formula."""
    return np.array([[((i * 31 + p // 3 * 17 + k * 4177 + i * k * 7) % 9973) / 1600 for k in range(len(LABELS))] for p, i in enumerate(ids)], dtype=np.float32).reshape(-1, len(LABELS))


def found(tokenizer: PreTrainedTokenizerFast, text: str, strategy: str) -> list:
    pipeline = object.__new__(TokenClassificationPipeline)
    pipeline.tokenizer, pipeline.model = tokenizer, SimpleNamespace(config=SimpleNamespace(id2label=dict(enumerate(LABELS))))
    e = tokenizer(text, truncation=True, return_offsets_mapping=True, return_special_tokens_mask=True)
    outputs = {
        "logits": torch.tensor(logits(e["input_ids"]))[None], "sentence": text, "input_ids": torch.tensor([e["input_ids"]]),
        "offset_mapping": torch.tensor([e["offset_mapping"]]), "special_tokens_mask": torch.tensor([e["special_tokens_mask"]]),
    }
    rows = pipeline.postprocess([outputs], aggregation_strategy=AggregationStrategy(strategy))
    return [[r.get("entity", r.get("entity_group")), round(float(r["score"]), 5), r["word"], r["start"], r["end"], r.get("index", -1)] for r in rows]


def main() -> None:
    warnings.simplefilter("ignore")
    files = json.loads(gzip.decompress((ROOT / "runtime/text/testdata/families.json.gz").read_bytes()))
    some = [*texts()[: -len(AWKWARD) : 50], *AWKWARD, *MORE]
    expected = {"texts": some, "families": {}}
    for family, (unknown, decoder) in FAMILIES.items():
        raw = Tokenizer.from_str(json.dumps(files[family]))
        if decoder is not None:
            raw.decoder = decoder
        length = (files[family]["truncation"] or {"max_length": 64})["max_length"]
        with tempfile.NamedTemporaryFile("w", suffix=".json") as f:
            f.write(raw.to_str())
            f.flush()
            tokenizer = PreTrainedTokenizerFast(tokenizer_file=f.name, model_max_length=length, unk_token=unknown)
        answers = {s: [found(tokenizer, text, s) for text in some] for s in STRATEGIES}
        expected["families"][family] = {"decoder": json.loads(raw.to_str())["decoder"], "entities": answers}
    target = ROOT / "runtime/tokenclass/testdata/families.json.gz"
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(gzip.compress(json.dumps(expected, ensure_ascii=False, separators=(",", ":")).encode(), 9, mtime=0))


main()
