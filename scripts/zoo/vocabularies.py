"""Train small tokenizers, and save them as the tokenizers of each family are.

Made with transformers 4, whose classes turn a vocabulary into a tokenizer.json as that
of the published models; both Pythons of the zoo read the folders.

    python vocabularies.py OUT
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path

import sentencepiece
import transformers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

import texts
from texts import corpus

SIZE = 700
LENGTH = 64


def wordpiece(folder: Path, special: list[str], lower: bool) -> Path:
    t = Tokenizer(models.WordPiece(unk_token="[UNK]" if "[UNK]" in special else "<unk>"))
    t.normalizer = normalizers.BertNormalizer(lowercase=lower)
    t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    t.train_from_iterator(corpus(), trainers.WordPieceTrainer(vocab_size=SIZE, special_tokens=special, show_progress=False))
    rows = sorted(t.get_vocab().items(), key=lambda x: x[1])
    path = folder / "vocab.txt"
    path.write_text("".join(f"{token}\n" for token, _ in rows), encoding="utf-8")
    return path


def byte_bpe(folder: Path, special: list[str], prefix: bool = False) -> dict[str, str]:
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    t.train_from_iterator(corpus(), trainers.BpeTrainer(vocab_size=SIZE, special_tokens=special, initial_alphabet=alphabet, show_progress=False))
    t.model.save(str(folder))
    return {"vocab_file": str(folder / "vocab.json"), "merges_file": str(folder / "merges.txt")}


def piece(folder: Path, kind: str = "unigram", rule: str = "nmt_nfkc", first: tuple[str, ...] = ("<unk>", "<s>", "</s>"), **more) -> str:
    """Train a SentencePiece model; first are the names of the first ids."""
    (folder / "corpus.txt").write_text("\n".join(corpus()), encoding="utf-8")
    ids = {"unk_id": -1, "bos_id": -1, "eos_id": -1, "pad_id": -1}
    names = {"<unk>": "unk", "[UNK]": "unk", "<s>": "bos", "[CLS]": "bos", "<bos>": "bos", "</s>": "eos", "[SEP]": "eos", "<eos>": "eos", "<pad>": "pad", "[PAD]": "pad"}
    for i, token in enumerate(first):
        ids[f"{names[token]}_id"], ids[f"{names[token]}_piece"] = i, token
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "corpus.txt"), model_prefix=str(folder / "spm"), vocab_size=SIZE, model_type=kind, normalization_rule_name=rule,
        minloglevel=2, num_threads=1, hard_vocab_limit=False, **ids, **more,
    )
    return str(folder / "spm.model")


def bpe_with(folder: Path, special: list[str], pattern: str, template: tuple[str, str] | None, norm: normalizers.Normalizer | None, **names) -> transformers.PreTrainedTokenizerFast:
    """A byte-level BPE as those of newer models, which have no class of their own."""
    byte_bpe(folder, special)
    t = Tokenizer(models.BPE.from_file(str(folder / "vocab.json"), str(folder / "merges.txt"), ignore_merges=True))
    split = pre_tokenizers.Split(Regex(pattern), "isolated")
    t.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    t.decoder = decoders.ByteLevel()
    if norm:
        t.normalizer = norm
    t.add_special_tokens([AddedToken(s, normalized=False, special=True) for s in special])
    if template:
        used = [s for s in special if s in " ".join(template)]
        t.post_processor = processors.Sequence([
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(single=template[0], pair=template[1], special_tokens=[(s, t.token_to_id(s)) for s in used]),
        ])
    names.setdefault("model_input_names", ["input_ids", "attention_mask"])
    return transformers.PreTrainedTokenizerFast(tokenizer_object=t, **names)


LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
BERT = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
ROBERTA = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]


def of_class(name: str, files, **more):
    """A fast tokenizer of a class of transformers, from files of a vocabulary."""
    files = files if isinstance(files, dict) else {"vocab_file": str(files)}
    return getattr(transformers, name)(**files, model_max_length=LENGTH, **more)


def spm_families() -> dict:
    """By family, a tokenizer made of a SentencePiece model."""
    def xlm_like(name: str, **more):
        return lambda f: of_class(name, piece(f), **more)

    t5 = ("<pad>", "</s>", "<unk>")
    return {
        "xlm-roberta": xlm_like("XLMRobertaTokenizerFast"),
        "camembert": lambda f: of_class("CamembertTokenizerFast", piece(f, rule="nmt_nfkc_cf")),
        "albert": lambda f: of_class("AlbertTokenizerFast", piece(f, first=("<pad>", "<unk>", "[CLS]", "[SEP]"), user_defined_symbols=["[MASK]"])),
        "deberta-v3": lambda f: of_class("DebertaV2TokenizerFast", piece(f, rule="nmt_nfkc", first=("[PAD]", "[CLS]", "[SEP]", "[UNK]")), split_by_punct=False),
        "deberta-v2-punct": lambda f: of_class("DebertaV2TokenizerFast", piece(f, first=("[PAD]", "[CLS]", "[SEP]", "[UNK]")), split_by_punct=True, do_lower_case=True),
        "xlnet": lambda f: of_class("XLNetTokenizerFast", piece(f, user_defined_symbols=["<cls>", "<sep>", "<pad>", "<mask>", "<eod>", "<eop>"])),
        "t5": lambda f: of_class("T5TokenizerFast", piece(f, first=t5), extra_ids=10),
        "mbart": lambda f: of_class("MBartTokenizerFast", piece(f)),
        "pegasus": lambda f: of_class("PegasusTokenizerFast", piece(f, first=t5), offset=12),
        "big-bird": lambda f: of_class("BigBirdTokenizerFast", piece(f, first=("<pad>", "</s>", "<s>", "<unk>"), user_defined_symbols=["[SEP]", "[MASK]", "[CLS]"])),
        "fnet": lambda f: of_class("FNetTokenizerFast", piece(f, first=("<pad>", "<unk>", "[CLS]", "[SEP]"), user_defined_symbols=["[MASK]"])),
        "rembert": lambda f: of_class("RemBertTokenizerFast", piece(f, rule="nmt_nfkc", first=("[PAD]", "[UNK]", "[CLS]", "[SEP]"), user_defined_symbols=["[MASK]"])),
        "llama": lambda f: of_class("LlamaTokenizerFast", piece(f, "bpe", "identity", byte_fallback=True), pad_token="</s>", legacy=False),
        "llama-eos": lambda f: of_class("LlamaTokenizerFast", piece(f, "bpe", "identity", byte_fallback=True), pad_token="</s>", add_eos_token=True, padding_side="left"),
        "gemma": lambda f: of_class("GemmaTokenizerFast", piece(f, "bpe", "identity", ("<pad>", "<eos>", "<bos>", "<unk>"), byte_fallback=True, add_dummy_prefix=False), add_eos_token=True),
    }


def families() -> dict:
    """By family, a function that makes a tokenizer in a folder."""
    bert = lambda name, lower=True: lambda f: of_class(name, wordpiece(f, BERT, lower), do_lower_case=lower)  # noqa: E731
    return {
        "bert": bert("BertTokenizerFast"),
        "bert-cased": bert("BertTokenizerFast", False),
        "distilbert": bert("DistilBertTokenizerFast"),
        "electra": bert("ElectraTokenizerFast"),
        "mobilebert": bert("MobileBertTokenizerFast"),
        "squeezebert": bert("SqueezeBertTokenizerFast"),
        "convbert": bert("ConvBertTokenizerFast"),
        "layoutlm": bert("LayoutLMTokenizerFast"),
        "funnel": lambda f: of_class("FunnelTokenizerFast", wordpiece(f, ["<pad>", "<unk>", "<cls>", "<sep>", "<mask>", "<s>", "</s>"], True)),
        "mpnet": lambda f: of_class("MPNetTokenizerFast", wordpiece(f, ["<s>", "<pad>", "</s>", "<unk>", "[UNK]", "<mask>"], True)),
        "roberta": lambda f: of_class("RobertaTokenizerFast", byte_bpe(f, ROBERTA)),
        "roberta-prefix": lambda f: of_class("RobertaTokenizerFast", byte_bpe(f, ROBERTA, True), add_prefix_space=True),
        "longformer": lambda f: of_class("LongformerTokenizerFast", byte_bpe(f, ROBERTA)),
        "bart": lambda f: of_class("BartTokenizerFast", byte_bpe(f, ROBERTA)),
        "led": lambda f: of_class("LEDTokenizerFast", byte_bpe(f, ROBERTA)),
        "deberta": lambda f: of_class("DebertaTokenizerFast", byte_bpe(f, ["[CLS]", "[PAD]", "[SEP]", "[UNK]", "[MASK]"])),
        "gpt2": lambda f: of_class("GPT2TokenizerFast", byte_bpe(f, ["<|endoftext|>"]), pad_token="<|endoftext|>"),
        "gpt2-left": lambda f: of_class("GPT2TokenizerFast", byte_bpe(f, ["<|endoftext|>"]), pad_token="<|endoftext|>", padding_side="left", truncation_side="left"),
        "gpt-neox": lambda f: of_class(
            "GPTNeoXTokenizerFast", {"tokenizer_object": of_class("GPT2TokenizerFast", byte_bpe(f, ["<|endoftext|>", "<|padding|>"])).backend_tokenizer},
            pad_token="<|padding|>",
        ),
        "opt": lambda f: of_class("GPT2TokenizerFast", byte_bpe(f, ROBERTA), bos_token="</s>", eos_token="</s>", unk_token="</s>", pad_token="<pad>", add_bos_token=True),
        "codegen": lambda f: of_class("CodeGenTokenizerFast", byte_bpe(f, ["<|endoftext|>"]), pad_token="<|endoftext|>"),
        "bloom": lambda f: bpe_with(f, ["<unk>", "<s>", "</s>", "<pad>"], r" ?[^(\s|[.,!?…。，、।۔،])]+", None, None, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="<pad>", model_max_length=LENGTH),
        "falcon": lambda f: bpe_with(f, ["<|endoftext|>"], r"[\p{P}\$\+<=>\^~\|`]+", None, None, eos_token="<|endoftext|>", pad_token="<|endoftext|>", model_max_length=LENGTH),
        "qwen2": lambda f: of_class("Qwen2TokenizerFast", byte_bpe(f, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]), padding_side="left"),
        "qwen3-embedding": lambda f: bpe_with(f, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], LLAMA3.replace("{1,3}", ""), ("$A <|endoftext|>", "$A $B <|endoftext|>"), normalizers.NFC(), eos_token="<|im_end|>", pad_token="<|endoftext|>", padding_side="left", model_max_length=LENGTH),
        "llama3": lambda f: bpe_with(f, ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"], LLAMA3, ("<|begin_of_text|> $A", "<|begin_of_text|> $A <|begin_of_text|>:1 $B:1"), None, bos_token="<|begin_of_text|>", eos_token="<|end_of_text|>", pad_token="<|end_of_text|>", model_max_length=LENGTH),
        "modernbert": lambda f: bpe_with(f, ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"], r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+", ("[CLS] $A [SEP]", "[CLS] $A [SEP] $B [SEP]"), normalizers.NFC(), unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]", pad_token="[PAD]", mask_token="[MASK]", model_max_length=LENGTH),
        **spm_families(),
    }


def main() -> None:
    out = Path(sys.argv[1])
    made_of = "".join(Path(f).read_text() for f in (__file__, texts.__file__))
    stamp = out / "stamp"
    if not stamp.is_file() or stamp.read_text() != made_of:
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        stamp.write_text(made_of)
    for name, make in families().items():
        if (out / name).exists():
            continue
        with tempfile.TemporaryDirectory() as temp:
            try:
                made = make(Path(temp))
                made.save_pretrained(out / f"{name}.new")
            except Exception as e:  # the zoo's entries that need it say so
                print(f"{name}: {type(e).__name__}: {e}", file=sys.stderr)
                continue
        for file in ("vocab.txt", "vocab.json", "merges.txt"):  # the larger half; tokenizer.json has them too
            if name not in KEEP:
                (out / f"{name}.new" / file).unlink(missing_ok=True)
        (out / f"{name}.new").rename(out / name)
        print(name, len(made), made.model_input_names)


# Families whose folders keep the files of the slow tokenizer.
KEEP = ("bert", "bert-cased", "roberta", "gpt2")

if __name__ == "__main__":
    main()
