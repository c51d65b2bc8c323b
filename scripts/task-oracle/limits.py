"""Write how long a text transformers and sentence-transformers have a model read.

Each case is a folder of files for a model of random weights. What the model is given of a long
text, and of a pair, goes by the library's version to runtime/textmodel/testdata/limits.json: how
many tokens, and which at either end; null where the library fails, since the model has too few
positions. Answers of other versions stay in the file, so that it is run with each.

Example:

    python limits.py
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import sentence_transformers
import torch
import transformers
from sentence_transformers import SentenceTransformer
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, AutoTokenizer, PreTrainedTokenizerFast, TextClassificationPipeline

TARGET = Path(__file__).resolve().parents[2] / "runtime" / "textmodel" / "testdata" / "limits.json"
WORDS = [f"w{i}" for i in range(10)]
TEXT = " ".join(WORDS[i * 7 % 10] for i in range(200))
PAIR = [" ".join(WORDS[:9]), " ".join(WORDS[1:9] * 3)]
BERT = {"model_type": "bert", "max_position_embeddings": 64, "hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1, "intermediate_size": 8, "vocab_size": 20, "pad_token_id": 0}
ROBERTA = {**BERT, "model_type": "roberta", "max_position_embeddings": 66, "pad_token_id": 1}
GPT2 = {"model_type": "gpt2", "n_positions": 64, "n_embd": 8, "n_head": 2, "n_layer": 1, "vocab_size": 20, "pad_token_id": 0}
DEBERTA = {**BERT, "model_type": "deberta-v2", "relative_attention": True, "position_biased_input": False, "pos_att_type": ["p2c", "c2p"], "max_relative_positions": -1, "type_vocab_size": 0}
T5 = {"model_type": "t5", "n_positions": 64, "d_model": 8, "d_kv": 4, "num_heads": 2, "num_layers": 1, "d_ff": 8, "vocab_size": 20, "pad_token_id": 0}
LLAMA = {"model_type": "llama", "max_position_embeddings": 64, "hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1, "intermediate_size": 8, "vocab_size": 20, "pad_token_id": 0}
MODULES = [
    {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
    {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
]
CLS_SEP = {"type": "BertProcessing", "sep": ["w8", 18], "cls": ["w9", 19]}


def truncation(length: int, direction: str = "Right", strategy: str = "LongestFirst", stride: int = 0) -> dict:
    return {"direction": direction, "max_length": length, "strategy": strategy, "stride": stride}


# By name: config.json, tokenizer_config.json beyond the class, tokenizer.json's truncation, sentence_bert_config.json.
CASES = [
    ("nothing says", T5 | {"n_positions": None}, {}, None, None),
    ("positions only", BERT, {}, None, None),
    ("n_positions only", GPT2, {}, None, None),
    ("model_max_length", BERT, {"model_max_length": 16}, None, None),
    ("max_len of old files", BERT, {"max_len": 16}, None, None),
    ("model_max_length of 1e30", BERT, {"model_max_length": int(1e30)}, None, None),
    ("model_max_length of 1e30 as a float", BERT, {"model_max_length": 1e30}, None, None),
    ("model_max_length beyond the positions", BERT, {"model_max_length": 128}, None, None),
    ("model_max_length, n_positions", GPT2, {"model_max_length": 32}, None, None),
    ("model_max_length, distances only", DEBERTA, {"model_max_length": 128}, None, None),
    ("model_max_length, T5", T5, {"model_max_length": 128}, None, None),
    ("RoBERTa, offset positions", ROBERTA, {}, None, None),
    ("RoBERTa, all positions", ROBERTA, {"model_max_length": 64}, None, None),
    ("RoBERTa, one too many", ROBERTA, {"model_max_length": 65}, None, None),
    ("tokenizer.json truncates, model_max_length longer", BERT, {"model_max_length": 32}, truncation(10), None),
    ("tokenizer.json truncates, model_max_length shorter", BERT, {"model_max_length": 8}, truncation(10), None),
    ("tokenizer.json truncates, nothing else", T5 | {"n_positions": None}, {}, truncation(10), None),
    ("tokenizer.json truncates on the left", BERT, {"model_max_length": 16}, truncation(10, "Left"), None),
    ("tokenizer.json on the left, truncation_side right", BERT, {"model_max_length": 16, "truncation_side": "right"}, truncation(10, "Left"), None),
    ("truncation_side left", BERT, {"model_max_length": 16, "truncation_side": "left"}, None, None),
    ("truncation_side left, tokenizer.json on the right", BERT, {"model_max_length": 16, "truncation_side": "left"}, truncation(10), None),
    ("tokenizer.json says OnlyFirst", BERT, {"model_max_length": 16}, truncation(10, strategy="OnlyFirst", stride=2), None),
    ("max_seq_length", BERT, {}, None, {"max_seq_length": 24}),
    ("max_seq_length beyond model_max_length", BERT, {"model_max_length": 16}, None, {"max_seq_length": 24}),
    ("max_seq_length within model_max_length", BERT, {"model_max_length": 32}, None, {"max_seq_length": 24}),
    ("max_seq_length, tokenizer.json truncates", BERT, {"model_max_length": 32}, truncation(10), {"max_seq_length": 24}),
    ("max_seq_length beyond the positions", BERT, {}, None, {"max_seq_length": 128}),
    ("max_seq_length of null", BERT, {"model_max_length": 16}, None, {"max_seq_length": None}),
    ("no tokenizer_config.json", BERT, None, None, None),
    ("model_max_length of null", BERT, {"model_max_length": None}, None, None),
    ("model_max_length before max_len", BERT, {"model_max_length": 16, "max_len": 24}, None, None),
    ("rotary positions only", LLAMA, {}, None, None),
    ("rotary positions, model_max_length beyond them", LLAMA, {"model_max_length": 128}, None, None),
    ("rotary positions, model_max_length within them", LLAMA, {"model_max_length": 16}, None, None),
    ("padding_side left", BERT, {"model_max_length": 16, "padding_side": "left"}, None, None),
    ("max_seq_length, RoBERTa", ROBERTA, {"model_max_length": 64}, None, {"max_seq_length": 65}),
    ("max_seq_length, rotary positions", LLAMA, {"model_max_length": 32}, None, {"max_seq_length": 128}),
    ("sentence_bert_config.json without a length", BERT, {"model_max_length": 16}, None, {"do_lower_case": False}),
    ("keys of version 6", BERT, {"model_max_length": 16}, None, {"transformer_task": "feature-extraction", "modality_config": {"text": {"method": "forward", "method_output_name": "last_hidden_state"}}, "module_output_name": "token_embeddings"}),
    ("tokenizer_args", BERT, {"model_max_length": 16}, None, {"max_seq_length": 24, "tokenizer_args": {"model_max_length": 20}}),
    ("tokenizer_args on the left", BERT, {"model_max_length": 16}, None, {"tokenizer_args": {"truncation_side": "left"}}),
    ("processor_kwargs", BERT, {"model_max_length": 16}, None, {"processor_kwargs": {"model_max_length": 20, "truncation_side": "left"}}),
    ("processing_kwargs", BERT, {"model_max_length": 16}, None, {"processing_kwargs": {"text": {"max_length": 12}}}),
    ("query_length is for queries", BERT, {"model_max_length": 16}, None, {"query_length": 8, "document_length": 12}),
    ("max_seq_length, truncation_side left", BERT, {"model_max_length": 32, "truncation_side": "left"}, None, {"max_seq_length": 24}),
]


def tokenizer_json(truncated: dict | None) -> dict:
    vocab = {"[PAD]": 0, "[UNK]": 1} | {w: 10 + i for i, w in enumerate(WORDS)}
    return {
        "version": "1.0", "truncation": truncated, "padding": None, "added_tokens": [], "normalizer": None, "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": CLS_SEP, "decoder": None, "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "[UNK]"},
    }


def seen(ids: list[int]) -> dict:
    return {"tokens": len(ids), "first": ids[:3], "last": ids[-3:]}


def watched(model: torch.nn.Module, ask) -> list[int] | None:
    """Return the ids that a model is given, or None where it fails."""
    given = []
    embeddings = model.get_input_embeddings()
    hook = embeddings.register_forward_pre_hook(lambda _, args: given.append(args[0][0].tolist()))
    try:
        ask()
    except (IndexError, RuntimeError):
        return None
    finally:
        hook.remove()
    return given[0]


def ask(name: str, config: dict, tokenizer_config: dict | None, truncated: dict | None, sentence: dict | None) -> dict:
    """Return the files of a case, and what the models of both libraries read."""
    config = {k: v for k, v in config.items() if v is not None}
    files = {"config.json": config, "tokenizer.json": tokenizer_json(truncated)}
    if tokenizer_config is not None:
        files["tokenizer_config.json"] = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[PAD]"} | tokenizer_config
    if sentence is not None:
        files["sentence_bert_config.json"] = sentence
    case = {"files": files}
    with tempfile.TemporaryDirectory() as folder:
        for file, content in files.items():
            (Path(folder) / file).write_text(json.dumps(content))
        parsed = AutoConfig.from_pretrained(folder)
        tokenizer = AutoTokenizer.from_pretrained(folder) if tokenizer_config is not None else PreTrainedTokenizerFast(tokenizer_file=folder + "/tokenizer.json", pad_token="[PAD]")
        if sentence is None:
            model = AutoModelForSequenceClassification.from_config(parsed).eval()
            pipe = TextClassificationPipeline(model=model, tokenizer=tokenizer, device=-1)
            ids = watched(model, lambda: pipe(TEXT, truncation=True)) if config["model_type"] != "t5" else tokenizer(TEXT, truncation=True)["input_ids"]
            case["transformers"] = seen(ids) if ids else None
            case["pair"] = seen(tokenizer(*PAIR, truncation=True)["input_ids"])
        if tokenizer_config is None:
            return case
        (Path(folder) / "modules.json").write_text(json.dumps(MODULES))
        (Path(folder) / "1_Pooling").mkdir()
        (Path(folder) / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 8, "pooling_mode_mean_tokens": True}))
        AutoModel.from_config(parsed).save_pretrained(folder)
        case["sentence-transformers"] = None
        try:
            embedder = SentenceTransformer(folder, device="cpu")
        except TypeError:  # a key of newer versions
            return case | {"sentence-transformers": "refused"}
        ids = embedder.tokenize([TEXT])["input_ids"][0].tolist()
        if config["model_type"] == "t5" or watched(embedder[0].auto_model, lambda: embedder.encode([TEXT])):
            case["sentence-transformers"] = seen(ids)
    return case


def main() -> None:
    torch.manual_seed(0)
    known = {"text": TEXT, "pair": PAIR, "cases": {}}
    if TARGET.exists():
        known = json.loads(TARGET.read_text())
    for name, *files in CASES:
        asked = ask(name, *files)
        case = known["cases"].setdefault(name, {"files": asked["files"]})
        for library, version in [("transformers", transformers.__version__), ("pair", transformers.__version__), ("sentence-transformers", sentence_transformers.__version__)]:
            if library in asked:
                case.setdefault(library, {})[version] = asked[library]
        print(name, {k: v and v != "refused" and v["tokens"] for k, v in asked.items() if k != "files"}, flush=True)
    lines = ",\n  ".join(json.dumps(name) + ": " + json.dumps(case) for name, case in known.pop("cases").items())
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(json.dumps(known)[:-1] + f', "cases": {{\n  {lines}\n}}}}\n')


if __name__ == "__main__":
    main()
