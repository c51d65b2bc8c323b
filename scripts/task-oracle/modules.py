"""Write what sentence-transformers makes of token vectors with random modules and prompts.

The first module gives, for a token, its id and functions of it, so that no model is needed. Each
case is the files that sentence-transformers saves, and the embeddings of some texts. The cases go
to runtime/embed/testdata/modules.json.gz.

Example:

    python modules.py
"""

from __future__ import annotations

import base64
import gzip
import json
import random
import sys
import tempfile
from pathlib import Path

import numpy as np
import sentence_transformers
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.models import Dense, Dropout, LayerNorm, Normalize, Pooling
from tokenizers import Tokenizer
from torch import nn
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

ROOT = Path(__file__).resolve().parents[2]
WORDS = [f"w{i}" for i in range(10)]
TEXTS = ["w1", "w1 w2 w3", " ".join(WORDS[i * 7 % 10] for i in range(40)), "other w4  w4", "w9 [UNK] w0 w9"]
MODES = ["cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"]
ACTIVATIONS = [
    nn.Identity, nn.Tanh, nn.ReLU, nn.GELU, nn.Sigmoid, nn.SiLU, nn.ELU, nn.SELU, nn.Softplus, nn.LeakyReLU, nn.Mish, nn.Hardswish, nn.Hardsigmoid,
    nn.Hardtanh, nn.ReLU6, nn.Softsign, nn.LogSigmoid, nn.CELU, nn.Tanhshrink,
]
WIDTH = 4


def tokenizer(side: str, last: bool) -> PreTrainedTokenizerFast:
    post = {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]}
    if not last:
        post = {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
                "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}], "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]}}}
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    added = [{"id": i, "content": s, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True} for i, s in enumerate(special)]
    vocab = {s: i for i, s in enumerate(special)} | {w: 10 + i for i, w in enumerate(WORDS)}
    data = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None, "pre_tokenizer": {"type": "WhitespaceSplit"},
            "post_processor": post, "decoder": None, "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "[UNK]"}}
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(data)), pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        padding_side=side, model_max_length=24,
    )


def hidden(ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return vectors that follow from the ids, and of padding what no embedding may have."""
    x = ids.float()
    vectors = torch.stack([x / 20, (x * 7 % 11) / 11 - 0.5, torch.sin(x), 1 / (x + 1)], -1)
    return torch.where(mask.bool().unsqueeze(-1), vectors, torch.tensor(1e3))


def modules(chance: random.Random) -> list[nn.Module]:
    """Return a Pooling and what may follow it."""
    modes = chance.sample(MODES, chance.choice([1, 1, 1, 2, 3]))
    flags = {"pooling_mode_cls_token": "cls", "pooling_mode_max_tokens": "max", "pooling_mode_mean_tokens": "mean", "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
             "pooling_mode_weightedmean_tokens": "weightedmean", "pooling_mode_lasttoken": "lasttoken"}
    pooling = Pooling(WIDTH, **{k: m in modes for k, m in flags.items()}, include_prompt=chance.random() < 0.5)
    made, width = [pooling], WIDTH * len(modes)
    for _ in range(chance.choice([0, 1, 1, 2, 3])):
        kind = chance.choice(["Dense", "Dense", "LayerNorm", "Normalize", "Dropout"])
        if kind == "Dense":
            out = chance.randint(1, 6)
            more = {"use_residual": True} if "use_residual" in Dense.__init__.__annotations__ and chance.random() < 0.3 else {}
            made.append(Dense(width, out, bias=chance.random() < 0.7, activation_function=chance.choice(ACTIVATIONS)(), **more))
            width = out
        elif kind == "LayerNorm":
            norm = LayerNorm(width)
            nn.init.normal_(norm.norm.weight)
            nn.init.normal_(norm.norm.bias)
            made.append(norm)
        else:
            made.append(Normalize() if kind == "Normalize" else Dropout(0.3))
    return made


def files(folder: Path) -> dict:
    """Return the files that a bundle has, by their names there; weights are base64."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = ".".join(path.relative_to(folder).parts)
        if path.name == "model.safetensors" and path.parent != folder:
            found[name] = base64.b64encode(path.read_bytes()).decode()
        elif path.suffix == ".json" and path.name not in ("special_tokens_map.json",):
            found[name] = json.loads(path.read_text())
    return found


def case(seed: int) -> dict:
    chance = random.Random(seed)
    torch.manual_seed(seed)
    config = BertConfig(hidden_size=WIDTH, num_attention_heads=1, num_hidden_layers=1, intermediate_size=4, vocab_size=20, max_position_embeddings=32)
    side = chance.choice(["right", "left"])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        base = folder / "base"
        BertModel(config).save_pretrained(base)
        tokenizer(side, chance.random() < 0.7).save_pretrained(base)
        first = sentence_transformers.models.Transformer(str(base))
        prompts = {"query": chance.choice(["w5 w6", "w5 [SEP]", "other"]), "passage": "w7 "}
        model = SentenceTransformer(modules=[first, *modules(chance)], prompts=prompts, default_prompt_name=chance.choice([None, None, "query"]), device="cpu")
        saved = folder / "saved"
        model.save_pretrained(str(saved), create_model_card=False)
        model = SentenceTransformer(str(saved), device="cpu")
        model[0].forward = lambda features, **_: features | {"token_embeddings": hidden(features["input_ids"], features["attention_mask"])}
        answers = {}
        for prompt in [None, "query", "passage", "document"]:
            embeddings = model.encode(TEXTS, prompt_name=prompt, batch_size=3)
            answers[prompt or ""] = np.asarray(embeddings, dtype=float).round(8).tolist()
        given = np.asarray(model.encode(TEXTS, prompt="w8 w8 ", batch_size=2), dtype=float).round(8).tolist()
        return {"files": files(saved), "answers": answers, "given": given}


def main() -> None:
    first, count, target = 0, 60, ROOT / "runtime" / "embed" / "testdata" / "modules.json.gz"
    if len(sys.argv) == 4:
        first, count, target = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    cases = [case(seed) for seed in range(first, first + count)]
    data = json.dumps({"sentence-transformers": sentence_transformers.__version__, "texts": TEXTS, "prompt": "w8 w8 ", "cases": cases}, separators=(",", ":"))
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(gzip.compress(data.encode(), 9, mtime=0))


if __name__ == "__main__":
    main()
