"""The list of the zoo: which architecture is exported how, for what task, in which variant."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

from architectures import ARCHITECTURES

HERE = Path(__file__).resolve().parent
# The modules whose change makes an export and its reference another.
MAKERS = ("export.py", "models.py", "reference.py", "variants.py", "vocabularies.py", "texts.py")


@dataclass(frozen=True)
class Entry:
    """One export."""

    architecture: str
    task: str  # classify, multi, regress, one, pairs, rerank, tokens, embed, embed-encoder, features
    exporter: str  # optimum, torchscript, dynamo, sentence-transformers
    variant: str = "float32"  # float16, int8, qdq, O1 to O4, external
    version: int = 4  # of transformers
    options: dict = field(default_factory=dict, hash=False)

    @property
    def name(self) -> str:
        more = "".join(f"-{v}" if k in ("pooling", "activation", "library") else f"-{k}" for k, v in self.options.items())
        return f"{self.architecture}-{self.task}{more}-{self.exporter}{self.version}-{self.variant}".replace("_", "")

    def stamp(self) -> str:
        """Return a hash of all that the export is made of."""
        pins = [HERE / f"transformers{self.version}.txt", HERE.parent / "task-oracle" / "requirements.txt"]
        sources = "".join(p.read_text() for p in [*pins, *(HERE / m for m in MAKERS)])
        made_of = [dataclasses.asdict(self), dataclasses.asdict(ARCHITECTURES[self.architecture]), sources]
        return hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:16]


# What optimum 2.1 does not export for the first of its tasks here.
NOT_OPTIMUM = set(
    "bert-generation ernie ernie-task-ids falcon fnet funnel gemma3 led luke mixtral mra mt5 openai-gpt roberta-prelayernorm roc-bert"
    " stablelm starcoder2 t5 umt5 xlm-roberta-xl xlnet xmod yoso"
    " mega nezha realm bigbird-pegasus mvp plbart prophetnet biogpt mpt nemotron persimmon".split()
)
POOLINGS = ("mean", "cls", "max", "mean_sqrt_len_tokens")
POOLINGS_OF_DECODERS = ("lasttoken", "weightedmean", "lasttoken", "mean")
NAMES = list(ARCHITECTURES)
DECODERS = NAMES[NAMES.index("bloom") : NAMES.index("canine")] + NAMES[NAMES.index("arcee") :]


def entries() -> list[Entry]:
    """Return every entry: one of each architecture first, then more of it."""
    found = []
    for name, a in ARCHITECTURES.items():
        task = "embed" if a.tasks[0] == "embed" else "classify"
        exporter = "torchscript" if name in NOT_OPTIMUM or 4 not in a.versions else "optimum"
        options = {"pooling": "mean"} if task == "embed" and exporter == "torchscript" else {}
        found.append(Entry(name, "features" if task == "embed" and not options else task, exporter, version=a.versions[0], options=options))
    for i, (name, a) in enumerate(ARCHITECTURES.items()):
        version = a.versions[-1]
        if "tokens" in a.tasks:
            found.append(Entry(name, "tokens", "dynamo" if i % 4 == 0 else "torchscript", version=version))
        if "embed" in a.tasks:
            poolings = POOLINGS_OF_DECODERS if name in DECODERS else POOLINGS
            options = {"pooling": poolings[i % 4], **({"normalize": True} if i % 3 else {}), **({"dense": True} if i % 5 == 1 else {})}
            found.append(Entry(name, "embed", "dynamo" if i % 4 == 2 else "torchscript", version=version, options=options))
        if "embed-encoder" in a.tasks:
            found.append(Entry(name, "embed-encoder", "torchscript", version=version, options={"pooling": "mean", "normalize": True}))
    return found + variants() + tiny()


def tiny() -> list[Entry]:
    """Return entries that testdata.py makes smaller still, for models/testdata/zoo."""
    more = {"tiny": True}
    return [
        Entry("gpt2", "classify", "optimum", options=more),
        Entry("bart", "classify", "optimum", options=more),
        Entry("bert", "classify", "optimum", "int8", options=more),
        Entry("xlm-roberta", "rerank", "sentence-transformers", options={"activation": "Identity", **more}),
        Entry("qwen3", "embed", "sentence-transformers", options={"pooling": "lasttoken", "normalize": True, **more}),
        Entry("t5", "embed-encoder", "torchscript", version=5, options={"pooling": "mean", "dense": True, "limit": 24, **more}),
    ]


def variants() -> list[Entry]:
    """Return more of the architectures that people use most."""
    found = []
    for name in ("bert", "roberta", "distilbert", "xlm-roberta", "deberta-v3", "modernbert", "albert", "mpnet"):
        found += [Entry(name, "classify", "optimum", v) for v in ("float16", "int8", "qdq", "O2")]
    for name in ("bert", "qwen3", "gpt2", "bart", "t5", "electra"):
        found += [Entry(name, "classify", "torchscript", v, 5) for v in ("float16", "int8", "external")]
    for name in ("bert", "roberta", "albert", "deberta-v3", "xlm-roberta", "modernbert", "bart"):
        found.append(Entry(name, "pairs", "optimum"))
    for name in ("bert", "roberta", "distilbert", "xlm-roberta", "electra", "qwen3"):
        found += [Entry(name, task, "torchscript", version=5) for task in ("multi", "regress", "one")]
    for name in ("bert", "xlm-roberta", "modernbert", "deberta-v3", "electra"):
        found.append(Entry(name, "rerank", "sentence-transformers"))
        found.append(Entry(name, "rerank", "dynamo", version=5, options={"activation": "Identity"}))
    for name in ("bert", "mpnet", "distilbert", "xlm-roberta", "qwen3", "roberta", "modernbert"):
        pooling = "lasttoken" if name == "qwen3" else "mean"
        found += [
            Entry(name, "embed", "sentence-transformers", v, options={"pooling": pooling, "normalize": True})
            for v in ("float32", "O1", "O2", "O3", "O4", "int8")
        ]
    for name in ("bert", "roberta", "qwen3"):
        found += [
            Entry(name, "embed", "torchscript", version=5, options={"pooling": "mean", "prompt": "query: "}),
            Entry(name, "embed", "torchscript", version=5, options={"pooling": "cls", "limit": 24}),
            Entry(name, "embed", "dynamo", "external", version=5, options={"pooling": "mean", "dense": True, "normalize": True}),
            Entry(name, "features", "optimum"),
            Entry(name, "embed", "optimum", options={"pooling": "mean", "library": "sentence_transformers"}),
        ]
    for name in ("gpt2", "qwen2", "llama"):
        found.append(Entry(name, "features", "optimum", options={"left": "gpt2-left"} if name == "gpt2" else {}))
        found.append(Entry(name, "embed", "torchscript", "float16", 5, {"pooling": "lasttoken"}))
        found.append(Entry(name, "generate", "optimum"))
    return list({e.name: e for e in found}.values())
