"""Export an entry of the zoo, and ask the Python originals."""

from __future__ import annotations

import inspect
import logging
import shutil
from pathlib import Path

import onnx
import torch

import models as making
import reference
import variants
from compare import difference
from entries import Entry
from texts import texts

TASKS = {"tokens": "token-classification", "embed": "feature-extraction", "features": "feature-extraction", "generate": "text-generation"}


def sentence_modules(entry: Entry, folder: Path):
    """Return a SentenceTransformer of the saved model and tokenizer in folder."""
    import sentence_transformers
    from sentence_transformers import SentenceTransformer

    try:
        from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling, Transformer
    except ImportError:
        from sentence_transformers.models import Dense, Normalize, Pooling, Transformer
    o = entry.options
    more = {"max_seq_length": o["limit"]} if "limit" in o else {}
    body = Transformer(str(folder), **more)
    dim = body.get_embedding_dimension() if hasattr(body, "get_embedding_dimension") else body.get_word_embedding_dimension()
    modules = [body, Pooling(dim, pooling_mode=o.get("pooling", "mean"))]
    if o.get("dense"):
        torch.manual_seed(5)
        modules.append(Dense(dim, 16))
    if o.get("normalize"):
        modules.append(Normalize())
    prompts = {"prompts": {"query": o["prompt"]}} if "prompt" in o else {}
    logging.getLogger(sentence_transformers.__name__).setLevel(logging.ERROR)
    return SentenceTransformer(modules=modules, device="cpu", **prompts)


def example(model: torch.nn.Module, tokenizer) -> dict[str, torch.Tensor]:
    """Return inputs to trace with: two texts of equal length."""
    batch = tokenizer([texts()[0], texts()[1]], truncation=True, max_length=12, padding="max_length", return_tensors="pt")
    taken = inspect.signature(model.forward).parameters
    return {k: v for k, v in batch.items() if k in taken}


class Named(torch.nn.Module):
    """A model that takes its inputs in order, and answers its first output."""

    def __init__(self, model: torch.nn.Module, names: list[str]) -> None:
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return self.model(**dict(zip(self.names, inputs)), return_dict=False)[0]


