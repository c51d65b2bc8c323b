"""The architectures: for each a tokenizer and a configuration small enough to run at once.

The names of the fields are those of transformers' configuration classes. None of this needs
transformers, so that the list can be read with any Python.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Architecture:
    """A model type of transformers, how it is made small, and what it can be asked."""

    model_type: str
    tokenizer: str
    config: dict
    tasks: tuple[str, ...]
    versions: tuple[int, ...] = (4, 5)  # of transformers
    note: str = ""


# The fields that most encoders and most decoders share.
ENCODER = dict(hidden_size=32, num_hidden_layers=4, num_attention_heads=4, intermediate_size=48, max_position_embeddings=80)
DECODER = dict(hidden_size=32, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2, intermediate_size=48, max_position_embeddings=80)
BART = dict(d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=48, decoder_ffn_dim=48, max_position_embeddings=80)
T5 = dict(d_model=32, d_kv=8, d_ff=48, num_layers=4, num_decoder_layers=2, num_heads=4)

ALL = ("classify", "tokens", "embed")
HEADED = ("classify", "tokens")
PLAIN = ("embed",)


def encoder(model_type: str, tokenizer: str, tasks: tuple[str, ...] = ALL, versions: tuple[int, ...] = (4, 5), **more) -> Architecture:
    return Architecture(model_type, tokenizer, {**ENCODER, **more}, tasks, versions)


def decoder(model_type: str, tokenizer: str, tasks: tuple[str, ...] = ("classify", "embed"), versions: tuple[int, ...] = (4, 5), **more) -> Architecture:
    return Architecture(model_type, tokenizer, {**DECODER, **more}, tasks, versions)


def of(model_type: str, tokenizer: str, tasks: tuple[str, ...], config: dict, versions: tuple[int, ...] = (4, 5), **more) -> Architecture:
    return Architecture(model_type, tokenizer, {**config, **more}, tasks, versions)


ARCHITECTURES: dict[str, Architecture] = {
    "albert": encoder("albert", "albert", embedding_size=16),
    "bert": encoder("bert", "bert"),
    "bert-cased": encoder("bert", "bert-cased"),
    "bert-generation": encoder("bert-generation", "xlm-roberta", PLAIN),
    "big-bird": encoder("big_bird", "big-bird", attention_type="original_full"),
    "big-bird-sparse": encoder("big_bird", "big-bird", ("classify",), block_size=8, num_random_blocks=1, attention_type="block_sparse"),
    "camembert": encoder("camembert", "camembert"),
    "convbert": encoder("convbert", "convbert", embedding_size=32),
    "data2vec-text": encoder("data2vec-text", "roberta"),
    "deberta": encoder("deberta", "deberta", relative_attention=True, pos_att_type=["c2p", "p2c"], max_relative_positions=-1, type_vocab_size=0, position_biased_input=False),
    "deberta-v2": encoder("deberta-v2", "deberta-v2-punct", relative_attention=True, pos_att_type=["c2p", "p2c"], position_buckets=-1, type_vocab_size=0, conv_kernel_size=3, conv_act="gelu", position_biased_input=True),
    "deberta-v3": encoder("deberta-v2", "deberta-v3", relative_attention=True, pos_att_type=["p2c", "c2p"], position_buckets=16, share_att_key=True, norm_rel_ebd="layer_norm", type_vocab_size=0, position_biased_input=False),
    "distilbert": of("distilbert", "distilbert", ALL, dict(dim=32, n_layers=4, n_heads=4, hidden_dim=48, max_position_embeddings=80)),
    "electra": encoder("electra", "electra", embedding_size=16),
    "ernie": encoder("ernie", "bert", use_task_id=False),
    "ernie-task-ids": encoder("ernie", "bert", ("classify",), use_task_id=True),
    "esm": encoder("esm", "bert", HEADED, position_embedding_type="rotary", pad_token_id=0, mask_token_id=4, token_dropout=False),
    "eurobert": encoder("eurobert", "llama3", ALL, (5,), num_key_value_heads=4),
    "flaubert": of("flaubert", "bert-cased", ("classify",), dict(emb_dim=32, n_layers=4, n_heads=4, max_position_embeddings=80, pad_index=0, n_langs=1)),
    "fnet": encoder("fnet", "fnet"),
    "funnel": of("funnel", "funnel", ALL, dict(block_sizes=[2, 2], block_repeats=None, num_decoder_layers=1, d_model=32, n_head=4, d_head=8, d_inner=48)),
    "gte": encoder("gte", "bert", ALL, (5,)),
    "ibert": encoder("ibert", "roberta", ("classify",)),
    "jina-v3": encoder("jina_embeddings_v3", "xlm-roberta", ALL, (5,)),
    "layoutlm": encoder("layoutlm", "layoutlm", ("classify",)),
    "lilt": encoder("lilt", "roberta", ("classify",), hidden_size=48),
    "longformer": encoder("longformer", "longformer", attention_window=[16, 16, 16, 16]),
    "luke": encoder("luke", "roberta", ("embed", "classify"), entity_vocab_size=10, entity_emb_size=16),
    "markuplm": encoder("markuplm", "roberta", ("classify",)),
    "megatron-bert": encoder("megatron-bert", "bert"),
    "mobilebert": encoder("mobilebert", "mobilebert", embedding_size=16, intra_bottleneck_size=16, true_hidden_size=16, num_feedforward_networks=2),
    "modernbert": encoder("modernbert", "modernbert", global_attn_every_n_layers=2, local_attention=16, reference_compile=False),
    "mpnet": encoder("mpnet", "mpnet"),
    "mra": encoder("mra", "roberta", ("classify",)),
    "nomic-bert": encoder("nomic_bert", "bert", ALL, (5,)),
    "nystromformer": encoder("nystromformer", "albert", num_landmarks=64, segment_means_seq_len=64),
    "rembert": encoder("rembert", "rembert", input_embedding_size=16, output_embedding_size=16),
    "roberta": encoder("roberta", "roberta"),
    "roberta-prelayernorm": encoder("roberta-prelayernorm", "roberta-prefix"),
    "roc-bert": encoder("roc_bert", "bert", ("classify",), enable_pronunciation=False, enable_shape=False),
    "roformer": encoder("roformer", "bert", embedding_size=32),
    "splinter": encoder("splinter", "bert", PLAIN),
    "squeezebert": encoder("squeezebert", "squeezebert", embedding_size=32, q_groups=2, k_groups=2, v_groups=2, post_attention_groups=1, intermediate_groups=2, output_groups=2),
    "xlm": of("xlm", "bert-cased", ("classify",), dict(emb_dim=32, n_layers=4, n_heads=4, max_position_embeddings=80, pad_index=0, n_langs=1)),
    "xlm-roberta": encoder("xlm-roberta", "xlm-roberta"),
    "xlm-roberta-xl": encoder("xlm-roberta-xl", "xlm-roberta"),
    "xlnet": of("xlnet", "xlnet", ALL, dict(d_model=32, n_layer=4, n_head=4, d_inner=48)),
    "xmod": encoder("xmod", "xlm-roberta", languages=["en_XX", "de_DE"], default_language="en_XX"),
    "yoso": encoder("yoso", "albert", ("classify",), use_expectation=True),
    # Of encoder and decoder.
    "bart": of("bart", "bart", ("classify", "embed"), BART),
    "led": of("led", "led", ("classify",), BART, max_encoder_position_embeddings=80, max_decoder_position_embeddings=80, attention_window=[16, 16]),
    "mbart": of("mbart", "mbart", ("classify",), BART),
    "mt5": of("mt5", "t5", ("classify", "embed-encoder"), T5, feed_forward_proj="gated-gelu"),
    "pegasus": of("pegasus", "pegasus", ("embed",), BART),
    "t5": of("t5", "t5", ("classify", "tokens", "embed-encoder"), T5),
    "umt5": of("umt5", "t5", ("classify", "tokens", "embed-encoder"), T5, feed_forward_proj="gated-gelu"),
    "marian": of("marian", "t5", ("embed",), BART),
    # Decoders.
    "bloom": of("bloom", "bloom", ("classify", "tokens", "embed"), dict(hidden_size=32, n_layer=4, n_head=4)),
    "codegen": of("codegen", "codegen", ("embed",), dict(n_embd=32, n_layer=4, n_head=4, n_positions=80, n_ctx=80, rotary_dim=4)),
    "falcon": of("falcon", "falcon", ("classify", "embed"), dict(hidden_size=32, num_hidden_layers=4, num_attention_heads=4, num_kv_heads=4, alibi=False, max_position_embeddings=80)),
    "gemma": decoder("gemma", "gemma", head_dim=8),
    "gemma2": decoder("gemma2", "gemma", head_dim=8, query_pre_attn_scalar=8, sliding_window=16),
    "gemma3": decoder("gemma3_text", "gemma", head_dim=8, query_pre_attn_scalar=8, sliding_window=16),
    "gpt-neo": of("gpt_neo", "gpt2", ("classify", "embed"), dict(hidden_size=32, num_layers=4, num_heads=4, attention_types=[[["global", "local"], 2]], window_size=16, max_position_embeddings=80)),
    "gpt-neox": of("gpt_neox", "gpt-neox", ("classify", "tokens", "embed"), dict(hidden_size=32, num_hidden_layers=4, num_attention_heads=4, intermediate_size=48, max_position_embeddings=80)),
    "gpt2": of("gpt2", "gpt2", ("classify", "tokens", "embed"), dict(n_embd=32, n_layer=4, n_head=4, n_positions=80)),
    "gptj": of("gptj", "gpt2", ("classify",), dict(n_embd=32, n_layer=4, n_head=4, n_positions=80, rotary_dim=4)),
    "granite": decoder("granite", "gpt2", ("embed",)),
    "llama": decoder("llama", "llama3"),
    "llama2": decoder("llama", "llama", ("classify",)),
    "mistral": decoder("mistral", "llama-eos", sliding_window=16, head_dim=8),
    "mixtral": decoder("mixtral", "llama", ("classify",), num_local_experts=2, num_experts_per_tok=1),
    "olmo2": decoder("olmo2", "gpt-neox", ("embed",)),
    "openai-gpt": of("openai-gpt", "gpt2", ("classify",), dict(n_embd=32, n_layer=4, n_head=4, n_positions=80)),
    "opt": of("opt", "opt", ("classify", "embed"), dict(hidden_size=32, num_hidden_layers=4, num_attention_heads=4, ffn_dim=48, max_position_embeddings=80, word_embed_proj_dim=32)),
    "phi": decoder("phi", "codegen", ("classify", "embed"), num_key_value_heads=4),
    "phi3": decoder("phi3", "llama", ("classify", "embed"), num_key_value_heads=4),
    "qwen2": decoder("qwen2", "qwen2"),
    "qwen3": decoder("qwen3", "qwen3-embedding", ("classify", "tokens", "embed"), head_dim=8),
    "smollm3": decoder("smollm3", "gpt2", no_rope_layers=[1, 1, 1, 0]),
    "stablelm": decoder("stablelm", "gpt-neox", ("classify",)),
    "starcoder2": decoder("starcoder2", "gpt2", ("classify",)),
    # Without a tokenizer.json: a letter is a token.
    "canine": encoder("canine", "slow:CanineTokenizer", ("classify",), num_hidden_layers=2, local_transformer_stride=16),
    "perceiver": of("perceiver", "slow:PerceiverTokenizer", ("classify",), dict(num_latents=8, d_latents=32, d_model=32, num_blocks=1, num_self_attends_per_block=2, num_self_attention_heads=4, num_cross_attention_heads=4, max_position_embeddings=80)),
    # What came later: at the end, since poolings and exporters go by the order.
    "mega": encoder("mega", "roberta", ALL, (4,), ema_projection_size=4, shared_representation_size=16, max_positions=80, bidirectional=True),
    "nezha": encoder("nezha", "bert", ALL, (4,), max_relative_position=16),
    "realm": encoder("realm", "bert", PLAIN, (4,), retriever_proj_size=16),
    "bigbird-pegasus": of("bigbird_pegasus", "pegasus", ("classify",), BART, attention_type="original_full"),
    "mvp": of("mvp", "bart", ("classify",), BART),
    "plbart": of("plbart", "mbart", ("classify",), BART),
    "prophetnet": of("prophetnet", "bert", PLAIN, dict(hidden_size=32, encoder_ffn_dim=48, num_encoder_layers=2, num_encoder_attention_heads=4, decoder_ffn_dim=48, num_decoder_layers=2, num_decoder_attention_heads=4, max_position_embeddings=80)),
    "arcee": decoder("arcee", "llama3", PLAIN),
    "biogpt": decoder("biogpt", "gpt2", ("classify",)),
    "diffllama": decoder("diffllama", "llama3", PLAIN, (5,)),
    "ernie4-5": decoder("ernie4_5", "llama3", PLAIN, (5,)),
    "exaone4": decoder("exaone4", "gpt2", ("classify", "embed"), (5,), sliding_window=16),
    "glm": decoder("glm", "qwen2", ("classify", "embed"), (5,), head_dim=8),
    "glm4": decoder("glm4", "qwen2", PLAIN, (5,), head_dim=8),
    "gpt-bigcode": of("gpt_bigcode", "gpt2", ("classify", "embed"), dict(n_embd=32, n_layer=4, n_head=4, n_positions=80)),
    "helium": decoder("helium", "llama", ("classify", "embed"), (5,), head_dim=8),
    "hunyuan-dense": decoder("hunyuan_v1_dense", "llama3", ("classify",), (5,), head_dim=8),
    "ministral": decoder("ministral", "llama-eos", PLAIN, (5,), sliding_window=16, head_dim=8),
    "modernbert-decoder": encoder("modernbert-decoder", "modernbert", ("classify", "embed"), (5,), global_attn_every_n_layers=2, local_attention=16),
    "mpt": of("mpt", "gpt-neox", ("classify", "embed"), dict(d_model=32, n_heads=4, n_layers=4, expansion_ratio=2, max_seq_len=80)),
    "nemotron": decoder("nemotron", "llama3", head_dim=8),
    "persimmon": decoder("persimmon", "llama", ("classify",), num_key_value_heads=4),
    "seed-oss": decoder("seed_oss", "llama3", PLAIN, (5,), head_dim=8),
}
