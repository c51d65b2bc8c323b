"""Make the small models of models/testdata/tasks: real architectures, briefly trained, of no use but to test with.

A WordPiece tokenizer of 2,000 pieces and a BERT of two layers are made of SST-2's training
sentences. It learns to find the words that are typical of either label (entities POS and NEG),
which it does badly, as tests want it: pieces of one word often disagree. Its body, with weights
rounded to float16, is then exported with four heads:

- tokens/: BertForTokenClassification, as trained
- embed/: BertModel
- three/ and one/: BertForSequenceClassification with three labels and with one, whose heads are random

Example:

    pip install -r requirements.txt
    python models.py
"""

from __future__ import annotations

import gzip
import math
import random
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BertConfig, BertForSequenceClassification, BertForTokenClassification, BertModel

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "models" / "testdata" / "tasks"
LABELS = ["O", "B-POS", "I-POS", "B-NEG", "I-NEG"]
LENGTH = 64
STEPS = 1500


def sentences() -> list[tuple[int, str]]:
    """Return SST-2's training sentences of four words and more, with their labels."""
    text = gzip.decompress((ROOT / "models/testdata/sst2/train.tsv.gz").read_bytes()).decode()
    rows = [line.split("\t") for line in text.rstrip("\n").split("\n")[1:]]
    return [(int(label), s.strip()) for label, s in rows if len(s.split()) >= 4]


def tokenizer_of(rows: list[tuple[int, str]]) -> Tokenizer:
    """Train a WordPiece tokenizer, in the layout of BERT's."""
    t = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=100))
    t.normalizer = normalizers.BertNormalizer(lowercase=True)
    t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    t.decoder = decoders.WordPiece(prefix="##", cleanup=True)
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    t.train_from_iterator(
        sorted({s for _, s in rows}), trainers.WordPieceTrainer(vocab_size=2000, special_tokens=special, show_progress=False)
    )
    t.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    t.enable_truncation(LENGTH)
    return t


def typical(rows: list[tuple[int, str]]) -> dict[str, str]:
    """Return the words that are typical of a label, with the entity that they are."""
    counts = [Counter(), Counter()]
    for label, s in rows:
        counts[label].update(set(s.split()))
    found = {}
    for word in counts[0].keys() | counts[1].keys():
        negative, positive = counts[0][word] + 1, counts[1][word] + 1
        lean = math.log(positive / negative)
        if word.isalpha() and positive + negative > 12 and abs(lean) > 0.9:
            found[word] = "POS" if lean > 0 else "NEG"
    return found


def labelled(t: Tokenizer, s: str, words: dict[str, str]) -> tuple[list[int], list[int]]:
    """Return ids and labels of a sentence; -100 is for special tokens."""
    e = t.encode(s)
    labels, last = [], ""
    for special, word in zip(e.special_tokens_mask, e.word_ids):
        if special:
            labels.append(-100)
            continue
        start, end = e.word_to_chars(word)
        kind = words.get(s[start:end].lower(), "")
        labels.append(LABELS.index(("I-" if kind == last else "B-") + kind) if kind else 0)
        last = kind
    return e.ids, labels


def train(t: Tokenizer, rows: list[tuple[int, str]]) -> BertForTokenClassification:
    """Train a BERT of two layers for some minutes at most."""
    torch.manual_seed(1)
    random.seed(1)
    config = BertConfig(
        vocab_size=t.get_vocab_size(), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=LENGTH, id2label=dict(enumerate(LABELS)), label2id={l: i for i, l in enumerate(LABELS)},
    )
    model = BertForTokenClassification(config)
    words = typical(rows)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    model.train()
    for step in range(STEPS):
        batch = [labelled(t, s, words) for _, s in random.sample(rows, 64)]
        width = max(len(ids) for ids, _ in batch)
        ids = torch.tensor([ids + [0] * (width - len(ids)) for ids, _ in batch])
        labels = torch.tensor([l + [-100] * (width - len(l)) for _, l in batch])
        loss = model(input_ids=ids, attention_mask=(ids != 0).long(), labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if step % 250 == 0:
            print(f"step {step}: loss {loss.item():.4f}", flush=True)
    return model.eval()


def rounded(model: torch.nn.Module) -> torch.nn.Module:
    """Round matrices to float16, as they are stored."""
    with torch.no_grad():
        for p in model.parameters():
            if p.ndim == 2:
                p.copy_(p.half().float())
    return model.eval()


class Named(torch.nn.Module):
    """A model that takes its inputs in the order of their names here, and answers its first output."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids, attention_mask, token_type_ids):  # noqa: ANN001, ANN201
        return self.model(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids)[0]


def export(model: torch.nn.Module, output: str, folder: Path) -> None:
    """Write model.onnx with weights as float16, and the checkpoint that the expectations are computed with."""
    folder.mkdir(parents=True, exist_ok=True)
    ids = torch.ones((2, 7), dtype=torch.int64)
    dynamic = {0: "batch", 1: "sequence"}
    torch.onnx.export(
        Named(model), (ids, ids, ids), folder / "model.onnx", input_names=["input_ids", "attention_mask", "token_type_ids"],
        output_names=[output], opset_version=17, dynamo=False,
        dynamic_axes={"input_ids": dynamic, "attention_mask": dynamic, "token_type_ids": dynamic,
                      output: dynamic if output == "last_hidden_state" or "Token" in type(model).__name__ else {0: "batch"}},
    )
    graph = onnx.load(folder / "model.onnx")
    casts = []
    for weight in graph.graph.initializer:
        if weight.data_type == TensorProto.FLOAT and len(weight.dims) == 2:
            half = numpy_helper.from_array(numpy_helper.to_array(weight).astype(np.float16), weight.name + "_half")
            casts.append(helper.make_node("Cast", [half.name], [weight.name], to=TensorProto.FLOAT, name=weight.name + "_cast"))
            weight.CopyFrom(half)
    for cast in reversed(casts):
        graph.graph.node.insert(0, cast)
    for node in graph.graph.node:
        node.ClearField("doc_string")
    onnx.checker.check_model(graph)
    onnx.save(graph, folder / "model.onnx")


def main() -> None:
    rows = sentences()
    t = tokenizer_of(rows)
    OUT.mkdir(parents=True, exist_ok=True)
    t.save(str(OUT / "tokenizer.json"), pretty=False)
    tagger = rounded(train(t, rows))
    tagger.save_pretrained("build/tokens")
    export(tagger, "logits", OUT / "tokens")
    body = BertModel(tagger.config, add_pooling_layer=False)
    body.load_state_dict(tagger.bert.state_dict())
    body.eval().save_pretrained("build/embed")
    export(body, "last_hidden_state", OUT / "embed")
    for name, labels in (("three", 3), ("one", 1)):
        torch.manual_seed(labels)
        config = BertConfig.from_pretrained("build/tokens")
        config.id2label = {i: f"LABEL_{i}" for i in range(labels)}
        config.label2id = {f"LABEL_{i}": i for i in range(labels)}
        head = BertForSequenceClassification(config)
        head.bert.load_state_dict(tagger.bert.state_dict(), strict=False)
        with torch.no_grad():
            head.classifier.weight.mul_(60)
        rounded(head).save_pretrained(f"build/{name}")
        export(head, "logits", OUT / name)
    for name in ("tokens", "embed", "three", "one"):
        config = Path(f"build/{name}/config.json").read_text()
        (OUT / name / "config.json").write_text(config)


main()