def torch_export(entry: Entry, model: torch.nn.Module, tokenizer, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    inputs = example(model, tokenizer)
    output = "last_hidden_state" if entry.task.startswith(("embed", "features")) else "logits"
    axes = {0: "batch", 1: "sequence"}
    if getattr(model.config, "use_cache", None):
        model.config.use_cache = False
    if entry.exporter == "torchscript":
        out = {output: axes if output == "last_hidden_state" or entry.task == "tokens" else {0: "batch"}}
        torch.onnx.export(
            Named(model, list(inputs)).eval(), tuple(inputs.values()), path, input_names=list(inputs), output_names=[output],
            dynamic_axes={**{n: axes for n in inputs}, **out}, opset_version=17, dynamo=False,
        )  # fmt: skip
        return
    batch, sequence = torch.export.Dim("batch", min=1, max=4096), torch.export.Dim("sequence", min=2, max=64)
    torch.onnx.export(
        model, (), path, kwargs=inputs, output_names=[output], dynamo=True, external_data=False,
        dynamic_shapes={n: {0: batch, 1: sequence} for n in inputs},
    )  # fmt: skip


def export(entry: Entry, checkpoint: Path, model: torch.nn.Module, tokenizer, out: Path) -> Path:
    """Export into out; returns the path of the file."""
    if entry.exporter == "optimum":
        from optimum.exporters.onnx import main_export

        task = TASKS.get(entry.task, "text-classification")
        main_export(str(checkpoint), str(out), task=task, do_validation=False, library_name=entry.options.get("library", "transformers"), device="cpu")
        files = sorted(out.rglob("*.onnx"), key=lambda p: (p.name != "model.onnx", "encoder" not in p.name, p.name))
        return files[0]
    if entry.exporter == "sentence-transformers":
        return sentence_export(entry, checkpoint, out)
    onnx_folder = entry.exporter == "torchscript" and entry.task.startswith("embed")
    shutil.copytree(checkpoint, out, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.safetensors"))
    for weights in checkpoint.rglob("2_Dense/*.safetensors"):
        shutil.copy(weights, out / weights.relative_to(checkpoint))
    path = out / "onnx" / "model.onnx" if onnx_folder else out / "model.onnx"
    body = transformer_of(entry, model)
    torch_export(entry, body, tokenizer, path)
    return path


def transformer_of(entry: Entry, model):
    """Return the torch model within what is asked."""
    if entry.task.startswith("embed"):
        first = model[0]
        return first.auto_model if hasattr(first, "auto_model") else first.model
    return model.model if entry.task == "rerank" else model


def sentence_export(entry: Entry, checkpoint: Path, out: Path) -> Path:
    """Export as sentence-transformers' own ONNX backend does, its optimising and quantising included."""
    from sentence_transformers import CrossEncoder, SentenceTransformer, export_dynamic_quantized_onnx_model, export_optimized_onnx_model

    made = (CrossEncoder if entry.task == "rerank" else SentenceTransformer)(str(checkpoint), backend="onnx", device="cpu", model_kwargs={"export": True})
    made.save_pretrained(str(out))
    if entry.variant.startswith("O"):
        export_optimized_onnx_model(made, entry.variant, str(out))
    elif entry.variant == "int8":
        export_dynamic_quantized_onnx_model(made, "avx2", str(out))
    files = sorted(out.rglob("*.onnx"), key=lambda p: (p.name == "model.onnx") == (entry.variant != "float32"))
    return files[0]


def library_of(entry: Entry, checkpoint: Path, model, tokenizer):
    """Save the model and tokenizer as their library does; returns what is asked and exported."""
    model.save_pretrained(checkpoint)
    tokenizer.save_pretrained(checkpoint)
    if entry.task == "rerank":
        from sentence_transformers import CrossEncoder

        more = {"activation_fn": torch.nn.Identity()} if entry.options.get("activation") == "Identity" else {}
        made = CrossEncoder(str(checkpoint), device="cpu", **more)
        shutil.rmtree(checkpoint)
        made.save_pretrained(str(checkpoint))
        return made
    if entry.task.startswith("embed"):
        made = sentence_modules(entry, checkpoint)
        saved = checkpoint.with_name("saved")
        made.save(str(saved), create_model_card=False)
        shutil.rmtree(checkpoint)
        saved.rename(checkpoint)
        return made
    return model


def asked_both(entry: Entry, asked, torch_model: torch.nn.Module, tokenizer, path: Path) -> dict:
    """Return the answers of the original, and those with the export in the place of its model."""
    prompt = "query" if "prompt" in entry.options else None
    torch_model.eval()
    try:
        want = reference.answers(entry.task, asked, tokenizer, asked, prompt)
    except ValueError as e:  # it wants inputs that texts do not have
        return {"original_fails": f"{type(e).__name__}: {e}"[:400]}
    try:
        session = reference.Session(path, torch_model.config)
        reference.instead(torch_model, session)
        exported = reference.answers(entry.task, asked, tokenizer, asked, prompt)
    except Exception as e:
        return {"want": want, "export_fails": f"{type(e).__name__}: {e}"[:400]}
    return {"want": want, "inputs": [i.name for i in session.inputs], "of_export": exported, "export_differs": difference(want, exported)}


def make(entry: Entry, zoo: Path, temp: Path) -> dict:
    """Export an entry and ask the originals; returns what its reference file has."""
    out, checkpoint = temp / entry.name, temp / "checkpoint"
    tokenizer = making.tokenizer_of(entry, zoo / "tokenizers")
    attention = None
    for attention in (None, "eager"):
        model = making.model_of(entry, tokenizer, attention)
        shutil.rmtree(checkpoint, ignore_errors=True)
        asked = library_of(entry, checkpoint, model, tokenizer)
        torch_model = transformer_of(entry, asked)
        try:
            path = export(entry, checkpoint, asked, tokenizer, out)
            break
        except Exception:
            if attention == "eager" or getattr(torch_model.config, "_attn_implementation", "") == "eager":
                raise
            shutil.rmtree(out, ignore_errors=True)
    if not entry.exporter.startswith("sentence"):
        kind = {"distilbert": "bert", "modernbert": "bert"}.get(entry.architecture, "bert")
        session = None if entry.variant in ("float32", "external") else reference.Session(path, torch_model.config)
        feeds = [session.feed(**tokenizer(t, return_tensors="pt", truncation=True)) for t in texts()[:12]] if entry.variant == "qdq" else []
        del session
        path = variants.apply(entry.variant, path, feeds, kind, 4, 32)
    tokenizer = getattr(asked, "tokenizer", tokenizer)
    record = {"file": str(path.relative_to(out)), "attention": attention or "default", "bytes": path.stat().st_size}
    if entry.task == "generate":
        session = onnx.load(path, load_external_data=False)
        record |= {"inputs": [i.name for i in session.graph.input], "want": None}
    else:
        record |= asked_both(entry, asked, torch_model, tokenizer, path)
    target = zoo / "exports" / entry.name
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(out, target, ignore=shutil.ignore_patterns("model.safetensors") if not entry.options.get("dense") else None)
    return record
