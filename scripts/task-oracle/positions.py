"""Write how many tokens models of each architecture read, beside what their config.json says.

Each model is made with random weights and as few positions as its config class takes. It reads
texts of more and more tokens until it fails. What the most were goes by the version of
transformers to runtime/textmodel/testdata/positions.json; null is for models that read any number.
Answers of other versions stay in the file. Types may be named, to ask about these only.

Example:

    python positions.py
    python positions.py llama esm
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
import transformers
from transformers import AutoConfig, AutoModel

TARGET = Path(__file__).resolve().parents[2] / "runtime" / "textmodel" / "testdata" / "positions.json"
POSITIONS = 40
LENGTHS = [8, *range(POSITIONS - 2, POSITIONS + 2), 80]
SMALL = {
    "hidden_size": 16, "d_model": 16, "dim": 16, "n_embd": 16, "emb_dim": 16, "embedding_size": 16, "num_attention_heads": 2, "n_head": 2, "n_heads": 2,
    "num_heads": 2, "num_key_value_heads": 2, "num_hidden_layers": 1, "n_layer": 1, "n_layers": 1, "num_layers": 1, "encoder_layers": 1,
    "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2, "intermediate_size": 16, "d_ff": 16, "d_inner": 16, "n_inner": 16,
    "hidden_dim": 16, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "ffn_dim": 16, "ffn_hidden_size": 16, "vocab_size": 30, "head_dim": 8, "d_kv": 8,
    "d_head": 8, "rotary_dim": 4, "attention_window": 4, "entity_vocab_size": 10, "entity_emb_size": 16, "word_embed_proj_dim": 16, "n_embed": 16,
    "max_relative_positions": -1, "relative_attention": True, "pos_att_type": ["p2c", "c2p"], "dff": 16, "block_sizes": [1], "attention_type": "original_full",
    "true_hidden_size": 16, "intra_bottleneck_size": 16, "conv_kernel_size": 3, "head_ratio": 1, "attn_implementation": "eager", "max_2d_position_embeddings": 16,
    "initializer_range": 0.02, "n_ctx": None, "rope_scaling": None, "num_experts": 2, "num_local_experts": 2, "moe_intermediate_size": 16,
    "first_k_dense_replace": 1, "q_lora_rank": 8, "kv_lora_rank": 8, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8,
}
TYPES = [
    "albert", "bart", "bert", "bert-generation", "big_bird", "bigbird_pegasus", "biogpt", "blenderbot", "blenderbot-small", "bloom", "camembert", "canine", "codegen",
    "convbert", "ctrl", "data2vec-text", "deberta", "deberta-v2", "distilbert", "electra", "ernie", "ernie_m", "esm", "eurobert", "falcon", "flaubert", "fnet",
    "fsmt", "funnel", "gemma", "gemma2", "gemma3_text", "gpt2", "gpt_bigcode", "gpt_neo", "gpt_neox", "gptj", "granite", "ibert", "jina_embeddings_v3", "layoutlm",
    "layoutlmv3", "led", "lilt", "llama", "longformer", "longt5", "luke", "m2m_100", "marian", "markuplm", "mbart", "mega", "megatron-bert", "mistral",
    "mluke", "mobilebert", "modernbert", "mpnet", "mpt", "mra", "mt5", "mvp", "nezha", "nomic_bert", "nystromformer", "olmo", "openai-gpt", "opt", "pegasus",
    "persimmon", "phi", "phi3", "plbart", "prophetnet", "qdqbert", "qwen2", "qwen3", "reformer", "rembert", "roberta", "roberta-prelayernorm", "roc_bert", "roformer",
    "smollm3", "splinter", "squeezebert", "stablelm", "starcoder2", "switch_transformers", "t5", "umt5", "xglm", "xlm", "xlm-prophetnet", "xlm-roberta", "xlm-roberta-xl",
    "xlnet", "xmod", "yoso",
]
KEYS = ["max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "max_sequence_length", "seq_length", "max_encoder_position_embeddings", "encoder_max_position_embeddings"]


def config_of(kind: str):
    """Return a small config of a type with POSITIONS positions by its own key, or None."""
    plain = AutoConfig.for_model(kind)
    known = {k: v for k, v in SMALL.items() if (k in plain.to_dict() or k in plain.attribute_map) and v is not None}
    names = [k for k in KEYS if k in plain.to_dict()]
    known |= {k: POSITIONS for k in names}
    known.pop("attn_implementation", None)
    if kind in ("funnel",):
        known.pop("d_model"), known.pop("d_head")
        known |= {"d_model": 16, "d_head": 8}
    if kind == "xmod":
        known |= {"languages": ["en_XX"], "default_language": "en_XX"}
    if kind == "reformer":
        known |= {"axial_pos_embds": False, "attn_layers": ["local"]}
    if kind == "modernbert":
        known |= {"reference_compile": False}
    if kind == "funnel":
        known["attention_type"] = "relative_shift"
    if kind == "esm":
        known["pad_token_id"] = 1
    pad = getattr(plain, "pad_token_id", None)
    if pad is not None and not 0 <= pad < 30:
        known["pad_token_id"] = 0
    for key in ("bos_token_id", "eos_token_id", "sep_token_id", "decoder_start_token_id", "mask_token_id"):
        value = getattr(plain, key, None)
        if isinstance(value, int) and value >= 30 or isinstance(value, list):
            known[key] = 2
    return AutoConfig.for_model(kind, **known)


@torch.no_grad()
def reads(config) -> int | None:
    """Return the most tokens that a model of a config reads; None is any number."""
    model = AutoModel.from_config(config).eval()
    if hasattr(model, "get_encoder") and getattr(config, "is_encoder_decoder", False):
        model = model.get_encoder()
    most = 0
    for n in LENGTHS:
        ids = torch.full((1, n), 5)
        ids[0, -1] = 2
        try:
            model(input_ids=ids, attention_mask=torch.ones_like(ids))
            most = n
        except (IndexError, RuntimeError, ValueError, AssertionError):
            if most == 0:
                raise
            return most
    return None


def main() -> None:
    torch.manual_seed(0)
    version = "transformers " + transformers.__version__
    known = json.loads(TARGET.read_text()) if TARGET.exists() else {}
    for kind in sys.argv[1:] or TYPES:
        try:
            config = config_of(kind)
            most = reads(config)
        except Exception as e:  # not of this version, or not so small
            print(f"{kind}: {type(e).__name__}: {str(e)[:120]}")
            continue
        written = config.to_dict()
        kept = {k: written[k] for k in ["model_type", "pad_token_id", "position_biased_input", *KEYS] if written.get(k) is not None}
        known.setdefault(kind, {})[version] = {"config": kept, "reads": most}
        print(kind, kept, most, flush=True)
        lines = ",\n  ".join(json.dumps(kind) + ": " + json.dumps(known[kind]) for kind in sorted(known))
        TARGET.write_text("{\n  " + lines + "\n}\n")


if __name__ == "__main__":
    main()
