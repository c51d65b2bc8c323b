"""Make models of random weights that tell texts apart, with their tokenizers."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import torch
import transformers
from transformers import AutoConfig, AutoTokenizer

from architectures import ARCHITECTURES
from entries import Entry

ENTITIES = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
LABELS = {"multi": 3, "classify": 3, "regress": 1, "one": 1, "rerank": 1, "pairs": 2, "tokens": len(ENTITIES)}
PROBLEMS = {"multi": "multi_label_classification", "regress": "regression"}
HEADS = {
    "tokens": "AutoModelForTokenClassification", "embed": "AutoModel", "features": "AutoModel",
    "embed-encoder": "AutoModelForTextEncoding", "generate": "AutoModelForCausalLM",
}  # fmt: skip


# Fields of configurations that have these values in an entry that is tiny.
TINY = {
    16: ("hidden_size", "d_model", "n_embd", "dim", "intermediate_size", "d_ff", "encoder_ffn_dim", "decoder_ffn_dim"),
    2: ("num_hidden_layers", "n_layer", "num_layers", "num_attention_heads", "n_head", "num_heads", "encoder_attention_heads", "decoder_attention_heads"),
    1: ("num_key_value_heads", "decoder_layers"),
}  # fmt: skip


class Unmakeable(Exception):
    """A model that this version of transformers does not make."""


def tokenizer_of(entry: Entry, folder: Path):
    """Return the tokenizer of an entry, from the folders that vocabularies.py made."""
    family = entry.options.get("left") or ARCHITECTURES[entry.architecture].tokenizer
    if family.startswith("slow:"):
        return getattr(transformers, family[5:])(model_max_length=64)
    if not (folder / family).is_dir():
        raise Unmakeable(f"there is no tokenizer of the family {family}")
    return AutoTokenizer.from_pretrained(folder / family)


def config_of(entry: Entry, tokenizer):
    a = ARCHITECTURES[entry.architecture]
    ids = {k: getattr(tokenizer, k) for k in ("pad_token_id", "bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id")}
    ids = {k: v for k, v in ids.items() if v is not None and (k[:3] not in ("cls", "sep"))}
    if tokenizer.eos_token_id is None and tokenizer.sep_token_id is not None:
        ids["eos_token_id"] = tokenizer.sep_token_id
    if a.model_type in ("canine", "perceiver"):
        ids = {}
    fields = {**ids, "vocab_size": max(len(tokenizer), 262 if a.model_type == "perceiver" else 0), **a.config}
    start = {"t5": "pad", "mt5": "pad", "umt5": "pad", "bart": "eos", "mbart": "eos", "pegasus": "pad", "led": "eos", "marian": "pad"}.get(a.model_type)
    if start:
        fields["decoder_start_token_id"] = ids.get(f"{start}_token_id", 0)
    if entry.task in LABELS:
        names = ENTITIES if entry.task == "tokens" else [f"LABEL_{i}" for i in range(LABELS[entry.task])]
        fields |= {"id2label": dict(enumerate(names)), "label2id": {n: i for i, n in enumerate(names)}}
    if entry.options.get("tiny"):
        fields |= {k: v for v, names in TINY.items() for k in names if k in a.config}
    if entry.task in PROBLEMS:
        fields["problem_type"] = PROBLEMS[entry.task]
    try:
        return AutoConfig.for_model(a.model_type, **fields)
    except ValueError as e:
        raise Unmakeable(f"transformers {transformers.__version__} has no model type {a.model_type}") from e


def spread(model: torch.nn.Module, seed: int) -> None:
    """Give weights sizes with which texts have answers far from each other's: those that
    training begins with differ by 1e-3 only."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.randn(p.shape, generator=g)
            if p.ndim < 2:
                p.add_(0.1 * noise)
            elif "embed" in name or "shared" in name or "wte" in name:
                p.copy_(0.7 * noise)
            else:
                p.copy_(noise * (1.0 / math.sqrt(p[0].numel())))


def model_of(entry: Entry, tokenizer, attention: str | None = None) -> torch.nn.Module:
    """Return an entry's model; of the same weights whenever it is made."""
    config = config_of(entry, tokenizer)
    auto = getattr(transformers, HEADS.get(entry.task, "AutoModelForSequenceClassification"))
    torch.manual_seed(0)
    try:
        model = auto.from_config(config, **({"attn_implementation": attention} if attention else {}))
    except ValueError as e:
        if "Unrecognized configuration class" in str(e):
            raise Unmakeable(f"transformers {transformers.__version__} has no {auto.__name__[9:] or 'AutoModel'} of {config.model_type}") from e
        raise
    spread(model, int(hashlib.sha256(entry.architecture.encode()).hexdigest()[:6], 16))
    if hasattr(model, "set_default_language"):
        model.set_default_language("en_XX")
    return model.float().eval()
