"""Write what transformers' pipeline and sentence-transformers' CrossEncoder make of logits.

Each case is a config.json, as libraries and people write it, with the labels and scores of some
logits; null is that the library refuses it. Cases of a CrossEncoder have its answers: of a folder
that it saved, with all its files, and of older config.json. The cases go, with the versions that
were asked, to runtime/classify/testdata/scores.json; answers of other versions stay there.

Example:

    python scores.py
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import sentence_transformers
import torch
import transformers
from sentence_transformers import CrossEncoder
from tokenizers import Tokenizer
from torch import nn
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast, TextClassificationPipeline
from transformers.modeling_outputs import SequenceClassifierOutput

TARGET = Path(__file__).resolve().parents[2] / "runtime" / "classify" / "testdata" / "scores.json"
LOGITS = [1.2832, -0.5, 0.25]
SMALL = {"hidden_size": 8, "num_attention_heads": 1, "num_hidden_layers": 1, "intermediate_size": 8, "vocab_size": 20, "max_position_embeddings": 32}
NAMED = {"0": "a", "1": "b", "2": "c"}
ACTIVATION = "torch.nn.modules."
# By name: what config.json has beyond the model's sizes, and the number of logits.
PIPELINE = [
    ("nothing says", {}, 2),
    ("num_labels", {"num_labels": 3}, 3),
    ("num_labels 1", {"num_labels": 1}, 1),
    ("names", {"id2label": NAMED}, 3),
    ("names in another order", {"id2label": {"2": "c", "0": "a", "1": "b"}}, 3),
    ("numbers as labels", {"id2label": {"0": 0, "1": 1}}, 2),
    ("floats as labels", {"id2label": {"0": 0.5, "1": -1}}, 2),
    ("one label twice", {"id2label": {"0": "a", "1": "a"}}, 2),
    ("an empty label", {"id2label": {"0": "", "1": "b"}}, 2),
    ("keys with a zero before", {"id2label": {"00": "a", "01": "b"}}, 2),
    ("keys with spaces", {"id2label": {" 0": "a", "1 ": "b"}}, 2),
    ("keys with underscores", {"id2label": {"0": "a", "0_1": "b"}}, 2),
    ("keys with signs", {"id2label": {"+0": "a", "+1": "b"}}, 2),
    ("keys that are no numbers", {"id2label": {"a": "0", "b": "1"}}, 2),
    ("keys with a gap", {"id2label": {"0": "a", "2": "c"}}, 2),
    ("null", {"id2label": None}, 2),
    ("null and num_labels", {"id2label": None, "num_labels": 3}, 3),
    ("label2id alone", {"label2id": {"a": 0, "b": 1, "c": 2}}, 2),
    ("label2id that says otherwise", {"id2label": NAMED, "label2id": {"x": 0, "y": 1, "z": 2}}, 3),
    ("num_labels that says otherwise", {"id2label": NAMED, "num_labels": 2}, 3),
    ("_num_labels of old files", {"id2label": NAMED, "_num_labels": 3}, 3),
    ("problem_type null", {"id2label": NAMED, "problem_type": None}, 3),
    ("one label, problem_type null", {"id2label": {"0": "a"}, "problem_type": None}, 1),
    ("regression", {"id2label": {"0": "a"}, "problem_type": "regression"}, 1),
    ("regression of three", {"id2label": NAMED, "problem_type": "regression"}, 3),
    ("single_label_classification", {"id2label": NAMED, "problem_type": "single_label_classification"}, 3),
    ("single_label_classification of one", {"id2label": {"0": "a"}, "problem_type": "single_label_classification"}, 1),
    ("multi_label_classification", {"id2label": NAMED, "problem_type": "multi_label_classification"}, 3),
    ("an unknown problem_type", {"id2label": NAMED, "problem_type": "ranking"}, 3),
    ("function_to_apply", {"id2label": NAMED, "function_to_apply": "sigmoid"}, 3),
    ("function_to_apply, one label", {"id2label": {"0": "a"}, "function_to_apply": "none"}, 1),
    ("NaN and Infinity", {"id2label": NAMED, "x": float("nan"), "y": [float("inf"), float("-inf")]}, 3),
]
CROSS = [
    ("nothing says, one label", {"id2label": {"0": "LABEL_0"}}, 1),
    ("old, Identity", {"id2label": {"0": "LABEL_0"}, "sbert_ce_default_activation_function": ACTIVATION + "linear.Identity"}, 1),
    ("old, Sigmoid", {"id2label": {"0": "LABEL_0"}, "sbert_ce_default_activation_function": ACTIVATION + "activation.Sigmoid"}, 1),
    ("old, null", {"id2label": {"0": "LABEL_0"}, "sbert_ce_default_activation_function": None}, 1),
    ("old, not of torch", {"id2label": {"0": "LABEL_0"}, "sbert_ce_default_activation_function": "mine.Identity"}, 1),
    ("old, not of torch, three labels", {"id2label": NAMED, "sbert_ce_default_activation_function": "mine.Sigmoid"}, 3),
    ("old, Identity, three labels", {"id2label": NAMED, "sbert_ce_default_activation_function": ACTIVATION + "linear.Identity"}, 3),
    ("new, Identity", {"id2label": {"0": "LABEL_0"}, "sentence_transformers": {"activation_fn": ACTIVATION + "linear.Identity", "version": "4.0.1"}}, 1),
    ("new, Sigmoid", {"id2label": {"0": "LABEL_0"}, "sentence_transformers": {"activation_fn": ACTIVATION + "activation.Sigmoid", "version": "4.0.1"}}, 1),
    ("new, Tanh", {"id2label": {"0": "LABEL_0"}, "sentence_transformers": {"activation_fn": ACTIVATION + "activation.Tanh", "version": "4.0.1"}}, 1),
    ("new, Identity, three labels", {"id2label": NAMED, "sentence_transformers": {"activation_fn": ACTIVATION + "linear.Identity", "version": "4.0.1"}}, 3),
    ("new, regression", {"id2label": {"0": "LABEL_0"}, "problem_type": "regression", "sentence_transformers": {"activation_fn": ACTIVATION + "activation.Sigmoid"}}, 1),
    ("new before old", {"id2label": {"0": "LABEL_0"}, "sbert_ce_default_activation_function": ACTIVATION + "linear.Identity", "sentence_transformers": {"activation_fn": ACTIVATION + "activation.Sigmoid"}}, 1),
]
SAVED = [("saved, by default", 1, None), ("saved, Identity", 1, nn.Identity), ("saved, Tanh", 1, nn.Tanh), ("saved, three labels", 3, None), ("saved, three labels, Softplus", 3, nn.Softplus)]


def write_model(folder: str, config: dict, logits: int) -> None:
    plain = BertConfig(**SMALL, num_labels=logits)
    BertForSequenceClassification(plain).save_pretrained(folder)
    data = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None, "pre_tokenizer": {"type": "WhitespaceSplit"},
            "post_processor": None, "decoder": None, "model": {"type": "WordLevel", "vocab": {"[PAD]": 0, "[UNK]": 1, "w": 2}, "unk_token": "[UNK]"}}
    PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(data)), pad_token="[PAD]", unk_token="[UNK]").save_pretrained(folder)
    (Path(folder) / "config.json").write_text(json.dumps({"model_type": "bert", "architectures": ["BertForSequenceClassification"], **SMALL, **config}))


def answering(model: nn.Module, logits: int) -> nn.Module:
    """Have a model answer the same logits to everything."""
    model.forward = lambda *args, **kwargs: SequenceClassifierOutput(logits=torch.tensor([LOGITS[:logits]]))
    return model


def of_pipeline(config: dict, logits: int) -> list | None:
    with tempfile.TemporaryDirectory() as folder:
        write_model(folder, config, logits)
        try:
            parsed = AutoConfig.from_pretrained(folder)
            if parsed.num_labels != logits:
                print(f"  {parsed.num_labels} labels")
                return None
            model = answering(AutoModelForSequenceClassification.from_config(parsed).eval(), logits)
            answer = TextClassificationPipeline(model=model, tokenizer=AutoTokenizer.from_pretrained(folder), device=-1)("w", top_k=None)
        except Exception as e:
            print(f"  refused: {str(e)[:100]!r}")
            return None
    return [[r["label"] if isinstance(r["label"], str) else json.dumps(r["label"]), r["score"]] for r in answer]


def of_cross_encoder(folder: str, logits: int) -> list:
    cross = CrossEncoder(folder, device="cpu")
    answering(cross.model, logits)
    if isinstance(cross, nn.Sequential):
        cross[0].model_forward_params = None
    scores = cross.predict([["w", "w w"]])[0]
    return [float(s) for s in (scores if logits > 1 else [scores])]


def main() -> None:
    known = json.loads(TARGET.read_text()) if TARGET.exists() else {"logits": LOGITS, "cases": {}}
    version, cross_version = "transformers " + transformers.__version__, "sentence-transformers " + sentence_transformers.__version__
    cases = known["cases"]
    for name, config, logits in PIPELINE:
        print(name)
        case = cases.setdefault(name, {"files": {"config.json": json.dumps(config)}, "logits": logits, "answers": {}})
        case["answers"][version] = of_pipeline(config, logits)
    for name, config, logits in CROSS:
        print(name)
        with tempfile.TemporaryDirectory() as folder:
            write_model(folder, config, logits)
            case = cases.setdefault(name, {"files": {"config.json": json.dumps(config)}, "logits": logits, "scores": {}})
            case["scores"][cross_version] = of_cross_encoder(folder, logits)
    for name, logits, activation in SAVED:
        print(name)
        with tempfile.TemporaryDirectory() as folder:
            write_model(folder, {"id2label": {str(i): f"LABEL_{i}" for i in range(logits)}}, logits)
            CrossEncoder(folder, device="cpu", activation_fn=activation and activation()).save_pretrained(folder + "/saved")
            files = {f: (Path(folder) / "saved" / f).read_text() for f in ["config.json", "config_sentence_transformers.json", "modules.json", "sentence_bert_config.json"] if (Path(folder) / "saved" / f).exists()}
            cases[f"{name}, {cross_version}"] = {"files": files, "logits": logits, "scores": {cross_version: of_cross_encoder(folder + "/saved", logits)}}
    lines = ",\n  ".join(json.dumps(name) + ": " + json.dumps(case) for name, case in sorted(cases.items()))
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(f'{{"logits": {json.dumps(LOGITS)}, "cases": {{\n  {lines}\n}}}}\n')


if __name__ == "__main__":
    main()
